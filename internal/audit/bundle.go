package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// bundleName begins every bundle's first line; the version follows it.
const (
	bundleName  = "moat-audit-bundle/"
	bundleFirst = bundleName + "1"
	wholeLine   = "whole"
)

// maxLine is the most bytes of a bundle's line.
const maxLine = MaxEntry

// WriteBundle writes all entries of a log, of which signed is the checkpoint.
func WriteBundle(w io.Writer, signed []byte, size int64, entries iter.Seq2[[]byte, error]) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%s\n%s\n\n%s\n", bundleFirst, wholeLine, signed)
	n := int64(0)
	for entry, err := range entries {
		if err != nil {
			return err
		}
		if n == size {
			break
		}
		n++
		_, _ = out.Write(append(entry[:len(entry):len(entry)], '\n')) // Flush has the error
	}
	if n < size {
		return fmt.Errorf("%w: there are %d entries, %d were signed", ErrTree, n, size)
	}
	return out.Flush()
}

// WriteRange writes the entries from first to last, counted from 1, each with its proof. entries are called twice and must
// be all of the log's.
func WriteRange(w io.Writer, c Signed, first, last int64, entries iter.Seq2[[]byte, error]) error {
	p, err := Prove(c.Size, first, last, func(yield func(Hash, error) bool) {
		for entry, err := range entries {
			if !yield(Leaf(entry), err) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%s\nentries %d-%d\n\n%s", bundleFirst, first, last, c.Note)
	seq := int64(0)
	for entry, err := range entries {
		if err != nil {
			return err
		}
		if seq++; seq < first {
			continue
		}
		if seq > last {
			break
		}
		proof, err := p.Entry(seq)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\n%s\n", entry)
		for _, h := range proof {
			fmt.Fprintf(out, "%s\n", h)
		}
	}
	return out.Flush()
}

// Bundle is what a bundle that verifies says.
type Bundle struct {
	Signed
	Whole       bool
	First, Last int64 // entries in it, counted from 1
}

// VerifyBundle reads a bundle to its end, with memory that does not grow with it, and gives each its entries as they come.
// They are proven only if nil is returned. keys are the known ones. Errors are ErrBundle, ErrEncoding, ErrTree and those of
// Open; they say what is wrong and where.
func VerifyBundle(r io.Reader, keys []Key, each func(Entry)) (Bundle, error) {
	in := &bundleReader{in: bufio.NewReaderSize(r, 64<<10), each: each}
	var b Bundle
	if err := in.head(&b); err != nil {
		return b, err
	}
	signed, err := in.note()
	if err != nil {
		return b, err
	}
	if b.Signed, err = Open(signed, keys); err != nil {
		return b, fmt.Errorf("the checkpoint: %w", err)
	}
	switch {
	case b.Size == 0:
		return b, fmt.Errorf("%w: it is about an empty record", ErrBundle)
	case b.Whole:
		b.First, b.Last = 1, b.Size
		return b, in.whole(b.Checkpoint)
	case b.Last > b.Size:
		return b, fmt.Errorf("%w: it says that it has entries up to %d, and %d were signed", ErrBundle, b.Last, b.Size)
	}
	return b, in.proven(b)
}

// bundleReader reads the lines of a bundle.
type bundleReader struct {
	in   *bufio.Reader
	line int
	each func(Entry)
}

// next returns the next line, which is valid until the next call; io.EOF at the end.
func (b *bundleReader) next() ([]byte, error) {
	b.line++
	line, err := b.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) && len(long) <= maxLine {
			line, err = b.in.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	switch {
	case errors.Is(err, io.EOF) && len(line) == 0:
		return nil, io.EOF
	case errors.Is(err, io.EOF):
		return nil, b.bad("it ends within a line: it was cut off")
	case err != nil && !errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("read bundle: %w", err)
	case err != nil || len(line) > maxLine+1:
		return nil, b.bad("it is too long")
	}
	return line[:len(line)-1], nil
}

func (b *bundleReader) bad(format string, args ...any) error {
	return fmt.Errorf("%w: line %d: %s", ErrBundle, b.line, fmt.Sprintf(format, args...))
}

// want is next where an end would be too early.
func (b *bundleReader) want() ([]byte, error) {
	line, err := b.next()
	if errors.Is(err, io.EOF) {
		return nil, b.bad("it ends here: it was cut off")
	}
	return line, err
}

// head reads what comes before the checkpoint.
func (b *bundleReader) head(into *Bundle) error {
	first, err := b.next()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it is empty", ErrBundle)
	}
	if err != nil {
		return err
	}
	if version, ok := strings.CutPrefix(string(first), bundleName); !ok {
		return b.bad("it does not begin as one")
	} else if string(first) != bundleFirst {
		return b.bad("it has version %q, and this moat knows 1", version)
	}
	what, err := b.want()
	if err != nil {
		return err
	}
	if into.Whole = string(what) == wholeLine; !into.Whole {
		if n, err := fmt.Sscanf(string(what), "entries %d-%d", &into.First, &into.Last); n != 2 || err != nil ||
			string(what) != fmt.Sprintf("entries %d-%d", into.First, into.Last) || into.First < 1 || into.Last < into.First {
			return b.bad("it says neither that it is whole nor which entries it has")
		}
	}
	return b.blank()
}

func (b *bundleReader) blank() error {
	line, err := b.want()
	if err == nil && len(line) > 0 {
		err = b.bad("an empty line is missing")
	}
	return err
}

// note reads the signed checkpoint and the empty line behind it.
func (b *bundleReader) note() ([]byte, error) {
	var signed []byte
	for blanks := 0; ; {
		line, err := b.want()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			if blanks++; blanks == 2 {
				return signed, nil
			}
		}
		if signed = append(append(signed, line...), '\n'); len(signed) > MaxNote {
			return nil, b.bad("the checkpoint is too long")
		}
	}
}

// entry checks the encoding of an entry and its place.
func (b *bundleReader) entry(line []byte, seq int64) error {
	e, err := ParseEntry(line)
	switch {
	case err != nil:
		return fmt.Errorf("entry %d (line %d of the bundle): %w", seq, b.line, err)
	case e.Seq != seq:
		return b.bad("entry %d is where %d should be", e.Seq, seq)
	}
	if b.each != nil {
		b.each(e)
	}
	return nil
}

// whole reads all entries.
func (b *bundleReader) whole(c Checkpoint) error {
	var tree Tree
	for seq := int64(1); seq <= c.Size; seq++ {
		line, err := b.next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it was cut off: it has %d entries, and %d were signed", ErrBundle, seq-1, c.Size)
		}
		if err == nil {
			err = b.entry(line, seq)
		}
		if err != nil {
			return err
		}
		tree.Add(Leaf(line))
	}
	if tree.Root() != c.Root {
		return fmt.Errorf("%w: their root is %s, and %s was signed", ErrTree, tree.Root(), c.Root)
	}
	return b.end()
}

