package line

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"moat/internal/frame"
)

// ErrInvalid is returned for a message that breaks the protocol's bounds, by its sender and its receiver alike.
var ErrInvalid = errors.New("line: invalid message")

// A Message is one of this package's message types, as a value.
type Message interface {
	// Kind is the kind of the frame that carries the message.
	Kind() byte
	// check reports whether the message keeps the bounds.
	check() error
}

func (Hello) Kind() byte     { return KindHello }
func (Proof) Kind() byte     { return KindProof }
func (Welcome) Kind() byte   { return KindWelcome }
func (Resume) Kind() byte    { return KindResume }
func (Spawn) Kind() byte     { return KindSpawn }
func (Spawned) Kind() byte   { return KindSpawned }
func (Failed) Kind() byte    { return KindFailed }
func (Output) Kind() byte    { return KindOutput }
func (Ack) Kind() byte       { return KindAck }
func (Input) Kind() byte     { return KindInput }
func (InputDone) Kind() byte { return KindInputDone }
func (Signal) Kind() byte    { return KindSignal }
func (Resize) Kind() byte    { return KindResize }
func (Exit) Kind() byte      { return KindExit }
func (Release) Kind() byte   { return KindRelease }
func (Files) Kind() byte     { return KindFiles }
func (Borrow) Kind() byte    { return KindBorrow }
func (Shutdown) Kind() byte  { return KindShutdown }
func (Door) Kind() byte      { return KindDoor }

// Bounds that only the codec needs.
const (
	maxOffset    = math.MaxInt64
	maxText      = 4 << 10 // of an error's text or a file's name
	nonceSize    = 32
	welcomeBatch = 16 // processes in one Welcome; 64 sources each still fit into one frame
	flagEOF      = 1

	outputHeader = 4 + 1 + 8 + 8
	inputHeader  = 4 + 8 + 8 + 1
)

// side is one end of a line.
type side int

const (
	guestSide side = 1 + iota
	hostSide
)

// comesFrom says who sends messages of a kind; zero for an unknown one.
func comesFrom(kind byte) (s side, both bool) {
	switch kind {
	case KindHello, KindWelcome, KindSpawned, KindFailed, KindOutput, KindInputDone, KindExit, KindDoor:
		return guestSide, false
	case KindProof, KindResume, KindSpawn, KindPart, KindAck, KindInput, KindSignal, KindResize, KindRelease, KindShutdown, KindBorrow:
		return hostSide, false
	case KindFiles:
		return hostSide, true
	}
	return 0, false
}

// decode makes a message of a frame. Data of Output and Input is part of payload.
func decode(kind byte, payload []byte) (m Message, err error) {
	switch kind {
	case KindOutput:
		m, err = decodeOutput(payload)
	case KindInput:
		m, err = decodeInput(payload)
	case KindAck:
		m, err = decodeAck(payload)
	case KindInputDone:
		m, err = decodeInputDone(payload)
	case KindHello:
		m, err = decodeJSON[Hello](payload)
	case KindProof:
		m, err = decodeJSON[Proof](payload)
	case KindWelcome:
		m, err = decodeJSON[Welcome](payload)
	case KindResume:
		m, err = decodeJSON[Resume](payload)
	case KindSpawn:
		m, err = decodeJSON[Spawn](payload)
	case KindSpawned:
		m, err = decodeJSON[Spawned](payload)
	case KindFailed:
		m, err = decodeJSON[Failed](payload)
	case KindSignal:
		m, err = decodeJSON[Signal](payload)
	case KindResize:
		m, err = decodeJSON[Resize](payload)
	case KindExit:
		m, err = decodeJSON[Exit](payload)
	case KindRelease:
		m, err = decodeJSON[Release](payload)
	case KindFiles:
		m, err = decodeJSON[Files](payload)
	case KindBorrow:
		m, err = decodeJSON[Borrow](payload)
	case KindDoor:
		m, err = decodeJSON[Door](payload)
	case KindShutdown:
		m = Shutdown{}
	default:
		return nil, fmt.Errorf("%w: unknown kind %q", ErrInvalid, kind)
	}
	if err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

func decodeJSON[M Message](payload []byte) (M, error) {
	var m M
	if err := json.Unmarshal(payload, &m); err != nil {
		return m, fmt.Errorf("%w: kind %q: %w", ErrInvalid, m.Kind(), err)
	}
	return m, nil
}

// encode appends a message's frame (frames, for a long Spawn) to dst. Data of Output and Input is not copied: it
// is the frame's tail, to be written after dst.
func encode(dst []byte, m Message) (out, tail []byte, err error) {
	if err := m.check(); err != nil {
		return dst, nil, err
	}
	switch m := m.(type) {
	case Output:
		dst = appendHead(dst, KindOutput, outputHeader+len(m.Data))
		dst = binary.BigEndian.AppendUint32(dst, m.Process)
		dst = append(dst, byte(m.Stream))
		dst = binary.BigEndian.AppendUint64(dst, m.Offset)
		dst = binary.BigEndian.AppendUint64(dst, uint64(m.Time.UnixNano()))
		return dst, m.Data, nil
	case Input:
		dst = appendHead(dst, KindInput, inputHeader+len(m.Data))
		dst = binary.BigEndian.AppendUint32(dst, m.Process)
		dst = binary.BigEndian.AppendUint64(dst, m.Source)
		dst = binary.BigEndian.AppendUint64(dst, m.Offset)
		var flags byte
		if m.EOF {
			flags = flagEOF
		}
		return append(dst, flags), m.Data, nil
	case Ack:
		dst = appendHead(dst, KindAck, 12)
		dst = binary.BigEndian.AppendUint32(dst, m.Process)
		return binary.BigEndian.AppendUint64(dst, m.Offset), nil, nil
	case InputDone:
		dst = appendHead(dst, KindInputDone, 20)
		dst = binary.BigEndian.AppendUint32(dst, m.Process)
		dst = binary.BigEndian.AppendUint64(dst, m.Source)
		return binary.BigEndian.AppendUint64(dst, m.Offset), nil, nil
	}
	payload, err := json.Marshal(m)
	if err != nil {
		return dst, nil, fmt.Errorf("%w: kind %q: %w", ErrInvalid, m.Kind(), err)
	}
	return appendJSON(dst, m.Kind(), payload)
}

// appendHead appends what comes before a payload of n bytes.
func appendHead(dst []byte, kind byte, n int) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(n)+1), kind)
}

