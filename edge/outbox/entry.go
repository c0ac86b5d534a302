package outbox

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"floorwatch"
)

// An entry is one record on disk: the magic, then little-endian the payload's
// length (4 bytes), the sequence number (8), the time of append in Unix ms (8),
// a CRC32C (4), and the payload. The checksum begins with the log id, so that an
// entry that ended up in another log's file is not taken for one of its own.
const (
	headerSize = 28
	minEntry   = headerSize + 2 // "{}"
)

// magic opens an entry; its last byte is the version of the format. JSON never
// contains a raw 0x1e, so no payload can pretend to be an entry.
var magic = [4]byte{0x1e, 'F', 'W', 0x01}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type entry struct {
	seq     uint64
	at      floorwatch.Time
	payload []byte
	off     int64 // of the entry in its file
}

func (e entry) size() int64 { return headerSize + int64(len(e.payload)) }

// appendEntry encodes a record behind b.
func appendEntry(b []byte, log string, seq uint64, at floorwatch.Time, payload []byte) []byte {
	start := len(b)
	b = append(b, magic[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(at))
	b = binary.LittleEndian.AppendUint32(b, checksum(log, b[start+4:], payload))
	return append(b, payload...)
}

func checksum(log string, head, payload []byte) uint32 {
	sum := crc32.Checksum([]byte(log), castagnoli)
	sum = crc32.Update(sum, castagnoli, head)
	return crc32.Update(sum, castagnoli, payload)
}

// parseEntry decodes the entry at the start of b; false when there is no sound
// one. The payload shares b's memory.
func parseEntry(b []byte, log string) (entry, bool) {
	if len(b) < minEntry || [4]byte(b) != magic {
		return entry{}, false
	}
	n := int64(binary.LittleEndian.Uint32(b[4:]))
	if n > floorwatch.MaxRecordBytes || n > int64(len(b)-headerSize) {
		return entry{}, false
	}
	payload := b[headerSize : headerSize+n]
	if checksum(log, b[4:24], payload) != binary.LittleEndian.Uint32(b[24:]) {
		return entry{}, false
	}
	return entry{
		seq: binary.LittleEndian.Uint64(b[8:]), at: floorwatch.Time(binary.LittleEndian.Uint64(b[16:])),
		payload: payload,
	}, true
}

// scan calls yield for every sound entry of b whose number is at least want, in
// file order with rising numbers, until yield returns false. After damage it
// goes on at the next sound entry. It returns where the last sound entry ended.
func scan(b []byte, log string, want uint64, yield func(entry) bool) (end int64) {
	last := int64(len(bytes.TrimRight(b, "\x00"))) // behind it the file is empty
	limit := want + uint64(len(b)/minEntry)        // no file can hold a number beyond
	for off := int64(0); off < last; {
		if e, ok := parseEntry(b[off:], log); ok && e.seq >= want && e.seq <= limit {
			e.off = off
			off += e.size()
			end, want = off, e.seq+1
			if !yield(e) {
				return end
			}
			continue
		}
		next := bytes.Index(b[off+1:], magic[:])
		if next < 0 {
			return end
		}
		off += 1 + int64(next)
	}
	return end
}

// torn tells whether something was being written behind end when the writing
// stopped: there is no sound entry, but there are bytes.
func torn(b []byte, end int64) bool { return len(bytes.TrimLeft(b[end:], "\x00")) > 0 }
