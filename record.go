package floorwatch

import (
	"encoding/json"
	"fmt"
)

// Kinds of record.
const (
	KindScene    = "scene"
	KindInterval = "interval"
	KindStay     = "stay"
	KindWait     = "wait"
	KindCount    = "count"
	KindSegment  = "segment"
	KindGap      = "gap"
	KindDeleted  = "deleted"
	KindAlert    = "alert"
	KindHealth   = "health"
	// KindCrossing is a line of `floorwatch stays` only; boxes send counts.
	KindCrossing = "crossing"
)

// Header is what every record carries. At is the capture time at which the
// record settled; it also says how long a figure was on its way.
type Header struct {
	Kind   string `json:"kind"`
	Camera string `json:"camera,omitempty" csv:"camera"`
	Zone   string `json:"zone,omitempty" csv:"zone"`
	ID     string `json:"id,omitempty" csv:"id"`
	At     Time   `json:"at"`
	Rev    string `json:"rev,omitempty" csv:"zone_rev,last"` // Scene.Rev of the zone's geometry
	By     string `json:"by,omitempty" csv:"detector,last"`  // detector and model
	Clock
}

// Head returns the header itself; every record has it by embedding Header.
func (h *Header) Head() *Header { return h }

// Record is what a box says: a pointer to one of the types of this package
// (*Stay, *Wait and so on). A kind of record is one type here with its Span and
// Check, its decoder in cloud/ingest where it comes often, its columns in
// cloud/influx, and its lines in docs/wire.md.
//
// A field's csv tag is its column in tables for spreadsheets, with the unit in its
// name. Of a time two names are possible: of the stamp, and of the seconds since
// the record's span began; of a Sum up to four: n, sum, min, max. After a comma:
// "last" puts it behind the record's other columns, "observed" leaves it empty
// where nothing was observed.
type Record interface {
	Head() *Header
	// Span is the capture time that the record speaks of, [from, to); to is nil
	// while that goes on.
	Span() (from Time, to *Time)
	// Check tells why the record cannot be true or is no record to store; nil when
	// it is. Whether its times fit the receiver's clock is the receiver's matter.
	Check() error
}

// Clock says by which clock a record's times were taken, so that a wrong wall
// clock can be put right afterwards.
type Clock struct {
	Boot string `json:"boot,omitempty"` // first 8 hex digits of the box's boot id
	Mono int64  `json:"mono,omitempty"` // milliseconds from that boot to when the record was made; of footage, to its end
	// Unsynced marks a record some of whose times were taken while the clock was
	// not synchronised, or carried on after it was set back.
	Unsynced bool `json:"unsynced,omitempty"`
}

// Where stays and waits come from. Records of older boxes, which name no source,
// are of cameras.
const (
	SourceCamera = "camera" // measured from pictures
	SourceTicket = "ticket" // of a ticket system: issued, called, served
	SourceDevice = "device" // measured by a device of another maker
)

// Origin says what a stay or a wait was measured by and of which piece of the
// customer's way it is.
type Origin struct {
	Source   string `json:"source,omitempty" csv:"source,last"`
	Stage    string `json:"stage,omitempty" csv:"stage,last"`       // the word of the hall for the step; "": the counter's
	Business string `json:"business,omitempty" csv:"business,last"` // type of business; empty for cameras
}

func (o Origin) check() error {
	switch o.Source {
	case "", SourceCamera, SourceTicket, SourceDevice:
	default:
		return fmt.Errorf("source %.50q is none of camera, ticket, device", o.Source)
	}
	for what, s := range map[string]string{"stage": o.Stage, "business": o.Business} {
		if s != "" && !ValidName(s) {
			return fmt.Errorf("%s %.50q: a name is %s", what, s, NameRule)
		}
	}
	return nil
}

