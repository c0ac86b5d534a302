// Package score compares what was measured with the truth, by the rules that
// the field uses: detections (Recall, Precision), tracks (CLEAR MOT, IDF1, HOTA),
// visits in zones and waits in queues. It is pure: rows in, figures out.
//
// Its figures are those of the public scorers (the MOTChallenge devkit,
// TrackEval), to 1e-6; the tests compare with independent Python ones where
// those are there. Frames count from 1, boxes are in pixels, times in seconds.
package score
