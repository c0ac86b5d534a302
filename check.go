package floorwatch

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of a record beyond those of the wire contract.
const (
	maxInterval = 24 * time.Hour
	maxID       = 200  // bytes of an id, a rev or a by
	maxCause    = 2048 // bytes of a cause or a note
	maxTracks   = 1000
	maxFigures  = 64
	maxNotes    = 20
	maxCount    = 1 << 40 // nothing on a shop floor is counted further
	// slack is the rounding that seconds on the wire may carry.
	slack = 0.01
)

// need says which names and ids a record must carry.
type need uint8

const (
	needCamera need = 1 << iota
	needZone
	needID
)

// header checks what every record carries.
func (h *Header) check(n need) error {
	switch {
	case h.Camera != "" && !ValidName(h.Camera):
		return fmt.Errorf("camera %.50q: a name is %s", h.Camera, NameRule)
	case h.Zone != "" && !ValidName(h.Zone):
		return fmt.Errorf("zone %.50q: a name is %s", h.Zone, NameRule)
	case n&needCamera != 0 && h.Camera == "":
		return errors.New("camera is missing")
	case n&needZone != 0 && h.Zone == "":
		return errors.New("zone is missing")
	case n&needID != 0 && h.ID == "":
		return errors.New("id is missing")
	case len(h.ID) > maxID:
		return fmt.Errorf("id has %d bytes, limit %d", len(h.ID), maxID)
	case len(h.Rev) > maxID:
		return fmt.Errorf("rev has %d bytes, limit %d", len(h.Rev), maxID)
	case len(h.By) > maxID:
		return fmt.Errorf("by has %d bytes, limit %d", len(h.By), maxID)
	case len(h.Boot) > maxID || h.Mono < 0:
		return fmt.Errorf("boot has %d bytes, limit %d; mono %d counts from the boot", len(h.Boot), maxID, h.Mono)
	}
	return first(word("id", h.ID), word("rev", h.Rev), word("by", h.By), word("boot", h.Boot))
}

// word refuses a text that would come back as another one, or that breaks the
// lines it is printed on. What JSON could not decode it has made U+FFFD.
func word(what, s string) error {
	for _, r := range s {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return fmt.Errorf("%s %.50q holds a control character, or bytes that are no UTF-8", what, s)
		}
	}
	return nil
}

// ordered checks [start, end): in order, its start a stamp and not a forgotten
// field, its end a time.
func ordered(start, end Time) error {
	switch {
	case start <= 0 || start > end:
		return fmt.Errorf("span from %d to %d runs backwards or starts before 1970", start, end)
	case end > MaxTime:
		return fmt.Errorf("end %d is far ahead of the clock, after the year 2200", end)
	}
	return nil
}

// seconds refuses what is no duration; the comparison is false for NaN too.
func seconds(what string, v, limit float64) error {
	if !(v >= 0 && v <= limit) {
		return fmt.Errorf("%s is %v, want 0 to %v", what, v, limit)
	}
	return nil
}

// Check implements Record.
func (r *Stay) Check() error {
	if r.Exit == nil {
		return errors.New("the stay is still open; only ended ones are stored")
	}
	length := Seconds(r.Exit.Sub(r.Enter))
	if len(r.Tracks) > maxTracks {
		return fmt.Errorf("%d tracks, limit %d", len(r.Tracks), maxTracks)
	}
	return first(
		r.Header.check(needCamera|needZone|needID),
		ordered(r.Enter, *r.Exit),
		seconds("seen_s", r.SeenS, length+slack),
		seconds("merged_s", r.MergedS, length+slack),
		seconds("seen_s + merged_s + bridged_s", r.SeenS+r.MergedS+r.BridgedS, length+slack),
		measured(r.BridgedS, r.Bridges, r.ErrorS),
		r.Origin.check(),
	)
}

// Check implements Record.
func (r *Wait) Check() error {
	if r.End == nil {
		return errors.New("the wait is still open; only ended ones are stored")
	}
	switch r.Outcome {
	case OutcomeServed, OutcomeAbandoned, OutcomeUnknown, OutcomeLeft:
	default:
		return fmt.Errorf("outcome %.50q is none of served, abandoned, unknown, left", r.Outcome)
	}
	if r.ServiceZone != "" && !ValidName(r.ServiceZone) {
		return fmt.Errorf("service_zone %.50q: a name is %s", r.ServiceZone, NameRule)
	}
	return first(
		r.Header.check(needCamera|needZone|needID),
		ordered(r.Enter, *r.End),
		measured(r.BridgedS, r.Bridges, r.ErrorS),
		r.Origin.check(),
	)
}

// measured checks how a stay or a wait was measured; all are 0 in the records of
// older boxes.
func measured(bridged float64, bridges int, standard float64) error {
	return first(
		seconds("bridged_s", bridged, maxCount),
		counts(int64(bridges)),
		seconds("error_s", standard, maxCount),
	)
}