// Stay is one person in one zone, [Enter, Exit). Exit is nil while it runs,
// which only `floorwatch stays` prints, at the end of its input.
// SeenS + MergedS + BridgedS = Exit - Enter.
type Stay struct {
	Header
	Enter     Time    `json:"enter" csv:"enter_utc"`
	Exit      *Time   `json:"exit" csv:"exit_utc duration_s"`
	EnterSeen bool    `json:"enter_seen" csv:"enter_border_seen,last"` // the border was seen crossed inwards
	ExitSeen  bool    `json:"exit_seen" csv:"exit_border_seen,last"`   // and outwards; false: the person was lost, or left while nobody looked
	SeenS     float64 `json:"seen_s" csv:"seen_s"`                     // seconds with the person inside and seen
	MergedS   float64 `json:"merged_s" csv:"merged_s"`                 // seconds of the breaks that were joined
	BridgedS  float64 `json:"bridged_s" csv:"bridged_s"`               // seconds between losing a track and finding the one taken for the same person
	Bridges   int     `json:"bridges" csv:"bridges"`                   // joins that rest on a guess; 0: the stay is one track's own
	ErrorS    float64 `json:"error_s" csv:"standard_error_s"`          // standard error of Exit - Enter by how it was measured, s
	Tracks    []int64 `json:"tracks"`                                  // ids of the tracks taken for the person, in order of appearance
	Origin
	Person   int64 `json:"-"` // who it is, inside a box: the same in all stays of a person since the source opened
	Appeared Time  `json:"-"` // inside a box: when the person was first seen, if that was in the midst of the picture; 0: they came in at its edge
}

// Span implements Record.
func (r *Stay) Span() (from Time, to *Time) { return r.Enter, r.Exit }

// Outcomes of a wait.
const (
	OutcomeServed    = "served"
	OutcomeAbandoned = "abandoned"
	OutcomeUnknown   = "unknown" // the track was lost inside the queue
	OutcomeLeft      = "left"    // no service zone in view: wait = stay
)

// Wait is one person's time from joining a queue to the start of service.
// Zone is the queue zone; End is nil while the person waits. Direct marks
// service without a stay in the queue, a wait of 0 s.
type Wait struct {
	Header
	Enter       Time   `json:"enter" csv:"enter_utc"`
	End         *Time  `json:"end" csv:"end_utc wait_s"`
	Outcome     string `json:"outcome,omitempty" csv:"outcome"`
	ServiceZone string `json:"service_zone,omitempty" csv:"service_zone"`
	EnterSeen   bool   `json:"enter_seen" csv:"enter_border_seen"`
	Direct      bool   `json:"direct,omitempty" csv:"direct"`
	// The same as a stay's, for End - Enter.
	BridgedS float64 `json:"bridged_s" csv:"bridged_s"`
	Bridges  int     `json:"bridges" csv:"bridges"`
	ErrorS   float64 `json:"error_s" csv:"standard_error_s"`
	Origin
}

// Span implements Record.
func (r *Wait) Span() (from Time, to *Time) { return r.Enter, r.End }

// Sum is a set of durations in seconds in a form that adds up.
type Sum struct {
	N   int64   `json:"n"`
	Sum float64 `json:"sum"`
	Min float64 `json:"min"` // 0 when N is 0
	Max float64 `json:"max"`
}

// Add takes one duration in seconds in.
func (s *Sum) Add(v float64) {
	if s.N == 0 || v < s.Min {
		s.Min = v
	}
	if s.N == 0 || v > s.Max {
		s.Max = v
	}
	s.N++
	s.Sum += v
}

// Interval is what happened in one zone in [Start, End), published once.
type Interval struct {
	Header
	Start     Time    `json:"start" csv:"start_utc"`
	End       Time    `json:"end" csv:"end_utc"`
	Coverage  float64 `json:"coverage" csv:"coverage_share"`                  // share of the interval that was observed, 0..1
	ObservedS float64 `json:"observed_s" csv:"observed_s"`                    // the same in seconds
	PersonS   float64 `json:"person_s" csv:"person_s"`                        // person-seconds in the zone while observed
	Occupancy float64 `json:"occupancy" csv:"occupancy_mean_people,observed"` // PersonS / ObservedS; 0 when not observed
	Min       int64   `json:"occupancy_min" csv:"occupancy_min_people"`
	Max       int64   `json:"occupancy_max" csv:"occupancy_max_people"`
	Inside    int64   `json:"inside" csv:"inside_at_end_people"`                        // open stays at End
	Arrived   int64   `json:"arrived" csv:"arrived_border_seen_people"`                 // enters with the border seen crossed
	Appeared  int64   `json:"appeared" csv:"appeared_people"`                           // enters without
	Departed  int64   `json:"departed" csv:"departed_border_seen_people"`               // exits with the border seen crossed
	Lost      int64   `json:"lost" csv:"lost_people"`                                   // exits without
	Stays     Sum     `json:"stays" csv:"stays_ended stay_sum_s stay_min_s stay_max_s"` // stays that ended in the interval, s
	// Crossings are durations without identity, s, of those that ended in the
	// interval: people who were seen to cross the border inwards and people who were
	// seen to cross it outwards, paired first in, first out. A broken track does not
	// hurt them. Over many people their mean is that of Stays; in a short interval
	// people who overtake each other part the two.
	Crossings Sum `json:"crossings" csv:"crossings_ended crossing_sum_s"`
	// Quality, 0..1, says how far the interval's figures agree: the share of ends
	// and beginnings that were seen, (arrived + departed) / (arrived + departed +
	// appeared + lost), times 1 - max(0, d - c) / m, where d is how far apart the
	// means of Stays and Crossings are, m the greater of both, and c =
	// (max - min) / sqrt(3 n) what chance makes of d, with the extremes of both and
	// the smaller n. Where a part has nothing to tell it is 1.
	Quality float64 `json:"quality" csv:"quality_share"`
	// The same for waits in queue zones; absent elsewhere.
	Waits     *Sum  `json:"waits,omitempty"`
	Served    int64 `json:"served,omitempty"`
	Abandoned int64 `json:"abandoned,omitempty"`
	Unknown   int64 `json:"unknown,omitempty"`
	Direct    int64 `json:"direct,omitempty"` // of Served: waits of 0 s without a stay in the queue
}

