package journal

import (
	"context"
	"fmt"
	"iter"
	"os"
	"time"
)

// Size is a terminal's size in characters.
type Size struct{ Rows, Cols uint16 }

// Step is one step of the tape that a run's terminal left: output, or a new size of the terminal.
type Step struct {
	Next  int64 // where the tape goes on after this step
	Chunk       // without Data if the step is a new size
	Size  *Size // nil if the step is output
}

// Resize records that the terminal has a new size from here on. Its errors are those of Append.
func (o *Output) Resize(at time.Time, size Size) error {
	o.writing.Lock()
	defer o.writing.Unlock()
	err := o.addRecord(record{
		time:   max(o.last, nanoseconds(at)),
		offset: o.end,
		kind:   kindResize,
		stream: Terminal,
		value:  uint32(size.Rows)<<16 | uint32(size.Cols),
	})
	if err != nil {
		o.undo()
		return writeError("record a size", err)
	}
	o.show(0, o.last)
	return nil
}

// lastStep returns how many of the first n records of an index there are up to the last step of the tape: behind it are
// checkpoints, for which nobody waits.
func lastStep(idx *os.File, n int64) (int64, error) {
	x := &index{file: idx, count: n}
	for ; n > 0; n-- {
		b, err := x.bytes(n - 1)
		if err != nil {
			return 0, err
		}
		if r, ok := decode(b); !ok || r.kind == kindOutput || r.kind == kindResize { // damage is for those who read it
			break
		}
	}
	return n, nil
}

// Position returns where the tape goes on after its last step.
func (o *Output) Position() int64 {
	_, tape, _ := o.watch(func() bool { return false })
	return tape
}

// WaitTape blocks until the tape goes on after position after. It ends as Wait does.
func (o *Output) WaitTape(ctx context.Context, after int64) error {
	for {
		news, tape, closed := o.watch(func() bool { return o.tape <= after })
		switch {
		case tape > after:
			return nil
		case closed:
			return os.ErrClosed
		}
		select {
		case <-news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// watch returns a channel that is closed at the next news, if wait, and what is true now.
func (o *Output) watch(wait func() bool) (news chan struct{}, tape int64, closed bool) {
	o.state.Lock()
	defer o.state.Unlock()
	if wait() && !o.closed && o.news == nil {
		o.news = make(chan struct{})
	}
	return o.news, o.tape, o.closed
}

// Tape goes through the steps from position from on (0 is the beginning) to the end that the Reader sees. A step's
// Data is valid until the next one is asked for. It ends after the first error.
func (r *Reader) Tape(from int64) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		data := &window{file: r.log, limit: r.end}
		for i := max(0, from); i < r.index.count; i++ {
			step, err := r.step(i, data)
			if err != nil {
				yield(Step{}, err)
				return
			}
			if (step.Size != nil || len(step.Data) > 0) && !yield(step, nil) {
				return
			}
		}
	}
}

func (r *Reader) step(i int64, data *window) (Step, error) {
	rec, err := r.index.at(i)
	if err != nil {
		return Step{}, err
	}
	c, _, err := r.chunk(i, -1, data)
	if err != nil {
		return Step{}, fmt.Errorf("step %d: %w", i, err)
	}
	step := Step{Next: i + 1, Chunk: c}
	if rec.kind == kindResize {
		step.Size = &Size{Rows: uint16(rec.value >> 16), Cols: uint16(rec.value)}
	}
	return step, nil
}
