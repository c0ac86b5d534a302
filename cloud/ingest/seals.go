package ingest

import (
	"context"
	"fmt"

	"floorwatch"
	"floorwatch/cloud/site"
)

// index stores the seal of a record that has one.
func (g *Ingest) index(ctx context.Context, j *job, rec floorwatch.Record) error {
	if segment, ok := rec.(*floorwatch.Segment); ok {
		return g.Index.PutSegment(ctx, j.store, j.edge, *segment)
	}
	if sealed, ok := rec.(floorwatch.Sealed); ok {
		if raw, _ := sealed.Sealed(); raw != "" {
			return g.Index.PutSeal(ctx, j.store, j.edge, raw)
		}
	}
	return nil
}

// checkKey refuses a health record that asks for another key than the registered
// one.
func checkKey(h *floorwatch.Health, edge site.Edge) error {
	if h.Key == "" || edge.Key == "" || site.Key(h.Key) == edge.Key {
		return nil
	}
	return fmt.Errorf("%.50q is not the registered key of this box", h.Key)
}

// checkSeal refuses a seal that another key than the registered box's signed,
// and a gap or a deletion that says something else than its seal does; of
// segments the index finds that out. A gap from before gaps carried their seals
// has none.
func checkSeal(rec floorwatch.Record, edge site.Edge) error {
	if h, ok := rec.(*floorwatch.Health); ok {
		return checkKey(h, edge)
	}
	sealed, ok := rec.(floorwatch.Sealed)
	if !ok {
		return nil
	}
	raw, said := sealed.Sealed()
	key, err := edge.Key.Public()
	if err != nil {
		return err
	}
	gap, segment := said.Kind == floorwatch.SealGap, said.Kind == floorwatch.SealSegment
	if gap && raw == "" || segment && len(key) == 0 {
		return nil
	}
	seal, err := floorwatch.ParseSeal([]byte(raw))
	if err != nil {
		return err
	}
	if len(key) > 0 && !key.Equal(seal.Key) {
		return fmt.Errorf("the seal is signed with %s, which is not the registered key of this box", site.KeyOf(seal.Key))
	}
	if segment {
		return nil
	}
	if gap {
		said.Chain, said.Seq = seal.Chain, seal.Seq // a gap's record leaves those to its seal
	}
	if seal.Kind != said.Kind || seal.Store != edge.Store || seal.Edge != edge.ID || seal.Camera != said.Camera ||
		seal.Chain != said.Chain || seal.Seq != said.Seq || seal.Start != said.Start || seal.End != said.End || seal.Cause != said.Cause {
		return fmt.Errorf("the record does not say what its seal says: %s of camera %s, %d to %d, %.200q", seal.Kind, seal.Camera, seal.Start, seal.End, seal.Cause)
	}
	return nil
}