// Span implements Record.
func (r *Interval) Span() (from Time, to *Time) { return r.Start, &r.End }

// What a gap is of.
const (
	OfFootage     = "footage"
	OfObservation = "observation"
)

// Gap is a span [From, To) without footage or without observation, with its
// cause. To is nil while it lasts. A gap of lost records (Of "records") names
// the range of sequence numbers instead, but for one of CauseRestored.
type Gap struct {
	Header
	Of    string `json:"of"`
	From  Time   `json:"from"`
	To    *Time  `json:"to"`
	Cause string `json:"cause"`
	Log   string `json:"log,omitempty"`
	First uint64 `json:"first,omitempty"`
	N     uint64 `json:"n,omitempty"`
	Seal  string `json:"seal,omitempty"` // of footage: the gap's seal, verbatim
}

// Span implements Record.
func (r *Gap) Span() (from Time, to *Time) { return r.From, r.To }

// OfRecords marks a gap in the sequence of an outbox.
const OfRecords = "records"

// CauseRestored is the cause of a gap of records that the cloud books itself: it
// was put back from a backup, and what the box handed over and forgot in the span
// may be missing. Which numbers those had nobody knows.
const CauseRestored = "restored"

// Segment says that a piece of footage was sealed. Seal holds the seal's bytes
// verbatim (docs/seal.md); the other fields repeat what it says, for queries.
type Segment struct {
	Header
	File   string `json:"file"`
	Chain  string `json:"chain"`
	Seq    uint64 `json:"seq"`
	Start  Time   `json:"start"`
	End    Time   `json:"end"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	Seal   string `json:"seal"`
}

// Span implements Record.
func (r *Segment) Span() (from Time, to *Time) { return r.Start, &r.End }

// Deleted says that retention removed files of footage; their seals stay. Seal
// holds the bytes of its own seal verbatim, which names them.
type Deleted struct {
	Header
	Chain string `json:"chain"`
	Seq   uint64 `json:"seq"`
	Start Time   `json:"start"`
	End   Time   `json:"end"`
	Cause string `json:"cause"`
	N     int    `json:"n"` // files
	Seal  string `json:"seal"`
}

// Span implements Record.
func (r *Deleted) Span() (from Time, to *Time) { return r.Start, &r.End }

// Health is a box's word about itself, once a minute; Figures by name. Key is the
// box's public key in base64 where it asks whether that is the registered one: the
// cloud refuses a record with another.
type Health struct {
	Header
	Figures map[string]float64 `json:"figures"`
	Notes   []string           `json:"notes,omitempty"`
	Key     string             `json:"key,omitempty"`
}

// Span implements Record.
func (r *Health) Span() (from Time, to *Time) { return r.At, &r.At }

// FigureProbe is the single figure of a health record that is no word of the box:
// floorwatch doctor delivers it in the box's name to see the whole way to the
// cloud's database work.
const FigureProbe = "doctor"

// Probe tells such a record. It is stored and acknowledged like any other and
// must stand for nothing that the box said of itself.
func (h *Health) Probe() bool {
	_, ok := h.Figures[FigureProbe]
	return ok && len(h.Figures) == 1
}

// Alert is an early warning.
type Alert struct {
	Header
	Level string  `json:"level"`
	Since Time    `json:"since"`
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
}

// Span implements Record.
func (r *Alert) Span() (from Time, to *Time) { return r.Since, &r.At }

// Count is what crossed a line in [Start, End), or what a counter of another
// maker said of that span. All counts of a line add up: a late word from a
// counter is a count of its own and never a revision.
type Count struct {
	Header
	Line     string  `json:"line"`
	Start    Time    `json:"start"`
	End      Time    `json:"end"`
	In       int64   `json:"in"`
	Out      int64   `json:"out"`
	Coverage float64 `json:"coverage"` // share of the span that was observed, or that the counter spoke of, 0..1
	// Occupancy is the people in the store at End, never below 0, in a count of
	// what holds them instead of a line that they cross; In and Out are then 0.
	Occupancy *int64 `json:"occupancy,omitempty"`
	// Drift is what entries minus exits had left over when the occupancy was set
	// to 0 in the span, as it is every night: 0 if nobody was missed.
	Drift *int64 `json:"drift,omitempty"`
}

// Span implements Record.
func (r *Count) Span() (from Time, to *Time) { return r.Start, &r.End }

// Crossing is one person seen to cross a line. `floorwatch stays` prints it and
// `floorwatch intervals` counts it.
type Crossing struct {
	Header
	Line  string `json:"line"`
	T     Time   `json:"t"` // when they were clear of the line
	In    bool   `json:"in"`
	Track int64  `json:"track"`
}

// Span implements Record.
func (r *Crossing) Span() (from Time, to *Time) { return r.T, &r.T }

// Encoded is a record as the bytes that are stored and sent. Kind is what its
// type said, so that nobody has to read the bytes again to learn it.
type Encoded struct {
	Kind string
	JSON json.RawMessage
}

// Sealed is a record of footage: it carries a seal, verbatim.
type Sealed interface {
	Record
	// Sealed returns the seal's bytes, "" for none, and what the record repeats of
	// it.
	Sealed() (raw string, said Seal)
}

// Sealed implements Sealed.
func (r *Segment) Sealed() (raw string, said Seal) {
	return r.Seal, Seal{Kind: SealSegment, Camera: r.Camera, Chain: r.Chain, Seq: r.Seq, Start: r.Start, End: r.End}
}

// Sealed implements Sealed.
func (r *Deleted) Sealed() (raw string, said Seal) {
	return r.Seal, Seal{Kind: SealDeleted, Camera: r.Camera, Chain: r.Chain, Seq: r.Seq, Start: r.Start, End: r.End, Cause: r.Cause}
}

// Sealed implements Sealed. A gap's record leaves chain and number to its seal; a
// gap of observation, or from before gaps carried their seals, has none.
func (r *Gap) Sealed() (raw string, said Seal) {
	said = Seal{Kind: SealGap, Camera: r.Camera, Start: r.From, Cause: r.Cause}
	if r.To != nil {
		said.End = *r.To
	}
	return r.Seal, said
}

// MarshalRecord encodes a record as the bytes that are stored and sent, and
// refuses one that is larger than a batch may be.
func MarshalRecord(r Record) (Encoded, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return Encoded{}, fmt.Errorf("encode record: %w", err)
	}
	if len(b) > MaxRecordBytes {
		return Encoded{}, fmt.Errorf("record has %d bytes, limit %d", len(b), MaxRecordBytes)
	}
	return Encoded{r.Head().Kind, b}, nil
}

// NewRecord returns an empty record of a kind, nil for a kind that there is not.
func NewRecord(kind string) Record {
	switch kind {
	case KindScene:
		return new(CameraScene)
	case KindInterval:
		return new(Interval)
	case KindStay:
		return new(Stay)
	case KindWait:
		return new(Wait)
	case KindCount:
		return new(Count)
	case KindSegment:
		return new(Segment)
	case KindGap:
		return new(Gap)
	case KindDeleted:
		return new(Deleted)
	case KindAlert:
		return new(Alert)
	case KindHealth:
		return new(Health)
	case KindCrossing:
		return new(Crossing)
	}
	return nil
}

// ParseRecord decodes one record into the type of its kind: *Stay, *Wait and so
// on. Unknown fields are ignored; an unknown kind is an error.
func ParseRecord(b []byte) (Record, error) {
	var h Header
	if err := json.Unmarshal(b, &h); err != nil {
		return nil, fmt.Errorf("parse record: %w", err)
	}
	r := NewRecord(h.Kind)
	if r == nil {
		return nil, fmt.Errorf("parse record: unknown kind %q", h.Kind)
	}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("parse %s record: %w", h.Kind, err)
	}
	return r, nil
}
