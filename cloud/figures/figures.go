// Package figures answers every question about figures: the records of a span
// (Stays, Waits, Intervals), charts (Series, WaitSeries, Counts), the figures of
// one queue (Summary) and how far two are apart (Compare). A page, a report, an
// alarm and a command ask alike; fill in a Figures and call its methods.
//
//	question ─> Figures ─> Reader (influx) ─> records ─> waits (arithmetic) ─> answer
//
// Times are Unix milliseconds, spans half-open. A figure that is not known is nil,
// never 0, and every answer says of what coverage and quality it is.
//
// Answers have JSON names: they are what programs read.
package figures

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
)

// Bounds of a question.
const (
	MaxRecords  = 50_000  // in one answer, and behind one p90
	maxInterval = 100_000 // of one zone; what a Reader may answer at most
)

// Reader is where measured records come from; influx.Client is one. It answers at
// most q.Limit records, the newest, in any order; an empty answer is no error. It
// is safe for concurrent use.
type Reader interface {
	Stays(ctx context.Context, q influx.Query) ([]floorwatch.Stay, error)
	Waits(ctx context.Context, q influx.Query) ([]floorwatch.Wait, error)
	Intervals(ctx context.Context, q influx.Query) ([]floorwatch.Interval, error)
	Counts(ctx context.Context, q influx.Query) ([]floorwatch.Count, error) // the same one may come twice, under the same ID
	Gaps(ctx context.Context, q influx.Query) ([]floorwatch.Gap, error)
}

// Figures answers questions. It keeps nothing between them.
type Figures struct {
	Sites  *site.Live
	Reader Reader
	Now    func() time.Time // nil: time.Now
}

// What is wrong with a question, for errors.Is.
var (
	ErrQuestion = errors.New("the question cannot be asked so")
	ErrUnknown  = errors.New("nothing of that name is configured")
	ErrTooMuch  = errors.New("the answer is too large")
)

