package main

import (
	"context"
	"fmt"

	"floorwatch"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
	"floorwatch/edge"
	"floorwatch/edge/footage"
	"floorwatch/internal/fmp4"
)

// boxFolder shows footage from the box's own folder, which is on this machine.
type boxFolder struct {
	edge    edge.Config
	library *footage.Library
}

// Clip implements vault.Clips.
func (b boxFolder) Clip(ctx context.Context, c site.Source, from, to floorwatch.Time) (fmp4.Clip, error) {
	for _, cam := range b.edge.Cameras {
		if c.Store == b.edge.Store && c.Edge == b.edge.Edge && c.Camera == cam.Name {
			return b.library.Clip(ctx, c.Camera, from, to)
		}
	}
	return fmp4.Clip{}, fmt.Errorf("camera %.50q: %w", c.Camera, vault.ErrNoFootage)
}
