// Package health is what the box says of itself: figures that each stand in one
// place with their two names, of the health records and of /metrics.
//
//	lines, records ─> Camera ─┐
//	this machine  ────────────┼─> []Figure ─> Report ─ once a minute ─> health records
//	outbox, uplink, uploads ──┘        └────> Metrics ─ when asked ──> /metrics
package health

import (
	"fmt"
	"slices"

	"floorwatch"
	"floorwatch/internal/metrics"
)

// Figure is one figure of the box, or of the camera or device in its Labels.
type Figure struct {
	Name    floorwatch.Figure // in health records; "": only on /metrics
	Metric  string            // on /metrics; "": only in health records
	Help    string            // on /metrics; "": what floorwatch.Figures says of Name
	Counter bool              // it only grows; else a gauge
	Value   float64
	Labels  []Label
}

// Label tells figures of one metric apart.
type Label struct{ Name, Value string }

// Record returns the health record of a camera, "" for the box itself, with
// those of the figures that have a name there.
func Record(now floorwatch.Time, camera string, figures []Figure, notes []string) *floorwatch.Health {
	h := &floorwatch.Health{
		Header:  floorwatch.Header{Kind: floorwatch.KindHealth, Camera: camera, ID: fmt.Sprintf("health-%d", now), At: now},
		Figures: map[string]float64{}, Notes: notes,
	}
	for _, f := range figures {
		if f.Name != "" {
			h.Figures[string(f.Name)] = f.Value
		}
	}
	return h
}

// Metrics returns the figures for /metrics, those of one name together.
func Metrics(figures []Figure) []metrics.Figure {
	var out []metrics.Figure
	at := map[string]int{}
	for _, f := range figures {
		if f.Metric == "" {
			continue
		}
		i, ok := at[f.Metric]
		if !ok {
			i = len(out)
			at[f.Metric] = i
			out = append(out, metrics.Figure{Name: f.Metric, Help: f.help(), Counter: f.Counter})
			for _, l := range f.Labels {
				out[i].Labels = append(out[i].Labels, l.Name)
			}
		}
		s := metrics.Sample{Value: f.Value}
		for _, l := range f.Labels {
			s.Labels = append(s.Labels, l.Value)
		}
		out[i].Samples = append(out[i].Samples, s)
	}
	return out
}

func (f Figure) help() string {
	if f.Help != "" {
		return f.Help
	}
	i := slices.IndexFunc(floorwatch.Figures, func(x floorwatch.FigureInfo) bool { return x.Name == f.Name })
	if i < 0 {
		return ""
	}
	if info := floorwatch.Figures[i]; info.Unit == "0 or 1" {
		return "1: " + info.Means
	}
	return floorwatch.Figures[i].Means
}
