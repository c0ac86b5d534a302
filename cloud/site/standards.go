package site

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/cloud/metadata"
)

// StandardTopic grows with each standard that is issued.
const StandardTopic = "standard"

// hallTopic has those who work out what a hall is told do so one after the other.
const hallTopic = "hall standard"

// Issued is a version of a node's standard as it was signed, which stays for good.
type Issued struct {
	floorwatch.Standard
	Signed floorwatch.Signed
}

// Target returns what the version sets, with where it comes from; nil: nothing.
func (i Issued) Target() *floorwatch.SetTarget {
	if i.Wait == nil {
		return nil
	}
	return &floorwatch.SetTarget{Target: *i.Wait, Node: i.Node, Serial: i.Serial, ValidFrom: i.ValidFrom, Hash: i.Signed.Hash()}
}

// Issue signs the next version of a node's standard and keeps it; its serial is
// made here. It is not valid before now, which is the caller's: what is past was
// judged by what was known then. A version takes the place of those before it,
// also of one that is not valid yet.
func Issue(ctx context.Context, db *metadata.DB, s floorwatch.Standard, now floorwatch.Time, key ed25519.PrivateKey) (out Issued, err error) {
	s.V = floorwatch.Version
	err = db.Write(ctx, StandardTopic, func(tx *metadata.Tx) error {
		var known int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM node WHERE id = $1`, s.Node).Scan(&known); err != nil {
			return err
		}
		switch {
		case known == 0:
			return errors.New("there is no such node or hall; floorwatch-cloud site list shows them")
		case s.ValidFrom < now:
			return fmt.Errorf("it would be valid from %s, which is past; what has been judged stays", s.ValidFrom)
		}
		if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(serial), 0) + 1 FROM standard WHERE node = $1`, s.Node).Scan(&s.Serial); err != nil {
			return err
		}
		signed, err := floorwatch.SignStandard(s, key)
		if err != nil {
			return err
		}
		out = Issued{s, signed}
		signature, err := hex.DecodeString(signed.Signature)
		if err != nil {
			return err
		}
		tx.Changed()
		_, err = tx.ExecContext(ctx, `INSERT INTO standard (node, serial, valid_from, hash, signature, body) VALUES ($1, $2, $3, $4, $5, $6)`,
			s.Node, s.Serial, int64(s.ValidFrom), signed.Hash(), signature, []byte(signed.Body))
		return err
	})
	if err != nil {
		return out, fmt.Errorf("issue a standard of %s: %w", s.Node, err)
	}
	return out, nil
}

// readStandards reads every version, by node and in order of serial.
func (s *Snapshot) readStandards(ctx context.Context, tx *metadata.Tx, old *Snapshot) (err error) {
	if s.StandardsVersion, err = tx.Version(ctx, StandardTopic); err != nil {
		return err
	}
	if old != nil && old.StandardsVersion == s.StandardsVersion {
		s.issued = old.issued
		return nil
	}
	s.issued = map[string][]Issued{}
	return each(ctx, tx, `SELECT signature, body FROM standard ORDER BY node, serial`, func(rows *sql.Rows) error {
		var signature, body []byte
		if err := rows.Scan(&signature, &body); err != nil {
			return err
		}
		i := Issued{Signed: floorwatch.Signed{Body: string(body), Signature: hex.EncodeToString(signature)}}
		if err := json.Unmarshal(body, &i.Standard); err != nil {
			return fmt.Errorf("parse standard: %w", err)
		}
		s.issued[i.Node] = append(s.issued[i.Node], i)
		return nil
	})
}

// Nodes returns the nodes that have issued a standard, in order.
func (s *Snapshot) Nodes() []string { return slices.Sorted(maps.Keys(s.issued)) }

// Issued returns every version of a node's standard, in order of serial.
func (s *Snapshot) Issued(node string) []Issued { return s.issued[node] }

