// Package fmp4 reads files of footage and cuts clips out of them. A file is what
// ffmpeg writes as fragmented MP4, with a stamp box of ours before each
// fragment; the recorder, the box's library and the vault all read it here.
package fmp4

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"floorwatch"
)

// Limits of a box from ffmpeg or from disk.
const (
	maxHeadBox  = 1 << 20  // ftyp, moov, moof and what we skip
	maxMediaBox = 32 << 20 // mdat: 20 s at 12 Mbit/s
)

// Init is the ftyp and moov that every file of a connection begins with.
type Init struct {
	Raw       []byte
	Codec     string // RFC 6381, "unknown" where it has none
	timescale uint64 // media ticks per second
	trex      *mp4.TrexBox
}

// Fragment is one moof and mdat.
type Fragment struct {
	Moof, Mdat []byte           // whole boxes
	Start      uint64           // ticks, as the tfdt says
	Ticks      uint64           // duration
	Stamp      floorwatch.Stamp // on arrival, which is the fragment's end
	Duration   time.Duration    // of Ticks
}

var errTorn = errors.New("ends inside a box")

// readBox reads one whole box. io.EOF means that nothing follows, errTorn that
// the box is cut off; any other error that this is not an MP4 of ours.
func readBox(r io.Reader) (kind string, raw []byte, err error) {
	var h [8]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return "", nil, errTorn
		}
		return "", nil, err
	}
	kind, size := string(h[4:]), int64(binary.BigEndian.Uint32(h[:4]))
	limit := int64(maxHeadBox)
	if kind == "mdat" {
		limit = maxMediaBox
	}
	if size < 8 || size > limit { // 0 and 1 mean "to the end" and "64 bits": ffmpeg writes neither here
		return "", nil, fmt.Errorf("box %q of %d bytes, limit %d", kind, size, limit)
	}
	var buf bytes.Buffer // grows as bytes come: a false size costs nothing
	buf.Write(h[:])
	if n, err := io.CopyN(&buf, r, size-8); err != nil {
		if n < size-8 && errors.Is(err, io.EOF) {
			return "", nil, errTorn
		}
		return "", nil, fmt.Errorf("read box %q: %w", kind, err)
	}
	return kind, buf.Bytes(), nil
}

// ReadInit reads ftyp and moov.
func ReadInit(r io.Reader) (Init, error) {
	var in Init
	for range 8 {
		kind, raw, err := readBox(r)
		if err != nil {
			return in, fmt.Errorf("read init segment: %w", err)
		}
		switch kind {
		case "ftyp":
			in.Raw = append(in.Raw, raw...)
		case "moov":
			in.Raw = append(in.Raw, raw...)
			return in, in.parse(raw)
		}
	}
	return in, errors.New("read init segment: no moov among the first boxes")
}

func (in *Init) parse(raw []byte) error {
	box, err := mp4.DecodeBox(0, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("read moov: %w", err)
	}
	moov, ok := box.(*mp4.MoovBox)
	if !ok || moov.Trak == nil || moov.Trak.Mdia == nil || moov.Trak.Mdia.Mdhd == nil ||
		moov.Trak.Mdia.Minf == nil || moov.Trak.Mdia.Minf.Stbl == nil || moov.Trak.Mdia.Minf.Stbl.Stsd == nil ||
		moov.Mvex == nil || moov.Mvex.Trex == nil || len(moov.Traks) != 1 {
		return errors.New("read moov: not one fragmented track")
	}
	in.timescale = uint64(moov.Trak.Mdia.Mdhd.Timescale)
	if in.timescale == 0 || in.timescale > 10_000_000 {
		return fmt.Errorf("read moov: %d ticks per second", in.timescale)
	}
	in.trex = moov.Mvex.Trex
	in.Codec = codecOf(moov.Trak.Mdia.Minf.Stbl.Stsd)
	return nil
}

// codecOf names the codec as RFC 6381 does, as far as browsers ask for it.
func codecOf(stsd *mp4.StsdBox) string {
	if e := stsd.AvcX; e != nil && e.AvcC != nil && len(e.AvcC.SPSnalus) > 0 && len(e.AvcC.SPSnalus[0]) >= 4 {
		return e.Type() + "." + hex.EncodeToString(e.AvcC.SPSnalus[0][1:4])
	}
	if e := stsd.HvcX; e != nil {
		return e.Type()
	}
	return "unknown"
}

// Duration converts ticks; rounded to the nanosecond.
func (in Init) Duration(ticks uint64) time.Duration {
	whole, rest := ticks/in.timescale, ticks%in.timescale
	return time.Duration(whole)*time.Second + time.Duration(rest*uint64(time.Second)/in.timescale)
}

// Ticks is the inverse of Duration.
func (in Init) Ticks(d time.Duration) uint64 {
	return uint64(d/time.Second)*in.timescale + uint64(d%time.Second)*in.timescale/uint64(time.Second)
}

// maxFragment is an hour: a fragment that claims more is damage.
const maxFragment = time.Hour

// parseFragment reads the timing of a moof.
func (in Init) parseFragment(moof, mdat []byte) (Fragment, error) {
	f := Fragment{Moof: moof, Mdat: mdat}
	m, err := decodeMoof(moof)
	if err != nil {
		return f, err
	}
	f.Start = m.Traf.Tfdt.BaseMediaDecodeTime()
	for _, t := range m.Traf.Truns {
		f.Ticks += t.AddSampleDefaultValues(m.Traf.Tfhd, in.trex)
	}
	if f.Ticks/in.timescale > uint64(maxFragment/time.Second) {
		return f, fmt.Errorf("read moof: a fragment of %d s", f.Ticks/in.timescale)
	}
	f.Duration = in.Duration(f.Ticks)
	return f, nil
}

