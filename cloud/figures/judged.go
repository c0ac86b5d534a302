package figures

import (
	"fmt"

	"floorwatch"
	"floorwatch/cloud/waits"
)

// Judged says by what waits were judged: by the standard that was in force when each
// ended, or by a number that whoever asked wants to try, which is nobody's target.
type Judged struct {
	WhatIfS  *int64                  `json:"what_if_s"`
	Standard []floorwatch.TargetSpan `json:"standard"` // over the window
}

// targets are what waits of a store are judged by.
func (f *Figures) targets(j *Judged, store string, w waits.Window, whatIf *int64) waits.Targets {
	all := waits.Targets(f.Sites.Snapshot().Targets(store, w.From, max(w.To, f.now())))
	j.WhatIfS = whatIf
	for i, s := range all {
		if s.From < w.To {
			j.Standard = all[:i+1]
		}
	}
	if whatIf != nil {
		return waits.One(*whatIf)
	}
	return all
}

// By is the same in a word, for tables.
func (j Judged) By() string {
	switch {
	case j.WhatIfS != nil:
		return "what-if"
	case len(j.Standard) > 1:
		return "standards"
	case j.Standard[0].Wait == nil:
		return "none"
	}
	w := j.Standard[0].Wait
	return fmt.Sprintf("%s/%d", w.Node, w.Serial)
}
