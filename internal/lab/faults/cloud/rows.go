// Package cloud holds the rows about the aggregator and its database.
package cloud

import (
	"floorwatch/internal/lab/faults/bench"
)

// Rows are those of the goal table.
func Rows() []bench.Row {
	return []bench.Row{
		{
			ID: "H1", Property: "InfluxDB is away: it refuses, hangs, is slow, and the aggregator dies meanwhile",
			Goal: "10 min away: 0 lost, ≤ 256 MB, drained in ≤ 20 % of the time", Run: databaseAway,
		},
		{
			ID: "H2", Property: "A bad point among 5,000 good ones", Goal: "all good ones written, only the bad one in the dead letters, for each class of error", Run: badPoint,
		},
		{
			ID: "H3", Property: "Late and shuffled records give the figures of records in order", Goal: "0 differing rows, up to 30 days late", Run: lateAndShuffled,
		},
		{
			ID: "H4", Property: "Three aggregators on one subscription, killed and paused at random", Goal: "0 lost, 0 doubled, another takes over in ≤ 60 s", Run: instances,
		},
		{
			ID: "H6", Property: "Far more comes than the database takes", Goal: "10 times the load for 10 min: 0 lost, ≤ 256 MB, boxes wait instead of sending again and again", Run: overload,
		},
		{
			ID: "H7", Property: "The cloud's disk is gone and a backup that was taken at work is put back", Run: restoreDrill,
			Goal: "0 acknowledged records missing without a word: each is in the database or lies in a span that the cloud has booked for its box",
		},
	}
}
