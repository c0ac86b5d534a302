package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"floorwatch"
	"floorwatch/internal/durable"
	"floorwatch/internal/lab/score"
	"floorwatch/models"
)

// film is a case of pictures, or of detections alone, with true boxes.
type film struct {
	set, name string
	truth     string // MOT text, below the folder of cases
	given     string // detections that come with the truth; "" none
	video     string // "" none
	frames    int    // of the video; 0 all
	fps       float64
	picture   floorwatch.Size
	mot17     bool
	moving    bool   // the camera moves: no zones
	zones     string // JSON of zones; "" the two halves of the picture
	visits    string // CSV of true visits; "" made of the true boxes
}

// films are the cases; what is not there is told as absent.
func films() []film {
	hd, vga := floorwatch.Size{Width: 1920, Height: 1080}, floorwatch.Size{Width: 640, Height: 480}
	all := []film{{
		set: "vtest", name: "vtest", truth: "vtest/gt-frames-1-400.txt", video: "vtest/vtest.avi", frames: 400, fps: 10,
		picture: floorwatch.Size{Width: 768, Height: 576}, zones: "vtest/zones.json", visits: "vtest/visits-first-40s.csv",
	}}
	for _, n := range []string{"TUD-Campus", "TUD-Stadtmitte"} {
		all = append(all, film{set: "TUD", name: n, truth: "tud/" + n + ".gt.txt", given: "tud/" + n + ".det.txt", video: "tud/" + n + ".mp4", fps: 25, picture: vga})
	}
	for _, f := range []film{
		{name: "ADL-Rundle-6", fps: 30, picture: hd},
		{name: "ETH-Bahnhof", fps: 14, picture: vga, moving: true},
		{name: "KITTI-13", fps: 10, picture: floorwatch.Size{Width: 1242, Height: 375}, moving: true},
	} {
		f.set, f.truth, f.given = "MOT15", "mot15/"+f.name+".gt.txt", "mot15/"+f.name+".det.txt"
		all = append(all, f)
	}
	for _, f := range []film{
		{name: "MOT17-02", fps: 30, picture: hd},
		{name: "MOT17-04", fps: 30, picture: hd},
		{name: "MOT17-05", fps: 14, picture: vga, moving: true},
		{name: "MOT17-09", fps: 30, picture: hd},
		{name: "MOT17-10", fps: 30, picture: hd, moving: true},
		{name: "MOT17-11", fps: 30, picture: hd, moving: true},
		{name: "MOT17-13", fps: 25, picture: hd, moving: true},
	} {
		f.set, f.mot17 = "MOT17", true
		f.truth, f.given = "mot17-first-half/"+f.name+".gt.txt", "mot17-first-half/"+f.name+".det.txt"
		all = append(all, f)
	}
	return all
}

// subject is a film with its truth at hand.
type subject struct {
	film
	rows     []score.Row
	scene    floorwatch.Scene
	zones    []score.Zone
	names    []string
	visits   []score.Visit
	duration float64
}

// open reads what is true of a film.
func (f film) open(data string) (*subject, error) {
	s := &subject{film: f}
	var err error
	if s.rows, err = readFile(filepath.Join(data, f.truth), score.ReadMOT); err != nil {
		return nil, err
	}
	last := f.frames
	for _, r := range s.rows {
		last = max(last, r.Frame)
	}
	s.duration = float64(last) / f.fps
	if f.moving {
		return s, nil
	}
	if err := s.openZones(data); err != nil {
		return nil, err
	}
	if f.visits != "" {
		s.visits, err = readFile(filepath.Join(data, f.visits), score.ReadVisits)
		return s, err
	}
	var people []score.Row
	for _, r := range s.rows {
		if r.Conf != 0 && (!f.mot17 || r.Class == 1) {
			people = append(people, r)
		}
	}
	s.visits = s.plain(people)
	return s, nil
}

// plain makes visits of tracks by the rules of the truth.
func (s *subject) plain(rows []score.Row) []score.Visit {
	return score.Naive{FPS: s.fps, Bridge: 1, Min: 1}.Visits(rows, s.zones)
}

// openZones takes the case's zones, or the halves of the picture.
func (s *subject) openZones(data string) error {
	w, h := float64(s.picture.Width), float64(s.picture.Height)
	s.zones = []score.Zone{
		{ID: "left", Polygon: []floorwatch.Point{{X: 0, Y: 0}, {X: w / 2, Y: 0}, {X: w / 2, Y: h}, {X: 0, Y: h}}},
		{ID: "right", Polygon: []floorwatch.Point{{X: w / 2, Y: 0}, {X: w, Y: 0}, {X: w, Y: h}, {X: w / 2, Y: h}}},
	}
	if s.film.zones != "" {
		file, err := readFile(filepath.Join(data, s.film.zones), func(r io.Reader) (f struct{ Zones []score.Zone }, err error) {
			return f, json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&f)
		})
		if err != nil {
			return err
		}
		s.zones = file.Zones
	}
	s.scene.Picture = s.picture
	for _, z := range s.zones {
		s.names = append(s.names, z.ID)
		s.scene.Zones = append(s.scene.Zones, floorwatch.NewZone(z.ID, floorwatch.RoleArea, z.Polygon...))
	}
	return nil
}

