package floorwatch

// Figure is the name of a figure in a box's health records. Names and units stay
// as they are: they stand in databases for years.
type Figure string

// Figures of the box itself.
const (
	FigureUptime              Figure = "uptime_s"
	FigureOnline              Figure = "online_s"
	FigureBacklogRecords      Figure = "backlog_records"
	FigureBacklog             Figure = "backlog_s"
	FigureOutboxBytes         Figure = "outbox_bytes"
	FigureDroppedRecords      Figure = "dropped_records"
	FigureLostRecords         Figure = "lost_records"
	FigureConnects            Figure = "connects"
	FigureResentBatches       Figure = "resent_batches"
	FigureRefusedRecords      Figure = "refused_records"
	FigureCameras             Figure = "cameras"
	FigureCamerasWatching     Figure = "cameras_watching"
	FigureFootageBytes        Figure = "footage_bytes"
	FigureDiskFreeBytes       Figure = "disk_free_bytes"
	FigureDiskBytes           Figure = "disk_bytes"
	FigureUploadsWaiting      Figure = "uploads_waiting"
	FigureUploadsWaitingBytes Figure = "uploads_waiting_bytes"
	FigureClockSynced         Figure = "clock_synced"
	FigureClockOffset         Figure = "clock_offset_s"
	FigureSafeMode            Figure = "safe_mode"
	FigureCrashes             Figure = "crashes"
	FigureGoroutines          Figure = "goroutines"
	FigureOpenFiles           Figure = "open_files"
	FigureMemoryBytes         Figure = "memory_bytes"
)

// Figures of one camera.
const (
	FigureWatching       Figure = "watching"
	FigureFrameAge       Figure = "frame_age_s"
	FigureFrames         Figure = "frames"
	FigureOpens          Figure = "opens"
	FigureCloses         Figure = "closes"
	FigureCoverage       Figure = "coverage"
	FigureFootageGap     Figure = "footage_gap_s"
	FigureObservationGap Figure = "observation_gap_s"
	FigureSegments       Figure = "segments"
	FigurePictureBlank   Figure = "picture_blank"
	FigurePictureFrozen  Figure = "picture_frozen"
	FigureGOP            Figure = "gop_s"
)

// FigureInfo says what a figure is.
type FigureInfo struct {
	Name   Figure
	Unit   string // s, bytes, 0 or 1, 0 to 1; "" of a number of things
	Means  string
	Camera bool // one for each camera; else of the box itself
	Page   bool // the cloud judges the box by it; the others are for whoever asks the database
}

// Figures are all figures of health records. A box sends each of them, but for
// those that its machine cannot tell: clock_offset_s, open_files.
var Figures = []FigureInfo{
	{Name: FigureUptime, Unit: "s", Means: "Since the agent's start.", Page: true},
	{Name: FigureOnline, Unit: "s", Means: "Since the broker was connected; 0: it is not."},
	{Name: FigureBacklogRecords, Means: "Records that the cloud has not acknowledged.", Page: true},
	{Name: FigureBacklog, Unit: "s", Means: "Age of the oldest record not acknowledged; 0: none.", Page: true},
	{Name: FigureOutboxBytes, Unit: "bytes", Means: "Size of the outbox on disk."},
	{Name: FigureDroppedRecords, Means: "Records given up because the budget was spent.", Page: true},
	{Name: FigureLostRecords, Means: "Records lost to damage.", Page: true},
	{Name: FigureConnects, Means: "Connections made to the broker."},
	{Name: FigureResentBatches, Means: "Batches sent again within a session."},
	{Name: FigureRefusedRecords, Means: "Records that the cloud refused: they are in its dead letters."},
	{Name: FigureCameras, Means: "Cameras of the configuration."},
	{Name: FigureCamerasWatching, Means: "Cameras that give frames."},
	{Name: FigureFootageBytes, Unit: "bytes", Means: "Recorded footage on disk, counted once a minute.", Page: true},
	{Name: FigureDiskFreeBytes, Unit: "bytes", Means: "Free on the disk of the data folder.", Page: true},
	{Name: FigureDiskBytes, Unit: "bytes", Means: "Size of the disk of the data folder.", Page: true},
	{Name: FigureUploadsWaiting, Means: "Pieces of footage that the vault is to have and has not confirmed.", Page: true},
	{Name: FigureUploadsWaitingBytes, Unit: "bytes", Means: "Bytes of those.", Page: true},
	{Name: FigureClockSynced, Unit: "0 or 1", Means: "The kernel holds the clock for synchronised.", Page: true},
	{Name: FigureClockOffset, Unit: "s", Means: "How far the kernel holds the clock to be off, where a time server disciplines it.", Page: true},
	{Name: FigureSafeMode, Unit: "0 or 1", Means: "The box only reports, because it crashed again and again.", Page: true},
	{Name: FigureCrashes, Means: "Runs before this one that crashed, in a row."},
	{Name: FigureGoroutines, Means: "Goroutines of the agent."},
	{Name: FigureOpenFiles, Means: "Files that the agent has open."},
	{Name: FigureMemoryBytes, Unit: "bytes", Means: "Memory that the agent keeps resident, without its workers."},

	{Camera: true, Name: FigureWatching, Unit: "0 or 1", Means: "Frames come.", Page: true},
	{Camera: true, Name: FigureFrameAge, Unit: "s", Means: "Since the newest frame; before the first, since the agent's start.", Page: true},
	{Camera: true, Name: FigureFrames, Means: "Frames analysed."},
	{Camera: true, Name: FigureOpens, Means: "Times that the source was opened."},
	{Camera: true, Name: FigureCloses, Means: "Times that the source or its worker ended or stalled."},
	{Camera: true, Name: FigureCoverage, Unit: "0 to 1", Means: "Share of the newest interval that was observed.", Page: true},
	{Camera: true, Name: FigureFootageGap, Unit: "s", Means: "Without footage."},
	{Camera: true, Name: FigureObservationGap, Unit: "s", Means: "Without observation."},
	{Camera: true, Name: FigureSegments, Means: "Footage files sealed.", Page: true},
	{Camera: true, Name: FigurePictureBlank, Unit: "0 or 1", Means: "The picture is black, or all of one brightness: covered."},
	{Camera: true, Name: FigurePictureFrozen, Unit: "0 or 1", Means: "The picture does not change any more."},
	{Camera: true, Name: FigureGOP, Unit: "s", Means: "How far key frames are apart, where that is more than 2 s; else 0."},
}

// Figure returns one figure of the record, and whether it is there.
func (r *Health) Figure(name Figure) (v float64, ok bool) {
	v, ok = r.Figures[string(name)]
	return v, ok
}