func appendJSON(dst []byte, kind byte, payload []byte) (out, tail []byte, err error) {
	limit := frame.Max
	if kind == KindSpawn {
		limit = MaxSpawn
	}
	if len(payload) > limit {
		return dst, nil, fmt.Errorf("%w: kind %q: %d bytes, at most %d may be sent", ErrInvalid, kind, len(payload), limit)
	}
	for len(payload) > frame.Max {
		dst = frame.Append(dst, KindPart, payload[:frame.Max])
		payload = payload[frame.Max:]
	}
	return frame.Append(dst, kind, payload), nil, nil
}

func decodeOutput(p []byte) (Output, error) {
	if len(p) < outputHeader {
		return Output{}, short(KindOutput)
	}
	return Output{
		Process: binary.BigEndian.Uint32(p),
		Stream:  Stream(p[4]),
		Offset:  binary.BigEndian.Uint64(p[5:]),
		Time:    time.Unix(0, int64(binary.BigEndian.Uint64(p[13:]))),
		Data:    p[outputHeader:],
	}, nil
}

func decodeInput(p []byte) (Input, error) {
	if len(p) < inputHeader {
		return Input{}, short(KindInput)
	}
	if p[20]&^flagEOF != 0 {
		return Input{}, fmt.Errorf("%w: kind %q: unknown flags %#x", ErrInvalid, KindInput, p[20])
	}
	return Input{
		Process: binary.BigEndian.Uint32(p),
		Source:  binary.BigEndian.Uint64(p[4:]),
		Offset:  binary.BigEndian.Uint64(p[12:]),
		EOF:     p[20] == flagEOF,
		Data:    p[inputHeader:],
	}, nil
}

func decodeAck(p []byte) (Ack, error) {
	if len(p) != 12 {
		return Ack{}, short(KindAck)
	}
	return Ack{Process: binary.BigEndian.Uint32(p), Offset: binary.BigEndian.Uint64(p[4:])}, nil
}

func decodeInputDone(p []byte) (InputDone, error) {
	if len(p) != 20 {
		return InputDone{}, short(KindInputDone)
	}
	return InputDone{
		Process: binary.BigEndian.Uint32(p),
		Source:  binary.BigEndian.Uint64(p[4:]),
		Offset:  binary.BigEndian.Uint64(p[12:]),
	}, nil
}

func short(kind byte) error { return fmt.Errorf("%w: kind %q: wrong length", ErrInvalid, kind) }

// spawnWire is Spawn's JSON: what comes from the operating system is bytes, which JSON strings cannot hold.
type spawnWire struct {
	spawnFields
	Args [][]byte `json:"args"`
	Env  [][]byte `json:"env"`
	Dir  []byte   `json:"dir,omitempty"`
}

