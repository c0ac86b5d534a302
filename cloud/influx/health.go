package influx

import (
	"context"

	"floorwatch"
)

// healthRows are the rows among which the newest of each camera are looked for:
// a box writes one for itself and one for each camera at a time, and has at most
// 64 cameras.
const healthRows = 200

// Health returns the newest health record of a box, and of each of its cameras,
// in [From, To). Probes are none.
func (c *Client) Health(ctx context.Context, q Query) ([]floorwatch.Health, error) {
	q.Zone, q.Limit = "", healthRows
	all, err := selectRows(ctx, c, q, floorwatch.KindHealth, q.within(), health.read)
	if err != nil {
		return nil, err
	}
	newest := map[string]floorwatch.Health{}
	for _, h := range all { // oldest first
		if !h.Probe() {
			newest[h.Camera] = h
		}
	}
	out := make([]floorwatch.Health, 0, len(newest))
	for _, h := range newest {
		out = append(out, h)
	}
	return out, nil
}
