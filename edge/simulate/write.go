package simulate

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"floorwatch"
)

// WriteZones writes a scene as a zones file, as `floorwatch stays -zones` reads it.
func WriteZones(to io.Writer, s floorwatch.Scene) error {
	w := bufio.NewWriter(to)
	fmt.Fprintln(w, "zones:")
	for _, z := range s.Zones {
		fmt.Fprintf(w, "  - name: %s\n    label: {zh: %q, en: %q}\n    role: %s\n    polygon: [", z.Name, z.Label.ZH, z.Label.EN, z.Role)
		for i, p := range z.Polygon {
			fmt.Fprintf(w, "%s[%g, %g]", strings.Repeat(", ", min(i, 1)), p.X, p.Y)
		}
		fmt.Fprintf(w, "]\n    min_stay: %s\n    merge_gap: %s\n    reach: %s\n    serves: [%s]\n", z.MinStay, z.MergeGap, z.Reach, strings.Join(z.Serves, ", "))
	}
	fmt.Fprintf(w, "lines: []\npicture: {width: %d, height: %d}\n", s.Picture.Width, s.Picture.Height)
	return w.Flush()
}

// WriteTruth writes the records as JSON lines: stays, then waits.
func WriteTruth(to io.Writer, t Truth) error {
	w := bufio.NewWriter(to)
	write := func(rec floorwatch.Record) error {
		b, err := floorwatch.MarshalRecord(rec)
		if err != nil {
			return err
		}
		w.Write(b.JSON) // an error of the writer stays until Flush
		w.WriteByte('\n')
		return nil
	}
	for _, s := range t.Stays {
		if err := write(&s); err != nil {
			return err
		}
	}
	for _, r := range t.Waits {
		if err := write(&r); err != nil {
			return err
		}
	}
	return w.Flush()
}

// WriteMOT writes the true boxes of frame n as MOT ground truth: frame, id, left,
// top, width, height, 1, 1, visible share. An error of the writer stays in it.
func WriteMOT(w *bufio.Writer, n int64, boxes []Box) {
	for _, b := range boxes {
		fmt.Fprintf(w, "%d,%d,%.2f,%.2f,%.2f,%.2f,1,1,%.3f\n", n, b.Person, b.X, b.Y, b.W, b.H, b.Visible)
	}
}