// Error is a question that has no answer: what is wrong with it, one of the
// errors above, and what to ask instead.
type Error struct {
	Text, Hint string
	kind       error
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns ErrQuestion, ErrUnknown or ErrTooMuch.
func (e *Error) Unwrap() error { return e.kind }

func bad(hint, format string, args ...any) *Error {
	return &Error{fmt.Sprintf(format, args...), hint, ErrQuestion}
}

// tooMuch refuses a question whose answer is too large.
func tooMuch(what string) *Error {
	return &Error{what, "ask for a shorter time range", ErrTooMuch}
}

// ask completes a question by the only store and box there are, and refuses one
// about what there is not.
func (f *Figures) ask(q influx.Query) (influx.Query, error) {
	c, err := f.sites(q.To).Complete(site.Source{Store: q.Store, Edge: q.Edge})
	if err != nil {
		return q, &Error{err.Error(), "see /api/sites", ErrUnknown}
	}
	if q.Store, q.Edge = c.Store, c.Edge; q.From >= q.To {
		return q, bad("from must lie before to", "the time range is empty")
	}
	return q, nil
}

// sites is what there was at the end of a span, or is now.
func (f *Figures) sites(to floorwatch.Time) site.At { return f.Sites.At(min(to, f.now())) }

func (f *Figures) now() floorwatch.Time {
	if f.Now == nil {
		return floorwatch.TimeOf(time.Now())
	}
	return floorwatch.TimeOf(f.Now())
}

// Listed is an answer of records.
type Listed[T any] struct {
	Records []T
	Cut     bool // there may be more
	LeftOut LeftOut
	Breaks  []Break
}

// Break says that a zone was redrawn: of it the list has the records since then
// alone, or of the rev that was asked for. They are never mixed.
type Break struct {
	Camera  string          `json:"camera"`
	Zone    string          `json:"zone"`
	Rev     string          `json:"rev"`      // that is left out
	T       floorwatch.Time `json:"t"`        // the end of its newest record in the span
	Records int             `json:"left_out"` // of this rev in the span, as far as they were read
}

// Stays lists the stays that ended in the span, newest first.
func (f *Figures) Stays(ctx context.Context, q influx.Query, least float64) (Listed[floorwatch.Stay], error) {
	return list(ctx, f, q, least, f.Reader.Stays, func(x *floorwatch.Stay) floorwatch.Time { return End(x) })
}

// Waits lists the waits that ended in the span, newest first.
func (f *Figures) Waits(ctx context.Context, q influx.Query, least float64) (Listed[floorwatch.Wait], error) {
	return list(ctx, f, q, least, f.Reader.Waits, func(x *floorwatch.Wait) floorwatch.Time { return End(x) })
}

// Intervals lists the intervals that start in the span, oldest first.
func (f *Figures) Intervals(ctx context.Context, q influx.Query, least float64) (Listed[floorwatch.Interval], error) {
	all, err := list(ctx, f, q, least, f.Reader.Intervals, func(x *floorwatch.Interval) floorwatch.Time { return x.Start })
	slices.Reverse(all.Records)
	return all, err
}

// End returns when a record's span ended, or began while it lasts.
func End(r floorwatch.Record) floorwatch.Time {
	from, to := r.Span()
	if to == nil {
		return from
	}
	return *to
}

// Length returns the seconds of a record's span, 0 while it lasts.
func Length(r floorwatch.Record) float64 {
	from, _ := r.Span()
	return floorwatch.Seconds(End(r).Sub(from))
}

// ofOneRev keeps the records of one rev of each zone: of the one that is named, else
// of the newest record's.
func ofOneRev[T any, P interface {
	*T
	floorwatch.Record
}](all []T, rev string, at func(P) floorwatch.Time) (kept []T, breaks []Break) {
	newest := map[zoneKey]struct {
		t   floorwatch.Time
		rev string
	}{}
	key := func(x *T) (zoneKey, string) { h := P(x).Head(); return zoneKey{h.Camera, h.Zone}, h.Rev }
	for i := range all {
		k, of := key(&all[i])
		n, known := newest[k]
		if t := at(&all[i]); rev == "" && (!known || t > n.t) {
			n.t, n.rev = t, of
		} else if rev != "" {
			n.rev = rev
		}
		newest[k] = n
	}
	kept = slices.DeleteFunc(all, func(x T) bool {
		k, of := key(&x)
		if of == newest[k].rev {
			return false
		}
		i := slices.IndexFunc(breaks, func(b Break) bool { return b.Camera == k.camera && b.Zone == k.zone && b.Rev == of })
		if i < 0 {
			i, breaks = len(breaks), append(breaks, Break{Camera: k.camera, Zone: k.zone, Rev: of})
		}
		breaks[i].T = max(breaks[i].T, at(&x))
		breaks[i].Records++
		return true
	})
	slices.SortFunc(breaks, func(a, b Break) int {
		return cmp.Or(cmp.Compare(b.T, a.T), cmp.Compare(a.Camera, b.Camera), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Rev, b.Rev))
	})
	return kept, breaks
}

// list reads the records of q, leaves out those below the quality, and keeps the
// newest by at.
func list[T any, P interface {
	*T
	floorwatch.Record
}](ctx context.Context, f *Figures, q influx.Query, least float64, read func(context.Context, influx.Query) ([]T, error), at func(P) floorwatch.Time) (out Listed[T], err error) {
	if q, err = f.ask(q); err != nil {
		return out, err
	}
	known, err := f.trusted(ctx, q, least)
	if err != nil {
		return out, err
	}
	limit := q.Limit
	if least > 0 {
		q.Limit = MaxRecords // the newest that are good enough may be old
	}
	all, err := read(ctx, q)
	if err != nil {
		return out, err
	}
	all, out.Breaks = ofOneRev(slices.Clone(all), q.Rev, at)
	n := len(all)
	all = slices.DeleteFunc(all, func(x T) bool { return !known.holds(*P(&x).Head(), at(&x)) })
	out.LeftOut.Records = n - len(all)
	slices.SortStableFunc(all, func(a, b T) int { return cmp.Compare(at(&b), at(&a)) })
	out.Records, out.Cut = all[:min(len(all), limit)], len(all) >= limit
	return out, nil
}
