package unattended

import (
	"path/filepath"
	"testing"

	"floorwatch/internal/lab/faults/box"
	"floorwatch/internal/lab/kit"
)

// The rows name functions of the product, which nothing else checks: a long row
// would break at night for one that was renamed.
func TestFunctionsToPoisonExist(t *testing.T) {
	bin := kit.Build(t)
	for program, functions := range poisoned() {
		for _, f := range functions {
			if err := box.Poisonable(filepath.Join(bin, program), f); err != nil {
				t.Error(err)
			}
		}
	}
}
