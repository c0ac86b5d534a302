package bench

import "fmt"

// Finding is what a row measured: the figures in words, and whether they reach
// the goal. An error of Run is a fault bench that broke, not a finding.
type Finding struct {
	Figure  string `json:"figure"`
	Reached bool   `json:"reached"`
	// Missed names what was not reached.
	Missed []string `json:"missed,omitempty"`
	// Scope says how the run falls short of the goal's own test, if it does:
	// fewer rounds, a shorter outage.
	Scope string `json:"scope,omitempty"`
}

// Need is one of the criteria that decide whether a row's goal is reached.
type Need struct {
	held, pace bool
	want       string
}

// That is a criterion that counts what was done.
func That(held bool, want string, args ...any) Need {
	return Need{held: held, want: fmt.Sprintf(want, args...)}
}

// Pace is a criterion that hangs on the machine's speed. The short form, which
// shares the machine with other tests, shows the figure and does not judge it.
func Pace(held bool, want string, args ...any) Need {
	n := That(held, want, args...)
	n.pace = true
	return n
}

// Judge decides a finding: every criterion must hold.
func (b *Bench) Judge(f Finding, needs ...Need) Finding {
	f.Reached = true
	for _, n := range needs {
		if !n.held && !(n.pace && b.Short) {
			f.Reached = false
			f.Missed = append(f.Missed, n.want)
		}
	}
	return f
}
