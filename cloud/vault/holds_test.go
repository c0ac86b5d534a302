package vault

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"floorwatch/cloud/account"
	"floorwatch/cloud/site"

	"floorwatch"
)

const holdID = "00000000000000aa"

func TestHoldsAndTheirLog(t *testing.T) {
	t.Parallel()
	x, ctx := open(t, filepath.Join(t.TempDir(), "index.db")), t.Context()
	h := Hold{ID: holdID, Store: "s1", Edge: "box", Camera: "hall", From: t0, To: t0 + 60_000, Who: "anna", Why: "inspection", At: t0}
	for range 2 {
		if err := x.PutHold(ctx, h); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(*Hold){
		"id": func(h *Hold) { h.ID = "../x" }, "store": func(h *Hold) { h.Store = "" }, "camera": func(h *Hold) { h.Camera = "A" },
		"span": func(h *Hold) { h.To = h.From }, "nobody": func(h *Hold) { h.ID, h.Who = "00000000000000bb", "" },
		"for ever": func(h *Hold) { h.To = h.From + 400*24*3600_000 },
	} {
		bad := h
		change(&bad)
		if err := x.PutHold(ctx, bad); err == nil {
			t.Errorf("%s: a hold that cannot be was taken", name)
		}
	}
	if got, err := x.Holds(ctx); err != nil || len(got) != 1 || got[0] != h {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := x.untold(ctx); err != nil || len(got) != 1 {
		t.Errorf("untold: %+v %v", got, err)
	}
	if err := x.told(ctx, h); err != nil {
		t.Fatal(err)
	}
	if got, err := x.untold(ctx); err != nil || len(got) != 0 {
		t.Errorf("told and told again: %+v %v", got, err)
	}
	for range 2 {
		if err := x.Release(ctx, holdID, "ben", t0+5); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Release(ctx, "00000000000000ff", "ben", t0); !errors.Is(err, ErrNoHold) {
		t.Errorf("%v", err)
	}
	if got, err := x.untold(ctx); err != nil || len(got) != 1 || got[0].Released != t0+5 {
		t.Errorf("a release to tell: %+v %v", got, err)
	}
	log, err := x.AccessLog(ctx, 0)
	if err != nil || len(log) != 2 || log[0].Who != "anna" || log[0].What != DidHold || log[1].Who != "ben" || log[1].What != DidRelease {
		t.Errorf("%+v %v", log, err)
	}
	for _, forge := range []string{`DELETE FROM access`, `UPDATE access SET who = 'nobody'`, `UPDATE access SET at = 0 WHERE n = 1`} {
		if _, err := x.db.Exec(forge); err == nil {
			t.Errorf("%s: the access log let it pass", forge)
		}
	}
}

func TestRetentionKeepsWhatIsHeld(t *testing.T) {
	t.Parallel()
	u, _ := newVault(t)
	ctx := t.Context()
	var segs []floorwatch.Segment
	for n := 1; n <= 4; n++ {
		body := append(data(100), byte(n))
		seg := sealBytes(t, n, body)
		segs = append(segs, seg)
		err := errors.Join(u.Index.PutSegment(ctx, "s1", "box", seg), u.Objects.Keep(ctx, seg.SHA256, seg.Bytes, bytes.NewReader(body)),
			u.Index.putObject(ctx, seg.SHA256, object{seg.Bytes, seg.End, stateHere}))
		if err != nil {
			t.Fatal(err)
		}
	}
	hold := Hold{ID: holdID, Store: "s1", Edge: "box", Camera: "hall", From: segs[1].Start + 5, To: segs[1].End - 5, Who: "anna", At: t0}
	if err := u.Index.PutHold(ctx, hold); err != nil {
		t.Fatal(err)
	}
	here := func() (out [4]bool) {
		for i, s := range segs {
			r, err := u.Objects.Open(ctx, s.SHA256)
			if out[i] = err == nil; err == nil {
				_ = r.Close()
			} else if !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		}
		return out
	}
	// An hour after the end of the third: the first three are too old.
	r := &Retention{Index: u.Index, Objects: u.Objects, MaxAge: time.Hour, Now: func() time.Time { return segs[2].End.Add(time.Hour + time.Second).Time() }}
	for range 2 {
		if err := r.sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if got := here(); got != [4]bool{false, true, false, true} {
			t.Errorf("left: %v, want the held and the young one", got)
		}
	}
	if err := errors.Join(u.Index.Release(ctx, holdID, "anna", t0+1), r.sweep(ctx)); err != nil || here() != [4]bool{false, false, false, true} {
		t.Errorf("after the release: %v %v", here(), err)
	}
	log, err := u.Index.AccessLog(ctx, 0)
	if err != nil || len(log) != 4 || log[1].What != DidDelete || log[1].Who != "retention" || log[1].From != segs[0].Start || log[1].To != segs[2].End {
		t.Errorf("%+v %v", log, err)
	}
}

// boxes answers commands as a box would.
type boxes func(floorwatch.Command) (floorwatch.Reply, error)

func (b boxes) Do(_ context.Context, _, _ string, c floorwatch.Command) (floorwatch.Reply, error) {
	return b(c)
}

func TestFetchSaysWhatTheBoxSays(t *testing.T) {
	t.Parallel()
	u, _ := newVault(t)
	ctx := t.Context()
	seg := sealBytes(t, 1, data(100))
	if err := u.Index.PutSegment(ctx, "s1", "box", seg); err != nil {
		t.Fatal(err)
	}
	done := func(r floorwatch.Reply) boxes {
		return func(c floorwatch.Command) (floorwatch.Reply, error) { return r, c.Check() }
	}
	for name, c := range map[string]struct {
		boxes boxes
		want  error
	}{
		"silent":  {func(floorwatch.Command) (floorwatch.Reply, error) { return floorwatch.Reply{}, fs.ErrClosed }, fs.ErrClosed},
		"refused": {done(floorwatch.Reply{State: floorwatch.ReplyRefused, Reason: "no"}), nil},
	} {
		a := &Archive{Index: u.Index, Objects: u.Objects, Boxes: c.boxes}
		if err := a.Fetch(ctx, account.Page, site.Source{Store: "s1", Edge: "box", Camera: "hall"}, seg.Start, seg.End, nil); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a := &Archive{Index: u.Index, Objects: u.Objects}
	if err := a.Fetch(ctx, account.Page, site.Source{Store: "s1", Edge: "box", Camera: "hall"}, seg.Start, seg.End, nil); !errors.Is(err, ErrNotHere) {
		t.Errorf("without boxes: %v", err)
	}
	if _, err := a.Clip(ctx, account.Page, site.Source{Store: "s1", Edge: "box", Camera: "hall"}, seg.Start, seg.End); !errors.Is(err, ErrNotHere) {
		t.Errorf("before: %v", err)
	}
	a.Boxes = done(floorwatch.Reply{State: floorwatch.ReplyDone})
	if err := a.Fetch(ctx, account.Page, site.Source{Store: "s1", Edge: "box", Camera: "hall"}, seg.Start, seg.End, nil); !errors.Is(err, ErrNoFootage) {
		t.Errorf("deleted on the box: %v", err)
	}
	if _, err := a.Clip(ctx, account.Page, site.Source{Store: "s1", Edge: "box", Camera: "hall"}, seg.Start, seg.End); !errors.Is(err, ErrNoFootage) {
		t.Errorf("after the box said it has none: %v", err)
	}
	if _, err := a.Clip(ctx, account.Page, site.Source{Store: "s1", Edge: "box", Camera: "hall"}, seg.Start, seg.Start+3600_000); err == nil {
		t.Error("a clip of an hour was cut")
	}
}