func decodeMoof(raw []byte) (*mp4.MoofBox, error) {
	box, err := mp4.DecodeBox(0, bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("read moof: %w", err)
	}
	m, ok := box.(*mp4.MoofBox)
	if !ok || len(m.Trafs) != 1 || m.Traf.Tfdt == nil || m.Traf.Tfhd == nil || len(m.Traf.Truns) == 0 {
		return nil, errors.New("read moof: not one track with its time")
	}
	return m, nil
}

// Retime returns moof with its decode time set; all else stays. A time that no
// longer fits into 32 bits makes the box longer, and the media's offset follows.
func Retime(raw []byte, ticks uint64) ([]byte, error) {
	m, err := decodeMoof(raw)
	if err != nil {
		return nil, err
	}
	before := m.Size()
	m.Traf.Tfdt.SetBaseMediaDecodeTime(ticks)
	for _, t := range m.Traf.Truns {
		if t.HasDataOffset() {
			t.DataOffset += int32(m.Size()) - int32(before)
		}
	}
	var b bytes.Buffer
	if err := m.Encode(&b); err != nil {
		return nil, fmt.Errorf("write moof: %w", err)
	}
	return b.Bytes(), nil
}

// stampKind marks the box that goes before each moof: what the clock read when
// the fragment had arrived. It makes a torn file tell its own time. Players
// skip it, as they do every uuid box that they do not know.
var stampKind = [16]byte{'f', 'l', 'o', 'o', 'r', 'w', 'a', 't', 'c', 'h', ' ', 's', 't', 'a', 'm', 'p'}

const stampSize = 8 + 16 + 8 + 8 + 16 + 1

// StampBox encodes s: size, "uuid", stampKind, wall in Unix ms, mono in ns, boot
// id, 1 when synced; big endian.
func StampBox(s floorwatch.Stamp) []byte {
	b := binary.BigEndian.AppendUint32(nil, stampSize)
	b = append(append(b, "uuid"...), stampKind[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Wall))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Mono))
	var boot [16]byte
	_, _ = hex.Decode(boot[:], []byte(s.Boot)[:min(32, len(s.Boot))])
	b = append(b, boot[:]...)
	if s.Synced {
		return append(b, 1)
	}
	return append(b, 0)
}

func parseStamp(raw []byte) (floorwatch.Stamp, bool) {
	if len(raw) != stampSize || [16]byte(raw[8:24]) != stampKind {
		return floorwatch.Stamp{}, false
	}
	return floorwatch.Stamp{
		Wall:   floorwatch.Time(binary.BigEndian.Uint64(raw[24:])),
		Mono:   time.Duration(binary.BigEndian.Uint64(raw[32:])),
		Boot:   hex.EncodeToString(raw[40:56]),
		Synced: raw[56] == 1,
	}, true
}

// Piece is a fragment as it lies in a file of ours.
type Piece struct {
	Fragment
	Size   int64 // bytes of stamp, moof and mdat
	SHA256 string
}

// Scan walks a file of ours and calls each for every whole piece, with its
// media when media is set. It stops without error where the file is torn and
// returns the number of whole bytes, at least the init segment's.
func Scan(r io.Reader, each func(Init, Piece) error) (in Init, whole int64, err error) {
	if in, err = ReadInit(r); err != nil {
		return in, 0, err
	}
	whole = int64(len(in.Raw))
	for {
		p, err := in.readPiece(r)
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			return in, whole, nil
		}
		if err != nil {
			return in, whole, err
		}
		if err := each(in, p); err != nil {
			return in, whole, err
		}
		whole += p.Size
	}
}

// readPiece reads stamp, moof and mdat.
func (in Init) readPiece(r io.Reader) (Piece, error) {
	var p Piece
	sum := sha256.New()
	stamp, err := expectBox(r, "uuid", sum)
	if err != nil {
		return p, err
	}
	moof, err := expectBox(r, "moof", sum)
	if err != nil {
		return p, noEOF(err)
	}
	mdat, err := expectBox(r, "mdat", sum)
	if err != nil {
		return p, noEOF(err)
	}
	if p.Fragment, err = in.parseFragment(moof, mdat); err != nil {
		return p, err
	}
	var ok bool
	if p.Stamp, ok = parseStamp(stamp); !ok {
		return p, errors.New("read stamp: not one of ours")
	}
	p.Size = int64(len(stamp) + len(moof) + len(mdat))
	p.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return p, nil
}

func expectBox(r io.Reader, want string, sum hash.Hash) ([]byte, error) {
	kind, raw, err := readBox(r)
	if err != nil {
		return nil, err
	}
	if kind != want {
		return nil, fmt.Errorf("box %q where %q belongs", kind, want)
	}
	sum.Write(raw)
	return raw, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return errTorn
	}
	return err
}

// NextFragment reads the next moof and mdat of a live stream, skipping what
// stands around them.
func (in Init) NextFragment(r io.Reader) (Fragment, error) {
	var moof []byte
	for {
		kind, raw, err := readBox(r)
		if err != nil {
			return Fragment{}, err
		}
		switch kind {
		case "moof":
			moof = raw
		case "mdat":
			if moof == nil {
				return Fragment{}, errors.New("media without its moof")
			}
			return in.parseFragment(moof, raw)
		}
	}
}
