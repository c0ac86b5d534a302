package ingest

import (
	"context"
	"crypto/ed25519"
	"fmt"

	"floorwatch"
)

// Key returns the public key of a registered box, for those who check what it
// signed.
func (r Registry) Key(store, edge string) (ed25519.PublicKey, bool) {
	e, ok := r.edge(store, edge)
	return e.Key, ok && len(e.Key) > 0
}

// isPoint tells whether a record becomes a point; the others are in the index.
func isPoint(rec any) bool {
	switch rec.(type) {
	case *floorwatch.Segment, *floorwatch.Deleted:
		return false
	}
	return true
}

// index stores the seal of a record that has one.
func (g *Ingest) index(ctx context.Context, j *job, rec any) error {
	switch r := rec.(type) {
	case *floorwatch.Segment:
		return g.Index.PutSegment(ctx, j.store, j.edge, *r)
	case *floorwatch.Deleted:
		return g.Index.PutSeal(ctx, j.store, j.edge, r.Seal)
	case *floorwatch.Gap:
		if r.Seal != "" {
			return g.Index.PutSeal(ctx, j.store, j.edge, r.Seal)
		}
	}
	return nil
}

// sealOf returns the seal of a record, and what the record repeats of it.
func sealOf(rec any) (raw string, said floorwatch.Seal) {
	switch r := rec.(type) {
	case *floorwatch.Segment:
		return r.Seal, floorwatch.Seal{Kind: floorwatch.SealSegment, Camera: r.Camera, Chain: r.Chain, Seq: r.Seq, Start: r.Start, End: r.End}
	case *floorwatch.Deleted:
		return r.Seal, floorwatch.Seal{Kind: floorwatch.SealDeleted, Camera: r.Camera, Chain: r.Chain, Seq: r.Seq, Start: r.Start, End: r.End, Cause: r.Cause}
	case *floorwatch.Gap:
		if r.To != nil {
			said.End = *r.To
		}
		said.Kind, said.Camera, said.Start, said.Cause = floorwatch.SealGap, r.Camera, r.From, r.Cause
		return r.Seal, said
	}
	return "", said
}

// checkSeal refuses a seal that another key than the registered box's signed,
// and a gap or a deletion that says something else than its seal does; of
// segments the index finds that out. A gap from before gaps carried their seals
// has none.
func checkSeal(rec any, edge Edge) error {
	raw, said := sealOf(rec)
	_, gap := rec.(*floorwatch.Gap)
	segment := said.Kind == floorwatch.SealSegment
	if said.Kind == "" || gap && raw == "" || segment && len(edge.Key) == 0 {
		return nil
	}
	seal, err := floorwatch.ParseSeal([]byte(raw))
	if err != nil {
		return err
	}
	if len(edge.Key) > 0 && !edge.Key.Equal(seal.Key) {
		return fmt.Errorf("the seal is signed with %x, which is not the registered key of this box", seal.Key)
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