// With returns the snapshot as it would be with one more version.
func (s *Snapshot) With(i Issued) *Snapshot {
	c := *s
	c.issued = maps.Clone(s.issued)
	c.issued[i.Node] = append(slices.Clone(s.issued[i.Node]), i)
	return &c
}

// Standard returns the version of a node's own standard that is in force: the
// newest that is valid by then.
func (a At) Standard(node string) (Issued, bool) {
	all := a.s.issued[node]
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].ValidFrom <= a.t {
			return all[i], true
		}
	}
	return Issued{}, false
}

// Target returns how long people may wait in a hall: what the highest node above it
// sets that sets something; nil: nobody does.
func (a At) Target(id string) (t *floorwatch.SetTarget) {
	a.up(id, func(n *Node, _ *Span) bool {
		if in, ok := a.Standard(n.ID); ok && in.Wait != nil {
			t = in.Target()
		}
		return true
	})
	return t
}

// next is the next moment at which something may change that holds in a hall; 0:
// nothing is planned.
func (a At) next(id string) (t floorwatch.Time) {
	soon := func(m floorwatch.Time) {
		if m > a.t && (t == 0 || m < t) {
			t = m
		}
	}
	if n, there := a.Node(id); n != nil && !there {
		for _, s := range n.Spans {
			soon(s.Since)
		}
	}
	a.up(id, func(n *Node, s *Span) bool {
		soon(s.Until)
		for _, i := range a.s.issued[n.ID] {
			soon(i.ValidFrom)
		}
		return true
	})
	return t
}

// maxChanges bounds how many changes of a hall are looked at.
const maxChanges = 1000

// over calls do at from and at each later moment, before to, at which something may
// change that holds in a hall, until it returns false.
func (s *Snapshot) over(id string, from, to floorwatch.Time, do func(At) bool) {
	for t, n := from, 0; n < maxChanges; n++ {
		a := s.At(t)
		if !do(a) {
			return
		}
		if t = a.next(id); t == 0 || t >= to {
			return
		}
	}
}

// Targets returns how long people might wait in a hall between two moments.
func (s *Snapshot) Targets(store string, from, to floorwatch.Time) (spans []floorwatch.TargetSpan) {
	s.over(store, from, to, func(a At) bool {
		wait := a.Target(store)
		if n := len(spans); n == 0 || !reflect.DeepEqual(spans[n-1].Wait, wait) {
			spans = append(spans, floorwatch.TargetSpan{From: a.t, Wait: wait})
		}
		return true
	})
	return spans
}

// maxPlanned bounds how many changes a box is told ahead.
const maxPlanned = 16

// HallStandard works out what holds in a hall from a moment on; it has no serial.
func (s *Snapshot) HallStandard(store string, t floorwatch.Time) floorwatch.HallStandard {
	h := floorwatch.HallStandard{V: floorwatch.Version, Store: store}
	s.over(store, t, floorwatch.MaxTime, func(a At) bool {
		span := floorwatch.HallSpan{From: a.t, Wait: a.Target(store), Hours: a.Hours(store)}
		span.Exceptions = ahead(span.Exceptions, t)
		if n := len(h.Spans); n == 0 || !sameSpan(h.Spans[n-1], span) {
			h.Spans = append(h.Spans, span)
		}
		return len(h.Spans) < maxPlanned
	})
	return h
}

// ahead leaves out the days that are over, in any time zone.
func ahead(lists [][]floorwatch.Exception, t floorwatch.Time) (out [][]floorwatch.Exception) {
	yesterday := t.Add(-24 * time.Hour).Time().UTC().Format(time.DateOnly)
	for _, list := range lists {
		var left []floorwatch.Exception
		for _, e := range list {
			if e.Last() >= yesterday {
				left = append(left, e)
			}
		}
		if len(left) > 0 {
			out = append(out, left)
		}
	}
	return out
}

