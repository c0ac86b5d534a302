package upload

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/internal/durable"
)

// Kinds of claim, most wanted first.
const (
	claimSend  = "send"
	claimHold  = "hold"
	claimAlert = "alert"
)

// claim is somebody's interest in a span of one camera's footage.
type claim struct {
	ID     string          `json:"id"` // of a hold or command; "" of an alert
	Kind   string          `json:"kind"`
	Camera string          `json:"camera"`
	From   floorwatch.Time `json:"from"`
	To     floorwatch.Time `json:"to"`
	Made   floorwatch.Time `json:"made"`
}

func (c claim) covers(camera string, from, to floorwatch.Time) bool {
	return c.Camera == camera && c.From < to && c.To > from
}

// Claims is the durable list of what is held and what is asked for. It is a
// footage.Holds, and safe for concurrent use.
type Claims struct {
	path string

	mu   sync.Mutex
	list []claim
}

const (
	maxClaims     = 10_000
	maxClaimsFile = 4 << 20
	claimLife     = 7 * 24 * time.Hour // of all but holds
)

// OpenClaims reads the list at path. A damaged list is put aside; the Claims that
// is returned with such an error is empty and works: the cloud tells its holds
// again.
func OpenClaims(path string) (*Claims, error) {
	c := &Claims{path: path}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read holds: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxClaimsFile))
	if err != nil {
		return c, fmt.Errorf("read holds: %w", err)
	}
	if err := json.Unmarshal(b, &c.list); err != nil {
		c.list = nil
		return c, errors.Join(fmt.Errorf("read holds %s: %w; the cloud tells them again within a day", path, err), os.Rename(path, path+".damaged"))
	}
	return c, nil
}

// Held implements footage.Holds.
func (c *Claims) Held(camera string, from, to floorwatch.Time) bool {
	return c.any(claimHold, camera, from, to)
}

func (c *Claims) any(kind, camera string, from, to floorwatch.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.list, func(x claim) bool { return x.Kind == kind && x.covers(camera, from, to) })
}

// add stores x durably. The same twice is success; another one with the same id
// is refused. An alert that touches an earlier one widens it.
func (c *Claims) add(x claim) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := slices.Clone(c.list)
	for i, y := range list {
		switch {
		case x.Kind == claimAlert && y.Kind == claimAlert && x.Camera == y.Camera && x.From <= y.To && x.To >= y.From:
			list[i].From, list[i].To = min(x.From, y.From), max(x.To, y.To)
			return c.write(list)
		case x.ID == "" || x.ID != y.ID || x.Kind != y.Kind:
		case x.Camera == y.Camera && x.From == y.From && x.To == y.To:
			return nil
		default:
			return fmt.Errorf("%s %s stands for another span already", x.Kind, x.ID)
		}
	}
	if len(list) >= maxClaims {
		return fmt.Errorf("%d holds and requests already; release some", maxClaims)
	}
	return c.write(append(list, x))
}

// remove drops, durably, what no says goes.
func (c *Claims) remove(no func(claim) bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.ContainsFunc(c.list, no) {
		return nil
	}
	return c.write(slices.DeleteFunc(slices.Clone(c.list), no))
}

func (c *Claims) write(list []claim) error {
	b, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("write holds: %w", err)
	}
	if err := durable.WriteFile(c.path, b, 0o600); err != nil {
		return err
	}
	c.list = list
	return nil
}
