//go:build cgo

package camera

import (
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"math"
	"os"
	"slices"

	"gocv.io/x/gocv"

	"floorwatch"
)

// The net's shape: NanoDet-Plus-m-1.5x as the OpenCV Zoo publishes it.
const (
	netSide     = 416
	netClasses  = 80 // COCO; 0 is a person
	netBins     = 8  // of each side's distance distribution
	netMinScore = 0.1
	netOverlap  = 0.5 // two boxes that share more are one person
)

var netStrides = [...]int{8, 16, 32}

// nanodet finds people with a small neural net on the CPU.
type nanodet struct {
	net     gocv.Net
	outputs []string
	by      string
	work    gocv.Mat
	blob    []byte
	norm    [3][256]float32 // (value - mean)/std per channel
}

// NewNanoDet loads the model from a file that was checked. by names it in the
// open event. OpenCV ends the process over bytes that are no net, so only a file
// whose hash was checked may come here.
func NewNanoDet(path, by string) (Detector, error) {
	model, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	if len(model) == 0 {
		return nil, fmt.Errorf("load model %s: the file is empty", path)
	}
	net, err := gocv.ReadNetFromONNXBytes(model)
	if err != nil {
		return nil, fmt.Errorf("load model %s: %w", path, err)
	}
	d := &nanodet{net: net, by: by, work: gocv.NewMat(), blob: make([]byte, 4*3*netSide*netSide)}
	if net.Empty() {
		_ = d.Close()
		return nil, fmt.Errorf("load model %s: OpenCV cannot read it", path)
	}
	names := net.GetLayerNames()
	for _, id := range net.GetUnconnectedOutLayers() {
		if id < 1 || id > len(names) {
			_ = d.Close()
			return nil, fmt.Errorf("load model %s: output layer %d of %d", path, id, len(names))
		}
		d.outputs = append(d.outputs, names[id-1])
	}
	if len(d.outputs) != 2*len(netStrides) {
		_ = d.Close()
		return nil, fmt.Errorf("load model %s: %d outputs, want %d", path, len(d.outputs), 2*len(netStrides))
	}
	d.fillNorm()
	return d, nil
}

// fillNorm tabulates the net's input scaling, channels B, G, R.
func (d *nanodet) fillNorm() {
	mean, std := [3]float64{103.53, 116.28, 123.675}, [3]float64{57.375, 57.12, 58.395}
	for c := range d.norm {
		for v := range d.norm[c] {
			d.norm[c][v] = float32((float64(v) - mean[c]) / std[c])
		}
	}
}

// By names detector and model.
func (d *nanodet) By() string { return d.by }

// Detect returns the people that the net sees, scores from netMinScore.
func (d *nanodet) Detect(picture gocv.Mat) ([]floorwatch.Person, error) {
	fit, err := d.prepare(picture)
	if err != nil {
		return nil, err
	}
	input, err := gocv.NewMatWithSizesFromBytes([]int{1, 3, netSide, netSide}, gocv.MatTypeCV32F, d.blob)
	if err != nil {
		return nil, fmt.Errorf("make the net's input: %w", err)
	}
	defer func() { _ = input.Close() }()
	d.net.SetInput(input, "")
	outputs := d.net.ForwardLayers(d.outputs)
	defer func() {
		for i := range outputs {
			_ = outputs[i].Close()
		}
	}()
	return d.read(outputs, fit)
}

// read takes the people out of the net's outputs: per stride one of scores and
// one of box distributions, told apart by their last dimension.
func (d *nanodet) read(outputs []gocv.Mat, fit letterbox) ([]floorwatch.Person, error) {
	var people []floorwatch.Person
	for _, stride := range netStrides {
		cells := (netSide / stride) * (netSide / stride)
		var scores, boxes []float32
		for i := range outputs {
			values, err := outputs[i].DataPtrFloat32()
			if err != nil {
				return nil, fmt.Errorf("read the net's output: %w", err)
			}
			switch len(values) {
			case cells * netClasses:
				scores = values
			case cells * 4 * netBins:
				boxes = values
			}
		}
		if scores == nil || boxes == nil {
			return nil, fmt.Errorf("net has no output for stride %d", stride)
		}
		people = append(people, decode(scores, boxes, stride, fit)...)
	}
	return suppress(people, netOverlap), nil
}

// letterbox says how a picture was fitted into the net's square.
type letterbox struct {
	scale         float64
	left, top     float64 // of the picture in the square, pixels
	width, height float64 // of the picture, its own pixels
}

