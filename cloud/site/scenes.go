package site

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"

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
}

// PutScene books that a box told a scene at a moment, and returns once that is
// durable. Records may come late and in any order, and more than once.
func PutScene(ctx context.Context, db *metadata.DB, camera Source, rev string, at floorwatch.Time, record []byte) error {
	if rev == "" || at <= 0 {
		return fmt.Errorf("keep scene of %s/%s/%s: it names no rev or no time", camera.Store, camera.Edge, camera.Camera)
	}
	err := db.Write(ctx, SceneTopic, func(tx *metadata.Tx) error {
		p := scenePut{ctx, tx, SceneVersion{camera, rev, at, at, record}}
		before, err := p.neighbour(`first <= $4 ORDER BY first DESC`)
		if err != nil {
			return err
		}
		after, err := p.neighbour(`first > $4 ORDER BY first`)
		if err != nil {
			return err
		}
		return p.between(before, after)
	})
	if err != nil {
		return fmt.Errorf("keep scene of %s/%s/%s: %w", camera.Store, camera.Edge, camera.Camera, err)
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

// SceneRecord returns the record of a version, which a snapshot holds of the
// newest alone.
func SceneRecord(ctx context.Context, db *metadata.DB, v SceneVersion) (record []byte, err error) {
	err = db.Read(ctx, func(tx *metadata.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT record FROM scene WHERE store = $1 AND edge = $2 AND camera = $3 AND first = $4`,
			v.Store, v.Edge, v.Camera, int64(v.First)).Scan(&record)
	})
	if err != nil {
		return nil, fmt.Errorf("read scene %s of %s/%s/%s: %w", v.Rev, v.Store, v.Edge, v.Camera, err)
	}
	return record, nil
}

// readScenes reads the cameras that have changed since an older snapshot.
func (s *Snapshot) readScenes(ctx context.Context, tx *metadata.Tx, old *Snapshot) (err error) {
	var since int64
	scenes := map[Source][]SceneVersion{}
	if old != nil {
		since, scenes = old.SceneVersion, old.scenes
	}
	if s.SceneVersion, err = tx.Version(ctx, SceneTopic); err != nil || s.SceneVersion == since {
		s.scenes = scenes
		return err
	}
	// All versions of a camera of which one has changed; the record of its newest.
	fresh := map[Source][]SceneVersion{}
	where := `WHERE EXISTS (SELECT 1 FROM scene c WHERE c.store = s.store AND c.edge = s.edge AND c.camera = s.camera AND c.change > $1)`
	if since == 0 {
		where = `WHERE $1 = 0` // all of them
	}
	err = each(ctx, tx, `SELECT s.store, s.edge, s.camera, s.rev, s.first, s.last, CASE WHEN NOT EXISTS (SELECT 1 FROM scene n
			WHERE n.store = s.store AND n.edge = s.edge AND n.camera = s.camera AND n.first > s.first) THEN s.record END
		FROM scene s `+where+` ORDER BY s.store, s.edge, s.camera, s.first`, func(rows *sql.Rows) error {
		var v SceneVersion
		if err := rows.Scan(&v.Store, &v.Edge, &v.Camera, &v.Rev, &v.First, &v.Last, &v.Record); err != nil {
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
	return nil
}
