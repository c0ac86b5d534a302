package floorwatch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Version of the wire contract.
const Version = 1

// Limits of a batch, and of what a broker lets through.
const (
	MaxBatchRecords = 1000
	MaxBatchBytes   = 256 << 10
	MaxRecordBytes  = MaxBatchBytes - 1024 // leaves room for the envelope
	MaxPacket       = 1 << 20
)

// Batch is a run of records from one edge's log: record i has sequence number
// First+i. The keys of this envelope are frozen for all versions.
type Batch struct {
	V       int               `json:"v"`
	Store   string            `json:"store"`
	Edge    string            `json:"edge"`
	Log     string            `json:"log"`
	First   uint64            `json:"first"`
	N       int               `json:"n"`
	Records []json.RawMessage `json:"records"`
}

var logRE = regexp.MustCompile(`^[0-9a-f]{16}$`)

// ParseBatch reads and checks an envelope. The records inside stay unparsed: a
// bad one must not take the good ones with it.
func ParseBatch(b []byte) (Batch, error) {
	var m Batch
	if len(b) > MaxPacket {
		return m, fmt.Errorf("batch has %d bytes, limit %d", len(b), MaxPacket)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("parse batch: %w", err)
	}
	switch {
	case m.V != Version:
		return m, fmt.Errorf("batch has version %d, this cloud speaks %d", m.V, Version)
	case !ValidName(m.Store) || !ValidName(m.Edge):
		return m, fmt.Errorf("batch from store %.50q, edge %.50q: a name is %s", m.Store, m.Edge, NameRule)
	case !logRE.MatchString(m.Log):
		return m, fmt.Errorf("batch log %.50q is not 16 hex digits", m.Log)
	case m.N != len(m.Records) || m.N == 0 || m.N > MaxBatchRecords:
		return m, fmt.Errorf("batch says n=%d and holds %d records, limit %d", m.N, len(m.Records), MaxBatchRecords)
	case m.First == 0 || m.First > math.MaxInt64-MaxBatchRecords:
		return m, fmt.Errorf("batch starts at sequence number %d; they count from 1", m.First)
	}
	return m, nil
}

// Encode returns the envelope's bytes.
func (m Batch) Encode() ([]byte, error) {
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(m); err != nil {
		return nil, fmt.Errorf("encode batch: %w", err)
	}
	return bytes.TrimSpace(buf.Bytes()), nil
}

// Ack says that the records First..First+N-1 of a log are stored for good (or
// in the dead letters), so that the edge may forget them.
type Ack struct {
	V     int    `json:"v"`
	Log   string `json:"log"`
	First uint64 `json:"first"`
	N     int    `json:"n"`
	// So many of them the cloud has refused; why the first of them was, on one line.
	Refused int    `json:"refused,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// maxReason is how long a reason may be, in characters: a box reads
// acknowledgements of up to 1 KiB.
const maxReason = 200

// Refuse adds n refused records to what a says.
func (a *Ack) Refuse(n int, reason string) {
	if a.Refused += n; a.Reason != "" {
		return
	}
	runes := []rune(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, reason))
	a.Reason = string(runes[:min(len(runes), maxReason)])
}

// Encode returns its bytes.
func (a Ack) Encode() ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false) // < and > of a reason would take six bytes each
	if err := e.Encode(a); err != nil {
		return nil, fmt.Errorf("encode acknowledgement: %w", err)
	}
	return bytes.TrimSpace(buf.Bytes()), nil
}

// State is an edge's retained word on its own presence, and its last will.
type State struct {
	V       int    `json:"v"`
	State   string `json:"state"` // online | offline (the will) | stopped
	T       Time   `json:"t"`
	Version string `json:"version,omitempty"`
	Log     string `json:"log,omitempty"`
	// Standard is the hash of the standard that the box keeps, "" of none; nil: it
	// knows of no standards.
	Standard *string `json:"standard,omitempty"`
	// Does lists the commands that the box knows; a box of an earlier version does
	// not say.
	Does []string `json:"does,omitempty"`
}

// Values of State.State.
const (
	StateOnline  = "online"
	StateOffline = "offline"
	StateStopped = "stopped"
)

// Live is the unsettled present of one zone, retained at QoS 0. It may be shown
// for ValidS seconds after T; after that nothing is known.
type Live struct {
	V        int     `json:"v"`
	Camera   string  `json:"camera"`
	Zone     string  `json:"zone"`
	T        Time    `json:"t"`
	ValidS   float64 `json:"valid_s"`
	Coverage float64 `json:"coverage"` // share of the last minute observed
	People   int     `json:"occupancy"`
	Queue    int     `json:"queue_length"`   // 0 outside queue zones
	LongestS float64 `json:"longest_wait_s"` // longest running stay, s
	Level    string  `json:"level"`          // ok | warning; "" without a rule
}

// Topic leaves below floorwatch/v1/{store}/{edge}.
const (
	LeafUp    = "up"
	LeafAck   = "ack"
	LeafCmd   = "cmd"
	LeafReply = "reply"
	LeafState = "state"
	LeafLive  = "live" // followed by the zone
)

// TopicRoot is the first two levels of every topic of this version.
const TopicRoot = "floorwatch/v1"

// Topic returns the topic of one edge: Topic("s1", "box", LeafLive, "table").
func Topic(store, edge string, leaf ...string) string {
	return strings.Join(append([]string{TopicRoot, store, edge}, leaf...), "/")
}

// ParseTopic splits a topic into store, edge and what follows.
func ParseTopic(topic string) (store, edge string, leaf []string, err error) {
	parts := strings.Split(topic, "/")
	if len(parts) < 5 || parts[0]+"/"+parts[1] != TopicRoot || !ValidName(parts[2]) || !ValidName(parts[3]) {
		return "", "", nil, fmt.Errorf("topic %.200q is not %s/{store}/{edge}/…", topic, TopicRoot)
	}
	return parts[2], parts[3], parts[4:], nil
}
