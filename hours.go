package floorwatch

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// Hours are when a hall is open. Whose hours are not known counts as open.
type Hours struct {
	TimeZone string    `json:"time_zone,omitempty"` // IANA name
	Opening  []Opening `json:"opening,omitempty"`
	// Exceptions are lists of days with hours of their own, the hall's own list
	// first, then those of the nodes above it: the first that names a day decides it.
	Exceptions [][]Exception `json:"exceptions,omitempty"`
}

// Open tells whether the hall is open at a moment, which is in its own time zone.
func (h Hours) Open(local time.Time) bool {
	date, clock := local.Format(time.DateOnly), local.Format("15:04")
	for _, list := range h.Exceptions {
		named, open := false, false
		for _, e := range list {
			if e.On(date) {
				named = true
				open = open || !e.Closed() && e.From <= clock && clock < e.To
			}
		}
		if named {
			return open
		}
	}
	return len(h.Opening) == 0 || slices.ContainsFunc(h.Opening, func(o Opening) bool {
		return o.On(local.Weekday()) && o.From <= clock && clock < o.To
	})
}

// Opening is a span in which a hall is open on some days of the week.
type Opening struct {
	Days string `json:"days"` // mon-fri, sat, or mon,wed,fri
	From string `json:"from"` // 09:00
	To   string `json:"to"`   // 17:30; 24:00 is midnight
}

// String returns it as a table's cell has it: mon-fri 09:00-17:30.
func (o Opening) String() string {
	return strings.ReplaceAll(o.Days, " ", "") + " " + o.From + "-" + o.To
}

var (
	weekdays = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}
	clockRE  = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$`)
)

// ValidDays tells whether its days are days of the week.
func (o Opening) ValidDays() bool {
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

// ValidHours tells whether it begins before it ends, on one day.
func (o Opening) ValidHours() bool { return validHours(o.From, o.To) }

func validHours(from, to string) bool {
	return clockRE.MatchString(from) && clockRE.MatchString(to) && from < to
}

// On tells whether the days hold a day of the week.
func (o Opening) On(day time.Weekday) bool {
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

// Exception is a day, or several, with hours of its own: a holiday, or a working
// day at a weekend.
type Exception struct {
	Dates string `json:"dates"`          // 2026-10-01, or both included 2026-10-01..2026-10-07
	From  string `json:"from,omitempty"` // "" with To: closed
	To    string `json:"to,omitempty"`
}

// String returns it as a table's cell has it: 2026-10-01..2026-10-07 closed.
func (e Exception) String() string {
	if e.Closed() {
		return e.Dates + " closed"
	}
	return e.Dates + " " + e.From + "-" + e.To
}

// On tells whether a date, as 2026-10-01, is one of its days.
func (e Exception) On(date string) bool {
	first, last, several := strings.Cut(e.Dates, "..")
	return date == first || several && first <= date && date <= last
}

// Last is the last of its days.
func (e Exception) Last() string {
	first, last, several := strings.Cut(e.Dates, "..")
	if several {
		return last
	}
	return first
}

// Closed tells whether the hall is closed all day.
func (e Exception) Closed() bool { return e.From == "" && e.To == "" }

// ValidDates tells whether its days are days of the calendar, in order.
func (e Exception) ValidDates() bool {
	first, last, several := strings.Cut(e.Dates, "..")
	_, err := time.Parse(time.DateOnly, first)
	if several && err == nil {
		_, err = time.Parse(time.DateOnly, last)
	}
	return err == nil && (!several || first <= last)
}

// ValidHours tells whether its hours can be, or are none.
func (e Exception) ValidHours() bool { return e.Closed() || validHours(e.From, e.To) }
