package house

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Papers are read by people who trust them, and nothing else fails when a file is
// renamed: so every path, command, flag and function that a paper names must be
// there, or its line must say *planned*.

// root is the repository's.
const root = "../../.."

const planned = "*planned*"

// papers are checked; CHANGELOG.md is not, as it tells of what was.
var papers = []string{
	"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md",
	"docs/*.md", "docs/adr/*.md", "models/README.md", "deploy/*/README.md",
}

var (
	spanRE = regexp.MustCompile("`([^`]+)`")
	linkRE = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// pathRE is a path of ours: the folders at the top are few.
	pathRE = regexp.MustCompile(`^(?:\./)?((?:edge|cloud|cmd|internal|models|deploy|docs|testdata)(?:/[\w.*{},-]+)*)/?(?:/\.\.\.)?(?::([\w.]+))?$`)
	// fileRE is a file at the top or beside the paper.
	fileRE    = regexp.MustCompile(`^([\w-]+\.(?:go|md|mod)|Makefile)(?::([\w.]+))?$`)
	targetRE  = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	makeRE    = regexp.MustCompile(`^make ([a-z][a-z-]*)`)
	programRE = regexp.MustCompile(`^(?:\$ )?(?:sudo -u \S+ |runuser -u \S+ -- )?(?:[\w./]*/)?(floorwatch(?:-edge|-cloud|-camera)?)(?:\s+(.*))?$`)
	splitRE   = regexp.MustCompile(`\|\|?|&&|;|\s#\s|[<>]`)
	headingRE = regexp.MustCompile(`(?m)^#+ (.*)$`)
	// away is what a reader of the repository cannot open.
	away = regexp.MustCompile(`\.\./` + `shared|\bDES` + `IGN\b|\bSTYLE` + `\.md|\bhouse` + `\.md|\bnewcomer` + `\.md|\breference` + `/\w+\.md|[\s("` + "`" + `]/(?:work|home|Users)/\w`)
)

// paper is one of the repository's texts.
type paper struct {
	t     *testing.T
	name  string // slash-separated, from the root
	line  int
	texts map[string]string // what was read: the same sources are asked for again and again
	named int               // paths and targets on this line
	wrong []string          // what the line names and is not there
}

func (p *paper) absent(form string, args ...any) {
	p.wrong = append(p.wrong, fmt.Sprintf(form, args...))
}

func TestPapers(t *testing.T) {
	found, texts := 0, map[string]string{}
	for _, pattern := range papers {
		names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(pattern, "*") && len(names) == 0 {
			t.Errorf("%s is missing", pattern)
		}
		for _, name := range names {
			rel, err := filepath.Rel(root, name)
			if err != nil {
				t.Fatal(err)
			}
			found++
			(&paper{t: t, name: filepath.ToSlash(rel), texts: texts}).check()
		}
	}
	if found < 25 {
		t.Errorf("only %d papers found", found)
	}
}

func (p *paper) check() {
	fenced := false
	for line := range strings.Lines(p.read(p.name)) {
		p.line++
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if away.MatchString(line) {
			p.t.Errorf("%s:%d: cites what is not in the repository: %s", p.name, p.line, away.FindString(line))
		}
		p.named, p.wrong = 0, nil
		p.names(line, fenced || strings.HasPrefix(line, "    "))
		switch {
		case !strings.Contains(line, planned):
			for _, w := range p.wrong {
				p.t.Errorf("%s:%d: %s", p.name, p.line, w)
			}
		case p.named > 0 && len(p.wrong) == 0:
			p.t.Errorf("%s:%d: says %s, and all that it names is there", p.name, p.line, planned)
		}
	}
}

// names looks at all that a line names.
func (p *paper) names(line string, code bool) {
	if code {
		p.code(strings.TrimSpace(line))
		return
	}
	for _, m := range linkRE.FindAllStringSubmatch(line, -1) {
		p.link(m[1])
	}
	for _, m := range spanRE.FindAllStringSubmatch(line, -1) {
		p.path(m[1])
		p.code(m[1])
	}
}

