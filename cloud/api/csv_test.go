package api

import (
	"strings"
	"testing"

	"floorwatch"
)

// TestCSVOfRecords holds every column of the tables of records, in order: whoever
// reads one by its header, or by its place, goes on reading it.
func TestCSVOfRecords(t *testing.T) {
	head := func(kind string) floorwatch.Header {
		return floorwatch.Header{Kind: kind, Camera: "cam", Zone: "z", ID: "i1", At: t0 + 9, Rev: "r2", By: "motion"}
	}
	end := t0 + 2500
	m := &memory{
		stays: []floorwatch.Stay{{Header: head("stay"), Enter: t0, Exit: &end, ExitSeen: true, SeenS: 1.5, MergedS: 0.75, BridgedS: 0.25, Bridges: 2, ErrorS: 0.125, Tracks: []int64{1}, Origin: floorwatch.Origin{Source: "camera"}}},
		waits: []floorwatch.Wait{{Header: head("wait"), Enter: t0, End: &end, Outcome: "served", ServiceZone: "till", EnterSeen: true, BridgedS: 3, Bridges: 1, ErrorS: 0.5, Origin: floorwatch.Origin{Source: "ticket", Stage: "greet", Business: "sim-card"}}},
		intervals: []floorwatch.Interval{
			{
				Header: head("interval"), Start: t0, End: end, Coverage: 0.5, ObservedS: 1.25, PersonS: 2, Occupancy: 1.6, Min: 1, Max: 3, Inside: 2, Arrived: 4, Appeared: 5, Departed: 6, Lost: 7,
				Stays: floorwatch.Sum{N: 2, Sum: 3.5, Min: 1, Max: 2.5}, Crossings: floorwatch.Sum{N: 1, Sum: 9, Min: 9, Max: 9}, Quality: 0.875, Waits: &floorwatch.Sum{N: 1}, Served: 1,
			},
			{Header: head("interval"), Start: t0 + 1, End: end + 1, Occupancy: 0},
		},
	}
	h, _, _ := handler(m)
	for path, want := range map[string]string{
		"stays": `
store,edge,camera,zone,id,enter_utc,exit_utc,duration_s,seen_s,merged_s,bridged_s,bridges,standard_error_s,enter_border_seen,exit_border_seen,zone_rev,detector,source,stage,business
s1,box,cam,z,i1,2025-06-15T15:07:00.000Z,2025-06-15T15:07:02.500Z,2.5,1.5,0.75,0.25,2,0.125,false,true,r2,motion,camera,,
`,
		"waits": `
store,edge,camera,zone,id,enter_utc,end_utc,wait_s,outcome,service_zone,enter_border_seen,direct,bridged_s,bridges,standard_error_s,zone_rev,detector,source,stage,business
s1,box,cam,z,i1,2025-06-15T15:07:00.000Z,2025-06-15T15:07:02.500Z,2.5,served,till,true,false,3,1,0.5,r2,motion,ticket,greet,sim-card
`,
		"intervals": `
store,edge,camera,zone,start_utc,end_utc,coverage_share,observed_s,person_s,occupancy_mean_people,occupancy_min_people,occupancy_max_people,inside_at_end_people,arrived_border_seen_people,appeared_people,departed_border_seen_people,lost_people,stays_ended,stay_sum_s,stay_min_s,stay_max_s,crossings_ended,crossing_sum_s,quality_share,zone_rev,detector
s1,box,cam,z,2025-06-15T15:07:00.000Z,2025-06-15T15:07:02.500Z,0.5,1.25,2,1.6,1,3,2,4,5,6,7,2,3.5,1,2.5,1,9,0.875,r2,motion
s1,box,cam,z,2025-06-15T15:07:00.001Z,2025-06-15T15:07:02.501Z,0,0,0,,0,0,0,0,0,0,0,0,0,0,0,0,0,0,r2,motion
`,
	} {
		got := get(t, h, "/api/"+path+"?format=csv&from="+ms(t0-1000)+"&to="+ms(t0+60_000)).Body.String()
		if got != strings.TrimSpace(want)+"\n" {
			t.Errorf("%s:\n%s", path, got)
		}
	}
}
