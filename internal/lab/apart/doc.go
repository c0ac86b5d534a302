// Package apart holds the tests of the programs as stores run them: box, broker
// and cloud each in a network of its own, joined by real Mosquitto with TLS and
// the configuration that deploy/ ships. There is nothing in it to import.
package apart
