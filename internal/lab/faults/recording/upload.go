package recording

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/cloud/vault"
	"floorwatch/edge/upload"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/layout"
)

// receiver is the vault as a process that is killed: role receiver FOLDER FOOTAGE
// ADDRESS. It knows every seal below FOOTAGE.
func receiver(args []string) error {
	ctx := context.Background()
	index, err := vault.OpenIndex(filepath.Join(args[0], "index.db"))
	if err != nil {
		return err
	}
	all, err := footageOf(args[1])
	if err != nil {
		return err
	}
	for _, k := range all {
		s := floorwatch.Segment{
			Header: floorwatch.Header{Kind: floorwatch.KindSegment, Camera: k.Camera, At: k.At}, File: k.File, Chain: k.Chain, Seq: k.Seq,
			Start: k.Start, End: k.End, Bytes: k.Length, SHA256: k.SHA256, Seal: k.raw,
		}
		if err := index.PutSegment(ctx, recStore, recEdge, s); err != nil {
			return err
		}
	}
	objects, err := vault.OpenFolder(filepath.Join(args[0], "vault"))
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", args[2])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return http.Serve(ln, &vault.Uploads{
		Index: index, Objects: objects, Dir: filepath.Join(args[0], "unfinished"),
		Key: func(string, string) (ed25519.PublicKey, bool) { return recKey().Public().(ed25519.PublicKey), true },
	})
}

// fabricate fills dir with sealed files of random bytes, as a recorder would have
// left them, and returns their hashes.
func fabricate(dir string, n, bytes int, rng *rand.Rand) ([]string, error) {
	start := floorwatch.TimeOf(time.Now().Add(-time.Hour))
	day := filepath.Join(dir, recCamera, start.Time().Format(time.DateOnly))
	if err := os.MkdirAll(day, 0o700); err != nil {
		return nil, err
	}
	var hashes []string
	prev := ""
	for i := range n {
		body := make([]byte, bytes)
		for j := 0; j+8 <= len(body); j += 8 {
			v := rng.Uint64()
			for k := range 8 {
				body[j+k] = byte(v >> (8 * k))
			}
		}
		sum := func(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }
		from := start.Add(time.Duration(i) * time.Second)
		s := floorwatch.Seal{
			Kind: floorwatch.SealSegment, Store: recStore, Edge: recEdge, Camera: recCamera, Chain: "0123456789abcdef", Seq: uint64(i + 1), Prev: prev,
			At: from + 1000, Start: from, End: from + 1000, Boot: "00000000000000000000000000000000", File: fmt.Sprintf("%08d.mp4", i+1),
			Codec: "unknown", Length: int64(bytes), SHA256: sum(body),
			Fragments: []floorwatch.Fragment{{Length: 100, SHA256: sum(body[:100])}, {Length: int64(bytes - 100), Duration: 1000, SHA256: sum(body[100:])}},
		}
		raw, err := floorwatch.SignSeal(s, recKey())
		if err != nil {
			return nil, err
		}
		prev = floorwatch.SealHash(raw)
		hashes = append(hashes, s.SHA256)
		err = errors.Join(os.WriteFile(filepath.Join(day, s.File), body, 0o600), os.WriteFile(filepath.Join(day, fmt.Sprintf("%08d.seal", i+1)), raw, 0o600))
		if err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

// cutter is a line that breaks when so many bytes were sent over it, whatever
// connection they came by, and changes a byte now and then.
type cutter struct {
	ln     net.Listener
	target string

	mu    sync.Mutex
	cuts  []int64 // bytes sent, from the start, at which it breaks; in order
	flips []int64 // … at which it changes one
	made  int     // of the cuts
	wrong int     // bytes changed
	sent  int64
}

// startCutter starts one that breaks so many times while the first span bytes are
// sent.
func startCutter(target string, span int64, cuts int, rng *rand.Rand) (*cutter, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &cutter{ln: ln, target: target, cuts: moments(rng, span, cuts), flips: moments(rng, span, cuts/10+1)}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go c.carry(conn)
		}
	}()
	return c, nil
}

// moments draws n places within a span, in order.
func moments(rng *rand.Rand, span int64, n int) []int64 {
	all := make([]int64, n)
	for i := range all {
		all[i] = rng.Int64N(span)
	}
	slices.Sort(all)
	return all
}

// pass books a piece that is to be sent: it may lose its end to a cut, and a byte
// of it may change.
func (c *cutter) pass(b []byte) (keep []byte, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.cuts) > 0 && c.sent+int64(len(b)) > c.cuts[0] {
		b, cut = b[:max(0, c.cuts[0]-c.sent)], true
		c.cuts, c.made = c.cuts[1:], c.made+1
	}
	for len(c.flips) > 0 && c.sent+int64(len(b)) > c.flips[0] {
		if at := c.flips[0] - c.sent; at >= 0 && at < int64(len(b)) {
			b[at] ^= byte(1 + rand.N(255))
			c.wrong++
		}
		c.flips = c.flips[1:]
	}
	c.sent += int64(len(b))
	return b, cut
}

// total returns the bytes sent so far.
func (c *cutter) total() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}

