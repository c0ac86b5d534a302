package kit

import (
	"fmt"
	"reflect"

	"floorwatch"
)

// Records returns one record of each kind, each of its fields another value and
// none of them zero, so that a field which is forgotten on the way is seen.
// Times lie after begin, seconds apart.
func Records(begin floorwatch.Time) []floorwatch.Record {
	var all []floorwatch.Record
	for _, kind := range []string{
		floorwatch.KindScene, floorwatch.KindInterval, floorwatch.KindStay, floorwatch.KindWait, floorwatch.KindCount, floorwatch.KindSegment,
		floorwatch.KindGap, floorwatch.KindDeleted, floorwatch.KindAlert, floorwatch.KindHealth, floorwatch.KindCrossing,
	} {
		rec := floorwatch.NewRecord(kind)
		n := 0
		fill(reflect.ValueOf(rec).Elem(), begin, &n)
		rec.Head().Kind = kind
		if gap, ok := rec.(*floorwatch.Gap); ok {
			gap.Of = floorwatch.OfRecords // those have every field
		}
		all = append(all, rec)
	}
	return all
}

func fill(v reflect.Value, begin floorwatch.Time, n *int) {
	*n++
	switch {
	case v.Type() == reflect.TypeFor[floorwatch.Time]():
		v.SetInt(int64(begin) + int64(*n)*1000)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), begin, n)
		}
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), begin, n)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), begin, n)
		}
	case v.Kind() == reflect.Map:
		v.Set(reflect.ValueOf(map[string]float64{"a": float64(*n) + 0.25, "b": float64(*n) + 0.75}))
	case v.Kind() == reflect.String:
		v.SetString(fmt.Sprintf("x%d", *n))
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(int64(*n))
	case v.CanUint():
		v.SetUint(uint64(*n))
	case v.CanFloat():
		v.SetFloat(float64(*n) + 0.125)
	default:
		panic(fmt.Sprintf("records: no value for a %s; add its sort here", v.Type()))
	}
}
