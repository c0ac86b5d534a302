// Package recording holds the rows about cameras, footage and its backup.
package recording

import (
	"floorwatch/internal/lab/faults/bench"
)

// Rows are those of the goal table.
func Rows() []bench.Row {
	return []bench.Row{
		{
			ID: "C1", Property: "Footage lost at a power cut: at any moment, segment switches included",
			Goal: "≤ GOP + 1 s, and ≤ 3 s, in the worst of 100 cuts", Run: footageCuts,
		},
		{
			ID: "C2", Property: "Footage after a crash plays: kill -9 and torn files, salvaged by the next start",
			Goal: "500 crashes: 100 % of finished files and ≥ 99 % of salvaged ones play to their last fragment; salvage marks them partial", Run: footageCrashes,
		},
		{
			ID: "C3", Property: "Cameras that hang and get lost: process stopped, line mute, noise, other size, resets",
			Goal: "200 faults: noticed in ≤ 10 s, back ≤ 15 s after the camera is, each outage a signed gap with its cause, no supervisor hangs", Run: camerasLost,
			Long: "workers side by side take too long to start on a small machine",
		},
		{
			ID: "C4", Property: "Crashes of the decoder stay in the camera worker",
			Goal: "1,000 crashes and damaged streams: the recorder loses 0 s, the camera is seen again in ≤ 3 s", Run: workersCrash,
			Long: "workers side by side take too long to start on a small machine",
		},
		{
			ID: "C5", Property: "Retention on a small disk with a dead uplink, killed in the midst of deletions",
			Goal: "held footage is never deleted; every deletion has its signed record and the other way round; free space never below 5 %", Run: retentionPressed,
		},
		{
			ID: "C6", Property: "Backup over a line that is cut, to a vault that is killed and runs full",
			Goal: "500 cuts at a random byte: 0 corrupt or lost; ≤ 10 % sent again", Run: uploadsCut,
		},
		{
			ID: "C7", Property: "Clock jumps: an hour, 1970 at a start, leap seconds, drift",
			Goal: "1,000 jumps: 0 segments out of order or overlapping, 0 intervals twice, all times of an unsynchronised clock marked", Run: clockJumps,
		},
	}
}

// Roles are the processes that these rows start.
func Roles() bench.Roles {
	return bench.Roles{"camera": playCamera, "record": record, "receiver": receiver, "hoarder": hoarder, "jumper": jumper, "eater": eat}
}
