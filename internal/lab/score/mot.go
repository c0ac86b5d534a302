package score

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Row is one box of one frame in MOT text. Class is 1, a pedestrian, unless the
// row has the nine columns of the truth of MOT16 and later.
type Row struct {
	Frame      int
	ID         int64
	X, Y, W, H float64 // pixels: left, top, width, height
	Conf       float64 // of truth: 0 is not to be scored
	Class      int
}

// maxRows bounds what ReadMOT believes: an hour of a crowd.
const maxRows = 5 << 20

// ReadMOT reads MOT text, frame,id,x,y,w,h[,conf[,class,visibility]], with
// commas, semicolons or blanks between; blank lines and those with # are passed
// over. An error names the line.
func ReadMOT(r io.Reader) ([]Row, error) {
	var rows []Row
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		row, err := parseRow(text)
		if err == nil && len(rows) == maxRows {
			err = fmt.Errorf("more than %d boxes", maxRows)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read MOT text: %w", err)
	}
	return rows, nil
}

func parseRow(text string) (Row, error) {
	cols := strings.Split(strings.ReplaceAll(text, ";", ","), ",")
	if len(cols) < 6 {
		cols = strings.Fields(text)
	}
	if len(cols) < 6 {
		return Row{}, fmt.Errorf("%d columns, want frame,id,x,y,w,h", len(cols))
	}
	if len(cols) != 9 { // the world coordinates of MOT15 are not class and visibility
		cols = cols[:min(len(cols), 7)]
	}
	v := [9]float64{6: 1, 7: 1, 8: 1}
	for i, c := range cols {
		if c = strings.TrimSpace(c); c == "" && i >= 6 {
			continue
		}
		x, err := strconv.ParseFloat(c, 64)
		if err != nil || math.IsNaN(x) || math.Abs(x) > 1e9 {
			return Row{}, fmt.Errorf("column %d: %.40q is not a number in range", i+1, c)
		}
		v[i] = x
	}
	return Row{Frame: int(v[0]), ID: int64(v[1]), X: v[2], Y: v[3], W: v[4], H: v[5], Conf: v[6], Class: int(v[7])}, nil
}

// IoU is the overlap of two boxes: intersection over union, 0 to 1.
func IoU(a, b Row) float64 {
	w := min(a.X+a.W, b.X+b.W) - max(a.X, b.X)
	h := min(a.Y+a.H, b.Y+b.H) - max(a.Y, b.Y)
	both := max(w, 0) * max(h, 0)
	if union := a.W*a.H + b.W*b.H - both; union > 0 {
		return both / union
	}
	return 0
}
