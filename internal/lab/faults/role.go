package main

import (
	"fmt"

	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/box"
	"floorwatch/internal/lab/faults/delivery"
	"floorwatch/internal/lab/faults/hall"
	"floorwatch/internal/lab/faults/outbox"
	"floorwatch/internal/lab/faults/recording"
)

// play is the other half of the bench: what a process does that it starts and
// kills. The parent names the role and gives its arguments.
func play(name string, args []string) error {
	for _, room := range []bench.Roles{hall.Roles(), box.Roles(), delivery.Roles(), outbox.Roles(), recording.Roles()} {
		if role, ok := room[name]; ok {
			return role(args)
		}
	}
	return fmt.Errorf("no such role")
}
