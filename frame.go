package floorwatch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
)

// Point is a position in pixels from the left top of the picture.
type Point struct{ X, Y float64 }

// UnmarshalJSON reads [x, y].
func (p *Point) UnmarshalJSON(b []byte) error {
	var xy []float64
	if err := json.Unmarshal(b, &xy); err != nil {
		return err
	}
	if len(xy) != 2 {
		return fmt.Errorf("point has %d numbers, want [x, y]", len(xy))
	}
	p.X, p.Y = xy[0], xy[1]
	return nil
}

// MarshalJSON writes [x, y].
func (p Point) MarshalJSON() ([]byte, error) { return json.Marshal([2]float64{p.X, p.Y}) }

// Person is one box that a detector saw, in pixels: left, top, width, height.
// ID names the track and is unique between an "open" event and the next; a
// detection that is not yet tracked has ID 0.
type Person struct {
	ID    int64   `json:"id"`
	X     float64 `json:"x"`
	Y     float64 `json:"y"`
	W     float64 `json:"w"`
	H     float64 `json:"h"`
	Score float64 `json:"score"`
}

// Ground returns the ground point, the bottom centre of the box: where the
// person stands.
func (p Person) Ground() Point { return Point{p.X + p.W/2, p.Y + p.H} }

// Events of a camera line. A line carries either people or an event.
const (
	EventOpen   = "open"   // the source is open; track ids start anew
	EventStall  = "stall"  // no frame for longer than the worker's limit
	EventSize   = "size"   // the picture changed its size; track ids go on
	EventClosed = "closed" // the source ended or was given up; Cause says why
	EventTick   = "tick"   // time passed without a frame; written by the agent
)

// What can be wrong with a picture.
const (
	PictureBlank  = "blank"  // black, or all of one brightness: covered
	PictureFrozen = "frozen" // it does not change any more
)

// Frame is one line of a camera worker: an analysed frame with its people, or
// an event. T is the capture stamp, strictly increasing within a stream.
type Frame struct {
	T      Time     `json:"t"`
	N      int64    `json:"frame,omitempty"` // counts analysed frames from 1
	W      int      `json:"w,omitempty"`
	H      int      `json:"h,omitempty"`
	People []Person `json:"people"`
	Event  string   `json:"event,omitempty"`
	Cause  string   `json:"cause,omitempty"`
	By     string   `json:"by,omitempty"` // on open: detector and model that see
	// Picture says, on frames, what is wrong with the picture; "" for nothing.
	Picture string `json:"picture,omitempty"`
}

// MarshalJSON writes people only on frames, and as [] when there are none.
func (f Frame) MarshalJSON() ([]byte, error) {
	type plain Frame
	if f.Event == "" {
		if f.People == nil {
			f.People = []Person{}
		}
		return json.Marshal(plain(f))
	}
	type event struct {
		T     Time   `json:"t"`
		N     int64  `json:"frame,omitempty"`
		W     int    `json:"w,omitempty"`
		H     int    `json:"h,omitempty"`
		Event string `json:"event"`
		Cause string `json:"cause,omitempty"`
		By    string `json:"by,omitempty"`
	}
	return json.Marshal(event{f.T, f.N, f.W, f.H, f.Event, f.Cause, f.By})
}

// Bounds of a camera line; a worker that exceeds them is not believed.
const (
	MaxLine   = 256 << 10 // bytes of one line
	MaxPeople = 1000      // boxes in one frame
	maxPixel  = 1 << 15   // pixels of a side
)

// ParseFrame reads one camera line and checks that it can be true: a stamp
// between 1970 and 2200, finite boxes of positive size, at most MaxPeople.
// Unknown fields are ignored.
func ParseFrame(line []byte) (Frame, error) {
	var f Frame
	if len(line) > MaxLine {
		return f, fmt.Errorf("camera line has %d bytes, limit %d", len(line), MaxLine)
	}
	if err := json.Unmarshal(bytes.TrimSpace(line), &f); err != nil {
		return f, fmt.Errorf("parse camera line: %w", err)
	}
	if f.T < 0 || f.T > MaxTime {
		return f, fmt.Errorf("camera line: t %d is not Unix milliseconds between 1970 and 2200", f.T)
	}
	if f.Event == "" && f.People == nil {
		return f, fmt.Errorf("camera line at %d has neither people nor event", f.T)
	}
	if f.W < 0 || f.H < 0 || f.W > maxPixel || f.H > maxPixel {
		return f, fmt.Errorf("camera line at %d: picture of %d x %d", f.T, f.W, f.H)
	}
	if len(f.People) > MaxPeople {
		return f, fmt.Errorf("camera line at %d has %d people, limit %d", f.T, len(f.People), MaxPeople)
	}
	for _, p := range f.People {
		for _, v := range [...]float64{p.X, p.Y, p.W, p.H} {
			if math.Abs(v) > maxPixel { // false for NaN, which JSON cannot carry
				return f, fmt.Errorf("camera line at %d: box of person %d lies outside any picture", f.T, p.ID)
			}
		}
		if p.W <= 0 || p.H <= 0 {
			return f, fmt.Errorf("camera line at %d: box of person %d has no size", f.T, p.ID)
		}
	}
	return f, nil
}
