package upload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
	"floorwatch/internal/durable"
)

// waitError says that one piece has to wait while others go on.
type waitError struct {
	error
	after time.Duration
	tell  bool // an operator must know
}

func (w waitError) Unwrap() error { return w.error }

const (
	sealDelay   = 5 * time.Second // the seal is still on its way
	sealLate    = 10 * time.Minute
	busyDelay   = 5 * time.Second
	damageDelay = 24 * time.Hour
	chunkTime   = 2 * time.Minute
	minChunk    = 64 << 10
	calmParts   = 12
	maxAnswer   = 4 << 10
	bluntFor    = time.Hour
)

// upload sends one file from where the vault has it, and keeps the receipt.
func (p *uploading) upload(ctx context.Context, f footage.File) error {
	file, err := os.Open(filepath.Join(p.Dir, f.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // retention came between
	}
	if err != nil {
		return waitError{fmt.Errorf("read footage: %w", err), damageDelay, true}
	}
	defer func() { _ = file.Close() }()
	a, err := p.ask(ctx, http.MethodHead, f.SHA256, -1, nil)
	if errors.Is(err, errUnknown) && p.Clock.Time().Sub(f.To) > sealLate {
		return waitError{fmt.Errorf("%w long after it was recorded: are its records refused, or is %s no vault?", err, p.base), sealLate, true}
	}
	if err != nil {
		return err
	}
	chunk := make([]byte, floorwatch.MaxUploadChunk)
	for at := a.offset; ; at = a.offset {
		n := min(p.chunkSize(), f.Bytes-at)
		if n < 0 {
			return waitError{fmt.Errorf("the vault says it has %d of %d bytes", at, f.Bytes), damageDelay, true}
		}
		if _, err := file.ReadAt(chunk[:n], at); err != nil {
			return waitError{fmt.Errorf("read footage: %w", err), damageDelay, true}
		}
		if err := p.pace(ctx, n); err != nil {
			return err
		}
		if a, err = p.ask(ctx, http.MethodPatch, f.SHA256, at, chunk[:n]); err != nil {
			p.calm = 0
			return p.explain(f, err)
		}
		p.calm += n
		p.spend(n)
		if a.receipt != nil {
			if err := p.sendLines(ctx, f); err != nil {
				return err // the receipt is asked for again, and the lines with it
			}
			return p.keep(f, a.receipt)
		}
		if a.offset <= at {
			return fmt.Errorf("upload %s: the vault stays at %d bytes", f.Path, a.offset)
		}
	}
}

// sendLines sends the camera lines of a piece that the vault has. Its error is one
// of the line, or of a vault that asks for patience; lines that the vault refuses
// are left out, as the footage must not wait for them.
func (p *uploading) sendLines(ctx context.Context, f footage.File) error {
	if p.Lines == nil || time.Now().Before(p.blunt) {
		return nil
	}
	lines, err := p.Lines(ctx, f.Camera, f.From, f.To)
	if err == nil && len(lines) == 0 {
		return nil
	}
	var body []byte
	if err == nil {
		body, err = floorwatch.PackFrames(lines, floorwatch.MaxUploadChunk)
	}
	if err == nil {
		if err := p.pace(ctx, int64(len(body))); err != nil {
			return err
		}
		if _, err = p.ask(ctx, http.MethodPut, f.SHA256+floorwatch.UploadLines, -1, body); err == nil {
			p.spend(int64(len(body)))
			return nil
		}
	}
	var said vaultError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errUnknown):
		p.blunt = time.Now().Add(bluntFor) // an earlier version
		return nil
	case errors.As(err, &said) && (said.status == http.StatusConflict || said.status >= 500 && said.status != http.StatusNotImplemented):
		return err
	case said.status == 0 && body != nil: // the line
		return err
	}
	p.log.Warn("the people's boxes of a piece of footage stay on this box", "camera", f.Camera, "file", f.Path, "error", err)
	return nil
}

// vaultError is an answer of the vault that is no success.
type vaultError struct {
	status int
	error
}

func (v vaultError) Unwrap() error { return v.error }

// errUnknown says that the vault does not know the piece's seal.
var errUnknown = errors.New("the vault does not know the seal")

// errCorrupt says that the vault found other bytes than the seal names.
var errCorrupt = errors.New("the vault received other bytes than were sealed")

// explain finds out whose fault corrupt bytes are.
func (p *uploading) explain(f footage.File, err error) error {
	if !errors.Is(err, errCorrupt) {
		return err
	}
	file, openErr := os.Open(filepath.Join(p.Dir, f.Path))
	if openErr != nil {
		return waitError{errors.Join(err, openErr), damageDelay, true}
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	if _, copyErr := io.Copy(sum, file); copyErr != nil || hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
		return waitError{errors.Join(errors.New("the file on this box is not what was sealed; floorwatch verify tells what changed, check the disk"), copyErr), damageDelay, true}
	}
	return waitError{err, time.Minute, true}
}

// answer is what the vault says.
type answer struct {
	offset  int64
	receipt []byte
}

// ask sends one signed request about what lies under name in the vault.
func (p *uploading) ask(ctx context.Context, method, name string, offset int64, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, chunkTime)
	defer cancel()
	c := floorwatch.UploadClaim{
		Method: method, Path: floorwatch.UploadPath + p.Store + "/" + p.Edge + "/" + name, Offset: offset,
		At: p.Clock.Time().Add(p.skew), Body: body,
	}
	r, err := http.NewRequestWithContext(ctx, method, p.base+c.Path, bytes.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("upload footage: %w", err)
	}
	if offset >= 0 {
		r.Header.Set(floorwatch.HeaderOffset, strconv.FormatInt(offset, 10))
	}
	r.Header.Set(floorwatch.HeaderTime, strconv.FormatInt(int64(c.At), 10))
	r.Header.Set(floorwatch.HeaderSignature, c.Sign(p.Key))
	p.Pulse.Rest() // ctx bounds it
	defer p.Pulse.Beat()
	res, err := p.client.Do(r)
	if err != nil {
		return answer{}, fmt.Errorf("upload footage: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("upload footage: read answer: %w", err)
	}
	return p.read(res, raw)
}

