package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"floorwatch/cloud/figures"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
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

// faultOf returns what a caller may read of an error, and with which status; nil
// for what is ours.
func faultOf(err error) *fault {
	var f *fault
	var question *figures.Error
	var name *site.NameError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &question):
		status := http.StatusBadRequest
		if errors.Is(err, figures.ErrUnknown) {
			status = http.StatusNotFound
		} else if errors.Is(err, figures.ErrTooMuch) {
			status = http.StatusRequestEntityTooLarge
		}
		return &fault{status, question.Text, question.Hint}
	case errors.As(err, &name) && name.Name == "":
		return bad("name one of those in /api/sites", "parameter %s is missing", name.What)
	case name != nil:
		return &fault{http.StatusNotFound, name.Error(), "see /api/sites"}
	case errors.Is(err, vault.ErrNotHere):
		return onBox
	case errors.Is(err, vault.ErrNoFootage):
		return noFootage
	case errors.Is(err, vault.ErrNoHold):
		return noHold
	case errors.Is(err, vault.ErrTooMany):
		return &fault{http.StatusRequestEntityTooLarge, "the time range holds too much footage", "ask for a shorter time range"}
	case errors.Is(err, context.DeadlineExceeded):
		return &fault{http.StatusGatewayTimeout, "the figures did not answer in time", "ask for a shorter time range, or try again"}
	}
	return nil
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
		if err == nil || errors.Is(err, errGone) || r.Context().Err() != nil {
			return
		}
		f := faultOf(err)
		if f == nil {
			s.Log.Error("answer request", "path", r.URL.Path, "error", err)
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
		Elsewhere bool   `json:"elsewhere,omitempty"` // the footage is on its box
		Soon      bool   `json:"soon,omitempty"`      // it is being recorded
	}{f.msg, f.hint, f == onBox, f == stillRecorded})
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
