package web_test

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/account"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/picture"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
	"floorwatch/internal/fmp4"
	"floorwatch/internal/lab/kit"
)

// shop is a store in memory: a film of 40 s that was recorded a minute ago,
// what was seen in it, and an hour of figures with a hole.
type shop struct {
	start     floorwatch.Time // capture time of the film's first frame
	film      []byte
	still     []byte
	lines     []floorwatch.Frame
	stays     []floorwatch.Stay
	intervals []floorwatch.Interval
	zones     []floorwatch.Zone
}

const (
	filmS = 40
	fps   = 10
)

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{start: floorwatch.TimeOf(time.Now()).Add(-100 * time.Second).Floor(10 * time.Second)}
	s.zones = []floorwatch.Zone{
		{
			Name: "crossing", Label: floorwatch.Label{ZH: "路口", EN: "Crossing"}, Role: floorwatch.RoleArea,
			Polygon: []floorwatch.Point{{X: 300, Y: 205}, {X: 560, Y: 205}, {X: 560, Y: 330}, {X: 300, Y: 330}},
			MinStay: time.Second, MergeGap: time.Second,
		},
		{
			Name: "right-road", Label: floorwatch.Label{ZH: "右侧道路", EN: "Right road"}, Role: floorwatch.RoleArea,
			Polygon: []floorwatch.Point{{X: 560, Y: 180}, {X: 760, Y: 180}, {X: 760, Y: 330}, {X: 560, Y: 330}},
			MinStay: time.Second, MergeGap: time.Second,
		},
	}
	s.shoot(t)
	s.measure()
	return s
}

// shoot makes the film and its boxes: real ones where the shared data is there,
// else a test picture with one moving box.
func (s *shop) shoot(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	src := []string{"-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=768x576:rate=%d", fps)}
	shared, ok := kit.TryShared("data/vtest")
	if ok {
		src = []string{"-i", filepath.Join(shared, "vtest.avi")}
	}
	s.boxes(t, shared)
	film, still := filepath.Join(dir, "film.mp4"), filepath.Join(dir, "still.jpg")
	ffmpeg(t, append(src, "-t", strconv.Itoa(filmS), "-an", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p",
		"-g", strconv.Itoa(fps), "-bf", "0", "-movflags", "frag_keyframe+empty_moov+default_base_moof", film)...)
	ffmpeg(t, "-ss", "5", "-i", film, "-frames:v", "1", "-q:v", "4", still)
	var err error
	if s.film, err = os.ReadFile(film); err != nil {
		t.Fatal(err)
	}
	if s.still, err = os.ReadFile(still); err != nil {
		t.Fatal(err)
	}
}

func ffmpeg(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), kit.Tool(t, "ffmpeg"), append([]string{"-v", "error", "-nostdin", "-y"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg (Debian package ffmpeg): %v\n%s", err, out)
	}
}

func (s *shop) boxes(t *testing.T, shared string) {
	t.Helper()
	s.lines = append(s.lines, floorwatch.Frame{T: s.start - 1, Event: floorwatch.EventOpen, By: "test"})
	for k := range filmS * fps {
		s.lines = append(s.lines, floorwatch.Frame{T: s.at(float64(k) / fps), N: int64(k + 1), W: 768, H: 576, People: []floorwatch.Person{}})
	}
	if shared == "" {
		for k := range s.lines[1:] {
			s.lines[k+1].People = append(s.lines[k+1].People, floorwatch.Person{ID: 9, X: 200 + float64(k), Y: 180, W: 32, H: 78, Score: 0.9})
		}
		s.stays = append(s.stays, s.stay("crossing", 9, 8.4, 34.4))
		return
	}
	for _, f := range rows(t, filepath.Join(shared, "gt-frames-1-400.txt")) {
		k := int(num(t, f[0]))
		s.lines[k].People = append(s.lines[k].People, floorwatch.Person{
			ID: int64(num(t, f[1])), X: num(t, f[2]), Y: num(t, f[3]), W: num(t, f[4]), H: num(t, f[5]), Score: 1,
		})
	}
	for _, f := range rows(t, filepath.Join(shared, "visits-first-40s.csv"))[1:] {
		s.stays = append(s.stays, s.stay(strings.ReplaceAll(f[0], "_", "-"), int64(num(t, f[1])), num(t, f[2]), num(t, f[3])))
	}
}

