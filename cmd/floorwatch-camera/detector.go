//go:build cgo

package main

import (
	"errors"
	"fmt"
	"io/fs"

	"floorwatch/edge/camera"
	"floorwatch/edge/track"
	"floorwatch/internal/program"
	"floorwatch/models"
)

// choose makes the detector, and the tracker's thresholds that go with its
// scores.
func choose(name, dir string, fps float64) (camera.Detector, track.Options, error) {
	switch name {
	case "motion":
		return camera.NewMotion(fps), track.Options{}, nil
	case "hog":
		d, err := camera.NewHOG()
		return d, track.Options{}, err
	case "nanodet":
		return nanodet(dir)
	case "auto":
		d, o, err := nanodet(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return choose("motion", dir, fps)
		}
		return d, o, err
	}
	return nil, track.Options{}, fmt.Errorf("%w: -detector %q is not auto, motion, hog or nanodet", program.ErrUsage, name)
}

// nanodet loads the net once its hash was checked.
func nanodet(dir string) (camera.Detector, track.Options, error) {
	m, err := models.Lookup(models.NanoDet)
	if err != nil {
		return nil, track.Options{}, err
	}
	path, err := models.Find(dir, m.Name)
	if err != nil {
		return nil, track.Options{}, err
	}
	d, err := camera.NewNanoDet(path, m.Name+" "+m.SHA256[:12])
	return d, track.Options{High: 0.4, New: 0.5, Low: 0.2}, err
}
