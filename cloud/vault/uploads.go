package vault

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"floorwatch"
	"floorwatch/internal/durable"
)

// Uploads takes footage from boxes over HTTP, at floorwatch.UploadPath
// (docs/vault.md). Whatever arrives is idempotent: a request that comes twice,
// late or torn changes nothing. Fields are set before use and not changed after.
type Uploads struct {
	Index   *Index
	Objects Objects
	Lines   Objects // camera lines over footage; nil: none are taken
	Dir     string  // of unfinished uploads; an empty one costs nothing but time
	// Key returns the public key of a registered box.
	Key func(store, edge string) (ed25519.PublicKey, bool)
	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil discards

	mu    sync.Mutex
	busy  map[string]bool // uploads with a request under way
	fig   UploadStats
	slots chan struct{}
}

// UploadStats counts since the start.
type UploadStats struct {
	Received int64 // objects, checked and stored
	Bytes    int64 // of their requests
	Refused  int64 // requests that were not let in: unsigned, unknown, malformed
	Corrupt  int64 // objects whose bytes were not those of their hash
	Failed   int64 // requests that we could not serve
}

// Bounds of what boxes may cost.
const (
	maxUnfinished      = 8       // uploads of one box; the one longest untouched goes
	maxUnfinishedBytes = 4 << 30 // the same, by the lengths that their files have so far
	maxUploading       = 16      // requests at a time, 1 MiB each
	chunkTime          = 2 * time.Minute
)

// answer is what a request gets: a status, and a reason unless all is well.
type answer struct {
	status  int
	reason  string
	hint    string
	offset  int64 // -1: not told
	receipt *floorwatch.Receipt
}

func no(status int, reason, hint string) answer {
	return answer{status: status, reason: reason, hint: hint, offset: -1}
}

func at(offset int64) answer { return answer{status: http.StatusOK, offset: offset} }

// Stats returns the figures of this moment.
func (u *Uploads) Stats() UploadStats {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.fig
}

// ServeHTTP implements http.Handler.
func (u *Uploads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	release, ok := u.slot(r.Context())
	if !ok {
		u.write(w, r, no(http.StatusServiceUnavailable, "too many uploads at a time", "come back in a few seconds"))
		return
	}
	defer release()
	a, err := u.serve(w, r)
	if err != nil {
		u.count(func(f *UploadStats) { f.Failed++ })
		if r.Context().Err() == nil {
			u.log().Error("an upload could not be stored; the box will repeat it", "path", r.URL.Path, "error", err)
		}
		a = no(http.StatusInternalServerError, "the vault could not store it", "its log says why; repeat later")
		if errors.Is(err, syscall.ENOSPC) {
			a = no(http.StatusInsufficientStorage, "the vault's disk is full", "repeat later")
		}
	}
	u.write(w, r, a)
}

func (u *Uploads) slot(ctx context.Context) (release func(), ok bool) {
	u.mu.Lock()
	if u.slots == nil {
		u.slots = make(chan struct{}, maxUploading)
	}
	slots := u.slots
	u.mu.Unlock()
	wait := time.NewTimer(5 * time.Second)
	defer wait.Stop()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, true
	case <-wait.C:
	case <-ctx.Done():
	}
	return nil, false
}

func (u *Uploads) log() *slog.Logger {
	if u.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return u.Log
}

func (u *Uploads) now() floorwatch.Time {
	if u.Now == nil {
		return floorwatch.TimeOf(time.Now())
	}
	return floorwatch.TimeOf(u.Now())
}

func (u *Uploads) count(f func(*UploadStats)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f(&u.fig)
}

func (u *Uploads) write(w http.ResponseWriter, r *http.Request, a answer) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	if a.offset >= 0 {
		h.Set(floorwatch.HeaderOffset, strconv.FormatInt(a.offset, 10))
	}
	var body any = map[string]string{"error": a.reason, "hint": a.hint}
	switch {
	case a.receipt != nil:
		h.Set(floorwatch.HeaderComplete, "1")
		body = a.receipt
	case a.status == http.StatusOK:
		body = struct{}{}
	}
	if a.status >= 400 && a.status < 500 && a.status != http.StatusConflict {
		u.count(func(f *UploadStats) { f.Refused++ })
		u.log().Warn("upload refused", "path", fmt.Sprintf("%.200q", r.URL.Path), "remote", r.RemoteAddr, "reason", a.reason)
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(body) // a box that is gone asks again
	}
}

// target is what a request is about: a piece of footage, or the camera lines over it.
type target struct {
	store, edge, hash string
	lines             bool
}

func (t target) path() string { return path.Join(t.store, t.edge, t.hash) }

func (t target) methods() []string {
	if t.lines {
		return []string{http.MethodPut}
	}
	return []string{http.MethodHead, http.MethodPatch}
}

