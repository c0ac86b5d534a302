package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"floorwatch"
	"floorwatch/cloud/api"
	"floorwatch/cloud/site"
	"floorwatch/edge"
	"floorwatch/edge/footage"
	"floorwatch/edge/trail"
	"floorwatch/internal/fmp4"
)

// boxFolder shows footage and pictures from the box's own folder, which is on
// this machine.
type boxFolder struct {
	edge    edge.Config
	library *footage.Library
	trail   *trail.Trail
}

// maxStill bounds the still that is read, in bytes.
const maxStill = 8 << 20

func (b boxFolder) known(c site.Source) error {
	for _, cam := range b.edge.Cameras {
		if c.Store == b.edge.Store && c.Edge == b.edge.Edge && c.Camera == cam.Name {
			return nil
		}
	}
	return fmt.Errorf("camera %.50q: %w", c.Camera, api.ErrNotFound)
}

// Clip implements vault.Clips.
func (b boxFolder) Clip(ctx context.Context, c site.Source, from, to floorwatch.Time) (fmp4.Clip, error) {
	if err := b.known(c); err != nil {
		return fmp4.Clip{}, err
	}
	return b.library.Clip(ctx, c.Camera, from, to)
}

// Lines implements api.Pictures.
func (b boxFolder) Lines(ctx context.Context, c site.Source, from, to floorwatch.Time) ([]floorwatch.Frame, error) {
	if err := b.known(c); err != nil {
		return nil, err
	}
	return b.trail.Lines(ctx, c.Camera, from, to)
}

// Still implements api.Pictures.
func (b boxFolder) Still(_ context.Context, c site.Source) ([]byte, floorwatch.Time, error) {
	if err := b.known(c); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(edge.StillFile(b.edge.Data, c.Camera))
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, fmt.Errorf("still of %s: %w", c.Camera, api.ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read still: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read still: %w", err)
	}
	jpeg, err := io.ReadAll(io.LimitReader(f, maxStill))
	return jpeg, floorwatch.TimeOf(info.ModTime()), err
}
