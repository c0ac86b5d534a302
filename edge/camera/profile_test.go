//go:build cgo && matprofile

package camera

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"gocv.io/x/gocv"
)

// TestMain requires that every Mat was closed, after all tests.
func TestMain(m *testing.M) {
	code := m.Run()
	if n := gocv.MatProfile.Count(); n != 0 {
		var b bytes.Buffer
		_ = gocv.MatProfile.WriteTo(&b, 1)
		fmt.Fprintf(os.Stderr, "%d pictures of OpenCV were not closed:\n%s", n, b.Bytes())
		code = 1
	}
	os.Exit(code)
}
