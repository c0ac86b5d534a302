package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// fault is an error that the caller may read.
type fault struct {
	status    int
	msg, hint string
}

func (f *fault) Error() string { return f.msg }

func bad(hint, format string, args ...any) *fault {
	return &fault{http.StatusBadRequest, fmt.Sprintf(format, args...), hint}
}

// tooMuch refuses a question whose answer is too large.
func tooMuch(msg string) *fault {
	return &fault{http.StatusRequestEntityTooLarge, msg, "ask for a shorter span"}
}

// errGone marks that the caller went away while we wrote; nobody reads a reply.
var errGone = errors.New("caller is gone")

func gone(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// answer turns an endpoint's error into its reply. What is not a fault is ours:
// it is logged in full, and the caller is told only that it happened.
func (s *server) answer(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		var f *fault
		switch {
		case err == nil, errors.Is(err, errGone), r.Context().Err() != nil:
			return
		case errors.As(err, &f):
		case errors.Is(err, ErrNotFound):
			f = &fault{http.StatusNotFound, "nothing is there", "choose another time"}
		case errors.Is(err, context.DeadlineExceeded):
			f = &fault{http.StatusGatewayTimeout, "the figures did not answer in time", "ask for a shorter span, or try again"}
		default:
			s.Log.Error("answer request", "path", r.URL.Path, "err", err)
			f = &fault{http.StatusBadGateway, "the figures cannot be read at the moment", "try again; the log of the cloud says why"}
		}
		writeFault(w, f)
	})
}

func writeFault(w http.ResponseWriter, f *fault) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(f.status)
	// The status is out; a caller that left cannot be told more.
	_ = json.NewEncoder(w).Encode(struct {
		Error     string `json:"error"`
		Hint      string `json:"hint"`
		Elsewhere bool   `json:"elsewhere,omitempty"`
	}{f.msg, f.hint, f == onBox})
}

func writeJSON(w http.ResponseWriter, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(b)
	return gone(err)
}
