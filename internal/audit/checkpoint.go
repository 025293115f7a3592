package audit

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxNote is the most bytes of a signed checkpoint.
const MaxNote = 16 << 10

// Checkpoint says what a log was when it had so many entries (c2sp.org/tlog-checkpoint).
type Checkpoint struct {
	Origin string // names the log; see OriginOf
	Size   int64
	Root   Hash
}

// OriginOf names a log of a machine: of what is the run's id, and "" for the machine-wide log.
func OriginOf(k Key, run string) string {
	if run == "" {
		return k.Name
	}
	return k.Name + "/" + run
}

// RunOf is the part of an origin that names the run; "" for the machine-wide log.
func RunOf(origin string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(origin, keyPrefix), "/")
	return rest
}

// Text is what is signed.
func (c Checkpoint) Text() string { return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, c.Root) }

// ParseCheckpoint reads what Text wrote: three lines, no more. ErrCheckpoint otherwise.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || len(text) > MaxNote {
		return Checkpoint{}, ErrCheckpoint
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return Checkpoint{}, ErrCheckpoint
	}
	root, err := tlog.ParseHash(lines[2])
	c := Checkpoint{lines[0], size, root}
	if err != nil || c.Text() != text || !isOrigin(c.Origin) {
		return Checkpoint{}, ErrCheckpoint
	}
	return c, nil
}

// isOrigin reports whether a text can be the name of a signer too.
func isOrigin(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r == '+' || r == unicode.ReplacementChar })
}

// Sign returns a checkpoint, signed.
func (s *Signer) Sign(c Checkpoint) ([]byte, error) {
	msg, err := note.Sign(&note.Note{Text: c.Text()}, logKey{c.Origin, s.Public, s.private})
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return msg, nil
}

// Cosign adds a witness's signature to a signed checkpoint: that nothing else of this log was ever seen at the given time.
// The caller has made sure of that.
func (s *Signer) Cosign(signed []byte, at time.Time) ([]byte, error) {
	_, err := note.Open(signed, noVerifiers{})
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return nil, fmt.Errorf("cosign: %w", ErrCheckpoint)
	}
	n := unverified.Note
	if at.Unix() < 0 {
		return nil, fmt.Errorf("cosign: the clock says %v", at)
	}
	msg, err := note.Sign(n, witnessKey{Key: s.Key, private: s.private, time: uint64(at.Unix())})
	if err != nil {
		return nil, fmt.Errorf("cosign: %w", err)
	}
	return msg, nil
}

// noVerifiers knows nobody.
type noVerifiers struct{}

func (noVerifiers) Verifier(name string, hash uint32) (note.Verifier, error) {
	return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
}

// Signed is a signed checkpoint whose signatures were looked at.
type Signed struct {
	Checkpoint
	By        Key       // whose log it is
	Witnesses []Witness // known ones who have cosigned it
	Unknown   []string  // names of others that have signed; that means nothing
	Note      []byte    // all of it
}

// Witness is somebody who has seen a checkpoint at a time.
type Witness struct {
	Key  Key
	Time time.Time
}

// Open looks at a signed checkpoint. Somebody known must have signed it whose log it is, and no signature of somebody known
// may be wrong. Errors are ErrCheckpoint, ErrUnknownKey and ErrSignature.
func Open(msg []byte, keys []Key) (Signed, error) {
	c, err := TextOf(msg)
	if err != nil {
		return Signed{}, err
	}
	n, err := note.Open(msg, verifiers(c.Origin, keys))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		return Signed{}, fmt.Errorf("%w (%s)", ErrUnknownKey, signerNames(unverified.Note.UnverifiedSigs))
	case errors.As(err, &invalid):
		return Signed{}, fmt.Errorf("%w: that of %s", ErrSignature, invalid.Name)
	case err != nil:
		return Signed{}, ErrCheckpoint
	}
	return c.signatures(n, msg, keys)
}

// signatures tells the verified signatures of a note apart.
func (c Checkpoint) signatures(n *note.Note, msg []byte, keys []Key) (Signed, error) {
	s := Signed{Checkpoint: c, Note: msg}
	for _, sig := range append(append([]note.Signature(nil), n.Sigs...), n.UnverifiedSigs...) {
		if _, err := base64.StdEncoding.Strict().DecodeString(sig.Base64); err != nil {
			return Signed{}, ErrCheckpoint
		}
	}
	for _, sig := range n.Sigs {
		raw, _ := base64.StdEncoding.DecodeString(sig.Base64)
		for _, k := range keys {
			switch {
			case k.Owns(c.Origin) && sig.Name == c.Origin && sig.Hash == (logKey{origin: c.Origin, public: k.Public}).KeyHash():
				s.By = k
			case sig.Name == k.Name && sig.Hash == (witnessKey{Key: k}).KeyHash() && !known(s.Witnesses, k):
				s.Witnesses = append(s.Witnesses, Witness{k, time.Unix(int64(binary.BigEndian.Uint64(raw[4:])), 0).UTC()})
			}
		}
	}
	for _, sig := range n.UnverifiedSigs {
		s.Unknown = append(s.Unknown, sig.Name)
	}
	if s.By.Public == nil {
		return Signed{}, fmt.Errorf("%w (%s)", ErrUnknownKey, signerNames(append(n.Sigs, n.UnverifiedSigs...)))
	}
	return s, nil
}

func known(list []Witness, k Key) bool {
	for _, w := range list {
		if w.Key.Equal(k) {
			return true
		}
	}
	return false
}

func signerNames(sigs []note.Signature) string {
	var names []string
	for _, sig := range sigs {
		names = append(names, fmt.Sprintf("%s+%08x", sig.Name, sig.Hash))
	}
	return strings.Join(names, ", ")
}

// TextOf reads the checkpoint of a signed note, whoever has signed it.
func TextOf(signed []byte) (Checkpoint, error) {
	text, _, ok := strings.Cut(string(signed), "\n\n")
	if !ok || len(signed) > MaxNote {
		return Checkpoint{}, ErrCheckpoint
	}
	return ParseCheckpoint(text + "\n")
}
