package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"moat/internal/audit"
)

// Problem is something that is not as it was recorded.
type Problem struct {
	Entry int64  // its number; 0: it is not about one entry
	Kind  string // of the entry, "" if that is not known
	What  string // a sentence without full stop
}

// Report is what came of verifying a log.
type Report struct {
	Origin   string
	Entries  int64 // that are whole and in order
	Signed   int64 // of them, those that the newest checkpoint is about
	Newest   audit.Signed
	First    time.Time
	Last     time.Time
	Problems []Problem // why it is not intact; none: it is
	Gaps     []Problem // what the record itself says that is missing
	Remarks  []string  // what else a person should know
	Seen     []Sighting
	Ended    *audit.Entry // how the run ended, as the record has it
	Closed   bool         // nothing was to follow
}

// Sighting is a checkpoint of the log that was cosigned, and is still true.
type Sighting struct {
	Size      int64
	Witnesses []audit.Witness
	Unknown   []string // names of others who have signed; that means nothing
}

// Valid reports whether everything is as it was recorded.
func (r *Report) Valid() bool { return len(r.Problems) == 0 }

func (r *Report) problem(entry int64, kind, format string, args ...any) {
	r.Problems = append(r.Problems, Problem{entry, kind, fmt.Sprintf(format, args...)})
}

func (r *Report) remark(format string, args ...any) {
	r.Remarks = append(r.Remarks, fmt.Sprintf(format, args...))
}

// Claim is a checkpoint of the log that is known from elsewhere.
type Claim struct {
	audit.Checkpoint
	Source string // who says so, for people
	Signed audit.Signed
}

// maxProblems is how many problems are named.
const maxProblems = 20

// checker verifies one log.
type checker struct {
	Report
	run    string // whose log it is; "" for the machine's
	keys   func() []audit.Key
	claims []Claim // by size
	settle bool    // the log is not being written: it must end where an entry ends
	lazy   bool    // only the newest signature is looked at: it vouches for all that the others do
	each   func(e *audit.Entry)

	tree   audit.Tree
	agreed int64  // entries that others or a signature vouch for
	note   []byte // the newest checkpoint, if its signature was not looked at
	torn   bool   // it ends within a frame
	killed bool   // it is the machine's, and ends where a writer that was killed may have ended it
	fresh  bool   // the last frame was a checkpoint
	kind   string // of the entry that is looked at
}

// verify reads a log to its end, or to where nothing more can be said. The error is one of reading.
func (c *checker) verify(in io.ReaderAt) error {
	slices.SortFunc(c.claims, func(a, b Claim) int { return cmp.Compare(a.Size, b.Size) })
	s := newScanner(in)
	var e audit.Entry
	for more := true; more; {
		at := s.at
		kind, payload, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			c.killed = c.run == "" && s.read%pageSize == 0
			more = false
		case errors.Is(err, audit.ErrTorn):
			c.endsTorn(at, s.read)
			more = false
		case errors.Is(err, audit.ErrFrame):
			c.problem(c.Entries+1, "", "it was changed: the bytes from %d on are no entry", at)
			return nil
		case err != nil:
			return err
		case kind == audit.FrameCheckpoint:
			more = c.checkpoint(payload)
		default:
			more = c.entry(&e, payload)
		}
		if !more && len(c.Problems) > 0 {
			return nil // what follows cannot be judged
		}
	}
	c.unmet()
	return nil
}

// pageSize is where SIGKILL can tear a write to a file: between pages (Linux, generic_perform_write). Larger pages are
// multiples of it.
const pageSize = 4096

// endsTorn judges an end within the frame that begins at the byte at. The machine's record has many writers: what one that
// was killed has left there is cut off by the next, whenever that comes.
func (c *checker) endsTorn(at, end int64) {
	c.torn = true
	switch {
	case c.settle && c.run == "" && end%pageSize == 0:
		c.killed = true
		c.Gaps = append(c.Gaps, Problem{c.Entries + 1, "", "its writer was killed while it wrote this entry"})
	case c.settle:
		c.problem(c.Entries+1, "", "it was cut off: it ends within an entry, at byte %d", at)
	default:
		c.remark("the record ends within an entry, which was being written")
	}
}