// read sorts an answer: what it says, whether only this piece has to wait, or
// whether all do.
func (p *uploading) read(res *http.Response, raw []byte) (answer, error) {
	var said struct{ Error, Hint string }
	_ = json.Unmarshal(raw, &said) // a proxy may answer something else
	if said.Error == "" {
		said.Error = res.Status
	}
	err := vaultError{res.StatusCode, fmt.Errorf("the vault answers %d: %.300s; %.300s", res.StatusCode, said.Error, said.Hint)}
	offset, parseErr := strconv.ParseInt(res.Header.Get(floorwatch.HeaderOffset), 10, 64)
	if parseErr != nil || offset < 0 {
		offset = -1
	}
	switch res.StatusCode {
	case http.StatusOK:
		if offset < 0 {
			return answer{}, fmt.Errorf("upload footage: %s is no vault: its answer has no %s", p.base, floorwatch.HeaderOffset)
		}
		a := answer{offset: offset}
		if res.Header.Get(floorwatch.HeaderComplete) != "" && res.Request.Method != http.MethodHead {
			a.receipt = raw
		}
		return a, nil
	case http.StatusConflict:
		if offset >= 0 {
			return answer{offset: offset}, waitError{err, 0, false} // goes on there
		}
		return answer{}, waitError{err, busyDelay, false}
	case http.StatusNotFound:
		return answer{}, waitError{errors.Join(errUnknown, err), sealDelay, false}
	case http.StatusUnprocessableEntity:
		return answer{}, errors.Join(errCorrupt, err)
	case http.StatusRequestEntityTooLarge:
		return answer{}, waitError{err, damageDelay, true}
	case http.StatusUnauthorized:
		if at, dateErr := http.ParseTime(res.Header.Get("Date")); dateErr == nil {
			p.skew = floorwatch.TimeOf(at).Sub(p.Clock.Time()).Round(time.Second) // a clock that is off must not stop the backup
		}
	}
	return answer{}, err
}

// keep stores the receipt beside the seal, after which the box may free its copy.
func (p *uploading) keep(f footage.File, raw []byte) error {
	r, err := floorwatch.ParseReceipt(raw)
	if err == nil && (r.SHA256 != f.SHA256 || r.Bytes != f.Bytes || r.Store != p.Store || r.Edge != p.Edge) {
		err = errors.New("it is for another file")
	}
	if err != nil {
		return fmt.Errorf("upload footage: the vault's receipt is not believed: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(p.Dir, f.Receipt()), raw, 0o600); err != nil {
		return err
	}
	p.count(func(s *Stats) {
		s.Uploaded++
		s.Wanted, s.WantedBytes = max(0, s.Wanted-1), max(0, s.WantedBytes-f.Bytes)
		s.LastReceipt = p.Clock.Time()
	})
	return nil
}

// chunkSize is how much the next request carries. What a cut leaves of a request
// is sent again, so on a line that is cut often a request is a small part of
// what has gone through since the last fault.
func (p *uploading) chunkSize() int64 {
	size := int64(floorwatch.MaxUploadChunk)
	if p.BytesPerSec > 0 {
		size = p.BytesPerSec
	}
	return min(max(min(size, p.calm/calmParts), minChunk), floorwatch.MaxUploadChunk)
}

// pace waits until n more bytes fit the budget per second.
func (p *uploading) pace(ctx context.Context, n int64) error {
	if p.BytesPerSec == 0 {
		return ctx.Err()
	}
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	wait := p.free.Sub(now)
	p.free = p.free.Add(time.Duration(float64(n) / float64(p.BytesPerSec) * float64(time.Second)))
	p.Pulse.Rest()
	defer p.Pulse.Beat()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const budgetFile = "uploaded.json"

// dayBudget is what was sent on one local day.
type dayBudget struct {
	Day   string `json:"day"`
	Bytes int64  `json:"bytes"`
	path  string
}

// readBudget reads what is known; nothing known is nothing spent.
func readBudget(path string) dayBudget {
	b := dayBudget{}
	if raw, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(raw, &b)
	}
	b.path = path
	return b
}

func (p *uploading) today() string {
	zone := p.Night.Zone
	if zone == nil {
		zone = time.UTC
	}
	return p.Clock.Time().Time().In(zone).Format(time.DateOnly)
}

// within tells whether a piece of n bytes fits what is left of the day's budget.
// One piece a day always does, or a large one would never go.
func (p *uploading) within(n int64) bool {
	if day := p.today(); day != p.spent.Day {
		p.spent.Day, p.spent.Bytes = day, 0
	}
	return p.BytesPerDay == 0 || p.spent.Bytes == 0 || p.spent.Bytes+n <= p.BytesPerDay
}

// spend books n bytes. A crash may forget the last of them, the next piece of
// footage may not.
func (p *uploading) spend(n int64) {
	p.spent.Bytes += n
	p.count(func(s *Stats) { s.Bytes += n; s.Today = p.spent.Bytes })
	if p.BytesPerDay == 0 {
		return
	}
	raw, err := json.Marshal(p.spent)
	if err == nil {
		err = durable.WriteFile(p.spent.path, raw, 0o600)
	}
	if err != nil {
		p.log.Warn("the day's upload budget is not written down", "error", err)
	}
}
