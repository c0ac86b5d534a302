package cloud

import (
	"context"

	"floorwatch"
	"floorwatch/cloud/api"
	"floorwatch/cloud/influx"
)

// Counts implements api.CountFigures.
func (f figures) Counts(ctx context.Context, q api.Query) ([]floorwatch.Count, error) {
	return f.Client.Counts(ctx, influx.Query(q))
}
