package ledger

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"moat/internal/audit"
	"moat/internal/journal"
)

// lines goes through the lines of a file and their hashes.
type lines struct {
	in   *bufio.Reader
	file *os.File
	read int64 // lines
	sum  hash.Hash
	hex  [2 * sha256.Size]byte
}

// openLines opens the network record; a file that is not there has no lines.
func openLines(dir *os.Root) (*lines, error) {
	f, err := dir.OpenFile(journal.NetworkName, os.O_RDONLY|openNoFollow, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return &lines{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &lines{in: bufio.NewReaderSize(f, 32<<10), file: f, sum: sha256.New()}, nil
}

func (l *lines) close() {
	if l.file != nil {
		l.file.Close() // only read
	}
}

// next returns the hash of the next line, which is valid until the next call. io.EOF: there is none that is whole.
func (l *lines) next() ([]byte, error) {
	if l.in == nil {
		return nil, io.EOF
	}
	l.sum.Reset()
	for {
		piece, err := l.in.ReadSlice('\n')
		switch {
		case err == nil:
			l.sum.Write(piece[:len(piece)-1])
			l.read++
			var raw [sha256.Size]byte
			hex.Encode(l.hex[:], l.sum.Sum(raw[:0]))
			return l.hex[:], nil
		case errors.Is(err, bufio.ErrBufferFull):
			l.sum.Write(piece)
		case errors.Is(err, io.EOF):
			return nil, io.EOF // what is behind the last line was being written
		default:
			return nil, fmt.Errorf("read %s: %w", journal.NetworkName, err)
		}
	}
}

// traffic compares the network record with what was entered of it.
type traffic struct {
	report *Report
	lines  *lines
	held   []byte // hash of a line that was read and not found
	failed Problem
	at     int64 // line of failed
	known  int64 // lines that were entered
	closed int64 // lines at the end, as the record says
	err    error
}

func newTraffic(dir *os.Root, r *Report) *traffic {
	t := &traffic{report: r, closed: -1}
	if t.lines, t.err = openLines(dir); t.err != nil {
		t.lines = &lines{}
	}
	return t
}

func (t *traffic) close() { t.lines.close() }

func (t *traffic) entry(e *audit.Entry) {
	line := e.Number("line")
	if line != t.known+1 {
		t.report.problem(e.Seq, e.Kind, "line %d of %s was entered after line %d", line, journal.NetworkName, t.known)
		return
	}
	t.known = line
	if t.at > 0 || t.err != nil {
		return // perhaps a gap will explain it
	}
	sum, err := t.take()
	switch {
	case errors.Is(err, io.EOF):
		t.fail(e, "line %d of %s is missing (%s)", line, journal.NetworkName, lineText(e))
	case err != nil:
		t.err = err
	case string(sum) != e.Text("sha256"):
		t.held = append(t.held[:0], sum...)
		t.fail(e, "line %d of %s was changed (%s)", line, journal.NetworkName, lineText(e))
	}
}

func (t *traffic) take() ([]byte, error) {
	if len(t.held) > 0 {
		sum := t.held
		t.held = t.held[:0]
		return sum, nil
	}
	return t.lines.next()
}

func lineText(e *audit.Entry) string {
	return fmt.Sprintf("%s %s, %s, id %d", e.Text("what"), e.Text("host"), e.Text("decision"), e.Number("id"))
}

func (t *traffic) fail(e *audit.Entry, format string, args ...any) {
	t.failed = Problem{e.Seq, e.Kind, fmt.Sprintf(format, args...)}
	t.at = e.Number("line")
}

// lost takes in that only so many lines were left.
func (t *traffic) lost(left int64) {
	if t.at > 0 && t.at == left+1 {
		t.at = 0
	}
	t.known = left
}

// finish judges the whole file.
func (t *traffic) finish(closed, held bool) {
	if t.err != nil {
		return
	}
	if t.at > 0 {
		t.report.Problems = append(t.report.Problems, t.failed)
		return
	}
	more := int64(0)
	for ; ; more++ {
		if _, err := t.take(); err != nil {
			break
		}
	}
	switch {
	case more == 0 || held:
	case closed:
		t.report.problem(0, "", "%d lines of %s were added", more, journal.NetworkName)
	default:
		t.report.remark("%d lines of %s are not entered: the supervisor was killed", more, journal.NetworkName)
	}
	if closed && t.closed != t.known {
		t.report.problem(0, "", "the record was closed with %d lines of %s, and has %d", t.closed, journal.NetworkName, t.known)
	}
}

// output compares the recorded output with what was entered of it.
type output struct {
	report   *Report
	log, idx *os.File
	to, last int64 // ends of what was entered, in both files
	failed   Problem
	from     int64 // of failed
	bad      bool
	closed   [2]int64
	err      error
}

func newOutput(dir *os.Root, r *Report) *output {
	o := &output{report: r, closed: [2]int64{-1, -1}}
	for name, f := range map[string]**os.File{journal.LogName: &o.log, journal.IndexName: &o.idx} {
		file, err := dir.OpenFile(name, os.O_RDONLY|openNoFollow, 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			o.err = err
		}
		*f = file
	}
	return o
}

func (o *output) close() {
	for _, f := range []*os.File{o.log, o.idx} {
		if f != nil {
			f.Close() // only read
		}
	}
}

func (o *output) entry(e *audit.Entry) {
	from, to, first, last := e.Number("from"), e.Number("to"), e.Number("first"), e.Number("last")
	if from != o.to || first != o.last || to < from || last < first {
		o.report.problem(e.Seq, e.Kind, "output from byte %d on was entered after byte %d", from, o.to)
		return
	}
	o.to, o.last = to, last
	if o.bad || o.err != nil {
		return // perhaps a gap will explain it
	}
	for _, part := range []struct {
		name     string
		file     *os.File
		from, to int64
		want     string
	}{{journal.LogName, o.log, from, to, e.Text("sha256")}, {journal.IndexName, o.idx, first, last, e.Text("index")}} {
		sum, err := sumOf(part.file, part.from, part.to)
		switch {
		case err != nil:
			o.err = err
		case sum != part.want:
			o.bad, o.from = true, from
			o.failed = Problem{e.Seq, e.Kind, fmt.Sprintf("bytes %d to %d of %s were changed", part.from, part.to, part.name)}
			return
		}
	}
}

// lost takes in that only so much is left whole.
func (o *output) lost(to, last int64) {
	if o.bad && o.from >= to {
		o.bad = false
	}
	o.to, o.last = to, last
}

func (o *output) finish(closed, held bool) {
	if o.err != nil {
		return
	}
	if o.bad {
		o.report.Problems = append(o.report.Problems, o.failed)
		return
	}
	if held {
		return
	}
	for i, part := range []struct {
		name string
		file *os.File
		to   int64
	}{{journal.LogName, o.log, o.to}, {journal.IndexName, o.idx, o.last}} {
		size, err := sizeOf(part.file)
		switch {
		case err != nil:
			o.err = err
		case size == part.to:
		case closed && o.closed[i] == part.to:
			o.report.problem(0, "", "%s had %d bytes at the end, and has %d", part.name, part.to, size)
		case size > part.to:
			o.report.remark("%d bytes of %s are not entered: the supervisor was killed", size-part.to, part.name)
		}
	}
}

func sizeOf(f *os.File) (int64, error) {
	if f == nil {
		return 0, nil
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// sumOf is the SHA-256 of a part of a file in hexadecimal; "" if the file has not got it.
func sumOf(f *os.File, from, to int64) (string, error) {
	sum := sha256.New()
	if from < to {
		if f == nil {
			return "", nil
		}
		if n, err := io.Copy(sum, io.NewSectionReader(f, from, to-from)); err != nil || n < to-from {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