type spawnFields Spawn // without Spawn's methods

// MarshalJSON writes arguments, environment and directory in base64.
func (m Spawn) MarshalJSON() ([]byte, error) {
	return json.Marshal(spawnWire{spawnFields(m), toBytes(m.Args), toBytes(m.Env), []byte(m.Dir)})
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (m *Spawn) UnmarshalJSON(b []byte) error {
	var w spawnWire
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*m = Spawn(w.spawnFields)
	m.Args, m.Env, m.Dir = toStrings(w.Args), toStrings(w.Env), string(w.Dir)
	return nil
}

func toBytes(in []string) [][]byte {
	if in == nil {
		return nil
	}
	out := make([][]byte, len(in))
	for i, s := range in {
		out[i] = []byte(s)
	}
	return out
}

func toStrings(in [][]byte) []string {
	if in == nil {
		return nil
	}
	out := make([]string, len(in))
	for i, b := range in {
		out[i] = string(b)
	}
	return out
}

// validate returns an error that names the kind of message and what is wrong with it, unless ok.
func validate(m Message, ok bool, what string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%w: kind %q: %s", ErrInvalid, m.Kind(), what)
}

// inBounds reports whether n bytes from offset on have numbers that both ends can count with.
func inBounds(offset uint64, n int) bool { return offset <= maxOffset-uint64(n) }

func (m Hello) check() error {
	return validate(m, m.Version != Version || len(m.Nonce) == nonceSize, "nonce")
}
func (m Proof) check() error   { return nil }
func (m Spawned) check() error { return validate(m, m.PID > 0, "pid") }
func (m Release) check() error { return nil }
func (m Borrow) check() error  { return nil }
func (Shutdown) check() error  { return nil }
func (m Resize) check() error  { return nil }
func (m Resume) check() error  { return validate(m, inBounds(m.Offset, 0), "offset") }
func (m Ack) check() error     { return validate(m, inBounds(m.Offset, 0), "offset") }
func (m InputDone) check() error {
	return validate(m, inBounds(m.Offset, 0), "offset")
}
func (m Signal) check() error {
	return validate(m, m.Signal >= 1 && m.Signal <= 64, fmt.Sprintf("signal %d is not in 1 … 64", m.Signal))
}
func (m Failed) check() error {
	return validate(m, m.Code >= 1 && m.Code <= 255 && len(m.Error) <= maxText, "code or text")
}
func (m Exit) check() error {
	return validate(m, m.Code >= 0 && m.Code <= 255 && m.Signal >= 0 && m.Signal <= 127, "code or signal")
}

func (m Output) check() error {
	if err := validate(m, m.Stream >= Stdout && m.Stream <= Terminal, "stream"); err != nil {
		return err
	}
	return validate(m, len(m.Data) > 0 && len(m.Data) <= MaxData && inBounds(m.Offset, len(m.Data)), "length or offset")
}

func (m Input) check() error {
	return validate(m, len(m.Data) <= MaxData && inBounds(m.Offset, len(m.Data)), "length or offset")
}

func (m Files) check() error { return checkNames(m, m.Names) }
func (m Door) check() error  { return checkNames(m, m.Names) }

func checkNames(m Message, names []string) error {
	if err := validate(m, len(names) > 0 && len(names) <= MaxFiles, "number of files"); err != nil {
		return err
	}
	for _, n := range names {
		if err := validate(m, len(n) <= 255, "length of a name"); err != nil {
			return err
		}
	}
	return nil
}

func (m Spawn) check() error {
	if err := validate(m, len(m.Args) > 0 && m.Args[0] != "", "no command"); err != nil {
		return err
	}
	nul := strings.Contains(m.Dir, "\x00")
	for _, list := range [][]string{m.Args, m.Env} {
		for _, s := range list {
			nul = nul || strings.Contains(s, "\x00")
		}
	}
	return validate(m, !nul, "an argument, variable or directory contains a zero byte")
}

func (m Welcome) check() error {
	if err := validate(m, len(m.Processes) <= welcomeBatch, "number of processes"); err != nil {
		return err
	}
	for _, p := range m.Processes {
		ok := p.PID > 0 && p.First <= p.End && inBounds(p.End, 0) && len(p.Input) <= MaxSources
		if err := validate(m, ok, "state of a process"); err != nil {
			return err
		}
		for _, taken := range p.Input {
			if err := validate(m, inBounds(taken, 0), "input offset"); err != nil {
				return err
			}
		}
		if p.Exit != nil {
			if err := p.Exit.check(); err != nil {
				return err
			}
		}
	}
	return nil
}
