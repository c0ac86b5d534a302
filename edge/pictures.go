package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"floorwatch"
)

const (
	maxStill = 8 << 20 // bytes of the file
	// oldStill is the age at which a camera counts as giving no pictures; a worker
	// writes a still every 5 s.
	oldStill = 30 * time.Second
)

// picture shows what a camera sees.
func (r *run) picture(ctx context.Context, c floorwatch.Command) floorwatch.Reply {
	reply := floorwatch.Reply{V: floorwatch.Version, ID: c.ID, State: floorwatch.ReplyDone}
	if !slices.ContainsFunc(r.cfg.Cameras, func(x Camera) bool { return x.Name == c.Camera }) {
		reply.State, reply.Reason = floorwatch.ReplyRefused, fmt.Sprintf("this box has no camera %s", c.Camera)
		return reply
	}
	var err error
	if c.Do == floorwatch.DoStill {
		err = r.still(c, &reply)
	} else {
		err = r.lines(ctx, c, &reply)
	}
	if err != nil {
		reply.State, reply.Reason, reply.Data = floorwatch.ReplyFailed, fmt.Sprintf("%.1000s", err), nil
		return reply
	}
	reply.Sign(r.cfg.Store, r.cfg.Edge, r.key)
	return reply
}

// still replies with the newest picture, unless the cloud has it. Its masks were
// drawn by the camera worker, before anything left that process.
func (r *run) still(c floorwatch.Command, reply *floorwatch.Reply) error {
	f, err := os.Open(StillFile(r.cfg.Data, c.Camera))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("camera %s has given no picture since the box started", c.Camera)
	}
	if err != nil {
		return fmt.Errorf("read still: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read still: %w", err)
	}
	if time.Since(info.ModTime()) > oldStill {
		reply.Reason = fmt.Sprintf("camera %s has given no picture since then", c.Camera)
	}
	if reply.At = floorwatch.TimeOf(info.ModTime()); reply.At <= c.From {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(f, maxStill))
	if err != nil {
		return fmt.Errorf("read still: %w", err)
	}
	reply.Data, err = fitStill(b)
	return err
}

// fitStill makes a picture fit a reply, by its quality alone: zones are drawn in
// its pixels.
func fitStill(b []byte) ([]byte, error) {
	if len(b) <= floorwatch.MaxReplyData {
		return b, nil
	}
	picture, err := jpeg.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("read still: %w", err)
	}
	for _, quality := range []int{70, 50, 30, 15} {
		var out bytes.Buffer
		if err := jpeg.Encode(&out, picture, &jpeg.Options{Quality: quality}); err != nil {
			return nil, fmt.Errorf("encode still: %w", err)
		}
		if out.Len() <= floorwatch.MaxReplyData {
			return out.Bytes(), nil
		}
	}
	return nil, fmt.Errorf("a picture of %d x %d is too large to be sent; let the box measure on the camera's sub stream", picture.Bounds().Dx(), picture.Bounds().Dy())
}

func (r *run) lines(ctx context.Context, c floorwatch.Command, reply *floorwatch.Reply) error {
	all, err := r.trail.Lines(ctx, c.Camera, c.From, c.To)
	if err != nil {
		return err
	}
	reply.Data, err = floorwatch.PackFrames(all, floorwatch.MaxReplyData)
	return err
}
