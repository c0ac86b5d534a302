// Package footage keeps what a camera sent, so that every second of its time is
// on disk, deleted by a signed decision, or a gap with a cause.
//
//	ffmpeg ─pipe─> fragments ─> open.mp4 ─close─> DAY/SEQ.mp4 + DAY/SEQ.seal ─> Emit
//	                  └ stamped, hashed, synced     └ one chain per camera
//
// Recorder writes, Retention deletes, Library reads. Layout of the folder of one camera:
//
//	open.mp4                    being written; the only file without a seal
//	2026-11-21/00000042.mp4     a closed file
//	2026-11-21/00000042.seal    its seal; seals of gaps and deletions have no file
//	2026-11-21/trail-13.jsonl   camera lines of that hour, UTC (package trail)
//	lock, emitted               the writers' lock; the last seal that was emitted
//
// The day is that of sealing. Sequence numbers only grow, also over a new chain.
// What stays compatible: the seals (docs/seal.md).
package footage