// Check implements Record.
func (r *Interval) Check() error {
	length := r.End.Sub(r.Start)
	if length <= 0 || length > maxInterval {
		return fmt.Errorf("an interval of %s, want more than 0 and at most %s", length, maxInterval)
	}
	if r.Min > r.Max {
		return fmt.Errorf("occupancy_min %d is above occupancy_max %d", r.Min, r.Max)
	}
	err := first(
		r.Header.check(needCamera|needZone),
		ordered(r.Start, r.End),
		seconds("coverage", r.Coverage, 1+slack),
		seconds("observed_s", r.ObservedS, length.Seconds()+slack),
		seconds("person_s", r.PersonS, math.MaxFloat64),
		seconds("occupancy", r.Occupancy, maxCount),
		sum("stays", &r.Stays),
		sum("waits", r.Waits),
		sum("crossings", &r.Crossings),
		seconds("quality", r.Quality, 1+slack),
	)
	if err != nil {
		return err
	}
	return counts(r.Min, r.Max, r.Inside, r.Arrived, r.Appeared, r.Departed, r.Lost, r.Served, r.Abandoned, r.Unknown, r.Direct)
}

func sum(what string, s *Sum) error {
	if s == nil {
		return nil
	}
	if s.Min > s.Max {
		return fmt.Errorf("%s: min %v is above max %v", what, s.Min, s.Max)
	}
	err := first(
		counts(s.N),
		seconds("sum", s.Sum, math.MaxFloat64),
		seconds("min", s.Min, math.MaxFloat64),
		seconds("max", s.Max, math.MaxFloat64),
	)
	if err != nil {
		return fmt.Errorf("%s %w", what, err)
	}
	return nil
}

func counts(all ...int64) error {
	for _, n := range all {
		if n < 0 || n > maxCount {
			return fmt.Errorf("a count is %d, want 0 to %d", n, int64(maxCount))
		}
	}
	return nil
}

// Check implements Record.
func (r *Gap) Check() error {
	if r.Cause == "" || len(r.Cause) > maxCause {
		return fmt.Errorf("cause has %d bytes, want 1 to %d", len(r.Cause), maxCause)
	}
	switch r.Of {
	case OfRecords:
		return r.checkLost()
	case OfFootage, OfObservation:
	default:
		return fmt.Errorf("a gap of %.50q, want footage, observation or records", r.Of)
	}
	if r.To == nil {
		return errors.New("the gap is still open; only ended ones are stored")
	}
	return first(r.Header.check(needCamera), ordered(r.From, *r.To))
}

// checkLost: such a gap names numbers; when they were lost may be unknown.
func (r *Gap) checkLost() error {
	if r.First == 0 || r.N == 0 || r.First > math.MaxInt64 || r.N > math.MaxInt64 {
		return fmt.Errorf("lost records %d+%d: numbers count from 1 and stay below 2^63", r.First, r.N)
	}
	if len(r.Log) > maxID {
		return fmt.Errorf("log has %d bytes, limit %d", len(r.Log), maxID)
	}
	if r.To != nil {
		return first(r.Header.check(0), ordered(max(r.From, 1), *r.To))
	}
	return r.Header.check(0)
}

// Check implements Record.
func (r *Count) Check() error {
	if !ValidName(r.Line) {
		return fmt.Errorf("line %.50q: a name is %s", r.Line, NameRule)
	}
	err := first(r.Header.check(0), ordered(r.Start, r.End), counts(r.In, r.Out), seconds("coverage", r.Coverage, 1+slack))
	if err == nil && r.Occupancy != nil {
		err = counts(*r.Occupancy)
	}
	if err == nil && r.Drift != nil {
		err = counts(max(*r.Drift, -*r.Drift))
	}
	return err
}

// checkSegment looks at what the index does not: the index compares with the seal.
// Check implements Record.
func (r *Segment) Check() error {
	if r.Seq == 0 || r.Seq > math.MaxInt64 || r.Bytes < 0 {
		return fmt.Errorf("seq %d, bytes %d: numbers count from 1", r.Seq, r.Bytes)
	}
	return first(r.Header.check(needCamera), ordered(r.Start, r.End))
}

// checkDeleted: what is deleted may be older than all that is stored.
// Check implements Record.
func (r *Deleted) Check() error {
	switch {
	case r.Seq == 0 || r.Seq > math.MaxInt64 || r.N < 1 || r.N > MaxSealGone:
		return fmt.Errorf("seq %d, %d files: numbers count from 1", r.Seq, r.N)
	case r.Start <= 0 || r.Start > r.End:
		return fmt.Errorf("span from %d to %d runs backwards or starts before 1970", r.Start, r.End)
	}
	return r.Header.check(needCamera)
}

// Check implements Record.
func (r *Alert) Check() error {
	if !ValidName(r.Level) {
		return fmt.Errorf("level %.50q: a name is %s", r.Level, NameRule)
	}
	return first(r.Header.check(0), ordered(r.Since, r.At), finite(r.Value), finite(r.Limit))
}

// Check implements Record.
func (r *Health) Check() error {
	if len(r.Figures) > maxFigures || len(r.Notes) > maxNotes {
		return fmt.Errorf("%d figures and %d notes, limits %d and %d", len(r.Figures), len(r.Notes), maxFigures, maxNotes)
	}
	for name, v := range r.Figures {
		if !ValidName(name) {
			return fmt.Errorf("figure %.50q: a name is %s", name, NameRule)
		}
		if err := finite(v); err != nil {
			return err
		}
	}
	for _, n := range r.Notes {
		if len(n) > maxCause {
			return fmt.Errorf("a note has %d bytes, limit %d", len(n), maxCause)
		}
	}
	return r.Header.check(0)
}

func finite(v float64) error {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return fmt.Errorf("%v is no figure", v)
	}
	return nil
}

// first returns the first error of a list.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Check implements Record.
func (c *Crossing) Check() error {
	return errors.New("a crossing is told in counts; it is no record that is stored")
}
