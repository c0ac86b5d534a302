// Package standard keeps what the cloud tells a hall: how long people may wait,
// and when the hall is open, now and as far as it is planned. It is kept on disk, so
// that it holds on a day without an uplink too.
//
//	command ─> Keeper.Take ─ signature, hall, serial ─> file ─> Keeper.At
//
// What stays compatible: the file, a floorwatch.Signed as JSON.
package standard

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"floorwatch"
	"floorwatch/internal/durable"
)

// Keeper keeps a hall's standard. Make it with Open. It is safe for concurrent use.
type Keeper struct {
	path, store string
	key         ed25519.PublicKey // of the cloud; nil: it is not known
	log         *slog.Logger

	mu   sync.Mutex
	kept floorwatch.HallStandard
	hash string // "": none is kept
}

// maxFile bounds what is read.
const maxFile = 4 * floorwatch.MaxStandardBytes

// noKey says what is missing.
const noKey = "the box does not know the cloud's key; set cloud_key to what floorwatch-cloud key prints, and restart the box"

// Open reads what was kept at path. What is damaged, or is not signed with key for
// this hall, counts as none, and is told: the cloud tells the hall again.
func Open(path, store string, key ed25519.PublicKey, log *slog.Logger) *Keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{path: path, store: store, key: key, log: log}
	signed, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k
	}
	if err == nil {
		k.kept, err = k.read(signed)
	}
	if err != nil {
		log.Warn("the standard that was kept does not count; the cloud tells it again", "file", path, "reason", err)
		return k
	}
	k.hash = signed.Hash()
	return k
}

func readFile(path string) (s floorwatch.Signed, err error) {
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// read checks whose it is and for whom.
func (k *Keeper) read(s floorwatch.Signed) (h floorwatch.HallStandard, err error) {
	if len(k.key) == 0 {
		return h, errors.New(noKey)
	}
	if h, err = floorwatch.ParseHallStandard(s, k.key); err != nil {
		if errors.Is(err, floorwatch.ErrStandardSignature) {
			err = fmt.Errorf("%w; if the cloud has a new key, set cloud_key to what floorwatch-cloud key prints", err)
		}
		return h, err
	}
	if h.Store != k.store {
		return h, fmt.Errorf("it is of hall %s, this box stands in %s", h.Store, k.store)
	}
	return h, nil
}

// Take keeps a standard, durably, and answers the command that brought it. One that
// is older than what is kept is refused: it was sent again by somebody else.
func (k *Keeper) Take(s floorwatch.Signed) floorwatch.Reply {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, err := k.read(s)
	kept := int64(0) // of what is newer
	switch {
	case err != nil:
	case k.hash == s.Hash():
		return floorwatch.Reply{State: floorwatch.ReplyDone}
	case k.hash != "" && h.Serial <= k.kept.Serial:
		kept, err = k.kept.Serial, fmt.Errorf("its serial %d is not above %d, which the box keeps", h.Serial, k.kept.Serial)
	}
	if err != nil {
		k.log.Warn("a standard is refused; what the box keeps stays", "reason", err)
		return floorwatch.Reply{State: floorwatch.ReplyRefused, Reason: err.Error(), Serial: kept}
	}
	b, err := json.Marshal(s)
	if err == nil {
		err = durable.WriteFile(k.path, b, 0o600)
	}
	if err != nil {
		return floorwatch.Reply{State: floorwatch.ReplyFailed, Reason: err.Error()}
	}
	k.kept, k.hash = h, s.Hash()
	k.log.Info("a standard is kept", "serial", h.Serial, "spans", len(h.Spans))
	return floorwatch.Reply{State: floorwatch.ReplyDone}
}

// Hash names what is kept; "": nothing is.
func (k *Keeper) Hash() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.hash
}

// At returns what holds in the hall at a moment; false: the box does not know.
func (k *Keeper) At(t floorwatch.Time) (floorwatch.HallSpan, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.hash == "" {
		return floorwatch.HallSpan{}, false
	}
	return k.kept.At(t), true
}
