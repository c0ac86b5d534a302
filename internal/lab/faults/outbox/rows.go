// Package outbox holds the rows about the queue on the disk of a box: power cuts,
// damage, full disks, failing calls, wear.
package outbox

import (
	"floorwatch/internal/lab/faults/bench"
)

// Rows are those of the goal table.
func Rows() []bench.Row {
	return []bench.Row{
		{
			ID: "B1", Property: "A record that the outbox acknowledged is on the disk: power cut at any moment",
			Goal: "0 acknowledged records lost in 500 power cuts; opens unattended 500 of 500", Run: powerCuts,
		},
		{
			ID: "B2", Property: "Torn and rotten files: the outbox opens, returns nothing bad, and books what is gone",
			Goal: "10,000 random truncations, zeroings and flips: 0 open failures, 0 bad records returned, at most 1 record lost per flipped byte, every loss booked; fuzzing without a finding", Run: damages,
		},
		{
			ID: "B3", Property: "A disk without space or inodes: nothing breaks, the reserve carries on, work resumes",
			Goal: "no panic, no corruption, 50 fills; the reserve keeps the records of 24 h more; resumes in ≤ 10 s after space returns", Run: fullDisks,
		},
		{
			ID: "B4", Property: "A file operation fails: what is suspect is put aside, work goes on, an alarm tells",
			Goal: "EIO at every call site: the process lives, 0 acknowledged records lost without being booked", Run: brokenCalls,
		},
		{
			ID: "B5", Property: "The outbox spares the flash", Goal: "at 1 record per second ≤ 450 MB/day with 1 s commits, ≤ 100 MB/day with 5 s", Run: wear,
			Long: "half an hour of one record a second",
		},
	}
}

// Roles are the processes that these rows start.
func Roles() bench.Roles {
	return bench.Roles{"appender": appender, "filler": filler, "brittle": playBrittle, "wear": playWear}
}
