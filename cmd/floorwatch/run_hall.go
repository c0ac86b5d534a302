package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"floorwatch"
	"floorwatch/edge"
	"floorwatch/edge/simulate"
	"floorwatch/internal/config"
	"floorwatch/internal/durable"
	"floorwatch/internal/program"
)

// simulatedSource is a source that is no camera: simulated, or simulated:HALL.
// Its hall is filmed once; the film is then a source like any other.
const simulatedSource = "simulated"

// demoHall is played when none is named, with a seed that shows people who are
// served, give up and need not wait.
const (
	demoHall = "demo"
	demoSeed = 3
)

const (
	hallLength = 3 * time.Minute  // of a film, which is looped
	hallFrom   = 15 * time.Minute // into a longer play, when its hall has filled
)

// hallFilm is the film of a hall and where it lies.
type hallFilm struct {
	hall *simulate.Hall
	path string
}

// useHall replaces the cameras by a film of a simulated hall, with its zones.
func (c *runConfig) useHall(name string) error {
	hall, err := simulate.Load(cmp.Or(name, demoHall))
	if err != nil {
		return fmt.Errorf("%w: the simulated hall is not right\n%w", program.ErrUsage, err)
	}
	b, err := json.Marshal(hall)
	if err != nil {
		return fmt.Errorf("hash hall: %w", err)
	}
	sum := sha256.Sum256(b)
	c.film = &hallFilm{hall, filepath.Join(c.Edge.Data, "film-"+hex.EncodeToString(sum[:6])+".mp4")}
	cam := edge.Camera{Name: "hall", Label: hall.Label, Source: c.film.path}
	cam.SetDefaults()
	cam.SceneKeys = config.KeysOf(hall.Scene())
	cam.Notice = floorwatch.Label{
		ZH: "这是模拟大厅的影片：人物是画出来的，影片循环播放，数据由检测器从画面中测得。",
		EN: "This is a film of a simulated hall: its people are drawn, it is looped, and the figures are measured from its pictures.",
	}
	c.Edge.Cameras = []edge.Camera{cam}
	return nil
}

// make films the hall unless that was done before.
func (f *hallFilm) make(ctx context.Context, out io.Writer) error {
	if _, err := os.Stat(f.path); err == nil {
		return nil
	}
	length := min(f.hall.Length, hallLength)
	from := min(f.hall.Length-length, hallFrom)
	play := simulate.New(f.hall, simulate.Options{Seed: demoSeed, From: from, Length: from + length})
	began, told := floorwatch.Time(0), 0
	temp := f.path + ".part"
	err := play.Record(ctx, temp, func(line floorwatch.Frame) error {
		began = cmp.Or(began, line.T)
		if done := int(100 * line.T.Sub(began) / length); done >= told {
			fmt.Fprintf(out, "Filming the simulated hall %s, once … %d %%\n", f.hall.Name, told)
			told += 20
		}
		return nil
	})
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("film hall %s: %w", f.hall.Name, err)
	}
	if err := os.Rename(temp, f.path); err != nil {
		return fmt.Errorf("film hall %s: %w", f.hall.Name, err)
	}
	return durable.SyncDir(filepath.Dir(f.path))
}
