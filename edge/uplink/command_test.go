package uplink

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
)

// asker publishes commands and keeps the replies.
type asker struct {
	cl      mqtt.Client
	replies chan floorwatch.Reply
}

func startAsker(t *testing.T, addr string) *asker {
	t.Helper()
	a := &asker{replies: make(chan floorwatch.Reply, 1000)}
	a.cl = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID("asker").SetProtocolVersion(4))
	if c := a.cl.Connect(); !c.WaitTimeout(5*time.Second) || c.Error() != nil {
		t.Fatal(c.Error())
	}
	t.Cleanup(func() { a.cl.Disconnect(100) })
	sub := a.cl.Subscribe(floorwatch.Topic("s1", "box", floorwatch.LeafReply), 1, func(_ mqtt.Client, m mqtt.Message) {
		if r, err := floorwatch.ParseReply(m.Payload()); err == nil {
			a.replies <- r
		}
	})
	if !sub.WaitTimeout(5*time.Second) || sub.Error() != nil {
		t.Fatal(sub.Error())
	}
	return a
}

func (a *asker) ask(payload []byte, retained bool) {
	a.cl.Publish(floorwatch.Topic("s1", "box", floorwatch.LeafCmd), 1, retained, payload).WaitTimeout(5 * time.Second)
}

func (a *asker) reply(t *testing.T) floorwatch.Reply {
	t.Helper()
	select {
	case r := <-a.replies:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("no reply")
		return floorwatch.Reply{}
	}
}

func command(n int, expires time.Duration) []byte {
	b, _ := json.Marshal(floorwatch.Command{
		V: 1, ID: fmt.Sprintf("%016x", n), Do: floorwatch.DoSend, Expires: floorwatch.TimeOf(time.Now().Add(expires)),
		Camera: "hall", From: 1000, To: 2000,
	})
	return b
}

func TestCommandsAreDoneOnceAndAnswered(t *testing.T) {
	t.Parallel()
	_, addr := startBroker(t, "127.0.0.1:0")
	a := startAsker(t, addr)
	b := openBox(t, addr, quick)
	var done atomic.Int32
	var mended atomic.Bool
	b.up.set.Command = func(_ context.Context, c floorwatch.Command) floorwatch.Reply {
		done.Add(1)
		if !mended.Load() {
			return floorwatch.Reply{State: floorwatch.ReplyFailed, Bytes: int64(c.To)}
		}
		return floorwatch.Reply{State: floorwatch.ReplyDone}
	}
	b.run(t)
	eventually(t, "session", func() bool { return !b.up.Stats().Since.IsZero() })
	a.ask(command(1, time.Minute), false)
	if r := a.reply(t); r.State != floorwatch.ReplyFailed || r.Bytes != 2000 || r.V != 1 {
		t.Errorf("%+v", r)
	}
	mended.Store(true) // a failure may be tried again
	for range 3 {
		a.ask(command(1, time.Minute), false)
		if r := a.reply(t); r.State != floorwatch.ReplyDone || r.ID != "0000000000000001" {
			t.Errorf("%+v", r)
		}
	}
	if n := done.Load(); n != 2 {
		t.Errorf("done %d times, want the failure and once more", n)
	}
	a.ask(command(2, -time.Second), false)
	if r := a.reply(t); r.State != floorwatch.ReplyExpired {
		t.Errorf("%+v", r)
	}
	for _, bad := range [][]byte{
		nil, []byte("not JSON"), []byte(strings.Repeat("x", 3000)), []byte(`{"v":2,"id":"0000000000000009"}`),
		[]byte(`{"v":1,"id":"../../../../etc/passwd","do":"send","expires":99999999999999,"camera":"hall","from":1,"to":2}`),
		[]byte(`{"v":1,"id":"0000000000000009","do":"format","expires":9999999999999}`),
	} {
		a.ask(bad, false)
	}
	a.ask(command(4, time.Minute), true) // retained reaches who is subscribed as not retained
	if r := a.reply(t); r.ID != "0000000000000004" || done.Load() != 3 {
		t.Errorf("after bad commands: %+v, done %d", r, done.Load())
	}
}

