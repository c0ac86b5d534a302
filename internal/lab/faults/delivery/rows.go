// Package delivery holds the rows about records on their way from the box to the
// database.
package delivery

import (
	"floorwatch/internal/lab/faults/bench"
)

// Rows are those of the goal table.
func Rows() []bench.Row {
	return []bench.Row{
		{
			ID: "A1", Property: "No record lost or doubled between Append and InfluxDB, whatever dies",
			Goal: "0 lost, 0 doubled, 0 wrong in 200 cycles of random faults", Run: randomFaults,
		},
		{
			ID: "A2", Property: "The broker acknowledged and dies before it passed on",
			Goal: "0 lost with a broker that keeps nothing, killed 100 times between PUBACK and delivery", Run: brokerDies,
		},
		{
			ID: "A3", Property: "A fleet comes back after its uplink does: soon, and not all at once",
			Goal: "first backlog record accepted p95 ≤ 35 s, max ≤ 60 s; 500 boxes at once: ≤ 25 connects per second", Run: fleetReturns,
			Long: "boxes take up to 35 s to come back, on purpose",
		},
		{
			ID: "A4", Property: "A dead link is noticed", Goal: "≤ 25 s for half-open links and blackholes one way, 50 times", Run: deadLinks,
			Long: "it waits out the 20 s that a link may be silent",
		},
		{
			ID: "A5", Property: "The network never stalls the cameras",
			Goal: "hand-off p99.9 ≤ 5 ms with the link dead under load, no frame dropped", Run: handOff,
			Long: "milliseconds are nothing that a busy machine can promise",
		},
		{
			ID: "A6", Property: "A backlog drains without starving live data",
			Goal: "86,400 records in ≤ 120 s on loopback, live p95 ≤ 5 s meanwhile", Run: backlog,
		},
		{
			ID: "A7", Property: "Messages repeated 1 to 1,000 times in any order change nothing",
			Goal: "0 differing points", Run: replays,
		},
	}
}

// Roles are the processes that these rows start.
func Roles() bench.Roles {
	return bench.Roles{"lines": playLines, "herd": playHerd}
}
