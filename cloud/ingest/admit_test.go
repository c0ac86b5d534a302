package ingest

import (
	"fmt"
	"path/filepath"
	"testing"

	"floorwatch"
)

// BenchmarkAdmit: the first words of new boxes, 100 at a time, each with the names
// that a box with 2 cameras and 4 zones announces.
func BenchmarkAdmit(b *testing.B) {
	db, err := OpenDB(filepath.Join(b.TempDir(), "ingest.sqlite"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	box := 0
	for b.Loop() {
		var names []name
		for range 100 {
			box++
			store := fmt.Sprintf("s%d", box)
			for _, f := range floorwatch.Figures {
				names = append(names, name{store, "box", "figure", string(f.Name)})
			}
			for i := range 6 {
				names = append(names, name{store, "box", [...]string{"camera", "zone"}[min(i/2, 1)], fmt.Sprint("n", i)})
			}
		}
		if refused, err := db.admit(b.Context(), names); err != nil || len(refused) > 0 {
			b.Fatal(refused, err)
		}
	}
}
