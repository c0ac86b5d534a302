package main

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

// report is docs/reliability.json: the latest full run of each row.
type report struct {
	Rows map[string]result `json:"rows"`
}

// result is one row as it came out.
type result struct {
	finding
	Date    string  `json:"date"`
	Command string  `json:"command"`
	Seconds float64 `json:"seconds"`
	Machine string  `json:"machine"`
}

const reportName = "reliability"

func readReport(docs string) (*report, error) {
	r := &report{Rows: make(map[string]result)}
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

func (r *report) put(row row, f finding, took time.Duration) {
	r.Rows[row.id] = result{
		finding: f, Date: time.Now().UTC().Format(time.DateOnly), Command: fmt.Sprintf("make faults ONLY=%s", row.id),
		Seconds: took.Round(time.Second).Seconds(), Machine: fmt.Sprintf("%d cores, %s", runtime.NumCPU(), runtime.GOARCH),
	}
}

func (r *report) write(docs string, rows []row) error {
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
reached stands here with its figure. ` + "`make test`" + ` runs the short form of those that have one.

| id | property | goal | measured | verdict | date, time taken, command |
| --- | --- | --- | --- | --- | --- |
`

func (r *report) markdown(rows []row) string {
	var b strings.Builder
	b.WriteString(intro)
	for _, row := range rows {
		res, ok := r.Rows[row.id]
		if !ok {
			fmt.Fprintf(&b, "| %s | %s | %s | not run yet | | |\n", row.id, row.property, row.goal)
			continue
		}
		figure := res.Figure
		if res.Scope != "" {
			figure += "<br>Scope: " + res.Scope
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s, %.0f s, `%s` (%s) |\n", row.id, row.property, row.goal,
			figure, map[bool]string{true: "reached", false: "**not reached**"}[res.Reached], res.Date, res.Seconds, res.Command, res.Machine)
	}
	return b.String()
}
