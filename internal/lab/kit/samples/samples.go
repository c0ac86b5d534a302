// Package samples checks a commented sample configuration against the code:
// it loads, it names every key, and its values are the defaults, but for the
// keys that the test lists. So a sample cannot rot.
package samples

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/internal/config"

	"go.yaml.in/yaml/v3"
)

// Check loads the sample at path and compares it with defaults, a pointer to the
// configuration with nothing but defaults. differ lists the keys whose values
// are not the defaults, a list's as in cameras[].zones; a key stands for all
// below it.
func Check(t *testing.T, path string, defaults any, differ ...string) {
	t.Helper()
	got := reflect.New(reflect.TypeOf(defaults).Elem())
	got.Elem().Set(reflect.ValueOf(defaults).Elem())
	if err := config.Load(path, got.Interface()); err != nil {
		t.Fatalf("the sample is refused:\n%v", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	collect(doc.Content[0], "", named)
	want, have := map[string]string{}, map[string][]string{}
	flatten(reflect.ValueOf(defaults).Elem(), "", func(k, v string) { want[k] = v }, true)
	flatten(got.Elem(), "", func(k, v string) { have[k] = append(have[k], v) }, false)
	compare(t, path, named, want, have, differ)
}

func compare(t *testing.T, path string, named map[string]bool, want map[string]string, have map[string][]string, differ []string) {
	t.Helper()
	used := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if list := emptyList(key, named); list != "" && len(have[key]) == 0 {
			continue // shown in a comment: an element would change what runs
		}
		if !named[key] {
			t.Errorf("%s does not name the key %s", path, key)
		}
		values := have[key]
		same := len(values) > 0 && values[0] == want[key] // the first of a list's elements shows the defaults
		i := slices.IndexFunc(differ, func(d string) bool {
			return key == d || strings.HasPrefix(key, d+".") || strings.HasPrefix(key, d+"[")
		})
		switch {
		case i >= 0:
			used[differ[i]] = used[differ[i]] || !same
		case !same:
			t.Errorf("%s: %s is %q, the default is %q", path, key, values, want[key])
		}
	}
	for _, d := range differ {
		if !used[d] {
			t.Errorf("%s: %s has its default or is no key; the test says that it differs", path, d)
		}
	}
}

// emptyList returns the outermost list that key is in and that the file names
// without any element in it.
func emptyList(key string, named map[string]bool) string {
	for i := range key {
		if !strings.HasPrefix(key[i:], "[]") || !named[key[:i]] {
			continue
		}
		filled := false
		for k := range named {
			filled = filled || strings.HasPrefix(k, key[:i]+"[]")
		}
		if !filled {
			return key[:i]
		}
	}
	return ""
}

// collect notes every key that a file names, list indices left out.
func collect(n *yaml.Node, key string, named map[string]bool) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			sub := strings.TrimPrefix(key+"."+n.Content[i].Value, ".")
			named[sub] = true
			collect(n.Content[i+1], sub, named)
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			collect(item, key+"[]", named)
		}
	}
}

// flatten calls leaf for every key below v. With empty, a list stands for one
// element with that element's defaults.
func flatten(v reflect.Value, key string, leaf func(key, value string), empty bool) {
	switch {
	case v.Type() == reflect.TypeFor[floorwatch.Point]() || v.Type() == reflect.TypeFor[time.Duration]():
		leaf(key, fmt.Sprint(v.Interface()))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, _, _ := strings.Cut(cmp.Or(f.Tag.Get("yaml"), f.Tag.Get("json")), ",")
			switch {
			case f.Anonymous:
				flatten(v.Field(i), key, leaf, empty)
			case name != "" && name != "-":
				flatten(v.Field(i), strings.TrimPrefix(key+"."+name, "."), leaf, empty)
			}
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct && v.Type().Elem() != reflect.TypeFor[floorwatch.Point]():
		if empty {
			item := reflect.New(v.Type().Elem())
			if d, ok := item.Interface().(config.Defaulter); ok {
				d.SetDefaults()
			}
			flatten(item.Elem(), key+"[]", leaf, empty)
		}
		for i := range v.Len() {
			flatten(v.Index(i), key+"[]", leaf, empty)
		}
	default:
		leaf(key, fmt.Sprint(v.Interface()))
	}
}
