package edge

import (
	"time"

	"floorwatch"
	"floorwatch/edge/counter"
	"floorwatch/edge/doctor"
	"floorwatch/edge/health"
	"floorwatch/internal/metrics"
)

func (r *run) newReport() *health.Report {
	return &health.Report{
		Data: r.cfg.Data, Footage: r.footageDir(), Meters: r.meters, Other: r.figures, Clock: r.clock, Store: r.store,
		AtOnce: r.agent.Safe, Notes: r.agent.Notes, Log: r.log, Pulse: r.dog.Pulse("health"),
	}
}

// figures are those of the rooms that only the agent knows all of.
func (r *run) figures() []health.Figure {
	out := []health.Figure{
		{
			Metric: "floorwatch_edge_info", Help: "1, with who and what this box is.", Value: 1,
			Labels: []health.Label{{Name: "store", Value: r.cfg.Store}, {Name: "edge", Value: r.cfg.Edge}, {Name: "version", Value: floorwatch.BuildVersion}},
		},
		{Name: floorwatch.FigureSafeMode, Metric: "floorwatch_safe_mode", Value: metrics.Flag(r.agent.Safe)},
		{Name: floorwatch.FigureCrashes, Metric: "floorwatch_crashes", Value: float64(r.agent.Crashes)},
		{
			Metric: "floorwatch_stuck_parts", Value: float64(len(r.dog.Stuck())),
			Help: "Loops of this program that have work and stand still; the service manager restarts it.",
		},
	}
	if in, known := r.standard.At(r.clock.Time()); known && in.Wait != nil {
		out = append(out, health.Figure{
			Metric: "floorwatch_wait_target_seconds", Help: "How long people may wait in this hall, by the standard that the box keeps.", Value: float64(in.Wait.WithinS),
		})
	}
	out = append(out, r.outboxFigures()...)
	out = append(out, r.uplinkFigures()...)
	out = append(out, r.uploadFigures()...)
	return append(out, r.counterFigures()...)
}

func (r *run) outboxFigures() []health.Figure {
	s := r.outbox.Stats()
	var oldest float64
	if s.Oldest > 0 {
		oldest = max(0, r.clock.Time().Sub(s.Oldest).Seconds())
	}
	return []health.Figure{
		{Name: floorwatch.FigureBacklogRecords, Metric: "floorwatch_outbox_records", Value: float64(s.Records)},
		{Name: floorwatch.FigureBacklog, Metric: "floorwatch_outbox_oldest_seconds", Value: oldest},
		{Name: floorwatch.FigureOutboxBytes, Metric: "floorwatch_outbox_bytes", Value: float64(s.Bytes)},
		{Metric: "floorwatch_outbox_max_bytes", Help: "Budget of the outbox.", Value: float64(r.cfg.Outbox.MaxBytes)},
		{Metric: "floorwatch_outbox_appended_total", Help: "Records made durable since the start.", Counter: true, Value: float64(s.Appended)},
		{Name: floorwatch.FigureDroppedRecords, Metric: "floorwatch_outbox_dropped_total", Counter: true, Value: float64(s.Dropped)},
		{Name: floorwatch.FigureLostRecords, Metric: "floorwatch_outbox_lost_total", Counter: true, Value: float64(s.Lost)},
		{Metric: "floorwatch_outbox_faults_total", Help: "Writes that failed, after which a new log was begun.", Counter: true, Value: float64(s.Faults)},
	}
}

