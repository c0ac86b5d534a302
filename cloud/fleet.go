package cloud

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"floorwatch/cloud/api"
	"floorwatch/internal/metrics"
)

// fleet tells of each box when it is in trouble and when it is well again: in
// the log, and as a figure for alarms.
type fleet struct {
	log *slog.Logger

	mu  sync.Mutex
	now []api.BoxTroubles
}

func (f *fleet) run(ctx context.Context, set api.Settings) error {
	return api.WatchBoxes(ctx, set, f.look)
}

func (f *fleet) look(all []api.BoxTroubles) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := map[[2]string][]string{}
	for _, b := range f.now {
		before[[2]string{b.Store, b.Edge}] = b.What
	}
	for _, b := range all {
		old := before[[2]string{b.Store, b.Edge}]
		if slices.Equal(old, b.What) {
			continue
		}
		level, text := slog.LevelWarn, "a box is in trouble; the page /boxes says what to do"
		switch {
		case len(b.What) == 0:
			level, text = slog.LevelInfo, "a box is well again"
		case b.Bad:
			level = slog.LevelError
		}
		attrs := []any{"store", b.Store, "edge", b.Edge}
		if len(b.What) > 0 {
			attrs = append(attrs, "troubles", strings.Join(b.What, " "))
		}
		if len(old) > 0 {
			attrs = append(attrs, "before", strings.Join(old, " "))
		}
		f.log.Log(context.Background(), level, text, attrs...)
	}
	f.now = all
}

// figures has a sample for each trouble of each box.
func (f *fleet) figures() metrics.Figure {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := metrics.Figure{Name: "floorwatch_box_trouble", Help: "1 for each trouble of a box, as the page of boxes names them.", Labels: []string{"store", "edge", "what"}}
	for _, b := range f.now {
		for _, what := range b.What {
			out.Samples = append(out.Samples, metrics.Sample{Value: 1, Labels: []string{b.Store, b.Edge, what}})
		}
	}
	return out
}