// prepare fills the blob: the picture scaled to fit, in the middle of black,
// planes B, G, R.
func (d *nanodet) prepare(picture gocv.Mat) (letterbox, error) {
	cols, rows := picture.Cols(), picture.Rows()
	scale := min(float64(netSide)/float64(cols), float64(netSide)/float64(rows))
	w, h := min(netSide, max(1, int(float64(cols)*scale))), min(netSide, max(1, int(float64(rows)*scale)))
	left, top := (netSide-w)/2, (netSide-h)/2
	gocv.Resize(picture, &d.work, image.Pt(w, h), 0, 0, gocv.InterpolationArea)
	pixels, err := d.work.DataPtrUint8()
	if err != nil || len(pixels) != 3*w*h {
		return letterbox{}, errors.Join(fmt.Errorf("picture has %d bytes, want %d x %d x 3", len(pixels), w, h), err)
	}
	const plane = netSide * netSide
	for c := range 3 {
		black := math.Float32bits(d.norm[c][0])
		out := d.blob[4*plane*c : 4*plane*(c+1)]
		for i := range plane {
			binary.NativeEndian.PutUint32(out[4*i:], black)
		}
		for y := range h {
			row := out[4*((top+y)*netSide+left):]
			in := pixels[3*y*w:]
			for x := range w {
				binary.NativeEndian.PutUint32(row[4*x:], math.Float32bits(d.norm[c][in[3*x+c]]))
			}
		}
	}
	return letterbox{
		scale: scale, left: float64(left), top: float64(top),
		width: float64(cols), height: float64(rows),
	}, nil
}

// decode reads one stride: scores [cells, classes] and, for each cell, four
// distributions of the distance from its centre to the box's left, top, right
// and bottom, in strides (generalised focal loss, Li et al., NeurIPS 2020).
func decode(scores, boxes []float32, stride int, fit letterbox) []floorwatch.Person {
	var out []floorwatch.Person
	grid := netSide / stride
	for cell := range grid * grid {
		score := float64(scores[cell*netClasses])
		if !(score >= netMinScore) {
			continue
		}
		cx := (float64(cell%grid)+0.5)*float64(stride) - 0.5
		cy := (float64(cell/grid)+0.5)*float64(stride) - 0.5
		var d [4]float64
		for side := range d {
			at := (cell*4 + side) * netBins
			d[side] = expectation(boxes[at:at+netBins]) * float64(stride)
		}
		x1, y1 := max((cx-d[0]-fit.left)/fit.scale, 0), max((cy-d[1]-fit.top)/fit.scale, 0)
		x2, y2 := min((cx+d[2]-fit.left)/fit.scale, fit.width), min((cy+d[3]-fit.top)/fit.scale, fit.height)
		if x2 > x1 && y2 > y1 {
			out = append(out, floorwatch.Person{X: x1, Y: y1, W: x2 - x1, H: y2 - y1, Score: min(score, 1)})
		}
	}
	return out
}

// expectation is the mean bin of a distribution given by its logits.
func expectation(logits []float32) float64 {
	var sum, mean float64
	top := slices.Max(logits)
	for i, l := range logits {
		e := math.Exp(float64(l - top))
		sum += e
		mean += float64(i) * e
	}
	return mean / sum
}

// suppress keeps of boxes that overlap by more than limit the one of highest
// score.
func suppress(people []floorwatch.Person, limit float64) []floorwatch.Person {
	slices.SortStableFunc(people, func(a, b floorwatch.Person) int {
		switch {
		case a.Score > b.Score:
			return -1
		case a.Score < b.Score:
			return 1
		}
		return 0
	})
	var kept []floorwatch.Person
next:
	for _, p := range people {
		for _, k := range kept {
			if overlap(p, k) > limit {
				continue next
			}
		}
		if kept = append(kept, p); len(kept) == floorwatch.MaxPeople {
			break
		}
	}
	return kept
}

// overlap is the intersection's share of the union of two boxes.
func overlap(a, b floorwatch.Person) float64 {
	w := min(a.X+a.W, b.X+b.W) - max(a.X, b.X)
	h := min(a.Y+a.H, b.Y+b.H) - max(a.Y, b.Y)
	if w <= 0 || h <= 0 {
		return 0
	}
	return w * h / (a.W*a.H + b.W*b.H - w*h)
}

// Close frees OpenCV's memory.
func (d *nanodet) Close() error {
	_ = d.work.Close()
	return d.net.Close()
}