// TestStateTellsTheStandard: at once, and again when another is kept, as of the same
// connection.
func TestStateTellsTheStandard(t *testing.T) {
	t.Parallel()
	_, addr := startBroker(t, "127.0.0.1:0")
	a := startAsker(t, addr)
	states := make(chan floorwatch.State, 10)
	sub := a.cl.Subscribe(floorwatch.Topic("s1", "box", floorwatch.LeafState), 1, func(_ mqtt.Client, m mqtt.Message) {
		var s floorwatch.State
		if err := json.Unmarshal(m.Payload(), &s); err != nil {
			t.Error(err)
		}
		states <- s
	})
	if !sub.WaitTimeout(5*time.Second) || sub.Error() != nil {
		t.Fatal(sub.Error())
	}
	b := openBox(t, addr, quick)
	var kept atomic.Value
	kept.Store("")
	b.up.set.Standard = func() string { return kept.Load().(string) }
	b.up.set.Command = func(_ context.Context, c floorwatch.Command) floorwatch.Reply {
		if c.Standard.Body == "bad" {
			return floorwatch.Reply{State: floorwatch.ReplyRefused}
		}
		kept.Store(c.Standard.Hash())
		return floorwatch.Reply{State: floorwatch.ReplyDone}
	}
	b.run(t)
	first := <-states
	if first.State != floorwatch.StateOnline || first.Standard == nil || *first.Standard != "" {
		t.Fatalf("%+v", first)
	}
	eventually(t, "session", func() bool { return !b.up.Stats().Since.IsZero() })
	for i, body := range []string{"bad", "good"} {
		s := &floorwatch.Signed{Body: body, Signature: strings.Repeat("0", 128)}
		p, _ := json.Marshal(floorwatch.Command{V: 1, ID: fmt.Sprintf("%016x", i), Do: floorwatch.DoStandard, Expires: floorwatch.TimeOf(time.Now().Add(time.Minute)), Standard: s})
		a.ask(p, false)
		a.reply(t)
	}
	second := <-states // none of the one that was refused
	if *second.Standard != (floorwatch.Signed{Body: "good"}).Hash() || second.State != floorwatch.StateOnline || second.T.Sub(first.T).Abs() > time.Second {
		t.Errorf("%+v after %+v", second, first)
	}
}

func TestRetainedCommandsAreOld(t *testing.T) {
	t.Parallel()
	_, addr := startBroker(t, "127.0.0.1:0")
	a := startAsker(t, addr)
	a.ask(command(1, time.Minute), true)
	b := openBox(t, addr, quick)
	b.up.set.Command = func(context.Context, floorwatch.Command) floorwatch.Reply {
		return floorwatch.Reply{State: floorwatch.ReplyDone}
	}
	b.run(t)
	eventually(t, "session", func() bool { return !b.up.Stats().Since.IsZero() })
	a.ask(command(2, time.Minute), false)
	if r := a.reply(t); r.ID != "0000000000000002" {
		t.Errorf("the retained command was done: %+v", r)
	}
}

// TestCommandsEndWithTheUplink: Run does not return before a command's work has.
func TestCommandsEndWithTheUplink(t *testing.T) {
	t.Parallel()
	_, addr := startBroker(t, "127.0.0.1:0")
	a := startAsker(t, addr)
	b := openBox(t, addr, quick)
	started, ended := make(chan struct{}, maxCommands), atomic.Int32{}
	b.up.set.Command = func(ctx context.Context, _ floorwatch.Command) floorwatch.Reply {
		started <- struct{}{}
		<-ctx.Done()
		ended.Add(1)
		return floorwatch.Reply{State: floorwatch.ReplyFailed}
	}
	stop := b.run(t)
	eventually(t, "session", func() bool { return !b.up.Stats().Since.IsZero() })
	for n := range maxCommands + 1 {
		a.ask(command(n, time.Minute), false)
	}
	for range maxCommands {
		<-started
	}
	if r := a.reply(t); r.State != floorwatch.ReplyFailed || !strings.Contains(r.Reason, "busy") {
		t.Errorf("%+v", r)
	}
	stop()
	if ended.Load() != maxCommands {
		t.Errorf("%d commands ended before Run did, want %d", ended.Load(), maxCommands)
	}
}

func TestRepliesAreBounded(t *testing.T) {
	t.Parallel()
	var q commands
	for n := range 2 * keptReplies {
		c := floorwatch.Command{ID: fmt.Sprint(n)}
		if r, do := q.begin(c); r != nil || !do {
			t.Fatalf("command %d: %v %v", n, r, do)
		}
		if r, do := q.begin(c); r != nil || do {
			t.Fatalf("command %d is at work and was begun again", n)
		}
		q.end(floorwatch.Reply{ID: c.ID, State: floorwatch.ReplyDone})
	}
	if len(q.replies) != keptReplies || len(q.order) != keptReplies {
		t.Errorf("%d replies are kept", len(q.replies))
	}
}

// TestPicturesAreNotKept: a reply that carries data is made anew for a command that
// comes again, as 256 of them would fill a small box's memory.
func TestPicturesAreNotKept(t *testing.T) {
	var q commands
	ask := floorwatch.Command{ID: strings.Repeat("a", 16)}
	for range 2 {
		if r, do := q.begin(ask); r != nil || !do {
			t.Fatalf("it is not done: %+v", r)
		}
		q.end(floorwatch.Reply{ID: ask.ID, State: floorwatch.ReplyDone, Data: []byte{1}})
	}
	if len(q.replies) > 0 || len(q.order) > 0 || q.n != 0 {
		t.Errorf("kept: %+v", q)
	}
}
