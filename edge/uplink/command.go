package uplink

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
)

const (
	keptReplies = 256 // a command that comes again gets its reply again
	maxCommands = 4   // at work at a time; more are refused and come again
)

// commands answers the cloud's requests, each id once.
type commands struct {
	replies map[string]*floorwatch.Reply // nil while the command is at work
	order   []string
	n       int // at work
}

// begin tells what to do with a command: answer with a reply, do it, or, with
// neither, nothing: it is at work.
func (q *commands) begin(c floorwatch.Command) (reply *floorwatch.Reply, do bool) {
	if r, known := q.replies[c.ID]; known {
		return r, false
	}
	if q.n >= maxCommands {
		return &floorwatch.Reply{V: floorwatch.Version, ID: c.ID, State: floorwatch.ReplyFailed, Reason: "the box is busy with other commands"}, false
	}
	if q.replies == nil {
		q.replies = map[string]*floorwatch.Reply{}
	}
	q.replies[c.ID] = nil
	q.n++
	return nil, true
}

// end keeps the reply. A failure is not kept: the same command may try again. Nor
// are pictures, which are large: reading them twice changes nothing.
func (q *commands) end(r floorwatch.Reply) {
	q.n--
	if r.State == floorwatch.ReplyFailed || r.Data != nil {
		delete(q.replies, r.ID)
		return
	}
	q.replies[r.ID] = &r
	if q.order = append(q.order, r.ID); len(q.order) > keptReplies {
		delete(q.replies, q.order[0])
		q.order = q.order[1:]
	}
}

// onCommand does what a command says and publishes the reply. What cannot be
// read gets no reply; the cloud does not send it.
func (s *session) onCommand(ctx context.Context, m mqtt.Message) {
	u := s.u
	c, err := floorwatch.ParseCommand(m.Payload())
	if err == nil && m.Retained() {
		err = fmt.Errorf("it was retained by the broker, so it is old")
	}
	if err != nil {
		u.set.Log.Warn("command ignored", "reason", err)
		return
	}
	u.mu.Lock()
	reply, do := u.cmds.begin(c)
	u.mu.Unlock()
	if do {
		r := u.obey(ctx, c)
		reply = &r
		u.mu.Lock()
		u.cmds.end(r)
		u.mu.Unlock()
		if c.Do == floorwatch.DoStandard && r.State == floorwatch.ReplyDone {
			// The box is online since it connected, and keeps another standard now.
			s.Publish(u.topic(floorwatch.LeafState), 1, true, u.state(floorwatch.StateOnline, u.Stats().Since))
		}
		level := slog.LevelInfo
		if r.Data != nil { // somebody looks, and asks again and again
			level = slog.LevelDebug
		}
		u.set.Log.Log(ctx, level, "command done", "do", c.Do, "id", c.ID, "camera", c.Camera, "state", r.State, "reason", r.Reason)
	}
	if reply == nil {
		return
	}
	b, err := json.Marshal(reply)
	if err != nil || len(b) > floorwatch.MaxReplyBytes {
		u.set.Log.Error("reply not sent", "id", c.ID, "bytes", len(b), "error", err)
		return
	}
	s.Publish(u.topic(floorwatch.LeafReply), 1, false, b) // lost: the command comes again
}

func (u *Uplink) obey(ctx context.Context, c floorwatch.Command) floorwatch.Reply {
	r := floorwatch.Reply{V: floorwatch.Version, ID: c.ID, State: floorwatch.ReplyExpired}
	now := floorwatch.TimeOf(time.Now())
	if now >= c.Expires {
		r.Reason = fmt.Sprintf("it expired at %s, the box's clock says %s", c.Expires, now)
		return r
	}
	r = u.set.Command(ctx, c)
	r.V, r.ID = floorwatch.Version, c.ID
	return r
}
