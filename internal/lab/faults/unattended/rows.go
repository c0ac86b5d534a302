// Package unattended holds the rows about a system that nobody looks after: parts
// that hang, crash, leak or fall silent.
package unattended

import (
	"floorwatch/internal/lab/faults/bench"
)

// Rows are those of the goal table.
func Rows() []bench.Row {
	return []bench.Row{
		{
			ID: "G1", Property: "any part of a program hangs",
			Goal: "restarted within 30 s; the watchdog is fed by progress alone",
			Long: "a part counts as hung after 20 s",
			Run:  hangEverything,
		},
		{
			ID: "G2", Property: "the program crashes again and again, or its configuration is spoilt",
			Goal: "after 5 crashes a safe mode that reports why, with the last good configuration; never stays down; back by itself",
			Run:  crashLoops,
		},
		{
			ID: "G5", Property: "nothing grows: memory, goroutines, open files",
			Goal: "under 1 MB/h after the warm-up, counts flat, over 30 min at high speed with a link and a camera that break every 30 s",
			Long: "a leak shows over minutes",
			Run:  soakLeaks,
		},
		{
			ID: "G6", Property: "a box or a camera that falls silent is told by the cloud",
			Goal: "offline within 45 s, a blind camera within 60 s, no false alarm over a bad line",
			Long: "silence is told after up to a minute",
			Run:  noticeFleet,
		},
	}
}
