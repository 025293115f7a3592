package ledger

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"sync"

	"moat/internal/atomicfile"
	"moat/internal/audit"
)

// InputKeyName is the file in a run's folder with the key of its digests of input. What people type is short and easily
// guessed, so a plain hash would tell it to everybody who has the record; whoever has this file as well can check a guess.
const InputKeyName = "input.key"

const inputKeySize = 32

// NewInputKey makes the key of a run's digests of input, if there is none. It is on the disk then.
func NewInputKey(dir *os.Root) ([]byte, error) {
	key, err := InputKey(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, inputKeySize)
	rand.Read(key) // never fails (crypto/rand)
	if err := atomicfile.Write(dir, InputKeyName, key, 0o600); err != nil {
		return nil, fmt.Errorf("%s: %w", InputKeyName, err)
	}
	return key, nil
}

// InputKey reads it.
func InputKey(dir *os.Root) ([]byte, error) {
	key, err := dir.ReadFile(InputKeyName)
	if err == nil && len(key) != inputKeySize {
		err = fmt.Errorf("it has %d bytes, want %d", len(key), inputKeySize)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", InputKeyName, err)
	}
	return key, nil
}

// Input digests what one client sends to one command on one connection. It keeps no text. Its methods may be called from any
// goroutine.
type Input struct {
	key    []byte
	source string

	mu   sync.Mutex
	came bool      // something did
	sum  hash.Hash // of the piece that is open; nil: there is none
	open Piece     // that, but for its digest
	next uint64    // of the byte that comes next
}

// Piece is a part of what a client sent.
type Piece struct {
	From, To uint64 // bytes of that client's input
	EOF      bool   // nothing follows
	HMAC     string // see InputHMAC
}

// SourceText names a client's input in entries.
func SourceText(source uint64) string { return fmt.Sprintf("%016x", source) }

// NewInput digests a client's input with the run's key.
func NewInput(key []byte, source string) *Input { return &Input{key: key, source: source} }

// Add takes in data, whose first byte has the number offset. On a new connection a client goes on where the command has
// taken its input, so the first piece may begin anywhere; all others follow one another.
func (in *Input) Add(offset uint64, data []byte, eof bool) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.came && offset != in.next {
		return fmt.Errorf("input begins at %d, want %d", offset, in.next)
	}
	if in.sum == nil {
		in.open = Piece{From: offset}
		in.sum = newInputSum(in.key, in.source, offset)
	}
	in.sum.Write(data)
	in.came, in.next, in.open.EOF = true, offset+uint64(len(data)), eof
	return nil
}

// Take returns what came since the last Take; false if that is nothing.
func (in *Input) Take() (Piece, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.sum == nil {
		return Piece{}, false
	}
	p := in.open
	p.To, p.HMAC = in.next, hex.EncodeToString(in.sum.Sum(nil))
	in.sum = nil
	return p, true
}

// InputHMAC is the digest of a piece: HMAC-SHA256 with the run's key over "moat-input/1", the source, and the offset of the
// piece in decimal, each with a newline behind it, and the bytes. So equal texts have different digests.
func InputHMAC(key []byte, source string, from uint64, data []byte) string {
	sum := newInputSum(key, source, from)
	sum.Write(data)
	return hex.EncodeToString(sum.Sum(nil))
}

func newInputSum(key []byte, source string, from uint64) hash.Hash {
	sum := hmac.New(sha256.New, key)
	fmt.Fprintf(sum, "moat-input/1\n%s\n%d\n", source, from)
	return sum
}

// Fields are the fields of the piece's entry, besides those that say whose it is.
func (p Piece) Fields(source string) []audit.Field {
	fields := []audit.Field{
		audit.Text("source", source), audit.Number("from", p.From), audit.Number("to", p.To), audit.Text("hmac", p.HMAC),
	}
	if p.EOF {
		fields = append(fields, audit.Flag("eof", true))
	}
	return fields
}
