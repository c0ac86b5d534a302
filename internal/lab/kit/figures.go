package kit

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Figures is what a program tells at /metrics, by name with its labels in order:
// floorwatch_camera_watching{camera="hall"}. Of a histogram there are _sum and
// _count.
type Figures map[string]float64

// Get returns a figure, -1 where there is none.
func (f Figures) Get(name string) float64 {
	if v, ok := f[name]; ok {
		return v
	}
	return -1
}

// ReadFigures reads the figures of the program that listens at address; client
// may be nil.
func ReadFigures(ctx context.Context, client *http.Client, address string) (Figures, error) {
	if client == nil {
		client = http.DefaultClient
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read figures: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read figures: %s", resp.Status)
	}
	return parseFigures(resp.Body)
}

func parseFigures(r io.Reader) (Figures, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(r)
	if err != nil {
		return nil, fmt.Errorf("read figures: %w", err)
	}
	all := Figures{}
	for name, family := range families {
		for _, m := range family.Metric {
			labels := labelsOf(m)
			switch {
			case m.Gauge != nil:
				all[name+labels] = m.Gauge.GetValue()
			case m.Counter != nil:
				all[name+labels] = m.Counter.GetValue()
			case m.Untyped != nil:
				all[name+labels] = m.Untyped.GetValue()
			case m.Histogram != nil:
				all[name+"_sum"+labels], all[name+"_count"+labels] = m.Histogram.GetSampleSum(), float64(m.Histogram.GetSampleCount())
			case m.Summary != nil:
				all[name+"_sum"+labels], all[name+"_count"+labels] = m.Summary.GetSampleSum(), float64(m.Summary.GetSampleCount())
			}
		}
	}
	return all, nil
}

// labelsOf writes the labels as the text format does.
func labelsOf(m *dto.Metric) string {
	if len(m.Label) == 0 {
		return ""
	}
	var out []string
	for _, l := range m.Label {
		out = append(out, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	slices.Sort(out)
	return "{" + strings.Join(out, ",") + "}"
}
