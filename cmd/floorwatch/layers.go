package main

import (
	"context"
	"errors"
	"sync"
)

// layers runs parts that stand on each other: what was added last is stopped
// first, so that a part can still hand over to those below it.
type layers struct {
	fail    context.CancelCauseFunc
	running []layer
}

type layer struct {
	stop context.CancelFunc
	done chan struct{}
}

// newLayers returns an empty stack and the context that ends with ctx or with
// the first part that ends by itself, whose reason is its cause.
func newLayers(ctx context.Context) (*layers, context.Context) {
	ctx, fail := context.WithCancelCause(ctx)
	return &layers{fail: fail}, ctx
}

// add runs the parts of one layer side by side. Their context ends only when
// stop reaches them.
func (l *layers) add(parts ...func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, part := range parts {
		group.Go(func() {
			if err := part(ctx); err != nil && !errors.Is(err, context.Canceled) {
				l.fail(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	l.running = append(l.running, layer{stop, done})
}

// stop ends every layer, the last first, and returns when all are gone.
func (l *layers) stop() {
	for i := len(l.running) - 1; i >= 0; i-- {
		l.running[i].stop()
		<-l.running[i].done
	}
	l.fail(nil)
}