func rows(t *testing.T, name string) (out [][]string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if line := sc.Text(); !strings.HasPrefix(line, "#") && line != "" {
			out = append(out, strings.Split(line, ","))
		}
	}
	return out
}

func num(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (s *shop) at(sec float64) floorwatch.Time {
	return s.start + floorwatch.Time(math.Round(sec*1000))
}

func (s *shop) stay(zone string, id int64, enter, exit float64) floorwatch.Stay {
	end := s.at(exit)
	return floorwatch.Stay{
		Header: floorwatch.Header{Kind: floorwatch.KindStay, Camera: "cam1", Zone: zone, ID: fmt.Sprintf("s%d-%d", id, int(enter*10)), At: end + 2000, Rev: "r1", By: "truth"},
		Enter:  s.at(enter), Exit: &end, EnterSeen: enter > 0, ExitSeen: exit < filmS, SeenS: exit - enter, Tracks: []int64{id},
	}
}

// measure makes an hour of ten-second intervals up to now, with nothing watched
// for three minutes.
func (s *shop) measure() {
	now := floorwatch.TimeOf(time.Now()).Floor(10 * time.Second)
	for i := range 360 {
		start := now.Add(-time.Duration(360-i) * 10 * time.Second)
		for zi, z := range s.zones {
			wave := 2.2 + 1.6*math.Sin(float64(i)/9+float64(zi)*2) + 0.7*math.Sin(float64(i)/2.3)
			x := floorwatch.Interval{
				Header: floorwatch.Header{Kind: floorwatch.KindInterval, Camera: "cam1", Zone: z.Name, Rev: "r1"},
				Start:  start, End: start.Add(10 * time.Second), Coverage: 1, ObservedS: 10,
				PersonS: math.Max(0, wave) * 10, Arrived: int64(max(0, wave/2)), Appeared: int64(i % 2),
			}
			if i >= 310 && i < 328 {
				x.Coverage, x.ObservedS, x.PersonS, x.Arrived, x.Appeared = 0, 0, 0, 0, 0
			} else if i%3 > 0 {
				n := 5 + 3*math.Sin(float64(i)/7+float64(zi))
				x.Stays.Add(n)
				x.Stays.Add(n * 1.6)
			}
			s.intervals = append(s.intervals, x)
		}
	}
}

func (s *shop) Stays(_ context.Context, q influx.Query) (out []floorwatch.Stay, err error) {
	for _, x := range s.stays {
		if (q.Zone == "" || q.Zone == x.Zone) && *x.Exit >= q.From && *x.Exit < q.To {
			out = append(out, x)
		}
	}
	for i, v := range s.intervals { // stays behind the intervals' sums
		if v.Stays.N == 0 || v.End < q.From || v.End >= q.To || (q.Zone != "" && q.Zone != v.Zone) || v.End.Sub(s.start) > -time.Minute {
			continue
		}
		for k, d := range []float64{v.Stays.Min, v.Stays.Max} {
			end := v.End - 1
			out = append(out, floorwatch.Stay{
				Header: floorwatch.Header{Kind: floorwatch.KindStay, Camera: "cam1", Zone: v.Zone, ID: fmt.Sprintf("g%d-%d", i, k), Rev: "r1"},
				Enter:  end - floorwatch.Time(d*1000), Exit: &end, EnterSeen: true, ExitSeen: k == 0, SeenS: d * 0.9, MergedS: d * 0.1,
			})
		}
	}
	return out, nil
}

func (s *shop) Intervals(_ context.Context, q influx.Query) (out []floorwatch.Interval, err error) {
	for _, x := range s.intervals {
		if x.Start >= q.From && x.Start < q.To {
			out = append(out, x)
		}
	}
	return out, nil
}

func (*shop) Waits(context.Context, influx.Query) ([]floorwatch.Wait, error) { return nil, nil }

func (*shop) Counts(context.Context, influx.Query) ([]floorwatch.Count, error) { return nil, nil }

func (s *shop) Gaps(context.Context, influx.Query) ([]floorwatch.Gap, error) {
	from := s.start.Add(-5 * time.Minute)
	to := from.Add(3 * time.Minute)
	return []floorwatch.Gap{
		{Header: floorwatch.Header{Camera: "cam1"}, Of: floorwatch.OfFootage, From: from, To: &to, Cause: "stall"},
		{Header: floorwatch.Header{Camera: "cam1"}, Of: floorwatch.OfObservation, From: from, To: &to, Cause: "stall"},
		{Of: floorwatch.OfRecords, From: from, To: &to, Cause: floorwatch.CauseRestored},
	}, nil
}

func (s *shop) Segments(context.Context, site.Source, floorwatch.Time, floorwatch.Time) ([]floorwatch.Segment, error) {
	return []floorwatch.Segment{
		{Start: s.start.Add(-40 * time.Minute), End: s.start.Add(-5 * time.Minute)},
		{Start: s.start.Add(-2 * time.Minute), End: s.at(filmS)},
	}, nil
}

func (s *shop) Clip(_ context.Context, _ account.Identity, _ site.Source, from, to floorwatch.Time) (fmp4.Clip, error) {
	if to <= s.start || from >= s.at(filmS) {
		return fmp4.Clip{}, fmt.Errorf("clip: %w", vault.ErrNoFootage)
	}
	return fmp4.Clip{Start: s.start, End: s.at(filmS), Data: s.film, Codec: "avc1.42c01f"}, nil
}

func (s *shop) Lines(_ context.Context, _ site.Source, from, to floorwatch.Time) (out []floorwatch.Frame, err error) {
	for _, f := range s.lines {
		if f.T >= from-1 && f.T < to {
			out = append(out, f)
		}
	}
	return out, nil
}

func (s *shop) Still(context.Context, site.Source) ([]byte, floorwatch.Time, error) {
	if s.still == nil {
		return nil, 0, picture.ErrNone
	}
	return s.still, floorwatch.TimeOf(time.Now()) - 2000, nil
}

// show has a box say something of now.
func show[T any](t *testing.T, put func(store, edge string, x T) error, store, edge string, x T) {
	t.Helper()
	if err := put(store, edge, x); err != nil {
		t.Error(err)
	}
}

func (s *shop) live(zone string, people int) floorwatch.Live {
	return floorwatch.Live{
		V: floorwatch.Version, Camera: "cam1", Zone: zone, T: floorwatch.TimeOf(time.Now()), ValidS: 30,
		Coverage: 0.98, People: people, LongestS: 12.4,
	}
}

func (s *shop) registry() site.Registry {
	return site.Registry{
		Stores: []site.Store{{ID: "demo", Label: floorwatch.Label{ZH: "演示门店", EN: "Demo store"}, TimeZone: "Asia/Shanghai"}},
		Edges: []site.Edge{{
			Store: "demo", ID: "box1", Label: floorwatch.Label{ZH: "一号设备", EN: "Box 1"},
			Cameras: []site.Camera{{
				Name: "cam1", Label: floorwatch.Label{ZH: "街口", EN: "Street"},
				Scene:  floorwatch.Scene{Zones: s.zones, Picture: floorwatch.Size{Width: 768, Height: 576}},
				Stream: floorwatch.Size{Width: 768, Height: 576},
				Notice: floorwatch.Label{
					ZH: "演示录像是街口：没有柜台，因此没有等候时间，只有停留。",
					EN: "The demonstration film shows a street crossing. It has no counter, so there are stays but no waits.",
				},
			}},
		}},
	}
}