// entry checks an entry's encoding and place; false if nothing behind it can be judged.
func (c *checker) entry(e *audit.Entry, payload []byte) bool {
	seq := c.Entries + 1
	if err := e.Parse(payload); err != nil {
		c.problem(seq, "", "it was changed: %v", err)
		return false
	}
	if e.Seq != seq {
		c.problem(seq, e.Kind, "entry %d (%s) is where %d should be", e.Seq, e.Kind, seq)
		return false
	}
	if named := e.Number("signed"); c.fresh && named != c.Signed || !c.fresh && named != -1 {
		c.problem(seq, e.Kind, "a checkpoint before it was removed, added or moved")
		return false
	}
	c.fresh, c.kind = false, e.Kind
	c.tree.Add(audit.Leaf(payload))
	if c.Entries = seq; seq == 1 {
		c.First = e.Time
	} else if back := c.Last.Sub(e.Time); back > time.Second {
		c.remark("the clock was set back by %v before entry %d", back.Round(time.Second), seq)
	}
	c.Last = e.Time
	if !c.claimed() {
		return false
	}
	if c.each != nil {
		c.each(e)
	}
	return len(c.Problems) < maxProblems
}

// claimed compares the tree with the checkpoints of its size that are known from elsewhere.
func (c *checker) claimed() bool {
	for len(c.claims) > 0 && c.claims[0].Size == c.tree.Size() {
		claim := c.claims[0]
		if claim.Root != c.tree.Root() || c.Origin != "" && c.Origin != claim.Origin {
			c.problem(0, "", "entries %d to %d are not those that %s: one was changed, or the record was replaced", c.agreed+1, claim.Size, claim.Source)
			return false
		}
		c.agreed = claim.Size
		c.sighted(claim)
		c.claims = c.claims[1:]
	}
	return true
}

func (c *checker) sighted(claim Claim) {
	if len(claim.Signed.Witnesses)+len(claim.Signed.Unknown) > 0 {
		c.Seen = append(c.Seen, Sighting{claim.Size, claim.Signed.Witnesses, claim.Signed.Unknown})
	}
}

// unmet judges the checkpoints of more entries than there are.
func (c *checker) unmet() {
	if len(c.claims) > 0 {
		claim := c.claims[len(c.claims)-1]
		c.problem(0, "", "it was cut off or put back: there are %d entries, and %d are those that %s", c.Entries, claim.Size, claim.Source)
	}
}

// checkpoint checks a checkpoint; false if nothing behind it can be judged.
func (c *checker) checkpoint(payload []byte) bool {
	edge, note, err := audit.SplitCheckpoint(payload)
	var signed audit.Signed
	switch {
	case err != nil:
	case c.lazy:
		c.note = append(c.note[:0], note...)
		signed.Checkpoint, err = audit.TextOf(note)
	default:
		signed, err = audit.Open(note, c.keys())
	}
	first := c.Signed + 1
	switch {
	case err != nil:
		c.problem(0, "", "the checkpoint behind entry %d: %v", c.Entries, err)
	case audit.RunOf(signed.Origin) != c.run || c.Origin != "" && signed.Origin != c.Origin:
		c.problem(0, "", "the checkpoint behind entry %d is that of another record: %s", c.Entries, signed.Origin)
	case len(signed.Witnesses)+len(signed.Unknown) > 0:
		c.problem(0, "", "the checkpoint behind entry %d was changed: others have signed it", c.Entries)
	case signed.Size == c.Signed && c.Signed > 0:
		c.problem(0, "", "the checkpoint behind entry %d is there twice", c.Entries)
	case signed.Size != c.Entries:
		c.problem(0, "", "the checkpoint behind entry %d is about %d entries", c.Entries, signed.Size)
	case signed.Root != c.tree.Root() && first == c.Entries:
		c.problem(first, c.kind, "it was changed after it was signed")
	case signed.Root != c.tree.Root():
		c.problem(first, "", "one of the entries %d to %d was changed after they were signed", first, c.Entries)
	case !slices.Equal(edge, c.tree.Edge()):
		c.problem(0, "", "the checkpoint behind entry %d was changed", c.Entries)
	default:
		c.Origin, c.Signed, c.Newest, c.fresh, c.agreed = signed.Origin, signed.Size, signed, true, signed.Size
		return true
	}
	return false
}

// newest looks at the signature of the newest checkpoint, where it was not.
func (c *checker) newest() {
	if len(c.note) == 0 {
		return
	}
	signed, err := audit.Open(c.note, c.keys())
	if err != nil {
		c.problem(0, "", "the newest checkpoint: %v", err)
		return
	}
	c.Newest = signed
}
