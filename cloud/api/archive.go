package api

import (
	"context"
	"errors"

	"floorwatch"
)

// ErrElsewhere is what Footage.Clip returns (wrapped) when the footage exists
// but lies on its box still; Archive.Fetch brings it.
var ErrElsewhere = errors.New("the footage is still on the box")

// Archive brings footage from its box, and holds it. Safe for concurrent use.
type Archive interface {
	// Fetch returns when Clip can answer for the span. progress hears bytes: of
	// done, never less than before, and of all. ErrNotFound says that the box has
	// none of it; ErrAway that it does not answer. It ends with ctx, and what has
	// come by then is kept. Other errors are shown to people as they are.
	Fetch(ctx context.Context, c Source, from, to floorwatch.Time, progress func(done, total int64)) error
	// Hold keeps a span of at most floorwatch.MaxHoldSpan, durably, until Release.
	Hold(ctx context.Context, c Source, from, to floorwatch.Time, why string) (id string, err error)
	// Release ends a hold; one that has ended is success, one that never was is
	// ErrNotFound.
	Release(ctx context.Context, id string) error
	// Holds returns those that last and overlap [from, to), in any order.
	Holds(ctx context.Context, c Source, from, to floorwatch.Time) ([]Hold, error)
}

// ErrAway is what Archive.Fetch returns (wrapped) when the box does not answer.
var ErrAway = errors.New("the box does not answer")

// Hold is a span that is kept until someone releases it.
type Hold struct {
	ID   string          `json:"id"`
	From floorwatch.Time `json:"from"`
	To   floorwatch.Time `json:"to"`
	Why  string          `json:"why"`
	Who  string          `json:"who"` // as the access log names them
	At   floorwatch.Time `json:"at"`
	Told bool            `json:"told"` // the box has confirmed
}

// HealthFigures is what Figures may be besides: the newest health record of each
// box and camera in [From, To), of one edge, as Figures promises for its records.
// Without it /api/boxes knows only what came since this program began.
type HealthFigures interface {
	Health(ctx context.Context, q Query) ([]floorwatch.Health, error)
}
