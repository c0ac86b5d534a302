package outbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"floorwatch/internal/durable"
)

const (
	stateName  = "state"
	mirrorName = "state-copy"
	maxState   = 16 << 20 // bytes
)

// state is what the segments cannot say of themselves: how far they are
// settled, which losses are booked, and, after a clean stop only, that the
// current log may be continued.
type state struct {
	V     int        `json:"v"`
	Log   string     `json:"log"` // the current log, of class 0
	Clean bool       `json:"clean"`
	Logs  []logState `json:"logs"`
}

type logState struct {
	Log    string `json:"log"`
	Cursor uint64 `json:"cursor"`
	Next   uint64 `json:"next"`             // at least this was durable
	Closed bool   `json:"closed,omitempty"` // nothing at or above next was ever confirmed
	Lost   ranges `json:"lost,omitempty"`
}

// encodeState writes one line of JSON and one with its CRC32C.
func encodeState(st state) ([]byte, error) {
	b, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("encode outbox state: %w", err)
	}
	return fmt.Appendf(b, "\n%08x\n", crc32.Checksum(b, castagnoli)), nil
}

func parseState(b []byte) (state, error) {
	body, sum, ok := bytes.Cut(b, []byte("\n"))
	if !ok || string(sum) != fmt.Sprintf("%08x\n", crc32.Checksum(body, castagnoli)) {
		return state{}, fmt.Errorf("parse outbox state: checksum does not match")
	}
	var st state
	if err := json.Unmarshal(body, &st); err != nil {
		return state{}, fmt.Errorf("parse outbox state: %w", err)
	}
	if st.V != 1 {
		return state{}, fmt.Errorf("parse outbox state: version %d, want 1", st.V)
	}
	for _, l := range st.Logs {
		if l.Cursor == 0 || l.Next < l.Cursor {
			return state{}, fmt.Errorf("parse outbox state: log %.20q has cursor %d and next %d", l.Log, l.Cursor, l.Next)
		}
	}
	return st, nil
}

// readState returns the state on disk, or its copy when that is damaged; then
// damage says how. A copy may be one writing older, so it never proves a clean
// stop. Without either the error of a missing one satisfies errors.Is(err,
// fs.ErrNotExist).
func readState(dir string) (st state, damage, err error) {
	if st, err = readOne(filepath.Join(dir, stateName)); err == nil {
		return st, nil, nil
	}
	copied, cerr := readOne(filepath.Join(dir, mirrorName))
	if cerr != nil {
		return state{}, nil, err
	}
	copied.Clean = false
	return copied, err, nil
}

func readOne(path string) (state, error) {
	f, err := os.Open(path)
	if err != nil {
		return state{}, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxState))
	if err != nil {
		return state{}, err
	}
	return parseState(b)
}

// writeState replaces the state and then its copy. Only the state itself counts
// for the caller: the copy is for the day on which it rots.
func writeState(dir string, st state) error {
	b, err := encodeState(st)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, stateName), b, 0o600); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, mirrorName), b, 0o600)
}
