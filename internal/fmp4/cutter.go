package fmp4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"floorwatch"
)

// Limits of one clip.
const (
	MaxSpan  = 10 * time.Minute
	MaxBytes = 128 << 20
)

var (
	// ErrNoFootage says that nothing overlaps the span: a gap, deleted, or not
	// recorded yet.
	ErrNoFootage = errors.New("no footage of that time")
	// ErrEnd says that a clip is complete: the span is over, or the picture's
	// format changes.
	ErrEnd = errors.New("end of clip")
	// ErrAltered says that a file is not what its seal says.
	ErrAltered = errors.New("the file is not what its seal says")
)

// snap is what counts as one file following another, as the recorder has it.
const snap = 100 * time.Millisecond

// Clip is one fragmented MP4 that plays from time 0 = Start.
type Clip struct {
	Start, End floorwatch.Time // capture time of its first and its last moment
	Data       []byte
	Codec      string // RFC 6381; a browser plays avc1…, most play no hev1…
}

// Cutter gathers the fragments of [From, To), file by file in order of time.
type Cutter struct {
	From, To   floorwatch.Time
	in         Init
	body       bytes.Buffer
	start, end floorwatch.Time
	ticks      uint64 // end of the last fragment
}

// Add takes the fragments of one file that begins at start. With sealed, the
// list in the file's seal, each one is checked before it is taken (ErrAltered).
func (c *Cutter) Add(ctx context.Context, r io.Reader, start floorwatch.Time, sealed []floorwatch.Fragment) error {
	var ticks uint64
	n := 0
	_, _, err := Scan(r, func(in Init, p Piece) error {
		if c.in.Raw != nil && !bytes.Equal(c.in.Raw, in.Raw) {
			return ErrEnd
		}
		if n == 0 && sealed != nil && !holds(sealed[:min(1, len(sealed))], in.Raw) {
			return fmt.Errorf("init segment: %w", ErrAltered)
		}
		c.in = in
		if n++; sealed != nil && (n >= len(sealed) || sealed[n].SHA256 != p.SHA256) {
			return fmt.Errorf("fragment %d: %w", n, ErrAltered)
		}
		from := start.Add(in.Duration(ticks))
		ticks += p.Ticks
		return errors.Join(ctx.Err(), c.take(p, from, start.Add(in.Duration(ticks))))
	})
	return err
}

// holds tells whether the one fragment of sealed is raw.
func holds(sealed []floorwatch.Fragment, raw []byte) bool {
	sum := sha256.Sum256(raw)
	return len(sealed) == 1 && sealed[0].SHA256 == hex.EncodeToString(sum[:])
}

// take appends one fragment whose capture time is [from, end).
func (c *Cutter) take(p Piece, from, end floorwatch.Time) error {
	if end <= c.From {
		return nil
	}
	if from >= c.To {
		return ErrEnd
	}
	if c.body.Len() == 0 {
		c.start = from
	}
	at := c.ticks
	if late := from.Sub(c.end); c.body.Len() > 0 && late > snap {
		at = max(at, c.in.Ticks(from.Sub(c.start)))
	}
	moof, err := Retime(p.Moof, at)
	if err != nil {
		return err
	}
	size := len(moof) + len(p.Mdat)
	if c.body.Len()+size > MaxBytes-(1<<20) {
		return fmt.Errorf("more than %d MiB; ask for a shorter span", MaxBytes>>20)
	}
	c.body.Write(moof)
	c.body.Write(p.Mdat)
	c.ticks, c.end = at+p.Ticks, end
	return nil
}

// Clip puts the init segment, with the whole length in it, before the fragments.
func (c *Cutter) Clip() (Clip, error) {
	if c.body.Len() == 0 {
		return Clip{}, ErrNoFootage
	}
	head, err := c.in.lasting(c.ticks)
	if err != nil {
		return Clip{}, err
	}
	return Clip{Start: c.start, End: c.end, Codec: c.in.Codec, Data: append(head, c.body.Bytes()...)}, nil
}

// lasting returns the init segment with the length of all fragments in an mehd
// box, in media ticks: without it a player learns the length only at the end.
func (in Init) lasting(ticks uint64) ([]byte, error) {
	file, err := mp4.DecodeFile(bytes.NewReader(in.Raw))
	if err != nil || file.Moov == nil || file.Moov.Mvex == nil {
		return nil, errors.Join(errors.New("read init segment"), err)
	}
	moov := file.Moov
	moov.Mvex.AddChild(&mp4.MehdBox{
		Version: 1, FragmentDuration: int64(ticks * uint64(moov.Mvhd.Timescale) / in.timescale),
	})
	var b bytes.Buffer
	for _, box := range file.Children {
		if err := box.Encode(&b); err != nil {
			return nil, fmt.Errorf("write init segment: %w", err)
		}
	}
	return b.Bytes(), nil
}
