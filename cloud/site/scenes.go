package site

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"floorwatch"
	"floorwatch/cloud/metadata"
)

// SceneTopic grows with each new version of a scene.
const SceneTopic = "scene"

// SceneVersion is a camera's scene between two changes of its geometry: what its
// box told, and when it told it first and last. It holds until the next one's
// First.
type SceneVersion struct {
	Source
	Rev         string
	First, Last floorwatch.Time
	Record      []byte // the scene record as it came, with the newest labels

	read *readScene // of a snapshot
}

// readScene is a record that is read once, when somebody first asks.
type readScene struct {
	once sync.Once
	floorwatch.CameraScene
}

// told returns the record; an empty one where nothing is known.
func (v SceneVersion) told() *floorwatch.CameraScene {
	if v.read == nil {
		return new(floorwatch.CameraScene)
	}
	// What cannot be read was not let in.
	v.read.once.Do(func() { _ = json.Unmarshal(v.Record, &v.read.CameraScene) })
	return &v.read.CameraScene
}

func (v SceneVersion) camera() Camera {
	t := v.told()
	return Camera{
		Name: v.Source.Camera, Label: t.Label, Notice: t.Notice, Scene: t.Scene(), Rev: v.Rev, Since: v.First, Stream: t.Stream, Masks: t.Masks,
	}
}

// Told is the version that a box's scene record, with its bytes, stands for.
func Told(store, edge string, r *floorwatch.CameraScene, record []byte) SceneVersion {
	return SceneVersion{Source: Source{store, edge, r.Camera}, Rev: r.Rev, First: r.At, Last: r.At, Record: record}
}

// PutScenes books what boxes told, and returns once that is durable. It may come
// late and in any order, and more than once.
func PutScenes(ctx context.Context, db *metadata.DB, told ...SceneVersion) error {
	for _, v := range told {
		if v.Rev == "" || v.First <= 0 {
			return fmt.Errorf("keep scene of %s/%s/%s: it names no rev or no time", v.Store, v.Edge, v.Camera)
		}
	}
	err := db.Write(ctx, SceneTopic, func(tx *metadata.Tx) error {
		for _, v := range told {
			p := scenePut{ctx, tx, v}
			before, err := p.neighbour(`first <= $4 ORDER BY first DESC`)
			if err != nil {
				return err
			}
			after, err := p.neighbour(`first > $4 ORDER BY first`)
			if err != nil {
				return err
			}
			if err := p.between(before, after); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep %d scenes: %w", len(told), err)
	}
	return nil
}

// scenePut puts one version among those that are there.
type scenePut struct {
	ctx context.Context
	tx  *metadata.Tx
	SceneVersion
}

// neighbour returns the nearest version on one side; nil: none.
func (p scenePut) neighbour(where string) (*SceneVersion, error) {
	v := SceneVersion{Source: p.Source}
	err := p.tx.QueryRowContext(p.ctx, `SELECT rev, first, last, record FROM scene
		WHERE store = $1 AND edge = $2 AND camera = $3 AND `+where+` LIMIT 1`, p.Store, p.Edge, p.Camera, int64(p.First)).
		Scan(&v.Rev, &v.First, &v.Last, &v.Record)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &v, err
}

func (p scenePut) between(before, after *SceneVersion) error {
	switch {
	case before != nil && before.Rev == p.Rev:
		if p.First < before.Last {
			return nil
		}
		if string(before.Record) == string(p.Record) { // nobody needs to hear of it
			return p.exec(`UPDATE scene SET last = $4 WHERE store = $1 AND edge = $2 AND camera = $3 AND first = $5`, int64(p.First), int64(before.First))
		}
		return p.exec(`UPDATE scene SET last = $4, record = $5, change = $6 WHERE store = $1 AND edge = $2 AND camera = $3 AND first = $7`,
			int64(p.First), p.Record, p.tx.Changed(), int64(before.First))
	case before != nil && p.First <= before.Last: // another rev in the midst of it
		if p.First == before.First {
			return nil // two revs of one moment: the first that came holds
		}
		if err := p.exec(`UPDATE scene SET last = $4, change = $5 WHERE store = $1 AND edge = $2 AND camera = $3 AND first = $6`,
			int64(p.First)-1, p.tx.Changed(), int64(before.First)); err != nil {
			return err
		}
		if before.Last > p.First {
			rest := *before
			rest.First = before.Last
			if err := p.insert(rest); err != nil {
				return err
			}
		}
		return p.insert(p.SceneVersion)
	case after != nil && after.Rev == p.Rev: // it was told before already
		return p.exec(`UPDATE scene SET first = $4, change = $5 WHERE store = $1 AND edge = $2 AND camera = $3 AND first = $6`,
			int64(p.First), p.tx.Changed(), int64(after.First))
	}
	return p.insert(p.SceneVersion)
}

func (p scenePut) exec(statement string, args ...any) error {
	_, err := p.tx.ExecContext(p.ctx, statement, append([]any{p.Store, p.Edge, p.Camera}, args...)...)
	return err
}

func (p scenePut) insert(v SceneVersion) error {
	return p.exec(`INSERT INTO scene (store, edge, camera, first, last, rev, record, change) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		int64(v.First), int64(v.Last), v.Rev, v.Record, p.tx.Changed())
}

// readScenes reads the cameras that have changed since an older snapshot.
func (s *Snapshot) readScenes(ctx context.Context, tx *metadata.Tx, old *Snapshot) (err error) {
	var since int64
	scenes := map[Source][]SceneVersion{}
	if old != nil {
		since, scenes = old.SceneVersion, old.scenes
	}
	if s.SceneVersion, err = tx.Version(ctx, SceneTopic); err != nil || old != nil && s.SceneVersion == since {
		if old != nil {
			s.scenes, s.told = old.scenes, old.told
		}
		return err
	}
	// All versions of a camera of which one has changed.
	fresh := map[Source][]SceneVersion{}
	where := `WHERE EXISTS (SELECT 1 FROM scene c WHERE c.store = s.store AND c.edge = s.edge AND c.camera = s.camera AND c.change > $1)`
	if since == 0 {
		where = `WHERE $1 = 0` // all of them
	}
	err = each(ctx, tx, `SELECT s.store, s.edge, s.camera, s.rev, s.first, s.last, s.record FROM scene s `+where+` ORDER BY s.store, s.edge, s.camera, s.first`, func(rows *sql.Rows) error {
		v := SceneVersion{read: new(readScene)}
		if err := rows.Scan(&v.Store, &v.Edge, &v.Source.Camera, &v.Rev, &v.First, &v.Last, &v.Record); err != nil {
			return err
		}
		fresh[v.Source] = append(fresh[v.Source], v)
		return nil
	}, since)
	if err != nil {
		return fmt.Errorf("read scenes: %w", err)
	}
	s.scenes = maps.Clone(scenes)
	maps.Copy(s.scenes, fresh)
	s.told = map[[2]string][]string{}
	for c := range s.scenes {
		if c.Camera != "" {
			at := [2]string{c.Store, c.Edge}
			s.told[at] = append(s.told[at], c.Camera)
		}
	}
	for _, names := range s.told {
		slices.Sort(names)
	}
	return nil
}
