// Package hostile holds the table of bad input: the built agent and aggregator,
// a real Mosquitto and a real InfluxDB, and one fault after another. For each,
// the log says what to do, a figure moves, the product goes on, and in the end
// every record of the boxes' ledgers is in InfluxDB once.
package hostile
