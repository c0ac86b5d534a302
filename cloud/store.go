package cloud

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/cloud/api"
	"floorwatch/cloud/ingest"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
)

// store is the footage of all boxes: what the vault has, what their seals say
// there is, and the way to bring the rest. It implements api.Footage and
// api.Archive.
type store struct {
	index     *vault.Index
	uploads   *vault.Uploads
	commander *ingest.Commander
	archive   *vault.Archive
	retention *vault.Retention
	clips     Clips // nil: the archive's
}

// incomingDir holds unfinished uploads, below the data folder.
const incomingDir = "incoming"

func (a *Aggregator) openVault(index *vault.Index) (*store, error) {
	objects, err := vault.OpenFolder(a.Data)
	if err != nil {
		return nil, err
	}
	s := &store{
		index: index, clips: a.Clips,
		uploads: &vault.Uploads{
			Index: index, Objects: objects, Dir: filepath.Join(a.Data, incomingDir), Key: a.Registry.Key, Log: a.Log,
		},
		commander: &ingest.Commander{Broker: a.Broker, Registry: a.Registry, Log: a.Log},
		retention: &vault.Retention{Index: index, Objects: objects, MaxAge: a.Footage, Log: a.Log},
	}
	s.archive = &vault.Archive{Index: index, Objects: objects, Boxes: s.commander, Uploads: s.uploads, Log: a.Log}
	return s, nil
}

// Segments implements api.Footage.
func (s *store) Segments(ctx context.Context, c site.Source, from, to floorwatch.Time) ([]floorwatch.Segment, error) {
	return s.index.Segments(ctx, c.Store, c.Edge, c.Camera, from, to)
}

// Clip implements api.Footage.
func (s *store) Clip(ctx context.Context, c site.Source, from, to floorwatch.Time) (api.Clip, error) {
	if s.clips != nil {
		return s.ownClip(ctx, c, from, to)
	}
	clip, err := s.archive.Clip(ctx, c.Store, c.Edge, c.Camera, from, to)
	return api.Clip(clip), translate(err)
}

// ownClip cuts a clip out of a box's folder on this machine. As with the vault,
// who watched stands in the log before a byte is served.
func (s *store) ownClip(ctx context.Context, c site.Source, from, to floorwatch.Time) (api.Clip, error) {
	clip, err := s.clips.Clip(ctx, c, from, to)
	if err != nil {
		return api.Clip{}, err
	}
	err = s.index.LogAccess(ctx, vault.Access{
		At: floorwatch.TimeOf(time.Now()), Who: "page", What: vault.DidWatch, Store: c.Store, Edge: c.Edge, Camera: c.Camera, From: clip.Start, To: clip.End,
	})
	return clip, err
}

// Fetch implements api.Archive.
func (s *store) Fetch(ctx context.Context, c site.Source, from, to floorwatch.Time, progress func(done, total int64)) error {
	return translate(s.archive.Fetch(ctx, c.Store, c.Edge, c.Camera, from, to, progress))
}

// Hold implements api.Archive.
func (s *store) Hold(ctx context.Context, c site.Source, from, to floorwatch.Time, why string) (string, error) {
	id, err := s.archive.Hold(ctx, c.Store, c.Edge, c.Camera, from, to, why)
	return id, translate(err)
}

// Release implements api.Archive.
func (s *store) Release(ctx context.Context, id string) error {
	return translate(s.archive.Release(ctx, id))
}

// Holds implements api.Archive.
func (s *store) Holds(ctx context.Context, c site.Source, from, to floorwatch.Time) ([]api.Hold, error) {
	all, err := s.index.Holds(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(h vault.Hold) bool {
		return h.Store != c.Store || h.Edge != c.Edge || h.Camera != c.Camera || h.From >= to || h.To <= from
	})
	holds := make([]api.Hold, 0, len(all))
	for _, h := range all {
		holds = append(holds, api.Hold{ID: h.ID, From: h.From, To: h.To, Why: h.Why, Who: h.Who, At: h.At, Told: h.Told})
	}
	return holds, nil
}

// translate tells the errors of the vault and of the way to the boxes in the
// words of the pages.
func translate(err error) error {
	for from, to := range map[error]error{
		vault.ErrNotHere: api.ErrElsewhere, vault.ErrNoFootage: api.ErrNotFound, vault.ErrNoHold: api.ErrNotFound,
		ingest.ErrAway: api.ErrAway, vault.ErrStalled: api.ErrStalled,
	} {
		if errors.Is(err, from) {
			return fmt.Errorf("%w: %w", to, err)
		}
	}
	return err
}
