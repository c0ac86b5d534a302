package figures

import (
	"context"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/cloud/waits"
)

// WaitComparison is how far two windows are apart: two days of one queue zone, or
// two queue zones.
type WaitComparison struct {
	MinQuality float64      `json:"min_quality"`
	A          ComparedZone `json:"a"`
	B          ComparedZone `json:"b"`
	waits.Comparison
}

// ComparedZone is where one side's waits come from. Redrawn says that only the
// part of the window since then was measured with this zone.
type ComparedZone struct {
	site.Source
	Zone     string           `json:"zone"`
	Rev      string           `json:"rev"`
	Redrawn  *floorwatch.Time `json:"redrawn"`
	Coverage float64          `json:"coverage"`
	Quality  *float64         `json:"quality"`
	LeftOut  LeftOut          `json:"left_out"`
	waits.Compared
}

// Compare answers how far the waits of two windows are apart.
func (f *Figures) Compare(ctx context.Context, a, b influx.Query, least float64) (WaitComparison, error) {
	left, first, err := f.side(ctx, a, least)
	if err != nil {
		return WaitComparison{}, err
	}
	right, second, err := f.side(ctx, b, least)
	if err != nil {
		return WaitComparison{}, err
	}
	c := waits.Compare(first, left.Window, second, right.Window)
	left.Compared, right.Compared = c.A, c.B
	return WaitComparison{MinQuality: least, A: left, B: right, Comparison: c}, nil
}

// side reads one side's waits.
func (f *Figures) side(ctx context.Context, q influx.Query, least float64) (c ComparedZone, recs []floorwatch.Wait, err error) {
	if q, err = f.ask(q); err != nil {
		return c, nil, err
	}
	zone, err := f.queue(q)
	if err != nil {
		return c, nil, err
	}
	d, err := f.readQueue(ctx, q, zone, q.From, q.To, least)
	if err != nil {
		return c, nil, err
	}
	w := waits.Window{From: q.From, To: q.To}
	c = ComparedZone{
		Source: site.Source{Store: q.Store, Edge: q.Edge, Camera: zone.camera}, Zone: zone.zone, Rev: d.rev, Redrawn: d.redrawn,
		Coverage: min(1, observed(d.ivs, q.From, q.To)/floorwatch.Seconds(q.To.Sub(q.From))),
		Quality:  meanQuality(d.in(w)), LeftOut: d.leftOut(w), Compared: waits.Compared{Window: w},
	}
	return c, d.recs, nil
}
