package main

import (
	"testing"

	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/samples"
)

func TestSampleHoldsTheDefaults(t *testing.T) {
	defaults := defaultRunConfig()
	samples.Check(t, kit.Repository(t, "deploy/floorwatch.yaml"), &defaults, "edge.cameras[].zones[].bridge",
		"edge.cameras[].notice", "edge.store", "edge.edge", "edge.interval", "edge.footage.max_bytes", "edge.footage.max_age",
		"edge.cameras[].name", "edge.cameras[].label", "edge.cameras[].source", "edge.cameras[].picture",
		"edge.cameras[].zones[].name", "edge.cameras[].zones[].label", "edge.cameras[].zones[].polygon")
}
