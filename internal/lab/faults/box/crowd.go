package box

import (
	"encoding/json"
	"os"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/faults/bench"
)

// Times of crowd.
const (
	crowdFrame = 200 * time.Millisecond
	crowdStep  = 4 * time.Second // somebody comes
	crowdStay  = 6 * time.Second // and leaves after
)

// crowd is a camera worker of a camera that sees one person come every few
// seconds, walk through the zone, and one who stays for ever.
func crowd([]string) error {
	out := json.NewEncoder(os.Stdout)
	frame := floorwatch.Frame{T: floorwatch.TimeOf(time.Now()), Event: floorwatch.EventOpen, By: "crowd"}
	if err := out.Encode(frame); err != nil {
		return err
	}
	tick := time.NewTicker(crowdFrame)
	defer tick.Stop()
	for n := int64(1); ; n++ {
		now := floorwatch.TimeOf(<-tick.C)
		f := floorwatch.Frame{T: now, N: n, W: 640, H: 480, People: []floorwatch.Person{{ID: 1, X: 300, Y: 200, W: 30, H: 80, Score: 1}}}
		for k := int64(now) / crowdStep.Milliseconds(); k > 0; k-- {
			age := int64(now) - k*crowdStep.Milliseconds()
			if age > crowdStay.Milliseconds() {
				break
			}
			f.People = append(f.People, floorwatch.Person{ID: k, X: 20 + float64(age)/20, Y: 100, W: 30, H: 80, Score: 1})
		}
		if err := out.Encode(f); err != nil {
			return err
		}
	}
}

// Roles are the processes of a box.
func Roles() bench.Roles { return bench.Roles{"crowd": crowd} }
