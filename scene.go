package floorwatch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// CameraScene is what a box's configuration says of one of its cameras, so that
// nobody has to say it again: a record of kind scene. A box tells it at its start,
// when the picture has another size, and every hour; the cloud keeps each version
// by Rev, with the newest labels.
//
// Without Camera it is of the box itself: which cameras there are, and which people
// counters.
type CameraScene struct {
	Header
	Label  Label `json:"label"`
	Notice Label `json:"notice"` // what to know before the figures are read
	// Stream is the size of the pictures as they came; 0 x 0 before the first.
	Stream Size `json:"stream"`
	// Picture is the size that polygons and lines are in; 0 x 0: that of Stream.
	Picture Size        `json:"picture"`
	Zones   []SceneZone `json:"zones"`
	Lines   []Line      `json:"lines"`
	Masks   [][]Point   `json:"masks"` // privacy masks, in pixels of the stream

	Cameras  []string       `json:"cameras"`  // of the box
	Counters []SceneCounter `json:"counters"` // of the box
}

// SceneZone is a zone as a scene record says it: Zone, with durations in seconds.
type SceneZone struct {
	Name        string   `json:"name"`
	Label       Label    `json:"label"`
	Role        Role     `json:"role"`
	Responsible Label    `json:"responsible"` // the role of whoever looks after it
	Duty        Label    `json:"duty"`        // what they do there
	Polygon     []Point  `json:"polygon"`
	MinStayS    float64  `json:"min_stay_s"`
	MergeGapS   float64  `json:"merge_gap_s"`
	BridgeS     float64  `json:"bridge_s"`
	ReachS      float64  `json:"reach_s"` // of a queue: how soon after leaving it a counter is reached
	Serves      []string `json:"serves"`  // of a service zone: its queues; none = all
}

// SceneCounter is a line or an area of a people counter of another maker: what
// the field `line` of its counts names.
type SceneCounter struct {
	Name  string `json:"name"`
	Label Label  `json:"label"`
}

// Span implements Record.
func (r *CameraScene) Span() (from Time, to *Time) { return r.At, &r.At }

// Limits of a scene record.
const (
	maxSceneZones   = 200 // and lines, masks, cameras, counters: of each so many
	maxScenePoints  = 100 // of a polygon
	maxLabel        = 200 // bytes
	maxPixels       = 1 << 16
	maxSceneSeconds = 3600
)

// TellScene returns the record of a camera's scene. At, Stream, Label, Notice and
// Masks are the caller's.
func TellScene(camera string, s Scene) *CameraScene {
	r := &CameraScene{
		Header: Header{Kind: KindScene, Camera: camera, Rev: s.Rev()}, Picture: s.Picture,
		Zones: []SceneZone{}, Lines: append([]Line{}, s.Lines...), Masks: [][]Point{}, Cameras: []string{}, Counters: []SceneCounter{},
	}
	for _, z := range s.Zones {
		r.Zones = append(r.Zones, SceneZone{
			Name: z.Name, Label: z.Label, Role: z.Role, Responsible: z.Responsible, Duty: z.Duty, Polygon: z.Polygon,
			MinStayS: Seconds(z.MinStay), MergeGapS: Seconds(z.MergeGap), BridgeS: Seconds(z.Bridge), ReachS: Seconds(z.Reach),
			Serves: append([]string{}, z.Serves...),
		})
	}
	return r
}

// TellBox returns the record of what a box has.
func TellBox(cameras []string, counters []SceneCounter) *CameraScene {
	r := TellScene("", Scene{})
	r.Cameras, r.Counters = append(r.Cameras, cameras...), append(r.Counters, counters...)
	names := append([]string{}, cameras...)
	for _, c := range counters {
		names = append(names, "counter "+c.Name)
	}
	sum := sha256.Sum256([]byte(strings.Join(names, "\n")))
	r.Rev = hex.EncodeToString(sum[:6])
	return r
}

// Scene returns the scene that the record tells.
func (r *CameraScene) Scene() Scene {
	s := Scene{Lines: slices.Clone(r.Lines), Picture: r.Picture}
	for _, z := range r.Zones {
		s.Zones = append(s.Zones, Zone{
			Name: z.Name, Label: z.Label, Role: z.Role, Responsible: z.Responsible, Duty: z.Duty, Polygon: z.Polygon,
			MinStay: duration(z.MinStayS), MergeGap: duration(z.MergeGapS), Bridge: duration(z.BridgeS), Reach: duration(z.ReachS),
			Serves: z.Serves,
		})
	}
	return s
}