func (b *bundleReader) end() error {
	switch _, err := b.next(); {
	case err == nil:
		return b.bad("there is more than was signed")
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// proven reads some entries, each with its proof.
func (b *bundleReader) proven(want Bundle) error {
	seq := want.First
	var proof []Hash
	line, err := b.want()
	for ; ; seq++ {
		if err == nil {
			err = b.entry(line, seq)
		}
		if err != nil {
			return err
		}
		leaf, last := Leaf(line), seq == want.Last
		if proof, err = b.proof(proof[:0], last); err != nil {
			return err
		}
		if err := CheckProof(want.Checkpoint, seq, leaf, proof); err != nil {
			return err
		}
		if last {
			return nil
		}
		line, err = b.want()
	}
}

// proof reads hashes up to an empty line, or, of the last entry, to the end.
func (b *bundleReader) proof(proof []Hash, last bool) ([]Hash, error) {
	for {
		line, err := b.next()
		switch {
		case errors.Is(err, io.EOF) && last:
			return proof, nil
		case errors.Is(err, io.EOF):
			return nil, b.bad("it ends here: it was cut off")
		case err != nil:
			return nil, err
		case len(line) == 0 && !last:
			return proof, nil
		}
		h, err := tlog.ParseHash(string(line))
		if err != nil || h.String() != string(line) || len(proof) == 64 {
			return nil, b.bad("it is not a hash of a proof")
		}
		proof = append(proof, h)
	}
}

// RootAt is the root of the first entries of a whole bundle, which VerifyBundle has found to be good.
func RootAt(r io.Reader, size int64) (Hash, error) {
	in := &bundleReader{in: bufio.NewReaderSize(r, 64<<10)}
	var b Bundle
	if err := in.head(&b); err != nil {
		return Hash{}, err
	}
	if _, err := in.note(); err != nil {
		return Hash{}, err
	}
	var tree Tree
	for tree.Size() < size {
		line, err := in.want()
		if err != nil {
			return Hash{}, err
		}
		tree.Add(Leaf(line))
	}
	return tree.Root(), nil
}
