package floorwatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What a command asks a box to do.
const (
	DoSend    = "send"    // upload the footage of a span now
	DoHold    = "hold"    // never delete the footage of a span
	DoRelease = "release" // end the hold that Hold names
	DoStill   = "still"   // reply with the newest still, if it is newer than From
	DoLines   = "lines"   // reply with the camera lines of a span

	DoStandard = "standard" // keep what holds in the hall
)

// Commands lists what a box of this version does. Its state says so (State.Does),
// because a box tells nobody of a command that it does not know.
func Commands() []string { return []string{DoSend, DoHold, DoRelease, DoStill, DoLines, DoStandard} }

// Command is a request of the cloud to one box (leaf cmd). It may come more than
// once with the same ID and is then one command. A box that hears it after
// Expires does nothing.
type Command struct {
	V       int    `json:"v"`
	ID      string `json:"id"` // 16 to 40 of 0-9, a-f
	Do      string `json:"do"`
	Expires Time   `json:"expires"`
	Camera  string `json:"camera,omitempty"`
	From    Time   `json:"from,omitempty"` // [From, To), capture time
	To      Time   `json:"to,omitempty"`
	Hold    string `json:"hold,omitempty"` // id of the hold, as ID is written
	// Standard is a HallStandard, of DoStandard alone.
	Standard *Signed `json:"standard,omitempty"`
}

// How a box took a command.
const (
	ReplyDone    = "done"    // it is so, durably; of a send: it is queued
	ReplyRefused = "refused" // and repeating does not help; Reason says why
	ReplyExpired = "expired"
	ReplyFailed  = "failed" // the box could not; repeating may help
)

// Reply is a box's answer (leaf reply).
type Reply struct {
	V      int    `json:"v"`
	ID     string `json:"id"` // of the command
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Of a send: what of the span is on the box, sealed, by SHA-256 of the files;
	// the bytes of all of it; and whether the end of the span is still being
	// recorded and follows when it is sealed.
	Objects []string `json:"objects,omitempty"`
	Bytes   int64    `json:"bytes,omitempty"`
	Open    bool     `json:"open,omitempty"`
	// Of a still, its JPEG and when it was taken; of lines, what PackFrames wrote.
	// Signature is the box's over both (Sign).
	At        Time   `json:"at,omitempty"`
	Data      []byte `json:"data,omitempty"`
	Signature string `json:"signature,omitempty"`
	// Of a standard that is older than what the box keeps: the serial of that.
	Serial int64 `json:"serial,omitempty"`
}

// Limits of commands and replies.
const (
	MaxCommandBytes         = 2 << 10
	MaxStandardCommandBytes = 2*MaxStandardBytes + MaxCommandBytes // as JSON in JSON has more quotes
	MaxReplyBytes           = 256 << 10
	MaxReplyObjects         = 2000
	MaxSendSpan             = 24 * time.Hour
	MaxHoldSpan             = 32 * 24 * time.Hour
	MaxLinesSpan            = 6 * time.Minute // a clip of five, and a fragment at either end
)

var commandRE = regexp.MustCompile(`^[0-9a-f]{16,40}$`)

// ValidCommandID tells whether s may name a command or a hold.
func ValidCommandID(s string) bool { return commandRE.MatchString(s) }

// ParseCommand reads a command and checks that it can be meant.
func ParseCommand(b []byte) (Command, error) {
	var c Command
	if len(b) > MaxStandardCommandBytes {
		return c, fmt.Errorf("command has %d bytes, limit %d", len(b), MaxStandardCommandBytes)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("parse command: %w", err)
	}
	if len(b) > MaxCommandBytes && c.Do != DoStandard {
		return c, fmt.Errorf("command has %d bytes, limit %d", len(b), MaxCommandBytes)
	}
	return c, c.Check()
}

// Check refuses a command that no box can follow.
func (c Command) Check() error {
	limit := MaxSendSpan
	switch c.Do {
	case DoHold:
		limit = MaxHoldSpan
	case DoLines:
		limit = MaxLinesSpan
	}
	switch {
	case c.V != Version:
		return fmt.Errorf("command has version %d, want %d", c.V, Version)
	case !ValidCommandID(c.ID):
		return fmt.Errorf("command id %.60q is not 16 to 40 of 0-9, a-f", c.ID)
	case c.Expires <= 0 || c.Expires > MaxTime:
		return fmt.Errorf("command expires at %d, which is no time", c.Expires)
	case !slices.Contains(Commands(), c.Do):
		return fmt.Errorf("command %.50q is none of %s", c.Do, strings.Join(Commands(), ", "))
	case c.Do == DoStandard && c.Standard == nil:
		return errors.New("command standard brings none")
	case c.Do == DoStandard:
		return c.Standard.check()
	case (c.Do == DoHold || c.Do == DoRelease) && !ValidCommandID(c.Hold):
		return fmt.Errorf("hold %.60q is not 16 to 40 of 0-9, a-f", c.Hold)
	case c.Do == DoRelease:
		return nil
	case !ValidName(c.Camera):
		return fmt.Errorf("camera %.50q: a name is %s", c.Camera, NameRule)
	case c.Do == DoStill && c.From >= 0 && c.From <= MaxTime:
		return nil
	case c.From <= 0 || c.From >= c.To || c.To > MaxTime:
		return fmt.Errorf("span %d to %d is none", c.From, c.To)
	case c.To.Sub(c.From) > limit:
		return fmt.Errorf("span of %v, limit %v", c.To.Sub(c.From), limit)
	}
	return nil
}

// ParseReply reads a box's answer.
func ParseReply(b []byte) (Reply, error) {
	var r Reply
	if len(b) > MaxReplyBytes {
		return r, fmt.Errorf("reply has %d bytes, limit %d", len(b), MaxReplyBytes)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("parse reply: %w", err)
	}
	switch {
	case r.V != Version:
		return r, fmt.Errorf("reply has version %d, want %d", r.V, Version)
	case !ValidCommandID(r.ID):
		return r, fmt.Errorf("reply to %.60q, which is no command", r.ID)
	case r.At < 0 || r.At > MaxTime:
		return r, fmt.Errorf("reply is about %d, which is no time", r.At)
	case len(r.Objects) > MaxReplyObjects || r.Bytes < 0 || len(r.Reason) > 1024 || r.Serial < 0 || r.Serial > maxSerial:
		return r, fmt.Errorf("reply names %d objects of %d bytes, limit %d", len(r.Objects), r.Bytes, MaxReplyObjects)
	}
	for _, o := range r.Objects {
		if !ValidHash(o) {
			return r, fmt.Errorf("reply names %.80q, which is no SHA-256", o)
		}
	}
	return r, nil
}

// ValidHash tells whether s is a SHA-256 as seals write it.
func ValidHash(s string) bool { return hexRE.MatchString(s) }
