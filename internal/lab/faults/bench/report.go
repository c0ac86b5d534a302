package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"floorwatch/internal/durable"
)

// Report is docs/reliability.json: the latest full run of each row. It is kept in
// git because a row takes up to an hour, so that a run measures some and the page
// shows all.
type Report struct {
	Rows map[string]result `json:"rows"`
}

// result is one row as it came out.
type result struct {
	Finding
	Date    string  `json:"date"`
	Command string  `json:"command"`
	Seconds float64 `json:"seconds"`
	Machine string  `json:"machine"`
}

const reportName = "reliability"

// ReadReport reads what was measured before; nothing is no error.
func ReadReport(docs string) (*Report, error) {
	r := &Report{Rows: make(map[string]result)}
	path := filepath.Join(docs, reportName+".json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("parse %s: %w; remove it to begin anew", path, err)
	}
	return r, nil
}

// Put takes what a row has measured.
func (r *Report) Put(row Row, f Finding, took time.Duration) {
	r.Rows[row.ID] = result{
		Finding: f, Date: time.Now().UTC().Format(time.DateOnly), Command: fmt.Sprintf("make faults ONLY=%s", row.ID),
		Seconds: took.Round(time.Second).Seconds(), Machine: fmt.Sprintf("%d cores, %s", runtime.NumCPU(), runtime.GOARCH),
	}
}

// Write writes the figures, and the page that shows those of rows.
func (r *Report) Write(docs string, rows []Row) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(docs, reportName+".json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(docs, reportName+".md"), []byte(r.markdown(rows)), 0o644)
}

const intro = `# Reliability, measured

Each row is a fault that ` + "`make faults`" + ` makes happen to the real programs, on real disks, networks, brokers and databases. The verdict
compares a ledger that the bench keeps outside the system with what the databases and folders hold in the end. A row that is not
reached stands here with its figure, below. ` + "`make test`" + ` runs the short form of those that have one.

| id | property | verdict |
| --- | --- | --- |
`

func (r *Report) markdown(rows []Row) string {
	var table, details strings.Builder
	for _, row := range rows {
		res, ok := r.Rows[row.ID]
		verdict := "not run yet"
		switch {
		case res.Reached:
			verdict = "reached"
		case ok:
			verdict = "**not reached**"
		}
		fmt.Fprintf(&table, "| %s | %s | %s |\n", row.ID, row.Property, verdict)
		fmt.Fprintf(&details, "\n## %s: %s\n\n- Property: %s.\n- Goal: %s.\n", row.ID, verdict, row.Property, row.Goal)
		if !ok {
			continue
		}
		fmt.Fprintf(&details, "- Measured: %s.\n", res.Figure)
		if len(res.Missed) > 0 {
			fmt.Fprintf(&details, "- Missed: %s.\n", strings.Join(res.Missed, "; "))
		}
		if res.Scope != "" {
			fmt.Fprintf(&details, "- Scope: %s.\n", res.Scope)
		}
		fmt.Fprintf(&details, "- Run: %s, %.0f s, `%s` (%s).\n", res.Date, res.Seconds, res.Command, res.Machine)
	}
	return intro + table.String() + details.String()
}