func (c *cutter) carry(from net.Conn) {
	defer func() { _ = from.Close() }()
	to, err := net.Dial("tcp", c.target)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(from, to); _ = from.Close() })
	defer back.Wait()
	defer func() { _ = to.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		keep, cut := c.pass(buf[:n])
		if _, err := to.Write(keep); err != nil || cut {
			_ = from.(*net.TCPConn).SetLinger(0) // RST, as a dead line gives
			return
		}
	}
}

// uploadsCut sends footage over a line that is cut, to a vault that is killed and
// runs full.
func uploadsCut(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	dir, end, err := b.Scratch()
	if err != nil {
		return bench.Finding{}, err
	}
	defer end()
	size, cuts := 16<<20, b.Rounds(500, 15)
	n := b.Rounds(60, 4)
	shelf := filepath.Join(dir, "footage")
	hashes, err := fabricate(shelf, n, size, b.Rand)
	if err != nil {
		return bench.Finding{}, err
	}
	d, err := bench.NewDisk(ctx, filepath.Join(dir, "vault.img"), int64(n+8)*int64(size)+(64<<20))
	if err != nil {
		return bench.Finding{}, err
	}
	if err := d.Mount(ctx); err != nil {
		return bench.Finding{}, err
	}
	defer d.Unmount()
	addr, err := kit.FreeAddress()
	if err != nil {
		return bench.Finding{}, err
	}
	line, err := startCutter(addr, int64(n)*int64(size)*8/10, cuts, b.Rand)
	if err != nil {
		return bench.Finding{}, err
	}
	defer func() { _ = line.ln.Close() }()
	claims, err := upload.OpenClaims(filepath.Join(dir, "claims.json"))
	if err != nil {
		return bench.Finding{}, err
	}
	up := &upload.Uploader{
		Dir: shelf, Store: recStore, Edge: recEdge, URL: "http://" + line.ln.Addr().String(), Key: recKey(), Policy: upload.All,
		Claims: claims, Every: 100 * time.Millisecond, BackOff: 50 * time.Millisecond,
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- up.Run(running) }()
	kills, full, err := troubleVault(ctx, b, d, shelf, addr, up, line, len(hashes))
	stop()
	if err := errors.Join(err, <-done); err != nil {
		return bench.Finding{}, err
	}
	wrong := 0
	for i, h := range hashes {
		got, err := os.ReadFile(filepath.Join(d.At, "vault", layout.ObjectPath(h)))
		sent, readErr := os.ReadFile(filepath.Join(shelf, recCamera, filepath.Base(firstDay(shelf)), fmt.Sprintf("%08d.mp4", i+1)))
		if err != nil || readErr != nil || !bytes.Equal(got, sent) {
			wrong++
		}
	}
	again := float64(line.total())/float64(n*size) - 1
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%d of %d files in the vault are wrong or missing after %d cuts at a random byte, %d changed bytes, %d kill -9 of the vault, its disk full %d times; %.1f %% sent again, headers included",
			wrong, n, line.made, line.wrong, kills, full, 100*again),
	},
		bench.That(wrong == 0, "every file in the vault as it was sent"),
		bench.That(again <= 0.10, "at most 10 %% sent again"),
		bench.That(line.made == cuts, "%d cuts", cuts),
	), nil
}

func firstDay(shelf string) string {
	days, _ := filepath.Glob(filepath.Join(shelf, recCamera, "2*"))
	if len(days) == 0 {
		return ""
	}
	return days[0]
}

// troubleVault runs the vault until it has everything, kills it again and again,
// and fills its disk for a while.
func troubleVault(ctx context.Context, b *bench.Bench, d *bench.Disk, shelf, addr string, up *upload.Uploader, line *cutter, n int) (kills, full int, err error) {
	ballastAt := filepath.Join(d.At, "ballast")
	for ctx.Err() == nil {
		p, err := kit.Self(ctx, "role", "receiver", d.At, shelf, addr)
		if err != nil {
			return kills, full, err
		}
		if word, ok := p.Line(); !ok || word != "ready" {
			p.End()
			return kills, full, fmt.Errorf("the vault ended: %s", p.Tail())
		}
		if kills%4 == 2 && full < b.Rounds(5, 1) {
			full++
			if err := errors.Join(bench.Ballast(ballastAt, false), kit.Pause(ctx, time.Second), os.RemoveAll(ballastAt)); err != nil {
				p.End()
				return kills, full, err
			}
		}
		done := func() bool { return int(up.Stats().Uploaded) >= n }
		err = live(ctx, b, line, done)
		killed := p.Kill()
		p.End()
		if err = errors.Join(err, killed); err != nil || done() {
			return kills, full, err
		}
		kills++
	}
	return kills, full, ctx.Err()
}

// live lets the vault live for two seconds or until all is done; in the short
// form, where seconds say little, until so much more was sent.
func live(ctx context.Context, b *bench.Bench, line *cutter, done func() bool) error {
	if b.Short {
		enough := line.total() + 12<<20
		return kit.Until(ctx, "footage to be sent", kit.Patience, func() (bool, error) { return done() || line.total() >= enough, nil })
	}
	for end := time.Now().Add(2 * time.Second); !done() && time.Now().Before(end); {
		if err := kit.Pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
