// Package finding is how our programs tell an operator what a test of an
// installation found: a line for each, ok, warn or fail, and what to do next.
package finding

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"floorwatch/internal/program"
)

// Results of a test.
const (
	OK   = "ok"
	Warn = "warn" // it works, and will not for long, or not as well as it could
	Fail = "fail"
)

// Finding is what one test found, and what to do next where something is to be
// done.
type Finding struct {
	Part   string `json:"check"`
	Result string `json:"result"`
	Found  string `json:"found"`
	Next   string `json:"next,omitempty"`
}

// Good is a finding that all is well.
func Good(format string, args ...any) Finding {
	return Finding{Result: OK, Found: fmt.Sprintf(format, args...)}
}

// Doubt is one of what works and can be better.
func Doubt(next, format string, args ...any) Finding {
	return Finding{Result: Warn, Found: fmt.Sprintf(format, args...), Next: next}
}

// Bad is one of what does not work.
func Bad(next, format string, args ...any) Finding {
	return Finding{Result: Fail, Found: fmt.Sprintf(format, args...), Next: next}
}

// Part is one part of an installation with its tests.
type Part struct {
	Name string
	Test func(ctx context.Context) []Finding
}

// Alone is a part whose tests wait for nothing.
func Alone(name string, test func() []Finding) Part {
	return Part{name, func(context.Context) []Finding { return test() }}
}

// examine makes the tests; on what takes longer than two seconds it says that it
// is still at it.
func (p Part) examine(ctx context.Context, progress io.Writer) []Finding {
	done := make(chan []Finding)
	go func() { done <- p.Test(ctx) }()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case found := <-done:
			for i := range found {
				found[i].Part = p.Name
			}
			return found
		case <-tick.C:
			fmt.Fprintf(progress, "  …   %s, %.0f s\n", p.Name, time.Since(began).Seconds())
		}
	}
}

// Tell examines the parts one after the other and prints what is found as it is
// found, or with asJSON one object at the end. What later parts need comes first.
// The error is program.ErrTold where something failed.
func Tell(ctx context.Context, config string, parts []Part, asJSON bool, out, progress io.Writer) error {
	var all []Finding
	n := map[string]int{}
	for _, p := range parts {
		for _, f := range p.examine(ctx, progress) {
			all = append(all, f)
			n[f.Result]++
			if !asJSON {
				tell(out, f)
			}
		}
	}
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if err := e.Encode(map[string]any{"config": config, "checks": all, "failed": n[Fail]}); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	} else {
		fmt.Fprintf(out, "%d ok, %d to look at, %d failed\n", n[OK], n[Warn], n[Fail])
	}
	if n[Fail] > 0 {
		return program.ErrTold
	}
	return ctx.Err()
}

func tell(out io.Writer, f Finding) {
	fmt.Fprintf(out, "%-4s  %-16s  %s\n", f.Result, f.Part, f.Found)
	if f.Next != "" {
		fmt.Fprintf(out, "      %-16s  → %s\n", "", f.Next)
	}
}

// ReachTime is how long an answer from elsewhere is waited for.
const ReachTime = 10 * time.Second

const expireSoon = 30 * 24 * time.Hour

// Certificate tests a TLS server and how long its certificate still holds; caKey is
// the key that names its authority.
func Certificate(ctx context.Context, caKey, host string, trust *tls.Config) (f Finding, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, ReachTime)
	defer cancel()
	dialer := &tls.Dialer{Config: trust}
	conn, err := dialer.DialContext(ctx, "tcp", host)
	var unknown *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unknown):
		return Bad("let its operator renew it, set this machine's clock, or name its authority in "+caKey, "%s: %v", host, err), false
	case err != nil:
		return Bad("check the network, the name and the firewall: nc -vz "+strings.Replace(host, ":", " ", 1), "%v", err), false
	}
	defer func() { _ = conn.Close() }()
	end := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].NotAfter
	left := time.Until(end)
	text := fmt.Sprintf("%s: certificate holds until %s (%.0f days)", host, end.Format(time.DateOnly), left.Hours()/24)
	if left < expireSoon {
		return Doubt("let its operator renew it in time", "%s", text), true
	}
	return Good("%s", text), true
}
