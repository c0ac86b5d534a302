package queue

import "floorwatch"

// Waiting is the present of a queue zone: Length people wait, in service not
// counted, and the one who has waited longest of those whose beginning was seen
// joined at Since; 0 when there is none.
type Waiting struct {
	Length int64
	Since  floorwatch.Time
}

// Waiting returns the present of every queue zone of the scene. Who has just come
// is in it after min_stay; who has just left the queue stays in it until the
// break is too long to be joined.
func (s *Stage) Waiting() map[string]Waiting { return s.waits.waiting() }

func (w *Waits) waiting() map[string]Waiting {
	out := make(map[string]Waiting, len(w.queues))
	for name := range w.queues {
		out[name] = Waiting{}
	}
	for _, p := range w.people {
		for _, j := range p.joins {
			if j.done || j.stay.Exit != nil {
				continue
			}
			q := out[j.stay.Zone]
			q.Length++
			if j.stay.EnterSeen && (q.Since == 0 || j.stay.Enter < q.Since) {
				q.Since = j.stay.Enter
			}
			out[j.stay.Zone] = q
		}
	}
	return out
}
