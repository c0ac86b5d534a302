package floorwatch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestFiguresAreDocumented holds the table of docs/health.md against Figures;
// -update writes it anew.
func TestFiguresAreDocumented(t *testing.T) {
	const page, begin, end = "docs/health.md", "<!-- figures -->\n", "<!-- end of figures -->\n"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(b), begin)
	have, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no %q", page, begin)
	}
	want := figureTable("The box", false) + "\n" + figureTable("Each camera", true)
	if *update {
		if err := os.WriteFile(page, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have != want {
		t.Errorf("%s does not list the figures of figures.go; go test -run %s -update . writes them", page, t.Name())
	}
}

func figureTable(of string, camera bool) string {
	text := "| " + of + " | Unit | Meaning | On the pages |\n| --- | --- | --- | --- |\n"
	for _, f := range Figures {
		if f.Camera == camera {
			text += fmt.Sprintf("| `%s` | %s | %s | %s |\n", f.Name, f.Unit, f.Means, map[bool]string{true: "yes"}[f.Page])
		}
	}
	return text
}

// TestFiguresAreSentAndRead looks for each figure in the code of the box, and, if
// the pages show it, in that of the cloud: a name that only one side knows is a
// figure that is always missing.
func TestFiguresAreSentAndRead(t *testing.T) {
	names := map[Figure]string{} // of the constants
	for value, name := range constants(t, "figures.go") {
		names[Figure(value)] = name
	}
	box, cloud := mentioned(t, "edge"), mentioned(t, "cloud")
	told := map[Figure]bool{}
	for _, f := range Figures {
		told[f.Name] = true
		if !ValidName(string(f.Name)) || f.Means == "" {
			t.Errorf("%q: bad name, or no meaning", f.Name)
		}
		if !box[names[f.Name]] && !box[string(f.Name)] {
			t.Errorf("no box sends %s", f.Name)
		}
		if f.Page && !cloud[names[f.Name]] && !cloud[string(f.Name)] {
			t.Errorf("the cloud does not read %s", f.Name)
		}
	}
	for f, name := range names {
		if !told[f] {
			t.Errorf("%s is not in Figures", name)
		}
	}
}

// constants returns the names of a file's string constants by their values.
func constants(t *testing.T, path string) map[string]string {
	t.Helper()
	out := map[string]string{}
	ast.Inspect(parse(t, path), func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if l, ok := v.Values[0].(*ast.BasicLit); ok {
				value, err := strconv.Unquote(l.Value)
				if err != nil {
					t.Fatal(err)
				}
				out[value] = v.Names[0].Name
			}
		}
		return true
	})
	return out
}

// mentioned returns the names of this package, and the strings, that stand in
// the code below dir, without its tests.
func mentioned(t *testing.T, dir string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		ast.Inspect(parse(t, path), func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "floorwatch" {
					out[n.Sel.Name] = true
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil {
					out[text] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func parse(t *testing.T, path string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
