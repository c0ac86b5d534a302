package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// screenLog writes everything to a log file and, in words for a person, what is
// a warning or worse to the screen.
type screenLog struct {
	slog.Handler
	screen *screenWriter
	attrs  []slog.Attr
}

type screenWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func newScreenLog(file, screen io.Writer) *screenLog {
	return &screenLog{Handler: slog.NewTextHandler(file, nil), screen: &screenWriter{w: screen}}
}

// Handle implements slog.Handler.
func (s *screenLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		var line strings.Builder
		fmt.Fprintf(&line, "%s  %s", r.Time.Format(time.TimeOnly), r.Message)
		write := func(a slog.Attr) bool { fmt.Fprintf(&line, "  %s: %v", a.Key, a.Value); return true }
		for _, a := range s.attrs {
			write(a)
		}
		r.Attrs(write)
		s.screen.mu.Lock()
		fmt.Fprintln(s.screen.w, line.String())
		s.screen.mu.Unlock()
	}
	return s.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (s *screenLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	all := append(append([]slog.Attr{}, s.attrs...), attrs...)
	return &screenLog{s.Handler.WithAttrs(attrs), s.screen, all}
}
