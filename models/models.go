// Package models knows the detector models that floorwatch can use: where each
// comes from, under which licence, and by which SHA-256 it is told from any
// other file. The files themselves are no part of floorwatch.
//
// Find says where a verified file lies, Fetch brings one in. Nothing is ever
// handed to a detector whose hash differs from the manifest.
package models

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Manifest describes one model.
type Manifest struct {
	Name    string // the detector's name: -detector nanodet
	File    string // file name in the models folder
	URL     string // where its makers publish it
	SHA256  string // hex
	Size    int64  // bytes
	Licence string // SPDX
	Input   string // what the net takes, in words
}

// NanoDet is NanoDet-Plus-m-1.5x at 416 x 416 from the OpenCV Zoo, trained on
// COCO; class 0 is a person.
const NanoDet = "nanodet"

// All lists the models floorwatch knows.
func All() []Manifest {
	return []Manifest{{
		Name:    NanoDet,
		File:    "object_detection_nanodet_2022nov.onnx",
		URL:     "https://github.com/opencv/opencv_zoo/raw/main/models/object_detection_nanodet/object_detection_nanodet_2022nov.onnx",
		SHA256:  "4b82da9944b88577175ee23a459dce2e26e6e4be573def65b1055dc2d9720186",
		Size:    3800954,
		Licence: "Apache-2.0",
		Input:   "1x3x416x416 float, BGR, letterboxed, (x - mean)/std with mean 103.53 116.28 123.675, std 57.375 57.12 58.395",
	}}
}

// ErrUnknown marks a name that is not in the manifest.
var ErrUnknown = errors.New("unknown model")

// ErrHash marks a file that is not the one the manifest names.
var ErrHash = errors.New("hash differs from the manifest")

// Lookup returns the manifest of a model.
func Lookup(name string) (Manifest, error) {
	for _, m := range All() {
		if m.Name == name {
			return m, nil
		}
	}
	return Manifest{}, fmt.Errorf("%w %q", ErrUnknown, name)
}

// Find returns the path of the model's file in dir once its SHA-256 was
// checked. A missing file is fs.ErrNotExist, a wrong one ErrHash.
func Find(dir, name string) (string, error) {
	m, err := Lookup(name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, m.File)
	if err := m.check(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find model %s: %w; run floorwatch models -dir %s", name, err, dir)
		}
		return "", fmt.Errorf("find model %s: %w; delete the file and run floorwatch models -dir %s", name, err, dir)
	}
	return path, nil
}

// check compares a file with the manifest.
func (m Manifest) check(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, m.Size+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return m.compare(path, n, sum.Sum(nil))
}

// compare tells whether n bytes with this hash are the model.
func (m Manifest) compare(from string, n int64, sum []byte) error {
	if n > m.Size {
		return fmt.Errorf("%s: %w: longer than %d bytes", from, ErrHash, m.Size)
	}
	if got := hex.EncodeToString(sum); n != m.Size || got != m.SHA256 {
		return fmt.Errorf("%s: %w: %d bytes with SHA-256 %s, want %d with %s", from, ErrHash, n, got, m.Size, m.SHA256)
	}
	return nil
}

// Time limits of a download.
const (
	dialTimeout  = 10 * time.Second
	replyTimeout = 30 * time.Second
	totalTimeout = 10 * time.Minute
)

// Progress is told how many of total bytes have come.
type Progress func(done, total int64)

// Fetch makes sure that dir holds the model: it does nothing when the file is
// there and sound, copies it from the folder mirror when one is named, and
// downloads it from its makers otherwise. A file whose hash differs is refused
// and nothing of it is left; a wrong file that lay in dir before stays until a
// sound one replaces it. progress may be nil.
func Fetch(ctx context.Context, dir, mirror, name string, progress Progress) error {
	m, err := Lookup(name)
	if err != nil {
		return err
	}
	if m.check(filepath.Join(dir, m.File)) == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	var body io.ReadCloser
	if mirror != "" {
		body, err = os.Open(filepath.Join(mirror, m.File))
	} else {
		body, err = m.download(ctx)
	}
	if err != nil {
		return fmt.Errorf("fetch model %s: %w", name, err)
	}
	defer func() { _ = body.Close() }()
	if err := m.store(ctx, dir, body, progress); err != nil {
		return fmt.Errorf("fetch model %s: %w", name, err)
	}
	return nil
}

// download starts the transfer from the model's makers.
func (m Manifest) download(ctx context.Context) (io.ReadCloser, error) {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: replyTimeout,
		DisableKeepAlives:     true,
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.URL, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("download %s: %s", m.URL, resp.Status)
	}
	return resp.Body, nil
}

// store writes what body gives beside the target and renames it there when it
// is the model.
func (m Manifest) store(ctx context.Context, dir string, body io.Reader, progress Progress) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "."+m.File+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	sum := sha256.New()
	in := &counted{ctx: ctx, r: io.LimitReader(body, m.Size+1), total: m.Size, progress: progress}
	n, err := io.Copy(io.MultiWriter(tmp, sum), in)
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", n, m.Size, err)
	}
	if err := m.compare(m.File, n, sum.Sum(nil)); err != nil {
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), filepath.Join(dir, m.File))
}

// counted reads on until its context ends, and reports how far it is.
type counted struct {
	ctx         context.Context
	r           io.Reader
	done, total int64
	progress    Progress
}

func (c *counted) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.done += int64(n)
	if c.progress != nil && n > 0 {
		c.progress(c.done, c.total)
	}
	return n, err
}