// code checks a command line.
func (p *paper) code(line string) {
	for _, part := range splitRE.Split(line, -1) {
		part = strings.TrimSpace(part)
		if m := makeRE.FindStringSubmatch(part); m != nil {
			p.named++
			if !slices.Contains(targets(p.read("Makefile")), m[1]) {
				p.absent("make has no target %s", m[1])
			}
		}
		if m := programRE.FindStringSubmatch(part); m != nil {
			p.program(m[1], strings.Fields(m[2]))
		}
		for _, word := range strings.Fields(part) {
			if strings.Contains(word, "/") && part != word {
				p.path(word)
			}
		}
	}
}

func targets(makefile string) (all []string) {
	for _, m := range targetRE.FindAllStringSubmatch(makefile, -1) {
		all = append(all, m[1])
	}
	return all
}

// program checks the command and the flags of one of ours.
func (p *paper) program(name string, args []string) {
	if len(args) > 1 && strings.HasPrefix(args[1], "v1") {
		return // "floorwatch seal v1" opens a format
	}
	own := p.sources("cmd/" + name)
	if own == "" {
		p.absent("there is no program %s", name)
		return
	}
	wordRE := regexp.MustCompile(`^[a-z][a-z-]*$`)
	if len(args) > 0 && name != "floorwatch-camera" && wordRE.MatchString(args[0]) {
		command := args[0]
		if command == "dead-letters" && len(args) > 1 && wordRE.MatchString(args[1]) {
			command += " " + args[1]
		}
		if !strings.Contains(own, `"`+command+`"`) && !strings.Contains(own, "  "+command+" ") {
			p.absent("%s has no command %s", name, command)
		}
	}
	own += p.sources("internal/program") + p.sources("internal/verify") + p.sources("edge/doctor")
	for _, a := range args {
		flag, _, _ := strings.Cut(strings.Trim(a, "[]"), "=")
		flag = strings.TrimPrefix(flag, "-")
		if !strings.HasPrefix(a, "-") || !wordRE.MatchString(flag) || flag == "h" {
			continue
		}
		if !strings.Contains(own, `"`+flag+`"`) {
			p.absent("%s has no flag -%s", name, flag)
		}
	}
}

// path checks what looks like a path of ours, and the name behind its colon.
func (p *paper) path(s string) {
	m := pathRE.FindStringSubmatch(s)
	if m == nil {
		if m = fileRE.FindStringSubmatch(s); m == nil {
			return
		}
		if beside := path.Join(path.Dir(p.name), m[1]); exists(beside) {
			m[1] = beside
		}
	}
	p.named++
	for _, name := range expand(m[1]) {
		if !exists(name) {
			p.absent("%s does not exist", name)
			return
		}
	}
	if m[2] != "" && !declares(p.sources(m[1]), m[2]) {
		p.absent("%s declares no %s", m[1], m[2])
	}
}

// expand resolves one {a,b}.
func expand(s string) []string {
	before, rest, ok := strings.Cut(s, "{")
	inside, after, closed := strings.Cut(rest, "}")
	if !ok || !closed {
		return []string{s}
	}
	var all []string
	for one := range strings.SplitSeq(inside, ",") {
		all = append(all, before+one+after)
	}
	return all
}

func exists(name string) bool {
	found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(name)))
	return err == nil && len(found) > 0
}

// declares tells whether Go or JavaScript declares a function, method, type,
// field, constant or variable.
func declares(source, name string) bool {
	owner, member, isMember := strings.Cut(name, ".")
	if !isMember {
		return regexp.MustCompile(`(?m)^(?:export )?(?:async )?(?:func|function|type|var|const|let) ` + name + `\b|^\t` + name + `(?:\s|,|$)`).MatchString(source)
	}
	if regexp.MustCompile(`(?m)^func \((?:\w+ )?\*?` + owner + `(?:\[[^\]]*\])?\) ` + member + `\(`).MatchString(source) {
		return true
	}
	body := regexp.MustCompile(`(?ms)^type ` + owner + ` (?:struct|interface) \{(.*?)^\}`).FindStringSubmatch(source)
	return body != nil && regexp.MustCompile(`(?m)^\t(?:\w+, )*`+member+`\b`).MatchString(body[1])
}

