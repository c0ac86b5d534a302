package main

import "fmt"

// play is the other half of the bench: what a process does that it starts and
// kills. The parent names the role and gives its arguments.
func play(name string, args []string) error {
	role, ok := roles()[name]
	if !ok {
		return fmt.Errorf("no such role")
	}
	return role(args)
}

// roles are the processes that rows start with `faults role NAME ARGS`.
func roles() map[string]func(args []string) error {
	return map[string]func(args []string) error{
		"filler":   filler,
		"boxes":    playBoxes,
		"brittle":  playBrittle,
		"wear":     playWear,
		"lines":    playLines,
		"herd":     playHerd,
		"camera":   playCamera,
		"record":   record,
		"receiver": receiver,
		"hoarder":  hoarder,
		"jumper":   jumper,
		"eater":    eat,
		"crowd":    crowd,
		"appender": appender,
	}
}
