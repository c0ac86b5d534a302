package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// figures are what one run gave. A figure that a run does not have is 0.
type figures struct {
	Rate      float64 `json:"rate,omitempty"`       // records per second
	CPU       float64 `json:"cpu,omitempty"`        // processor seconds of what is measured, per million records
	BrokerCPU float64 `json:"broker_cpu,omitempty"` // the same of mosquitto
	DBCPU     float64 `json:"db_cpu,omitempty"`     // and of influxd
	Memory    float64 `json:"memory_mib,omitempty"` // peak resident memory of what is measured
	P50       float64 `json:"p50_s,omitempty"`      // from publishing to queryable
	P99       float64 `json:"p99_s,omitempty"`      //
	Other     float64 `json:"other_load,omitempty"` // share of the machine that others used
	Records   int     `json:"records"`              // published
	Lost      int     `json:"lost"`                 // of those
	Resent    int     `json:"resent,omitempty"`     // batches, by the boxes
	Repeated  int     `json:"repeated_writes,omitempty"`
	Recovery  float64 `json:"drained_after_s,omitempty"` // after the last fault
}

func (f figures) String() string {
	var b strings.Builder
	for _, v := range []struct {
		form  string
		value float64
	}{
		{"%.0f/s ", f.Rate},
		{"%.1f CPU-s/M ", f.CPU},
		{"broker %.1f ", f.BrokerCPU},
		{"influxd %.1f ", f.DBCPU},
		{"%.0f MiB ", f.Memory},
		{"p50 %.3f s ", f.P50},
		{"p99 %.3f s ", f.P99},
		{"drained after %.0f s ", f.Recovery},
		{"others %.0f %% ", 100 * f.Other},
	} {
		if v.value != 0 {
			fmt.Fprintf(&b, v.form, v.value)
		}
	}
	fmt.Fprintf(&b, "%d records, %d lost", f.Records, f.Lost)
	return b.String()
}

// report is all figures of all runs.
type report struct {
	Date    string               `json:"date"`
	Machine string               `json:"machine"`
	Kind    string               `json:"kind"` // of record
	Runs    map[string][]figures `json:"runs"`
	order   []string
}

func (r *report) add(name string, f figures) {
	if r.Runs == nil {
		r.Runs = map[string][]figures{}
	}
	if r.Runs[name] == nil {
		r.order = append(r.order, name)
	}
	r.Runs[name] = append(r.Runs[name], f)
}

// median returns the middle one of a figure over all runs of a measurement.
func (r *report) median(name string, of func(figures) float64) float64 {
	var all []float64
	for _, f := range r.Runs[name] {
		all = append(all, of(f))
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// columns of the table; the last are ratios to the bare reader of the same run.
var columns = []struct {
	name, form string
	of         func(figures) float64
}{
	{"records/s", "%.0f", func(f figures) float64 { return f.Rate }},
	{"CPU-s/M", "%.1f", func(f figures) float64 { return f.CPU }},
	{"mosquitto", "%.1f", func(f figures) float64 { return f.BrokerCPU }},
	{"influxd", "%.1f", func(f figures) float64 { return f.DBCPU }},
	{"MiB", "%.0f", func(f figures) float64 { return f.Memory }},
	{"p50 s", "%.3f", func(f figures) float64 { return f.P50 }},
	{"p99 s", "%.3f", func(f figures) float64 { return f.P99 }},
	{"others %", "%.0f", func(f figures) float64 { return 100 * f.Other }},
}

func (r *report) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 2, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(t, "%s, %s, %s records\n\nmedian of\truns\t", r.Date, r.Machine, r.Kind)
	for _, c := range columns {
		_, _ = fmt.Fprintf(t, "%s\t", c.name)
	}
	_, _ = fmt.Fprintf(t, "records\tlost\trate/reader\tCPU/reader\t\n")
	for _, name := range r.order {
		_, _ = fmt.Fprintf(t, "%s\t%d\t", name, len(r.Runs[name]))
		for _, c := range columns {
			_, _ = fmt.Fprintf(t, "%s\t", blank(c.form, r.median(name, c.of)))
		}
		lost := 0
		for _, f := range r.Runs[name] {
			lost += f.Lost
		}
		rate, cpu := columns[0].of, columns[1].of
		_, _ = fmt.Fprintf(t, "%d\t%d\t%s\t%s\t\n", r.Runs[name][0].Records, lost,
			ratio(r.median(name, rate), r.median("reader", rate)), ratio(r.median(name, cpu), r.median("reader", cpu)))
	}
	_ = t.Flush()
}

func blank(form string, v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf(form, v)
}

func ratio(a, b float64) string {
	if a == 0 || b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}
