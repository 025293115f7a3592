package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Signature types of c2sp.org/signed-note.
const (
	typeLog     = 0x01 // Ed25519 over the note
	typeWitness = 0x04 // c2sp.org/tlog-cosignature: Ed25519 over a time and the note
)

// Key is the public key of a machine. It signs the machine's own logs, each under the log's origin, and witnesses those of
// others under its own name.
type Key struct {
	Name   string // "moat/" and 16 hexadecimal digits
	Public ed25519.PublicKey
}

// keyPrefix begins the name of every key; what follows is the machine's.
const keyPrefix = "moat/"

// String is the key as a vkey of c2sp.org/signed-note.
func (k Key) String() string { return k.vkey(typeLog) }

// Witness is the key as a vkey of a cosigner.
func (k Key) Witness() string { return k.vkey(typeWitness) }

func (k Key) vkey(kind byte) string {
	data := append([]byte{kind}, k.Public...)
	return fmt.Sprintf("%s+%08x+%s", k.Name, keyID(k.Name, data), base64.StdEncoding.EncodeToString(data))
}

// Equal reports whether it is the same key under the same name.
func (k Key) Equal(other Key) bool { return k.Name == other.Name && k.Public.Equal(other.Public) }

// keyID is what a signature line has of a key (c2sp.org/signed-note): data is its type and the key.
func keyID(name string, data []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), data...))
	return binary.BigEndian.Uint32(sum[:])
}

// ParseKey reads a key that String or Witness wrote: ErrKey otherwise.
func ParseKey(text string) (Key, error) {
	name, data, err := parseKey(text)
	if err != nil || len(data) != 1+ed25519.PublicKeySize || data[0] != typeLog && data[0] != typeWitness {
		return Key{}, ErrKey
	}
	return Key{Name: name, Public: ed25519.PublicKey(data[1:])}, nil
}

// parseKey reads name+id+base64 and checks the id.
func parseKey(text string) (name string, data []byte, err error) {
	name, rest, _ := strings.Cut(text, "+")
	id, encoded, _ := strings.Cut(rest, "+")
	data, err = base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || !isKeyName(name) || len(data) == 0 {
		return "", nil, ErrKey
	}
	want, err := strconv.ParseUint(id, 16, 32)
	if err != nil || len(id) != 8 || id != strings.ToLower(id) || uint32(want) != keyID(name, data) {
		return "", nil, ErrKey
	}
	return name, data, nil
}

func isKeyName(name string) bool {
	digits, ok := strings.CutPrefix(name, keyPrefix)
	return ok && len(digits) == 16 && strings.Trim(digits, hexDigits) == ""
}

// Owns reports whether a log of that origin is of the key's machine.
func (k Key) Owns(origin string) bool {
	return origin == k.Name || strings.HasPrefix(origin, k.Name+"/")
}

// Signer is a key that can sign.
type Signer struct {
	Key
	private ed25519.PrivateKey
}

// NewSigner makes a key for the machine of that name; an empty name makes one up.
func NewSigner(name string) *Signer {
	var random [8]byte
	rand.Read(random[:]) // never fails (crypto/rand)
	if name == "" {
		name = keyPrefix + hex.EncodeToString(random[:])
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic("audit: crypto/rand failed: " + err.Error()) // it never does
	}
	return &Signer{Key: Key{name, public}, private: private}
}

// secretPrefix begins a private key (golang.org/x/mod/sumdb/note).
const secretPrefix = "PRIVATE+KEY+"

// Secret is the private key as text. It must be shown to nobody.
func (s *Signer) Secret() string {
	public := append([]byte{typeLog}, s.Public...)
	return fmt.Sprintf("%s%s+%08x+%s", secretPrefix, s.Name, keyID(s.Name, public),
		base64.StdEncoding.EncodeToString(append([]byte{typeLog}, s.private.Seed()...)))
}

// ParseSigner reads a private key that Secret wrote. The error says nothing of it.
func ParseSigner(text string) (*Signer, error) {
	rest, ok := strings.CutPrefix(text, secretPrefix)
	name, rest, _ := strings.Cut(rest, "+")
	_, encoded, _ := strings.Cut(rest, "+")
	data, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil || !isKeyName(name) || len(data) != 1+ed25519.SeedSize || data[0] != typeLog {
		return nil, fmt.Errorf("the private key is damaged")
	}
	private := ed25519.NewKeyFromSeed(data[1:])
	s := &Signer{Key: Key{name, private.Public().(ed25519.PublicKey)}, private: private}
	if s.Secret() != text {
		return nil, fmt.Errorf("the private key is damaged")
	}
	return s, nil
}

// logKey signs and verifies checkpoints of one origin. It is a note.Signer and a note.Verifier.
type logKey struct {
	origin  string
	public  ed25519.PublicKey
	private ed25519.PrivateKey // nil: it only verifies
}

func (k logKey) Name() string    { return k.origin }
func (k logKey) KeyHash() uint32 { return keyID(k.origin, append([]byte{typeLog}, k.public...)) }
func (k logKey) Verify(msg, sig []byte) bool {
	return len(sig) == ed25519.SignatureSize && ed25519.Verify(k.public, msg, sig)
}
func (k logKey) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(k.private, msg), nil }

// witnessKey signs and verifies cosignatures.
type witnessKey struct {
	Key
	private ed25519.PrivateKey
	time    uint64 // of what it signs
}

func (k witnessKey) Name() string { return k.Key.Name }
func (k witnessKey) KeyHash() uint32 {
	return keyID(k.Key.Name, append([]byte{typeWitness}, k.Public...))
}

func (k witnessKey) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize || sig[0] > 0x7f {
		return false
	}
	return ed25519.Verify(k.Public, cosigned(binary.BigEndian.Uint64(sig), msg), sig[8:])
}

func (k witnessKey) Sign(msg []byte) ([]byte, error) {
	sig := binary.BigEndian.AppendUint64(nil, k.time)
	return append(sig, ed25519.Sign(k.private, cosigned(k.time, msg))...), nil
}

// cosigned is what a witness signs.
func cosigned(at uint64, msg []byte) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", at), msg...)
}

// verifiers are the known keys, as far as they may have signed a checkpoint of that origin.
func verifiers(origin string, keys []Key) note.Verifiers {
	var list []note.Verifier
	var seen []Key
	for _, k := range keys {
		if slices.ContainsFunc(seen, k.Equal) {
			continue
		}
		seen = append(seen, k)
		list = append(list, witnessKey{Key: k})
		if k.Owns(origin) {
			list = append(list, logKey{origin: origin, public: k.Public})
		}
	}
	return note.VerifierList(list...)
}
