// Package counter takes in what people counters of other makers say, in one
// neutral JSON form, by HTTP POST and by MQTT, and turns it into count records
// (docs/counters.md describes the form). Start with New and Run.
//
//	HTTP POST ─┐                  ┌─> buckets ─ settle ─┐
//	           ├─> Parse ─> clock ┤                     ├─> pending ─> Emit
//	MQTT ──────┘                  └─> late windows ─────┘
//
// What is promised: a message is answered (HTTP 2xx, MQTT acknowledgement) only
// when what it said is on disk. Said twice it counts once, as long as it carries
// ids or windows. Every count record is emitted until Emit has taken it, with
// the same bytes: after a crash the last ones may come twice, under the same ID.
// A record is never revised; what comes after its bucket has settled becomes a
// record of its own, so that all records of a line add up to the truth.
//
// Pictures and whatever else a message carries beside counts is dropped unread.
package counter
