// Package influx keeps floorwatch's figures in InfluxDB: it runs the real 1.8.10
// as a child where nobody else runs one (Server), writes records as points and
// reads them back whole (Client).
//
// What stays compatible is the schema. A record is one point: measurement = its
// kind, tags store, edge, camera and zone, everything else fields of one fixed
// type each. Its time is the record's end in milliseconds x 10^6 plus its
// sequence number mod 10^6, in nanoseconds, so that two stays that end on one
// frame are two points; an interval's is exactly its start. The end is a stay's
// exit, a wait's or count's end, a gap's to, and for what has no span (alert,
// health) the time it settled. A point is a function of its record and sequence
// number alone: writing it again, in any order, changes nothing.
package influx
