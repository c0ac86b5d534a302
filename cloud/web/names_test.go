package web_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"floorwatch/cloud/fleet"
)

// TestBoxesPageKnowsTheNames: every name that the page of boxes reads is one that
// the cloud sends. A figure of another name would be missing in silence.
func TestBoxesPageKnowsTheNames(t *testing.T) {
	script, err := os.ReadFile("static/js/boxes.js")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for letter, of := range map[string]reflect.Type{ // as the script names them
		"b": reflect.TypeFor[fleet.Box](), "c": reflect.TypeFor[fleet.Camera](), "g": reflect.TypeFor[fleet.Gaps](),
		"o": reflect.TypeFor[fleet.Owed](), "w": reflect.TypeFor[fleet.Trouble](),
	} {
		sent := map[string]bool{}
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			sent[name] = true
		}
		for _, m := range regexp.MustCompile(`\b`+letter+`\.([a-z_]+)`).FindAllSubmatch(script, -1) {
			if read++; !sent[string(m[1])] {
				t.Errorf("boxes.js reads %s.%s, and %s has no such field", letter, m[1], of)
			}
		}
	}
	if read < 40 {
		t.Errorf("%d names found in boxes.js", read)
	}
}
