// Package floorwatch holds the words of floorwatch and its wire contract: the
// lines a camera worker prints, the records an edge box publishes, the batches
// and acknowledgements that carry them over MQTT, and the seal that makes a
// piece of footage provable. It uses the standard library only, opens nothing
// and starts nothing; every other package imports it and it imports none.
//
// What stays compatible: the keys of the batch envelope for all versions, the
// kinds and fields of version 1 (fields are added, never changed in meaning),
// and the bytes of the seal format (docs/seal.md).
package floorwatch

// BuildVersion names the build; the Makefile sets it.
var BuildVersion = "unknown"
