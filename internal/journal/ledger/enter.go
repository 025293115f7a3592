package ledger

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"time"

	"moat/internal/audit"
	"moat/internal/journal"
)

// Records enters in a run's log what the run's other records have. Its methods are called by one goroutine at a time,
// except that Network may run beside Output.
type Records struct {
	log *Log
	dir *os.Root

	lines    int64 // of the network record that were entered
	to, last int64 // ends of what was entered of the two files of output
	recent   []segment
	inputs   map[string]uint64 // by source: end of the input that was entered
}

// segment is a piece of output that was entered.
type segment struct{ from, to, first, last int64 }

// maxRecent is how many segments are remembered, and maxSegment how many bytes of output one may have.
const (
	maxRecent  = 1024
	maxSegment = 64 << 20
)

// Look takes in an entry that the log has: it is for Open.
func (r *Records) Look(e audit.Entry) {
	switch e.Kind {
	case "network":
		r.lines = e.Number("line")
	case "output":
		r.entered(segment{e.Number("from"), e.Number("to"), e.Number("first"), e.Number("last")})
	case "input":
		if r.inputs == nil {
			r.inputs = make(map[string]uint64)
		}
		r.inputs[e.Text("source")] = max(r.inputs[e.Text("source")], uint64(e.Number("to")))
	case "gap":
		switch e.Text("what") {
		case "network":
			r.lines = e.Number("lines")
		case "output":
			r.to, r.last = e.Number("from"), e.Number("first")
		}
	}
}

// Inputs tells, by source, how much of each client's input was entered when the log was opened. The map is the caller's.
func (r *Records) Inputs() map[string]uint64 { return maps.Clone(r.inputs) }

func (r *Records) entered(s segment) {
	r.to, r.last = s.to, s.last
	if len(r.recent) == maxRecent {
		r.recent = r.recent[1:]
	}
	r.recent = append(r.recent, s)
}

// Begin sets the log and the folder of the run after Open.
func (r *Records) Begin(log *Log, dir *os.Root) { r.log, r.dir = log, dir }

// CatchUp enters what a predecessor wrote and did not live to enter, and that it entered what is not there any more. output
// and index are the ends of the two files of output as they are now. restart says that the machine was restarted meanwhile,
// which alone explains that something is missing.
func (r *Records) CatchUp(output, index int64, restart bool) error {
	if err := r.catchUpNetwork(restart); err != nil {
		return fmt.Errorf("compare the network record with the audit record: %w", err)
	}
	if output < r.to || index < r.last {
		whole := r.whole(output, index)
		err := r.log.Append(time.Now(), "gap", audit.Text("what", "output"), audit.Text("why", why(restart)), audit.Flag("restart", restart),
			audit.Number("from", whole.from), audit.Number("first", whole.first), audit.Number("lost", max(0, r.to-output)))
		if err != nil {
			return err
		}
		r.to, r.last = whole.from, whole.first
	}
	return r.Output(output, index)
}

// whole is where the first segment begins that is not whole any more.
func (r *Records) whole(output, index int64) segment {
	for _, s := range r.recent {
		if s.to > output || s.last > index {
			return s
		}
	}
	return segment{}
}

func why(restart bool) string {
	if restart {
		return "the machine was restarted before they were on the disk"
	}
	return "somebody removed them"
}

// catchUpNetwork compares the number of lines, and enters those that are new.
func (r *Records) catchUpNetwork(restart bool) error {
	l, err := openLines(r.dir)
	if err != nil {
		return err
	}
	defer l.close()
	for {
		sum, err := l.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if l.read <= r.lines {
			continue
		}
		if err := r.log.Append(time.Now(), "network", audit.Number("line", l.read), audit.Text("sha256", string(sum)), audit.Flag("late", true)); err != nil {
			return err
		}
	}
	if l.read < r.lines {
		err := r.log.Append(time.Now(), "gap", audit.Text("what", "network"), audit.Text("why", why(restart)), audit.Flag("restart", restart),
			audit.Number("lines", l.read), audit.Number("lost", r.lines-l.read))
		if err != nil {
			return err
		}
	}
	r.lines = l.read
	return nil
}

// Network enters a line that was just written. While the log has no room it is not entered (ErrFull), and to be entered again.
func (r *Records) Network(w journal.Written) (entered bool, err error) {
	if err := r.line(w); err != nil {
		return false, err
	}
	r.lines = w.Line
	return true, r.log.Flush()
}

// line enters one line, and the use of a credential that it tells of.
func (r *Records) line(w journal.Written) error {
	q := w.Request
	end := q.DurationMS != nil
	err := r.log.Append(time.Now(), "network", audit.Number("line", w.Line), audit.Text("sha256", hex.EncodeToString(w.Sum[:])), audit.Number("id", q.ID),
		audit.Text("what", q.Kind), audit.Text("host", q.Host), audit.Text("decision", q.Decision), audit.Flag("end", end))
	if err != nil {
		return err
	}
	grant, result := credential(q, end)
	if grant == "" {
		return nil
	}
	return r.log.Append(time.Now(), "credential", audit.Text("grant", grant), audit.Text("host", q.Host), audit.Number("id", q.ID), audit.Text("result", result))
}

// credential says what a record tells of a credential: whose, and what became of it; "" if nothing. It is used when the
// request begins.
func credential(q journal.Request, end bool) (grant, result string) {
	if name, ok := journal.LeakOf(q); ok {
		return name, "refused"
	}
	switch {
	case q.Grant == nil:
		return "", ""
	case q.Decision == journal.Denied:
		return *q.Grant, "refused"
	case !end:
		return *q.Grant, "used"
	}
	return "", ""
}

// Output enters output up to the ends of its two files.
func (r *Records) Output(output, index int64) error {
	if output == r.to && index == r.last || index < r.last || output < r.to {
		return nil
	}
	o := newOutput(r.dir, nil)
	defer o.close()
	if o.err != nil {
		return fmt.Errorf("enter output: %w", o.err)
	}
	for {
		s := segment{r.to, min(output, r.to+maxSegment), r.last, index}
		if s.to < output {
			s.last = s.first // the index goes with the last piece
		}
		sum, err := sumOf(o.log, s.from, s.to)
		if err != nil {
			return fmt.Errorf("enter output: %w", err)
		}
		indexSum, err := sumOf(o.idx, s.first, s.last)
		if err != nil {
			return fmt.Errorf("enter output: %w", err)
		}
		err = r.log.Append(time.Now(), "output", audit.Number("from", s.from), audit.Number("to", s.to), audit.Text("sha256", sum),
			audit.Number("first", s.first), audit.Number("last", s.last), audit.Text("index", indexSum))
		if err != nil {
			return err
		}
		if r.entered(s); r.to == output {
			return nil
		}
	}
}

// Close enters what there is at the end, and that nothing follows.
func (r *Records) Close(output, index int64) error {
	if err := r.Output(output, index); err != nil {
		return err
	}
	return r.log.Append(time.Now(), "closed", audit.Number("lines", r.lines), audit.Number("output", r.to), audit.Number("index", r.last))
}
