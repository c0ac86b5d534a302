package main

import (
	"bytes"
	"errors"
	"flag"
	"strings"
	"testing"
)

// TestHelp: every command explains itself, with exit code 0.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, c := range commands() {
		var out, errs bytes.Buffer
		err := run(t.Context(), []string{c.name, "-h"}, stdio{nil, &out, &errs})
		if !errors.Is(err, flag.ErrHelp) || !strings.HasPrefix(errs.String(), "Usage: floorwatch "+c.name) || out.Len() > 0 {
			t.Errorf("%s: %v\n%s%s", c.name, err, out.String(), errs.String())
		}
	}
}
