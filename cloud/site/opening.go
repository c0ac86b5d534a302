package site

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// Opening is a span in which a store is open on some days of the week.
type Opening struct {
	Days string `yaml:"days"` // mon-fri, sat, or mon,wed,fri
	From string `yaml:"from"` // 09:00
	To   string `yaml:"to"`   // 17:30; 24:00 is midnight
}

var (
	weekdays = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}
	clockRE  = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$`)
)

func (o Opening) validDays() bool {
	if first, last, several := strings.Cut(o.Days, "-"); several {
		i, j := slices.Index(weekdays, first), slices.Index(weekdays, last)
		return i >= 0 && i <= j
	}
	for d := range strings.SplitSeq(o.Days, ",") {
		if !slices.Contains(weekdays, strings.TrimSpace(d)) {
			return false
		}
	}
	return true
}

func (o Opening) validHours() bool {
	return clockRE.MatchString(o.From) && clockRE.MatchString(o.To) && o.From < o.To
}

// on tells whether the days hold a day of the week.
func (o Opening) on(day time.Weekday) bool {
	i := (int(day) + 6) % 7 // of weekdays, which begin with Monday
	if first, last, several := strings.Cut(o.Days, "-"); several {
		return slices.Index(weekdays, first) <= i && i <= slices.Index(weekdays, last)
	}
	for d := range strings.SplitSeq(o.Days, ",") {
		if strings.TrimSpace(d) == weekdays[i] {
			return true
		}
	}
	return false
}
