// Package config reads the YAML files of floorwatch's programs strictly: a key
// that is not known, a value of the wrong type or unit, a name that is used
// twice are all reported at once, each with file, line, key, value and what
// would be right. A file with a problem starts nothing.
package config

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"floorwatch"

	"go.yaml.in/yaml/v3"
)

// MaxFile is the largest configuration file that is read, in bytes.
const MaxFile = 1 << 20

// Problem is one thing wrong in a file. Key is the path of the key, as in
// cameras[0].zones[1].polygon.
type Problem struct {
	File  string
	Line  int
	Key   string
	Value string
	Want  string
}

func (p Problem) String() string {
	s := fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Key)
	if p.Value != "" {
		s += ": " + p.Value
	}
	return s + ": " + p.Want
}

// Error holds every problem of a file, in the order of its lines.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Defaulter fills a list's element with defaults before its keys are read.
type Defaulter interface{ SetDefaults() }

// Checker is a configuration that knows what its values must be beyond their
// types. Check reports to r and never stops at the first problem.
type Checker interface{ Check(r *Report) }

// Retired is a configuration that had other keys once. For each it says where what
// stood there is now.
type Retired interface{ Retired() map[string]string }

// Bytes is a size. In a file it has a unit: 500MB, 2GiB.
type Bytes int64

// Secret names the file that holds a secret; the value itself never stands in
// a configuration.
type Secret string

// Read returns the secret without its trailing newline; "" names no file.
func (s Secret) Read() (string, error) {
	if s == "" {
		return "", nil
	}
	b, err := os.ReadFile(string(s))
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	if len(b) > 4096 {
		return "", fmt.Errorf("read secret %s: larger than 4096 bytes", string(s))
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// Load reads the YAML file at path into the struct that into points to, whose
// fields already hold the defaults. Keys are named by the yaml tag, else by the
// json tag. The error is an *Error where the content is at fault.
func Load(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, b, into)
}

// Parse is Load for bytes; file is the name used in messages.
func Parse(file string, b []byte, into any) error { return ParseUpTo(file, b, MaxFile, into) }

// ParseUpTo is Parse for what may be larger than a configuration.
func ParseUpTo(file string, b []byte, most int, into any) error {
	if len(b) > most {
		return fmt.Errorf("%s has more than %d bytes, which is all that is read", file, most)
	}
	r := &Report{file: file, nodes: map[string]*yaml.Node{}, hidden: map[string]bool{}}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Content) > 0 {
		r.nodes[""] = doc.Content[0]
		r.decode("", doc.Content[0], reflect.ValueOf(into).Elem())
	}
	if c, ok := into.(Checker); ok {
		c.Check(r)
	}
	return r.err()
}

// Report collects problems and remembers where each key stood.
type Report struct {
	file     string
	nodes    map[string]*yaml.Node
	hidden   map[string]bool
	problems []Problem
}

// Hide keeps the value at key out of messages, because it may hold a secret.
func (r *Report) Hide(key string) { r.hidden[key] = true }

// Problem books that the value at key is wrong; want says what would be right.
// A key that the file does not name is reported at its nearest parent's line.
func (r *Report) Problem(key, want string, args ...any) {
	p := Problem{File: r.file, Line: 1, Key: cmp.Or(key, "file"), Want: fmt.Sprintf(want, args...)}
	for k := key; ; k = parentKey(k) {
		if n, ok := r.nodes[k]; ok {
			p.Line = n.Line
			if k == key && !r.hidden[k] {
				p.Value = show(n)
			}
			break
		}
		if k == "" {
			break
		}
	}
	r.problems = append(r.problems, p)
}

// Has tells whether the file names the key.
func (r *Report) Has(key string) bool { _, ok := r.nodes[key]; return ok }

func (r *Report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &Error{r.problems}
}

func (r *Report) decode(key string, n *yaml.Node, v reflect.Value) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	if n.Tag == "!!null" {
		return // a key without a value keeps its default
	}
	if want := decodeScalar(n, v); want != "" {
		r.nodes[key] = n
		r.Problem(key, "want %s", want)
		return
	}
	switch {
	case isScalar(v):
	case v.Type() == reflect.TypeFor[floorwatch.Point]():
		r.decodePoint(key, n, v)
	case v.Kind() == reflect.Struct:
		r.decodeStruct(key, n, v)
	case v.Kind() == reflect.Slice:
		r.decodeList(key, n, v)
	}
}

