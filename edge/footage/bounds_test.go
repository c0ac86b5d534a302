package footage

import (
	"log/slog"
	"slices"
	"testing"
	"time"
)

func TestKeyFramesThatAreFarApartAreTold(t *testing.T) {
	var told []time.Duration
	p := &recording{
		Recorder: &Recorder{GOP: func(d time.Duration) { told = append(told, d) }}, log: slog.New(slog.DiscardHandler),
	}
	connect := func(apart ...time.Duration) {
		c := &connection{recording: p}
		for _, d := range apart {
			c.longest = max(c.longest, d)
			c.tellGOP(d)
		}
	}
	const s = time.Second
	connect(2*s, 2*s, 2*s, 2*s, 2*s, 2*s)
	connect(4*s, 4*s, 5*s, 4*s)
	connect(s, s, s, s, s, s) // the camera was set right
	if want := []time.Duration{4 * s, 5 * s, 0}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

func TestSmallDisksKeepMoreRoom(t *testing.T) {
	for size, want := range map[int64]float64{64 << 20: 0.1, 1e9: 0.064, 32e9: 0.01} {
		if got := spareFree(size); got != want {
			t.Errorf("of %d bytes %v are spare, want %v", size, got, want)
		}
	}
}