func (r *run) uplinkFigures() []health.Figure {
	s := r.uplink.Stats()
	var online float64
	if !s.Since.IsZero() {
		online = time.Since(s.Since).Seconds()
	}
	out := []health.Figure{
		{Name: floorwatch.FigureOnline, Value: online},
		{Metric: "floorwatch_uplink_connected", Help: "1 while the broker is connected.", Value: metrics.Flag(!s.Since.IsZero())},
		{Metric: "floorwatch_uplink_in_flight", Help: "Batches sent and not acknowledged.", Value: float64(s.InFlight)},
		{Name: floorwatch.FigureConnects, Metric: "floorwatch_uplink_connects_total", Counter: true, Value: float64(s.Connects)},
		{Metric: "floorwatch_uplink_batches_total", Help: "Batches sent for the first time in a session.", Counter: true, Value: float64(s.Batches)},
		{Name: floorwatch.FigureResentBatches, Metric: "floorwatch_uplink_resent_total", Counter: true, Value: float64(s.Resent)},
		{Metric: "floorwatch_uplink_acked_records_total", Help: "Records that the cloud acknowledged.", Counter: true, Value: float64(s.Acked)},
		{Metric: "floorwatch_uplink_ignored_acks_total", Help: "Acknowledgements that were not believed.", Counter: true, Value: float64(s.Ignored)},
		{Name: floorwatch.FigureRefusedRecords, Metric: "floorwatch_uplink_refused_total", Counter: true, Value: float64(s.Refused)},
	}
	for _, refusal := range s.Refusals {
		out = append(out, health.Figure{
			Metric: doctor.RefusedMetric, Help: "Seconds since the cloud last refused a record for this reason; those of the last hour.",
			Value: time.Since(refusal.Last).Seconds(), Labels: []health.Label{{Name: "reason", Value: refusal.Reason}},
		})
	}
	return out
}

func (r *run) uploadFigures() []health.Figure {
	s := r.uploader.Stats()
	return []health.Figure{
		{Name: floorwatch.FigureUploadsWaiting, Metric: "floorwatch_upload_wanted", Value: float64(s.Wanted)},
		{Name: floorwatch.FigureUploadsWaitingBytes, Metric: "floorwatch_upload_wanted_bytes", Value: float64(s.WantedBytes)},
		{Metric: "floorwatch_upload_pieces_total", Help: "Pieces that the vault confirmed.", Counter: true, Value: float64(s.Uploaded)},
		{Metric: "floorwatch_upload_bytes_total", Help: "Bytes sent to the vault.", Counter: true, Value: float64(s.Bytes)},
		{Metric: "floorwatch_upload_today_bytes", Help: "Bytes of the day's budget that are spent.", Value: float64(s.Today)},
		{Metric: "floorwatch_upload_faults_total", Help: "Uploads that failed and are tried again.", Counter: true, Value: float64(s.Faults)},
	}
}

// counterFigures are those of the people counters, one of each a device.
func (r *run) counterFigures() []health.Figure {
	if r.feeds == nil {
		return nil
	}
	var out []health.Figure
	for _, s := range r.feeds.Stats() {
		out = append(out, deviceFigures(s)...)
	}
	return out
}

func deviceFigures(s counter.DeviceStats) []health.Figure {
	count := func(metric, help string, n int64) health.Figure {
		return health.Figure{Metric: metric, Help: help, Counter: true, Value: float64(n)}
	}
	out := []health.Figure{
		count("floorwatch_counter_messages_total", "Messages that could be read.", s.Messages),
		count("floorwatch_counter_items_total", "Numbers that counted.", s.Items),
		count("floorwatch_counter_repeated_total", "Numbers said before.", s.Repeated),
		count("floorwatch_counter_refused_total", "Numbers and messages that cannot be true.", s.Refused),
		count("floorwatch_counter_limited_total", "Messages over the rate.", s.Limited),
		count("floorwatch_counter_resets_total", "Resets of registers.", s.Resets),
		count("floorwatch_counter_clock_faults_total", "Messages whose stamps were not believed.", s.ClockFaults),
		{Metric: "floorwatch_counter_skew_seconds", Help: "Our clock less the device's.", Value: s.SkewS},
	}
	for i := range out {
		out[i].Labels = []health.Label{{Name: "device", Value: s.Device}}
	}
	return out
}
