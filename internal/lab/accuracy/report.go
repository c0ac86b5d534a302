package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"floorwatch/internal/durable"
)

// report is the whole of what was measured.
type report struct {
	Date     string    `json:"date"`
	Machine  string    `json:"machine"`
	Commit   string    `json:"commit"`
	Command  string    `json:"command"`
	Seconds  number    `json:"seconds"`
	Goals    []goal    `json:"goals"`
	Found    []string  `json:"found"`
	Absent   []string  `json:"absent"`
	Coverage *coverage `json:"coverage"`
	Results  []result  `json:"results"`
}

// figuresFile has every figure. It is made anew by each run, and too large for git.
const figuresFile = "accuracy.json"

// write writes the figures as JSON, and both pages of them.
func (rep *report) write(path, figures string) error {
	b, err := json.MarshalIndent(rep, "", " ")
	if err != nil {
		return fmt.Errorf("encode figures: %w", err)
	}
	if err := durable.WriteFile(figures, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	details := strings.TrimSuffix(path, ".md") + "-details.md"
	if err := durable.WriteFile(path, []byte(rep.page(filepath.Base(details))), 0o644); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	if err := durable.WriteFile(details, []byte(rep.details(filepath.Base(path))), 0o644); err != nil {
		return fmt.Errorf("write page of every case: %w", err)
	}
	return nil
}

// unit is how a figure is shown.
type unit int

const (
	plain     unit = iota // 0.93
	count                 // 31
	percentOf             // 85.3 %, of a share
	signed                // +1.2 %, of a share
	points                // +1.2 points
	seconds_              // 12.3 s
)

func (n number) show(u unit) string {
	v := float64(n)
	if !n.known() {
		return "–"
	}
	text := map[unit]string{
		plain: fmt.Sprintf("%.2f", v), count: fmt.Sprintf("%.0f", v), percentOf: fmt.Sprintf("%.1f %%", 100*v),
		signed: fmt.Sprintf("%+.1f %%", 100*v), points: fmt.Sprintf("%+.1f points", 100*v), seconds_: fmt.Sprintf("%.1f", v),
	}[u]
	return strings.Replace(text, "-", "−", 1)
}

// page is what a reader needs first: how far off the figures are, and whether
// that is what was wanted.
func (rep *report) page(details string) string {
	var b strings.Builder
	b.WriteString("# Accuracy\n\nHow far are the figures from the truth? They are measured on real films and real queues whose truth is known, and on simulated halls.\n" +
		"The last column shows what a plain pipeline makes of the same boxes: it joins boxes that overlap and counts the time inside.\n" +
		"`make accuracy` measures all of it in one run and writes this page; nothing here is typed by hand.\n\n")
	rep.headlineTable(&b)
	rep.misses(&b)
	fmt.Fprintf(&b, "Every goal, every case and what each word means: [%s](%s).\n\n", details, details)
	rep.measuredOn(&b)
	return b.String()
}

// details is the whole of it.
func (rep *report) details(first string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Accuracy: every case\n\nThe details behind [%s](%s), written by the same run of `make accuracy`, which also writes all figures to `.cache/accuracy/accuracy.json`.\n\n", first, first)
	rep.measuredOn(&b)
	rep.goalTable(&b)
	rep.cases(&b)
	rep.tables(&b)
	b.WriteString(definitions)
	return b.String()
}

func (rep *report) measuredOn(b *strings.Builder) {
	fmt.Fprintf(b, "Measured on %s, on %s, at commit %s, with `%s`, in %.0f s.\n\n", rep.Date, rep.Machine, rep.Commit, rep.Command, float64(rep.Seconds))
}

// headline is a goal in words that need no other page.
type headline struct {
	what, on     string
	kase, figure string // of the goal
}

// headlines are the goals that a reader asks for first.
var headlines = []headline{
	{"mean waiting time, one or two waiting", "simulated halls, realistic noise", "simulated halls, realistic noise, empty", "mean wait"},
	{"mean waiting time, busy queue", "the same", "simulated halls, realistic noise, busy", "mean wait"},
	{"mean waiting time, crowded queue", "the same", "simulated halls, realistic noise, crowded", "mean wait"},
	{"wait that nine of ten stay below (p90), busy", "the same", "simulated halls, realistic noise, busy", "p90 of waits"},
	{"the same, crowded", "the same", "simulated halls, realistic noise, crowded", "p90 of waits"},
	{"share that gave up, crowded", "the same", "simulated halls, realistic noise, crowded", "share abandoned"},
	{"mean waiting time, 30 % of detections missing", "simulated halls, harsh noise", "simulated halls, harsh noise", "mean wait"},
	{"mean of five minutes, one track in ten broken", "a real queue, log wellington", "queue log wellington, 5-minute windows", "error of the mean with 10 % of the tracks broken"},
	{"mean time in a zone, `nanodet`", "real film vtest, a street crossing", "vtest, `nanodet`", "mean dwell"},
	{"mean time in a zone, `motion`", "the same", "vtest, `motion`", "mean dwell"},
	{"people present, mean error in people, `nanodet`", "the same", "vtest, `nanodet`", "occupancy MAE, people"},
	{"the same person keeps the same number (IDF1)", "real films MOT17, given boxes", "MOT17 first halves, same detections", "IDF1"},
}

func (rep *report) headlineTable(b *strings.Builder) {
	b.WriteString("| Figure | Measured on | floorwatch | Goal | Reached | plain pipeline |\n| --- | --- | ---: | --- | --- | ---: |\n")
	for _, h := range headlines {
		for _, g := range rep.Goals {
			if g.Case == h.kase && g.Figure == h.figure {
				fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", h.what, h.on, g.Got.show(g.unit), g.Want, g.verdict(), g.Naive.show(g.unit))
			}
		}
	}
	b.WriteString("\n")
}

// misses names every goal that is not reached, whatever the table above shows.
func (rep *report) misses(b *strings.Builder) {
	reached, known := 0, 0
	var missed []string
	for _, g := range rep.Goals {
		switch {
		case !g.Known:
			continue
		case g.Reached:
			reached++
		default:
			missed = append(missed, fmt.Sprintf("%s, %s: %s (wanted: %s)", g.Case, g.Figure, g.Got.show(g.unit), g.Want))
		}
		known++
	}
	fmt.Fprintf(b, "%d of the %d goals measured in this run are reached; %d were not measured in it.\n", reached, known, len(rep.Goals)-known)
	if len(missed) > 0 {
		b.WriteString("Not reached:\n\n- " + strings.Join(missed, "\n- ") + "\n")
	}
	b.WriteString("\n")
	if c := rep.Coverage; c != nil {
		fmt.Fprintf(b, "The pages give the mean wait with an interval. Of %d harsh plays of an hour, the 95 %% interval held the mean that people really waited in %d.\n\n", c.Plays, c.Held)
	}
}

func (g goal) verdict() string {
	switch {
	case !g.Known:
		return "not measured"
	case g.Reached:
		return "yes"
	}
	return "**no**"
}

func (rep *report) goalTable(b *strings.Builder) {
	b.WriteString("## Every goal\n\n| Case | Figure | To reach | floorwatch | naive | reached |\n| --- | --- | --- | ---: | ---: | --- |\n")
	for _, g := range rep.Goals {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", g.Case, g.Figure, g.Want, g.Got.show(g.unit), g.Naive.show(g.unit), g.verdict())
	}
	if c := rep.Coverage; c != nil {
		fmt.Fprintf(b, "\nOf %d harsh plays of an hour, over %d halls and as many seeds, the 95 %% interval held the mean that people really waited in %d; "+
			"the estimates are %s off on average, the intervals ±%s wide.\n", c.Plays, c.Halls, c.Held, c.Bias.show(signed), c.Width.show(percentOf))
	}
	b.WriteString("\n")
}

func (rep *report) cases(b *strings.Builder) {
	b.WriteString("## Cases\n\n")
	if len(rep.Found) > 0 {
		fmt.Fprintf(b, "Measured: %s.\n\n", strings.Join(rep.Found, ", "))
	}
	if len(rep.Absent) == 0 {
		b.WriteString("Nothing that was asked for was absent.\n\n")
		return
	}
	b.WriteString("Absent, and therefore not measured:\n\n")
	for _, a := range rep.Absent {
		fmt.Fprintf(b, "- %s\n", a)
	}
	b.WriteString("\n")
}

// column is one of a table: a figure of a result.
type column struct {
	name string
	unit unit
	of   func(*result) number
	true bool // the same for both pipelines
}

func (rep *report) tables(b *strings.Builder) {
	b.WriteString("## Every case\n\nA cell is floorwatch's figure, and the naive pipeline's in brackets.\n\n")
	films := []string{"vtest", "TUD", "MOT15", "MOT17"}
	rep.table(b, "Boxes and tracks", films, []string{loadAll}, func(r *result) bool { return r.Tracks != nil }, []column{
		{"recall of boxes", percentOf, func(r *result) number { return r.Boxes.Recall }, false},
		{"precision of boxes", percentOf, func(r *result) number { return r.Boxes.Precision }, false},
		{"MOTA", percentOf, func(r *result) number { return r.Tracks.MOTA }, false},
		{"IDF1", percentOf, func(r *result) number { return r.Tracks.IDF1 }, false},
		{"HOTA", percentOf, func(r *result) number { return r.Tracks.HOTA }, false},
		{"switches", count, func(r *result) number { return number(r.Tracks.IDSW) }, false},
		{"frames per core-second", count, func(r *result) number { return r.FramesPerCoreS }, true},
	})
	visits := []column{
		{"true visits", count, func(r *result) number { return number(r.Visits.Truth) }, true},
		{"visits", count, func(r *result) number { return number(r.Visits.Got) }, false},
		{"recall", plain, func(r *result) number { return r.Visits.Recall }, false},
		{"precision", plain, func(r *result) number { return r.Visits.Precision }, false},
		{"true mean, s", seconds_, func(r *result) number { return r.Visits.MeanTruth }, true},
		{"mean dwell", signed, func(r *result) number { return r.Visits.Bias }, false},
		{"dwell MAE, s", seconds_, func(r *result) number { return r.Visits.MAE }, false},
		{"true p50, s", seconds_, func(r *result) number { return r.Visits.MedianTruth }, true},
		{"p50, s", seconds_, func(r *result) number { return r.Visits.MedianGot }, false},
		{"true p90, s", seconds_, func(r *result) number { return r.Visits.P90Truth }, true},
		{"p90, s", seconds_, func(r *result) number { return r.Visits.P90Got }, false},
		{"occupancy MAE", plain, func(r *result) number { return r.Visits.OccupancyMAE }, false},
		{"net error, s", seconds_, func(r *result) number { return r.Visits.Net }, false},
		{"sum of absolute errors, s", seconds_, func(r *result) number { return r.Visits.Absolute }, false},
	}
	hasVisits := func(r *result) bool { return r.Visits != nil }
	rep.table(b, "Visits in zones", films, append([]string{loadAll}, loads...), hasVisits, visits)
	waits := []column{
		{"true waits", count, func(r *result) number { return number(r.Waits.Truth) }, true},
		{"waits", count, func(r *result) number { return number(r.Waits.Got) }, false},
		{"true mean, s", seconds_, func(r *result) number { return r.Waits.MeanTruth }, true},
		{"realised mean", signed, func(r *result) number { return r.Waits.EstimateBias }, true},
		{"mean of whole waits", signed, func(r *result) number { return r.Waits.Bias }, false},
		{"true p50, s", seconds_, func(r *result) number { return r.Waits.MedianTruth }, true},
		{"p50, s", seconds_, func(r *result) number { return r.Waits.MedianGot }, false},
		{"true p90, s", seconds_, func(r *result) number { return r.Waits.P90Truth }, true},
		{"p90", signed, func(r *result) number { return r.Waits.P90Bias }, false},
		{"truly abandoned", percentOf, func(r *result) number { return r.Waits.AbandonedTruth }, true},
		{"abandoned", percentOf, func(r *result) number { return r.Waits.AbandonedGot }, false},
		{"unknown", percentOf, func(r *result) number { return r.Waits.Unknown }, true},
		{"wait MAE, s", seconds_, func(r *result) number { return r.Waits.MAE }, false},
		{"net error, s", seconds_, func(r *result) number { return r.Waits.Net }, false},
		{"sum of absolute errors, s", seconds_, func(r *result) number { return r.Waits.Absolute }, false},
	}
	hasWaits := func(r *result) bool { return r.Waits != nil }
	everyLoad := append([]string{loadAll}, loads...)
	rep.table(b, "Queue logs: windows of five minutes", []string{"queue logs"}, []string{loadAll}, func(r *result) bool { return r.Windows != nil }, []column{
		{"windows", count, func(r *result) number { return number(r.Windows.Windows) }, true},
		{"error of the mean wait", percentOf, func(r *result) number { return r.Windows.Mean }, false},
		{"of the realised mean", percentOf, func(r *result) number { return r.Windows.Realised }, true},
		{"of paired crossings", percentOf, func(r *result) number { return r.Windows.Crossing }, true},
		{"of Little's law", percentOf, func(r *result) number { return r.Windows.Little }, true},
	})
	rep.table(b, "Queue logs: waits", []string{"queue logs"}, everyLoad, hasWaits, waits)
	pool := func(r *result) bool { return hasWaits(r) && r.Case == poolName }
	rep.table(b, "Simulated halls together, by the load of the hall: waits", []string{"halls"}, everyLoad, pool, waits)
	rep.table(b, "Simulated halls: waits", []string{"halls"}, []string{loadAll}, func(r *result) bool { return hasWaits(r) && r.Case != poolName }, waits)
	rep.table(b, "Simulated halls: visits, all zones", []string{"halls"}, []string{loadAll}, hasVisits, visits)
	rep.table(b, "Simulated halls: tracks, once a second", []string{"halls"}, []string{loadAll}, func(r *result) bool { return r.Tracks != nil }, []column{
		{"recall of boxes", percentOf, func(r *result) number { return r.Boxes.Recall }, true},
		{"precision of boxes", percentOf, func(r *result) number { return r.Boxes.Precision }, true},
		{"MOTA", percentOf, func(r *result) number { return r.Tracks.MOTA }, false},
		{"IDF1", percentOf, func(r *result) number { return r.Tracks.IDF1 }, false},
		{"HOTA", percentOf, func(r *result) number { return r.Tracks.HOTA }, false},
		{"frames per core-second", count, func(r *result) number { return r.FramesPerCoreS }, true},
	})
}

// table writes one line per result of the product that is wanted, with the naive
// pipeline's figures in brackets.
func (rep *report) table(b *strings.Builder, title string, sets, classes []string, wanted func(*result) bool, columns []column) {
	var rows strings.Builder
	for i := range rep.Results {
		r := &rep.Results[i]
		if !has(sets, r.Set) || !has(classes, r.Load) || r.Pipeline == naiveName || !wanted(r) {
			continue
		}
		naive := rep.find(r.Case, r.Load, r.Detector, naiveName, r.Set)
		if naive != nil && !wanted(naive) {
			naive = nil
		}
		who := r.Detector
		if r.Pipeline != productName {
			who += ", own tracker"
		}
		fmt.Fprintf(&rows, "| %s | %s | %s |", r.caseName(), who, r.Load)
		for _, c := range columns {
			rows.WriteString(" " + cell(c, r, naive) + " |")
		}
		rows.WriteString("\n")
	}
	if rows.Len() == 0 {
		return
	}
	fmt.Fprintf(b, "### %s\n\n| case | boxes of | load |", title)
	for _, c := range columns {
		b.WriteString(" " + c.name + " |")
	}
	b.WriteString("\n| --- | --- | --- |" + strings.Repeat(" ---: |", len(columns)) + "\n" + rows.String() + "\n")
}

func has(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// caseName names a case; a hall with its class of load, a sum with its set.
func (r *result) caseName() string {
	switch {
	case r.Case == sumName:
		return "**" + r.Set + ", all**"
	case r.HallLoad != "":
		return r.Case + " (" + r.HallLoad + ")"
	}
	return r.Case
}

func cell(c column, r, naive *result) string {
	text := c.of(r).show(c.unit)
	if c.true || naive == nil {
		return text
	}
	return text + " (" + c.of(naive).show(c.unit) + ")"
}

const definitions = "## What the figures mean\n\n" +
	"- **Naive**: boxes of a score of at least 0.5, each joined to the track whose last box it overlaps most (IoU of at least 0.3, optimal assignment),\n" +
	"  a track is held for a second; a stay is a track's time with the foot point in the zone, breaks below 1 s bridged, stays below 1 s dropped; a wait is the\n" +
	"  stay in the queue, served if the same track is at a counter within 10 s. Its boxes are those of the product's own detectors: with `motion` this is MOG2 + IoU,\n" +
	"  with `hog` it is HOG + IoU with the margin of the detector's window left on, as OpenCV gives it, at 1.5 times the size for vtest. Both are better than\n" +
	"  OpenCV's defaults, so the naive figures flatter. On given detections it is the IoU tracker on the same boxes.\n" +
	"- **floorwatch** is the box's own code: the camera worker `floorwatch-camera` with its tracker over films, `edge/track` on given detections, then `edge/zone`\n" +
	"  and `edge/queue` with the default parameters of a zone. In halls the ids come from the simulator, which breaks and swaps them as a tracker does;\n" +
	"  *own tracker* puts `edge/track` on the same boxes instead.\n" +
	"- **Recall and precision of boxes**: one to one, at an overlap (IoU) of at least 0.5, of the boxes of a score of at least 0.5; in halls of all.\n" +
	"  **MOTA**: 1 − (missed + false + switches) / true boxes. **IDF1**: boxes with the right identity over whole tracks. **HOTA**: over all overlaps from 0.05 to 0.95,\n" +
	"  the geometric mean of detection and association. The code agrees with the independent scorers beside the project to 10⁻⁶ on every case.\n" +
	"- **Visits** are paired with the truth one to one, zone by zone, by greatest shared time, at least half of both together (tIoU ≥ 0.5). **Mean dwell** is over all visits,\n" +
	"  paired or not; **dwell MAE** over pairs. **Occupancy MAE** is the mean of |heads told − heads| once a second. **Net error** is person-seconds told too many;\n" +
	"  the **sum of absolute errors** adds every second told wrong: pairs too long or too short, visits missed and made up. The truth of vtest is that of its file; the other films\n" +
	"  with a fixed camera have the two halves of the picture as zones, and visits made of the true boxes by the naive rule of stays.\n" +
	"- **Waits**: from joining to the start of service, of those that ended in the play and were seen to begin. **Realised mean** is the product's estimate of the mean\n" +
	"  that all these people really waited, those who were lost among them, with its 95 % interval (`cloud/waits`); over several halls each weighs as many as its people.\n" +
	"  **Abandoned** is the share of waits with a known outcome. p50 and p90 are interpolated between two waits.\n" +
	"- **Queue logs** are replayed as stays, which go through `edge/queue` alone, and as camera lines of people who stand in a line, twice a second; *broken* hides each tenth\n" +
	"  of those who stand in the queue once, for 1 to 5 s, after which they have a new id. The logs know whole seconds only, so that many people come and go at the same moment. Windows in which at least three waits ended count; the error is the mean of |told − true| over the mean wait.\n" +
	"- **Load** of a visit: the mean number of people in its zone meanwhile, itself included; of a wait: those who waited when it began, itself included; of a hall: the mean number\n" +
	"  who wait, plus one. Empty below 1.5, busy below 4.5, crowded from there. Loads of single halls are in the JSON alone.\n" +
	"- **Noise** of halls: clean; realistic: 10 % misses, boxes tremble, ids swap at crossings, new id after 2 s unseen; harsh: 30 % misses, 20 s occlusions, new id after 1 s.\n" +
	"- **Frames per core-second** of films: of the whole worker, decoding included; of given detections and halls: of tracker, zones and queue alone. It is the one figure that differs\n" +
	"  from run to run; of a film it was measured when its lines were made.\n"