func readFile[T any](path string, read func(io.Reader) (T, error)) (v T, err error) {
	f, err := os.Open(path)
	if err != nil {
		return v, fmt.Errorf("open case: %w", err)
	}
	defer func() { _ = f.Close() }()
	if v, err = read(f); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// filmStart is the capture time that films are given.
var filmStart = floorwatch.TimeOf(time.Date(2025, 1, 6, 9, 0, 0, 0, time.UTC))

// runFilm measures one film with every detector and both pipelines.
func (r *bench) runFilm(ctx context.Context, f film) ([]result, error) {
	s, err := f.open(r.data)
	if err != nil {
		return nil, err
	}
	var out []result
	if f.given != "" {
		rows, err := readFile(filepath.Join(r.data, f.given), score.ReadMOT)
		if err != nil {
			return nil, err
		}
		raw := s.lines(rows)
		tracked, cpu := follow(raw)
		more, err := s.compare("given", raw, tracked, float64(len(raw))/cpu)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	if f.video == "" || r.camera == "" {
		return out, nil
	}
	if _, err := r.video(ctx, f); errors.Is(err, fs.ErrNotExist) {
		r.absent = append(r.absent, "the pictures of "+f.name+" (../shared/data/"+f.video+")")
		return out, nil
	}
	for _, detector := range r.detectors {
		more, err := r.runDetector(ctx, s, detector)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// runDetector has the worker see the film twice, with its tracker and without.
// HOG is too slow for that: its boxes are followed here by the same tracker.
func (r *bench) runDetector(ctx context.Context, s *subject, detector string) ([]result, error) {
	raw, err := r.see(ctx, s, detector, false)
	if err != nil {
		return nil, err
	}
	if detector == "hog" {
		tracked, cpu := follow(raw.Lines)
		return s.compare(detector, raw.Lines, tracked, float64(frames(tracked))/(raw.CPU+cpu))
	}
	tracked, err := r.see(ctx, s, detector, true)
	if err != nil {
		return nil, err
	}
	return s.compare(detector, raw.Lines, tracked.Lines, float64(frames(tracked.Lines))/tracked.CPU)
}

func frames(lines []floorwatch.Frame) (n int) {
	for _, f := range lines {
		if f.Event == "" {
			n++
		}
	}
	return n
}

// lines makes lines of detections.
func (s *subject) lines(rows []score.Row) []floorwatch.Frame {
	last := 0
	for _, r := range rows {
		last = max(last, r.Frame)
	}
	out := make([]floorwatch.Frame, last)
	for i := range out {
		out[i] = floorwatch.Frame{T: filmStart + floorwatch.Time(math.Round(float64(i)*1000/s.fps)), N: int64(i + 1), W: s.picture.Width, H: s.picture.Height}
	}
	for _, r := range rows {
		f := &out[r.Frame-1]
		f.People = append(f.People, floorwatch.Person{X: r.X, Y: r.Y, W: r.W, H: r.H, Score: r.Conf})
	}
	return out
}

// compare scores both pipelines. fps is frames per core-second of the product's.
func (s *subject) compare(detector string, raw, tracked []floorwatch.Frame, fps float64) ([]result, error) {
	plain := raw
	if detector == "hog" {
		plain = withMargin(raw)
	}
	ours := s.score(detector, productName, rowsOf(sure(raw)), rowsOf(tracked))
	ours[0].FramesPerCoreS = number(fps)
	tracks := naiveTracks(plain)
	naive := s.score(detector, naiveName, tracks, tracks)
	if s.moving {
		return append(ours, naive...), nil
	}
	m, err := measure(s.scene, tracked, filmStart, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return append(s.withVisits(ours[0], m.visits), s.withVisits(naive[0], s.plain(tracks))...), nil
}

// sure keeps the boxes that the naive pipeline takes too; the tracker also uses
// fainter ones, to go on with a track.
func sure(lines []floorwatch.Frame) []floorwatch.Frame {
	out := slices.Clone(lines)
	for i := range out {
		out[i].People = slices.DeleteFunc(slices.Clone(out[i].People), func(p floorwatch.Person) bool { return p.Score < naiveScore })
	}
	return out
}

// score compares boxes and tracks.
func (s *subject) score(detector, pipeline string, boxes, tracks []score.Row) []result {
	o := score.Options{MOT17: s.mot17}
	b, t := score.Detections(s.rows, boxes, o), score.Tracks(s.rows, tracks, o)
	return []result{{
		Set: s.set, Case: s.name, Load: loadAll, Detector: detector, Pipeline: pipeline,
		Boxes: boxFigures(b), Tracks: trackFigures(t), boxes: b, tracks: t,
	}}
}

// withVisits adds the figures of visits, over all and by load.
func (s *subject) withVisits(all result, got []score.Visit) []result {
	all.Visits = visitFigures(score.Visits(s.visits, got, s.names, s.duration))
	out, people := []result{all}, crowdOf(s.visits)
	for _, class := range loads {
		truth := people.ofLoad(s.visits, class, s.duration)
		if len(truth) == 0 {
			continue
		}
		told := people.ofLoad(got, class, s.duration)
		v := visitFigures(score.Visits(truth, told, s.names, s.duration))
		v.OccupancyMAE, v.OccupancyBias = number(math.NaN()), number(math.NaN()) // of part of the people it says nothing
		out = append(out, result{Set: all.Set, Case: all.Case, Load: class, Detector: all.Detector, Pipeline: all.Pipeline, Visits: v})
	}
	return out
}

// seen is what the camera worker printed over a film.
type seen struct {
	CPU   float64 `json:"cpu_s"`
	Lines []floorwatch.Frame
}

// see runs the real camera worker over a film, or reads what the same worker has
// printed over the same film before.
func (r *bench) see(ctx context.Context, s *subject, detector string, tracked bool) (seen, error) {
	video, err := r.video(ctx, s.film)
	if err != nil {
		return seen{}, err
	}
	key, err := r.hash(video, detector)
	if err != nil {
		return seen{}, err
	}
	kind := map[bool]string{false: "boxes", true: "tracks"}[tracked]
	kept := filepath.Join(r.cache, fmt.Sprintf("%s-%s-%s-%s.jsonl", s.name, detector, kind, key))
	b, err := os.ReadFile(kept)
	if errors.Is(err, fs.ErrNotExist) {
		r.say("%s: %s looks at the film for %s", s.name, detector, kind)
		if b, err = r.look(ctx, video, detector, tracked); err == nil {
			err = durable.WriteFile(kept, b, 0o644)
		}
	}
	if err != nil {
		return seen{}, fmt.Errorf("%s with %s: %w", s.name, detector, err)
	}
	return parseSeen(b)
}

// look runs the worker and returns its lines after one with the processor time.
func (r *bench) look(ctx context.Context, video, detector string, tracked bool) ([]byte, error) {
	cmd := exec.CommandContext(ctx, r.camera, "-source", video, "-detector", detector, "-models", r.models,
		fmt.Sprintf("-track=%v", tracked), "-start", filmStart.Time().Format(time.RFC3339))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run %s: %w\n%s", r.camera, err, bytes.TrimSpace(errs.Bytes()))
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	head := fmt.Sprintf("{\"cpu_s\":%.3f}\n", cpu.Seconds())
	return append([]byte(head), out.Bytes()...), nil
}

func parseSeen(b []byte) (seen, error) {
	var s seen
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, floorwatch.MaxLine)
	for n := 0; lines.Scan(); n++ {
		if n == 0 {
			if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
				return s, fmt.Errorf("read kept lines: %w; delete .cache/accuracy", err)
			}
			continue
		}
		f, err := floorwatch.ParseFrame(lines.Bytes())
		if err != nil {
			return s, fmt.Errorf("read lines: %w", err)
		}
		s.Lines = append(s.Lines, f)
	}
	return s, lines.Err()
}

// video returns the film's file, cut to the frames that there is truth of.
func (r *bench) video(ctx context.Context, f film) (string, error) {
	path := filepath.Join(r.data, f.video)
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join(r.cache, "..", filepath.Base(f.video)) // where deploy/setup.sh puts vtest
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("open film: %w", err)
		}
	}
	if f.frames == 0 {
		return path, nil
	}
	cut := filepath.Join(r.cache, fmt.Sprintf("%s-%d%s", f.name, f.frames, filepath.Ext(path)))
	if _, err := os.Stat(cut); err == nil {
		return cut, nil
	}
	part := cut + ".part" + filepath.Ext(path)
	out, err := exec.CommandContext(ctx, "ffmpeg", "-nostdin", "-v", "error", "-y", "-i", path,
		"-frames:v", fmt.Sprint(f.frames), "-an", "-c", "copy", part).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cut %s: %w: %s", path, err, bytes.TrimSpace(out))
	}
	if err := os.Rename(part, cut); err != nil {
		return "", fmt.Errorf("keep %s: %w", cut, err)
	}
	return cut, nil
}

// hash tells a film, a worker and a detector from any other.
func (r *bench) hash(video, detector string) (string, error) {
	sum := sha256.New()
	paths := []string{r.camera, video}
	if detector == models.NanoDet {
		path, err := models.Find(r.models, models.NanoDet)
		if err != nil {
			return "", err
		}
		paths = append(paths, path)
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("hash: %w", err)
		}
		_, err = io.Copy(sum, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return "", fmt.Errorf("hash %s: %w", path, err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:6]), nil
}