func (r *Report) decodePoint(key string, n *yaml.Node, v reflect.Value) {
	var xy []float64
	if err := n.Decode(&xy); err != nil || len(xy) != 2 {
		r.Problem(key, "want [x, y] in pixels")
		return
	}
	v.Set(reflect.ValueOf(floorwatch.Point{X: xy[0], Y: xy[1]}))
}

func (r *Report) decodeStruct(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		r.Problem(key, "want keys: %s", strings.Join(keysOf(v.Type()), ", "))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i].Value, n.Content[i+1]
		sub := join(key, name)
		if line, twice := seen[name]; twice {
			r.problems = append(r.problems, Problem{r.file, n.Content[i].Line, sub, "", fmt.Sprintf("is set twice; first on line %d", line)})
			continue
		}
		seen[name] = n.Content[i].Line
		r.nodes[sub] = value
		field, ok := fieldOf(v, name)
		if !ok {
			want := "is not a key here; " + suggest(name, keysOf(v.Type()))
			if old, ok := v.Addr().Interface().(Retired); ok {
				want = cmp.Or(old.Retired()[name], want)
			}
			r.problems = append(r.problems, Problem{r.file, n.Content[i].Line, sub, "", want})
			continue
		}
		r.decode(sub, value, field)
	}
}

func (r *Report) decodeList(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		r.Problem(key, "want a list")
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		sub := fmt.Sprintf("%s[%d]", key, i)
		r.nodes[sub] = item
		if d, ok := list.Index(i).Addr().Interface().(Defaulter); ok {
			d.SetDefaults()
		}
		r.decode(sub, item, list.Index(i))
	}
	v.Set(list)
}

func isScalar(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		return true
	}
	return false
}

// decodeScalar sets v where it is a scalar and returns what would be right when
// the node does not hold one.
func decodeScalar(n *yaml.Node, v reflect.Value) (want string) {
	if !isScalar(v) {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		return "a single value"
	}
	switch v.Type() {
	case reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(n.Value)
		if err != nil {
			return "a duration with its unit, such as 500ms, 10s, 5m or 24h"
		}
		v.SetInt(int64(d))
		return ""
	case reflect.TypeFor[Bytes]():
		b, ok := parseBytes(n.Value)
		if !ok {
			return "a size with its unit: B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, such as 500MB"
		}
		v.SetInt(b)
		return ""
	}
	return decodePlain(n, v)
}

func decodePlain(n *yaml.Node, v reflect.Value) (want string) {
	switch v.Kind() {
	case reflect.Bool:
		b, err := strconv.ParseBool(n.Value)
		if err != nil || n.Tag != "!!bool" {
			return "true or false"
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if err != nil {
			return "a whole number"
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil {
			return "a number"
		}
		v.SetFloat(f)
	default:
		v.SetString(n.Value)
	}
	return ""
}

var units = []struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

func parseBytes(s string) (int64, bool) {
	for _, u := range units {
		if num, ok := strings.CutSuffix(s, u.suffix); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
			ok := err == nil && f >= 0 && f*u.bytes < 1<<60
			return int64(f * u.bytes), ok
		}
	}
	return 0, false
}

func tagOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(cmp.Or(f.Tag.Get("yaml"), f.Tag.Get("json")), ",")
	return name
}

func fieldOf(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			if sub, ok := fieldOf(v.Field(i), name); ok {
				return sub, true
			}
		} else if tagOf(f) == name && name != "-" {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		switch tag := tagOf(f); {
		case f.Anonymous:
			keys = append(keys, keysOf(f.Type)...)
		case tag != "" && tag != "-":
			keys = append(keys, tag)
		}
	}
	return keys
}

func suggest(name string, keys []string) string {
	if near := Nearest(name, keys); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "known keys: " + strings.Join(keys, ", ")
}

// Nearest returns the known word that differs from another in the fewest letters,
// two at most; "" where none is so near.
func Nearest(word string, known []string) (near string) {
	least := 3
	for _, k := range known {
		if d := distance(word, k); d < least {
			least, near = d, k
		}
	}
	return near
}

// distance is the Levenshtein distance of two short words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func parentKey(key string) string {
	return key[:max(strings.LastIndexAny(key, ".["), 0)]
}

// show returns a value as one short line.
func show(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return strconv.Quote(clip(n.Value))
	}
	n.Style = yaml.FlowStyle
	b, err := yaml.Marshal(n)
	if err != nil {
		return ""
	}
	return clip(strings.Join(strings.Fields(string(b)), " "))
}

func clip(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:77]) + "…"
	}
	return s
}
