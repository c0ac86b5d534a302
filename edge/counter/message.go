package counter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"floorwatch"
)

// Kinds of series: what a number of a counter means.
const (
	KindEvent      = "event"      // who passed at a moment, with an id
	KindInterval   = "interval"   // who passed in [from, to)
	KindCumulative = "cumulative" // who passed since the counter was last reset
	KindState      = "state"      // how many are there now
)

// Bounds of a message.
const (
	MaxBody   = 1 << 20 // bytes; room for a picture that is sent along and dropped
	maxItems  = 1000
	maxText   = 100     // bytes of an id or a series
	maxPeople = 1 << 40 // what a register can show; nothing on a shop floor counts further
)

// Message is what a device sends at once. A message without counts says only
// that the device is alive.
type Message struct {
	Sent  Stamp // when the device sent it, by its clock
	Items []Item
	Bad   []Refusal // items that cannot be true, in order
}

// Item is one number, or one for each direction.
type Item struct {
	Index          int // place in the message, from 0
	ID             string
	Series         string
	Kind           string // "": the one that is configured
	At, From, To   Stamp
	In, Out, Value *int64 // people
}

// Refusal says why an item was not taken.
type Refusal struct {
	Item int    `json:"item"`
	Why  string `json:"why"`
}

// Stamp is a time as a device writes it: text, or Unix milliseconds.
type Stamp struct {
	text string
	ms   int64
}

// zero tells whether there is no stamp.
func (s Stamp) zero() bool { return s == Stamp{} }

// UnmarshalJSON reads a text, or a whole number of milliseconds.
func (s *Stamp) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	if b[0] == '"' {
		if err := json.Unmarshal(b, &s.text); err != nil {
			return err
		}
		if s.text == "" || len(s.text) > maxText {
			return errors.New("want a time such as 2026-03-01T08:00:00+08:00")
		}
		return nil
	}
	ms, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || ms <= 0 || ms > int64(floorwatch.MaxTime) {
		return errors.New("want RFC 3339 or Unix milliseconds between 1970 and 2200")
	}
	s.ms = ms
	return nil
}

// Parse reads a message. An item that cannot be true is refused for itself and
// does not take the others with it; an error means that nothing can be read.
func Parse(b []byte) (Message, error) {
	var m Message
	if len(b) > MaxBody {
		return m, fmt.Errorf("message has %d bytes, limit %d", len(b), MaxBody)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return m, nil // a connection test
	}
	var raw struct {
		Sent   Stamp             `json:"sent"`
		Counts []json.RawMessage `json:"counts"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return m, fmt.Errorf("parse message: %w", err)
	}
	if len(raw.Counts) > maxItems {
		return m, fmt.Errorf("message has %d counts, limit %d", len(raw.Counts), maxItems)
	}
	m.Sent = raw.Sent
	for i, r := range raw.Counts {
		item, err := parseItem(r)
		if err != nil {
			m.Bad = append(m.Bad, Refusal{i, err.Error()})
			continue
		}
		item.Index = i
		m.Items = append(m.Items, item)
	}
	return m, nil
}

func parseItem(b []byte) (Item, error) {
	var raw struct {
		ID     string `json:"id"`
		Series string `json:"series"`
		Kind   string `json:"kind"`
		At     Stamp  `json:"at"`
		From   Stamp  `json:"from"`
		To     Stamp  `json:"to"`
		In     *int64 `json:"in"`
		Out    *int64 `json:"out"`
		Value  *int64 `json:"value"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return Item{}, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	switch {
	case raw.Series == "":
		return Item{}, errors.New("series is missing")
	case len(raw.Series) > maxText || len(raw.ID) > maxText:
		return Item{}, fmt.Errorf("series and id have at most %d bytes", maxText)
	}
	for _, n := range [...]*int64{raw.In, raw.Out} {
		if n != nil && (*n < 0 || *n > maxPeople) {
			return Item{}, fmt.Errorf("%d people: want 0 to %d", *n, int64(maxPeople))
		}
	}
	if raw.Value != nil && max(*raw.Value, -*raw.Value) > maxPeople {
		return Item{}, fmt.Errorf("value %d: want at most %d", *raw.Value, int64(maxPeople))
	}
	return Item{
		ID: raw.ID, Series: raw.Series, Kind: raw.Kind, At: raw.At, From: raw.From, To: raw.To,
		In: raw.In, Out: raw.Out, Value: raw.Value,
	}, nil
}

// check tells what an item lacks to be of the given kind.
func (it Item) check(kind string) error {
	counts := it.In != nil || it.Out != nil
	switch kind {
	case KindEvent:
		if it.ID == "" {
			return errors.New("an event needs an id, or a repetition would count as another person")
		}
	case KindInterval:
		if it.From.zero() || it.To.zero() {
			return errors.New("an interval needs from and to")
		}
	case KindState:
		if it.Value == nil {
			return errors.New("a state needs a value")
		}
		return nil
	}
	if !counts {
		return fmt.Errorf("%s needs in, out or both", kind)
	}
	return nil
}

func people(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}
