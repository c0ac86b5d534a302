package ingest

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
	"floorwatch/internal/lab/kit"
)

func (b *bench) scene(corner float64, label string) *floorwatch.CameraScene {
	z := floorwatch.NewZone("queue", floorwatch.RoleQueue, floorwatch.Point{X: corner}, floorwatch.Point{X: 90}, floorwatch.Point{X: 90, Y: 90})
	z.Label.EN = label
	r := floorwatch.TellScene("hall", floorwatch.Scene{Zones: []floorwatch.Zone{z}})
	r.At = floorwatch.TimeOf(time.Now())
	return r
}

// TestFiguresGoOnWithoutMetadata: Postgres is gone, boxes tell scenes and deliver
// figures, a scene cannot be true, a hall moves and another closes.
func TestFiguresGoOnWithoutMetadata(t *testing.T) {
	ctx := t.Context()
	server := kit.Postgres(t)
	db, err := metadata.Open(ctx, server.Database(t))
	kit.Must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	_, err = site.Add(ctx, db, site.Node{ID: "gd", Level: "province"})
	kit.Must(t, err)
	_, err = site.Add(ctx, db, site.Node{ID: "hot", Boxes: []site.Box{{ID: "box"}}})
	kit.Must(t, err)
	sites, err := site.Open(ctx, db, slog.New(slog.DiscardHandler))
	kit.Must(t, err)
	sites.Every = 100 * time.Millisecond
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- sites.Run(running) }()
	defer func() { stop(); kit.Must(t, <-done) }()
	b := prepare(t, startBroker(t), realDatabase(t), sites)
	b.start(t)
	x := newBox(t, b.broker, "hot", "box")
	camera := site.Source{Store: "hot", Edge: "box", Camera: "hall"}
	label := func() string {
		c, _ := sites.Now().Camera(camera)
		if len(c.Scene.Zones) == 0 {
			return ""
		}
		return c.Scene.Zones[0].Label.EN
	}

	x.send(x.batch(t, 1, b.scene(0, "Queue"), b.stayAt("queue", 1)))
	until(t, "the scene", func() bool { return x.has(1, 2) && label() == "Queue" })
	rev := sites.Snapshot().Scenes(camera)[0].Rev

	bad := b.scene(0, "Queue")
	bad.Zones[0].Polygon = bad.Zones[0].Polygon[:2]
	x.send(x.batch(t, 3, bad, b.stayAt("queue", 2)))
	x.send(x.batch(t, 5, []byte(`{"kind":"scene","zones":7}`), b.stayAt("queue", 3)))
	until(t, "scenes that cannot be true in the dead letters", func() bool { tot, _ := b.DB.Totals(ctx); return tot.Letters == 2 && x.has(3, 4) })
	if label() != "Queue" || len(sites.Snapshot().Scenes(camera)) != 1 {
		t.Errorf("scene is %q, versions %d, want the one before", label(), len(sites.Snapshot().Scenes(camera)))
	}

	// A scene in a dead letter, tried again while nobody can keep it, stays there.
	stranger := newBox(t, b.broker, "hot", "late")
	stranger.send(stranger.batch(t, 1, b.scene(5, "Late")))
	until(t, "the letter of a box that is not registered", func() bool { tot, _ := b.DB.Totals(ctx); return tot.Letters == 3 })
	_, err = site.Add(ctx, db, site.Node{ID: "hot", Boxes: []site.Box{{ID: "late"}}})
	kit.Must(t, err)
	until(t, "the box to be known", func() bool { _, known := sites.Edge("hot", "late"); return known })

	kit.Must(t, server.Stop())
	kept, err := b.DB.List(ctx, 0, 10)
	kit.Must(t, err)
	if n, err := b.DB.Retry(ctx, kept[2].ID); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	until(t, "the attempt to keep it", func() bool { return b.noScenes.Load() != 0 })
	time.Sleep(500 * time.Millisecond) // in which it would be forgotten
	if tot, _ := b.DB.Totals(ctx); tot.Letters != 3 {
		t.Errorf("%d letters, want 3: a scene that could not be kept is gone", tot.Letters)
	}
	x.send(x.batch(t, 7, b.stayAt("queue", 4)))
	redrawn := x.batch(t, 8, b.scene(10, "Line"), b.stayAt("queue", 5))
	x.send(redrawn)
	until(t, "figures without the metadata", func() bool { return x.has(7, 1) && len(b.stored(t, "hot", "box")) == 5 })
	if x.has(8, 1) {
		t.Error("a scene was acknowledged and is nowhere")
	}
	until(t, "the sites' age to be told", func() bool { _, err := sites.Age(); return err != nil })
	if _, known := sites.Edge("hot", "box"); !known || label() != "Queue" {
		t.Error("what was known is gone with the metadata")
	}
	kit.Must(t, server.Start(ctx))
	until(t, "the scene that is told again", func() bool {
		x.send(redrawn) // as the box does every half a minute
		time.Sleep(200 * time.Millisecond)
		return x.has(8, 2) && label() == "Line"
	})
	if all := sites.Snapshot().Scenes(camera); len(all) != 2 || all[0].Rev != rev || all[1].Rev == rev {
		t.Errorf("%d versions, want the old and the new", len(all))
	}
	if n := len(b.stored(t, "hot", "box")); n != 5 {
		t.Errorf("%d stays, want 5: what came twice is there once", n)
	}

	// A late record of a box that is closed is taken, a newer one is not.
	now := floorwatch.TimeOf(time.Now())
	_, err = site.Close(ctx, db, "hot", now-1000)
	kit.Must(t, err)
	until(t, "the box to be closed", func() bool { _, known := sites.Edge("hot", "box"); return !known })
	late := b.stayAt("queue", 6)
	late.At = now
	x.send(x.batch(t, 10, b.stayAt("queue", 7), late))
	until(t, "the answer", func() bool { return x.has(10, 2) })
	letters, err := b.DB.List(ctx, 0, 10)
	if err != nil || len(letters) != 4 || !strings.Contains(letters[3].Reason, "was closed at") {
		t.Errorf("%+v %v", letters, err)
	}
	if n := len(b.stored(t, "hot", "box")); n != 6 {
		t.Errorf("%d stays, want 6", n)
	}
}