func parseTarget(r *http.Request) (target, bool) {
	rest, ok := strings.CutPrefix(r.URL.Path, floorwatch.UploadPath)
	rest, lines := strings.CutSuffix(rest, floorwatch.UploadLines)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 || r.URL.RawPath != "" || r.URL.RawQuery != "" {
		return target{}, false
	}
	t := target{parts[0], parts[1], parts[2], lines}
	return t, floorwatch.ValidName(t.store) && floorwatch.ValidName(t.edge) && floorwatch.ValidHash(t.hash)
}

// serve answers one request; an error is our own fault.
func (u *Uploads) serve(w http.ResponseWriter, r *http.Request) (answer, error) {
	t, ok := parseTarget(r)
	if !ok || t.lines && u.Lines == nil {
		return no(http.StatusNotFound, "no such path", "uploads go to "+floorwatch.UploadPath+"{store}/{edge}/{sha256}"), nil
	}
	if want := t.methods(); !slices.Contains(want, r.Method) {
		return no(http.StatusMethodNotAllowed, fmt.Sprintf("method %.20q is not %s", r.Method, strings.Join(want, " or ")), ""), nil
	}
	claim, bad := u.admit(w, r, t)
	if bad != nil {
		return *bad, nil
	}
	unlock, ok := u.lock(t)
	if !ok {
		return no(http.StatusConflict, "this upload is under way in another request", "come back in a few seconds"), nil
	}
	defer unlock()
	ctx := r.Context()
	seg, err := u.Index.sealed(ctx, t.store, t.edge, t.hash)
	if errors.Is(err, errNoSeal) {
		return no(http.StatusNotFound, err.Error(), "the segment record travels first; repeat when it has been acknowledged"), nil
	}
	if err != nil {
		return answer{}, err
	}
	if seg.Bytes > floorwatch.MaxObjectBytes {
		return no(http.StatusRequestEntityTooLarge, "the footage is larger than the vault takes", ""), nil
	}
	have, err := u.Index.object(ctx, t.hash)
	if err != nil {
		return answer{}, err
	}
	if t.lines {
		return u.keepLines(ctx, t, claim, r.Header.Get(floorwatch.HeaderSignature), seg)
	}
	if have.state == stateHere {
		return u.receipt(t, have), nil
	}
	root, err := u.open()
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = root.Close() }()
	if r.Method == http.MethodHead {
		n, err := sizeOf(root, t)
		return at(n), err
	}
	return u.append(ctx, root, t, claim, seg.Bytes)
}

// admit checks who sends, before and after reading the body.
func (u *Uploads) admit(w http.ResponseWriter, r *http.Request, t target) (floorwatch.UploadClaim, *answer) {
	refuse := func(status int, reason, hint string) (floorwatch.UploadClaim, *answer) {
		a := no(status, reason, hint)
		return floorwatch.UploadClaim{}, &a
	}
	key, ok := u.Key(t.store, t.edge)
	if !ok || len(key) != ed25519.PublicKeySize {
		return refuse(http.StatusForbidden, "this box is not registered with a key", "type the command that floorwatch-edge key prints, at the cloud")
	}
	signed, err := strconv.ParseInt(r.Header.Get(floorwatch.HeaderTime), 10, 64)
	if err != nil {
		return refuse(http.StatusUnauthorized, "the request is not signed", "")
	}
	c := floorwatch.UploadClaim{Method: r.Method, Path: r.URL.Path, Offset: -1, At: floorwatch.Time(signed)}
	if err := c.Fresh(u.now()); err != nil {
		return refuse(http.StatusUnauthorized, err.Error(), "set the box's clock")
	}
	if r.Method == http.MethodPatch {
		if c.Offset, err = strconv.ParseInt(r.Header.Get(floorwatch.HeaderOffset), 10, 64); err != nil || c.Offset < 0 {
			return refuse(http.StatusBadRequest, floorwatch.HeaderOffset+" is missing or no number", "")
		}
	}
	if r.Method != http.MethodHead {
		if r.ContentLength < 0 || r.ContentLength > floorwatch.MaxUploadChunk {
			return refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("a body has a length of at most %d bytes", floorwatch.MaxUploadChunk), "")
		}
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(chunkTime)) // a recorder in tests has none
		c.Body = make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, c.Body); err != nil {
			return refuse(http.StatusBadRequest, "the body was cut off", "repeat at the same offset")
		}
	}
	if err := c.Check(r.Header.Get(floorwatch.HeaderSignature), u.now(), key); err != nil {
		return refuse(http.StatusUnauthorized, err.Error(), "")
	}
	return c, nil
}

// lock takes t for one request.
func (u *Uploads) lock(t target) (unlock func(), ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.busy == nil {
		u.busy = map[string]bool{}
	}
	if u.busy[t.path()] {
		return nil, false
	}
	u.busy[t.path()] = true
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.busy, t.path())
	}, true
}

