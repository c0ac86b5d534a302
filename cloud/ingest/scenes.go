package ingest

import (
	"context"
	"time"

	"floorwatch"
	"floorwatch/cloud/site"
)

const (
	// sceneWait is how long one attempt to keep scenes may take, and scenePause how
	// long none is made after one that failed.
	sceneWait  = 2 * time.Second
	scenePause = 5 * time.Second
)

// storeScenes keeps what boxes have told of their cameras. The metadata may be
// away, or its disk full, while figures and footage go on: then a batch with a
// scene is not acknowledged, its box sends it again in half a minute, and the
// others are not held up.
func (g *Ingest) storeScenes(ctx context.Context, jobs []*job) error {
	var told []site.SceneVersion
	var with []*job
	for _, j := range jobs {
		n := len(told)
		for _, it := range j.items {
			if r, ok := it.rec.(*floorwatch.CameraScene); ok {
				told = append(told, site.Told(j.store, j.edge, r, it.raw))
			}
		}
		if len(told) > n {
			with = append(with, j)
		}
	}
	if len(told) == 0 {
		return nil
	}
	if time.Now().UnixNano() >= g.noScenes.Load() {
		trying, done := context.WithTimeout(ctx, sceneWait)
		defer done()
		err := g.Sites.PutScenes(trying, told...)
		if err == nil {
			if g.noScenes.Swap(0) != 0 {
				g.log().Info("scenes are kept again")
			}
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		if g.noScenes.Swap(time.Now().Add(scenePause).UnixNano()) == 0 {
			g.log().Warn("scenes cannot be kept; their boxes send them again, figures and footage go on", "error", err)
		}
	}
	for _, j := range with {
		j.later = true
	}
	return nil
}