// sources returns the text of a file, or of the sources of a folder but tests.
func (p *paper) sources(name string) string {
	info, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		return ""
	}
	if !info.IsDir() {
		return p.read(name)
	}
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(name), "*.go"))
	if err != nil {
		p.t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.go") {
			all.WriteString(p.read(path.Join(name, filepath.Base(f))))
		}
	}
	return all.String()
}

func (p *paper) read(name string) string {
	if text, ok := p.texts[name]; ok {
		return text
	}
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		p.t.Fatal(err)
	}
	p.texts[name] = string(b)
	return p.texts[name]
}

// link checks a link that stays in the repository, and its heading.
func (p *paper) link(to string) {
	if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
		return
	}
	file, anchor, _ := strings.Cut(to, "#")
	name := p.name
	if file != "" {
		name = path.Join(path.Dir(p.name), file)
	}
	if strings.HasPrefix(name, "..") || !exists(name) {
		p.absent("link to %s leads nowhere", to)
		return
	}
	if anchor == "" {
		return
	}
	for _, m := range headingRE.FindAllStringSubmatch(p.read(name), -1) {
		if slug(m[1]) == anchor {
			return
		}
	}
	p.absent("link to %s: %s has no such heading", to, name)
}

// slug is how GitHub names a heading.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127:
			return r
		}
		return -1
	}, strings.ToLower(heading))
}

// TestWireIsWritten holds the table of topics and records against the code: each
// key of a record and each column in the database has its row.
func TestWireIsWritten(t *testing.T) {
	p := &paper{t: t, texts: map[string]string{}}
	page := p.read("docs/wire.md")
	var names []string
	for _, m := range regexp.MustCompile("`json:\"(\\w+)").FindAllStringSubmatch(p.read("record.go"), -1) {
		names = append(names, m[1])
	}
	columnRE := regexp.MustCompile(`\b(whole|optional|length|flag|decimal|text|sum|optionalSum)(?:\[[\w.]+\])?\("(\w+)"`)
	for _, m := range columnRE.FindAllStringSubmatch(p.read("cloud/influx/columns.go"), -1) {
		if strings.HasSuffix(strings.ToLower(m[1]), "sum") {
			names = append(names, m[2]+"_n", m[2]+"_sum", m[2]+"_min", m[2]+"_max")
			continue
		}
		names = append(names, m[2])
	}
	if len(names) < 100 {
		t.Fatalf("found only %d keys and columns in the code", len(names))
	}
	for _, name := range names {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("docs/wire.md does not say what %s is", name)
		}
	}
}

// TestNothingCitesOutside looks into code and samples too: a comment that sends
// its reader to a file that only its author has is worth nothing.
func TestNothingCitesOutside(t *testing.T) {
	skip := []string{".git", ".tools", ".cache", "bin", "data", "node_modules", "vendor", "testdata"}
	kinds := []string{".go", ".yaml", ".sh", ".js", ".mjs", ".html", ".css", ".service", ".conf"}
	words := []string{"DES" + "IGN", "STYLE" + ".md", "house" + ".md", "newcomer" + ".md", "reference" + "/"}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(skip, d.Name()):
			return fs.SkipDir
		case d.IsDir() || !slices.Contains(kinds, filepath.Ext(name)):
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, word := range words {
			if before, _, ok := strings.Cut(string(b), word); ok {
				t.Errorf("%s:%d cites %s, which is not in the repository", name, 1+strings.Count(before, "\n"), word)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