// sameSpan tells whether two spans say the same, whenever they begin.
func sameSpan(a, b floorwatch.HallSpan) bool {
	a.From, b.From = 0, 0
	return reflect.DeepEqual(a, b)
}

// saysStill tells whether what a hall was told is what holds from t on: what is over
// may stand in it.
func saysStill(told, holds floorwatch.HallStandard, t floorwatch.Time) bool {
	if len(told.Spans) == 0 {
		return false
	}
	left := told.Since(t)
	if len(left) != len(holds.Spans) {
		return false
	}
	for i, span := range left {
		span.Exceptions = ahead(span.Exceptions, t)
		if !sameSpan(span, holds.Spans[i]) || i > 0 && span.From != holds.Spans[i].From {
			return false
		}
	}
	return true
}

// HallTold is what a hall's boxes are to hold. OtherKey: what they were told before was
// signed with another key, so they refuse this until they know the new one.
type HallTold struct {
	Hall     floorwatch.HallStandard
	Signed   floorwatch.Signed
	OtherKey bool

	serial int64
	still  bool // it holds
}

// Holds tells whether what a hall was told is what holds from t on.
func (s *Snapshot) Holds(told floorwatch.HallStandard, t floorwatch.Time) bool {
	return saysStill(told, s.HallStandard(told.Store, t), t)
}

// Tell returns what the boxes of a hall are to hold. It is the same, byte by byte,
// as long as nothing changes; else it is kept before it is returned. Its serial
// grows with the clock, and is above one that a box says it keeps: of a store that
// was put back from a backup, boxes know more than it does.
func (s *Snapshot) Tell(ctx context.Context, db *metadata.DB, store string, t floorwatch.Time, above int64, key ed25519.PrivateKey) (out HallTold, err error) {
	holds := s.HallStandard(store, t)
	err = db.Read(ctx, func(tx *metadata.Tx) error {
		out, err = hallTold(ctx, tx, holds, t, above, key)
		return err
	})
	if err == nil && !out.still {
		err = db.Write(ctx, hallTopic, func(tx *metadata.Tx) error {
			if out, err = hallTold(ctx, tx, holds, t, above, key); err != nil || out.still {
				return err
			}
			holds.Serial = max(out.serial+1, above+1, int64(t))
			out.Hall = holds
			if out.Signed, err = floorwatch.SignHallStandard(holds, key); err != nil {
				return err
			}
			signature, err := hex.DecodeString(out.Signed.Signature)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, `INSERT INTO hall_standard (store, serial, hash, signature, body) VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (store) DO UPDATE SET serial = excluded.serial, hash = excluded.hash, signature = excluded.signature, body = excluded.body`,
				store, holds.Serial, out.Signed.Hash(), signature, []byte(out.Signed.Body))
			return err
		})
	}
	if err != nil {
		return HallTold{}, fmt.Errorf("work out the standard of hall %s: %w", store, err)
	}
	return out, nil
}

// hallTold reads what a hall was told last, and whether that is what holds.
func hallTold(ctx context.Context, tx *metadata.Tx, holds floorwatch.HallStandard, t floorwatch.Time, above int64, key ed25519.PrivateKey) (out HallTold, err error) {
	var signature, body []byte
	err = tx.QueryRowContext(ctx, `SELECT serial, signature, body FROM hall_standard WHERE store = $1`, holds.Store).Scan(&out.serial, &signature, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return HallTold{}, nil
	}
	if err != nil {
		return HallTold{}, err
	}
	out.Signed = floorwatch.Signed{Body: string(body), Signature: hex.EncodeToString(signature)}
	out.Hall, err = floorwatch.ParseHallStandard(out.Signed, key.Public().(ed25519.PublicKey))
	out.OtherKey = errors.Is(err, floorwatch.ErrStandardSignature)
	out.still = err == nil && out.serial > above && saysStill(out.Hall, holds, t) // what cannot be read is told anew
	return out, nil
}
