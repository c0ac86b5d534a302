package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"floorwatch"
)

// fault is an error that the caller may read.
type fault struct {
	status    int
	msg, hint string
}

func (f *fault) Error() string { return f.msg }

func bad(hint, format string, args ...any) *fault {
	return &fault{http.StatusBadRequest, fmt.Sprintf(format, args...), hint}
}

// errGone marks that the caller went away while we wrote; nobody reads a reply.
var errGone = errors.New("caller is gone")

func gone(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// answer turns an endpoint's error into its reply. What is not a fault is ours:
// it is logged in full, and the caller is told only that it happened.
func (s *server) answer(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		var f *fault
		switch {
		case err == nil, errors.Is(err, errGone), r.Context().Err() != nil:
			return
		case errors.As(err, &f):
		case errors.Is(err, ErrNotFound):
			f = &fault{http.StatusNotFound, "nothing is there", "choose another time"}
		case errors.Is(err, context.DeadlineExceeded):
			f = &fault{http.StatusGatewayTimeout, "the figures did not answer in time", "ask for a shorter span, or try again"}
		default:
			s.Log.Error("answer request", "path", r.URL.Path, "err", err)
			f = &fault{http.StatusBadGateway, "the figures cannot be read at the moment", "try again; the log of the cloud says why"}
		}
		writeFault(w, f)
	})
}

func writeFault(w http.ResponseWriter, f *fault) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(f.status)
	// The status is out; a caller that left cannot be told more.
	_ = json.NewEncoder(w).Encode(struct {
		Error     string `json:"error"`
		Hint      string `json:"hint"`
		Elsewhere bool   `json:"elsewhere,omitempty"`
	}{f.msg, f.hint, f == onBox})
}

func writeJSON(w http.ResponseWriter, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(b)
	return gone(err)
}

// writeCSV sends a table with its header, which names the units. Cells that are
// text must have passed through cell.
func writeCSV(w http.ResponseWriter, name string, header []string, rows [][]string) error {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s"`, name))
	w.Header().Set("Cache-Control", "no-store")
	c := csv.NewWriter(w)
	if err := c.Write(header); err != nil {
		return gone(err)
	}
	return gone(c.WriteAll(rows))
}

// cell makes text safe for spreadsheets, which run a cell that starts with one
// of these as a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n", rune(s[0])) {
		return "'" + s
	}
	return s
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// optional formats a figure that may be missing; missing is empty, never 0.
func optional(v *float64) string {
	if v == nil {
		return ""
	}
	return number(*v)
}

// csvName builds a file name out of validated names and a span.
func csvName(what string, q Query) string {
	parts := []string{"floorwatch", what, q.Store}
	for _, p := range []string{q.Camera, q.Zone} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	const layout = "20060102T150405Z"
	return strings.Join(append(parts, q.From.Time().Format(layout), q.To.Time().Format(layout)), "_") + ".csv"
}

func stamp(t *floorwatch.Time) string {
	if t == nil {
		return ""
	}
	return t.String()
}