func (u *Uploads) open() (*os.Root, error) {
	if err := durable.MkdirAll(u.Dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(u.Dir)
	if err != nil {
		return nil, fmt.Errorf("open uploads: %w", err)
	}
	return root, nil
}

func sizeOf(root *os.Root, t target) (int64, error) {
	st, err := root.Lstat(t.path())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at upload: %w", err)
	}
	return st.Size(), nil
}

// Have returns how many bytes of an object have arrived so far.
func (u *Uploads) Have(store, edge, hash string) int64 {
	root, err := os.OpenRoot(u.Dir)
	if err != nil {
		return 0
	}
	defer func() { _ = root.Close() }()
	n, _ := sizeOf(root, target{store: store, edge: edge, hash: hash}) // only progress
	return n
}

// append adds a chunk at its offset, and finishes when that was the last one.
// The bytes are not synced: what a power cut garbles is found by the hash, and
// sent again.
func (u *Uploads) append(ctx context.Context, root *os.Root, t target, c floorwatch.UploadClaim, length int64) (answer, error) {
	size, err := sizeOf(root, t)
	if err != nil {
		return answer{}, err
	}
	if c.Offset != size {
		a := no(http.StatusConflict, fmt.Sprintf("the vault has %d bytes, the request begins at %d", size, c.Offset), "go on at "+floorwatch.HeaderOffset)
		a.offset = size
		return a, nil
	}
	if size+int64(len(c.Body)) > length {
		return no(http.StatusRequestEntityTooLarge, fmt.Sprintf("the seal says %d bytes, this would be %d", length, size+int64(len(c.Body))), ""), nil
	}
	if size == 0 {
		if err := u.makeRoom(root, t, length); err != nil {
			return answer{}, err
		}
	}
	if err := root.MkdirAll(path.Dir(t.path()), 0o700); err != nil {
		return answer{}, fmt.Errorf("start upload: %w", err)
	}
	f, err := root.OpenFile(t.path(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return answer{}, fmt.Errorf("open upload: %w", err)
	}
	defer func() { _ = f.Close() }()
	if _, err := io.Copy(io.NewOffsetWriter(f, size), bytes.NewReader(c.Body)); err != nil {
		return answer{}, errors.Join(fmt.Errorf("write upload: %w", err), f.Truncate(size))
	}
	size += int64(len(c.Body))
	u.count(func(s *UploadStats) { s.Bytes += int64(len(c.Body)) })
	if size < length {
		return at(size), nil
	}
	return u.finish(ctx, root, t, f, length)
}

// finish checks the whole, keeps it and says so. "It was stored but the reply
// was lost" ends with the next request, which finds it stored.
func (u *Uploads) finish(ctx context.Context, root *os.Root, t target, f *os.File, length int64) (answer, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return answer{}, fmt.Errorf("check upload: %w", err)
	}
	err := u.Objects.Keep(ctx, t.hash, length, f)
	if errors.Is(err, ErrCorrupt) {
		u.count(func(s *UploadStats) { s.Corrupt++ })
		a := no(http.StatusUnprocessableEntity, "the bytes are not those that were sealed", "check the file on the box; the upload begins anew")
		a.offset = 0
		return a, root.Remove(t.path())
	}
	if err != nil {
		return answer{}, err
	}
	o := object{length, u.now(), stateHere}
	if err := u.Index.putObject(ctx, t.hash, o); err != nil {
		return answer{}, err
	}
	u.count(func(s *UploadStats) { s.Received++ })
	return u.receipt(t, o), root.Remove(t.path())
}

func (u *Uploads) receipt(t target, o object) answer {
	a := at(o.bytes)
	a.receipt = &floorwatch.Receipt{V: floorwatch.Version, Store: t.store, Edge: t.edge, SHA256: t.hash, Bytes: o.bytes, At: o.received}
	return a
}

// makeRoom removes the box's uploads that were longest untouched until one more
// of length fits its budget. A box that begins many harms only itself.
func (u *Uploads) makeRoom(root *os.Root, t target, length int64) error {
	dir, err := root.Open(path.Dir(t.path()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list uploads: %w", err)
	}
	defer func() { _ = dir.Close() }()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("list uploads: %w", err)
	}
	var all []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.Name() != t.hash {
			all, length = append(all, info), length+info.Size()
		}
	}
	slices.SortFunc(all, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for len(all) > 0 && (len(all) >= maxUnfinished || length > maxUnfinishedBytes) {
		old := target{store: t.store, edge: t.edge, hash: all[0].Name()}
		if unlock, ok := u.lock(old); ok {
			err := root.Remove(old.path())
			unlock()
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("make room for an upload: %w", err)
			}
		}
		length -= all[0].Size()
		all = all[1:]
	}
	return nil
}