func duration(seconds float64) time.Duration {
	return time.Duration(math.Round(seconds * float64(time.Second)))
}

// Check implements Record. A role that this program does not know is let through:
// a newer box may have one.
func (r *CameraScene) Check() error {
	for what, n := range map[string]int{
		"zones": len(r.Zones), "lines": len(r.Lines), "masks": len(r.Masks), "cameras": len(r.Cameras), "counters": len(r.Counters),
	} {
		if n > maxSceneZones {
			return fmt.Errorf("%d %s, limit %d", n, what, maxSceneZones)
		}
	}
	err := first(r.Header.check(0), checkSize("stream", r.Stream), checkSize("picture", r.Picture), r.Label.check("label"), r.Notice.check("notice"))
	switch {
	case err != nil:
		return err
	case r.Rev == "":
		return errors.New("rev is missing")
	case r.Camera == "" && len(r.Zones)+len(r.Lines)+len(r.Masks) > 0:
		return errors.New("zones, lines and masks belong to a camera, which is missing")
	}
	taken := map[string]bool{}
	for i := range r.Zones {
		if err := first(unique(taken, "zone", r.Zones[i].Name), r.Zones[i].check()); err != nil {
			return err
		}
	}
	for _, l := range r.Lines {
		if err := first(unique(taken, "line", l.Name), l.Label.check("label of line "+l.Name), checkPoints("line "+l.Name, []Point{l.From, l.To})); err != nil {
			return err
		}
	}
	for _, m := range r.Masks {
		if err := checkPoints("a mask", m); err != nil {
			return err
		}
	}
	for _, name := range r.Cameras {
		if err := unique(taken, "camera", name); err != nil {
			return err
		}
	}
	for _, c := range r.Counters {
		if err := first(unique(taken, "counter", c.Name), c.Label.check("label of counter "+c.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (z *SceneZone) check() error {
	what := "zone " + z.Name
	for _, s := range z.Serves {
		if !ValidName(s) {
			return fmt.Errorf("%s serves %.50q: a name is %s", what, s, NameRule)
		}
	}
	if len(z.Polygon) < 3 || !ValidName(string(z.Role)) {
		return fmt.Errorf("%s has %d corners and the role %.50q; want 3 or more, and a role", what, len(z.Polygon), z.Role)
	}
	return first(
		z.Label.check("label of "+what), z.Responsible.check("responsible of "+what), z.Duty.check("duty of "+what), checkPoints(what, z.Polygon),
		seconds("min_stay_s of "+what, z.MinStayS, maxSceneSeconds), seconds("merge_gap_s of "+what, z.MergeGapS, maxSceneSeconds),
		seconds("bridge_s of "+what, z.BridgeS, maxSceneSeconds), seconds("reach_s of "+what, z.ReachS, maxSceneSeconds),
	)
}

func unique(taken map[string]bool, what, name string) error {
	if !ValidName(name) || taken[what+name] {
		return fmt.Errorf("%s %.50q: a name stands once and is %s", what, name, NameRule)
	}
	taken[what+name] = true
	return nil
}

func (l Label) check(what string) error {
	if len(l.ZH) > maxLabel || len(l.EN) > maxLabel {
		return fmt.Errorf("%s has %d and %d bytes, limit %d", what, len(l.ZH), len(l.EN), maxLabel)
	}
	return first(word(what, l.ZH), word(what, l.EN))
}

func checkSize(what string, s Size) error {
	if s.Width < 0 || s.Height < 0 || s.Width > maxPixels || s.Height > maxPixels || (s.Width == 0) != (s.Height == 0) {
		return fmt.Errorf("%s of %d x %d pixels, want both 0, or both 1 to %d", what, s.Width, s.Height, maxPixels)
	}
	return nil
}

// checkPoints is lenient about where points lie: a zone may reach a little beyond
// its picture.
func checkPoints(what string, p []Point) error {
	if len(p) > maxScenePoints {
		return fmt.Errorf("%s has %d points, limit %d", what, len(p), maxScenePoints)
	}
	for _, q := range p {
		if !(math.Abs(q.X) <= maxPixels && math.Abs(q.Y) <= maxPixels) {
			return fmt.Errorf("%s has the point %v, %v, which is in no picture", what, q.X, q.Y)
		}
	}
	return nil
}
