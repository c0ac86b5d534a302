// Package simulate plays a business hall: people arrive, queue, are served, give
// up, browse and leave, in metres of floor, seen through a pinhole camera. A Play
// gives the camera lines that a worker would print, with as much noise as is
// asked for, and the exact truth in the product's own records.
//
//	hall, err := simulate.Load("single")
//	play := simulate.New(hall, simulate.Options{Seed: 1, Noise: simulate.Realistic})
//	for f, ok := play.Next(); ok; f, ok = play.Next() { … }
//	truth := play.Truth()
//
// A hall, a seed and options give the same lines on every run; the truth depends
// on hall, seed, start and length alone, and not on frame rate or noise.
package simulate
