// Package api is how a client speaks with the supervisor of a run: the messages, and the typed client.
//
// It promises that every call is bounded by its context and that an attached client can tell the four ends of a
// stream apart: the run ended (Exit), the supervisor let it go (Gone), the connection broke (an error), or the
// caller left. The handlers are in package supervisor; what to do after a broken connection is left to the caller.
//
// The protocol is HTTP/1.1 without TLS on the unix socket "sock" in the run's folder; the socket's mode and the peer's
// uid say who may speak. Both sides name their version in the header Moat-Version.
//
//	GET  /v1/run      → Info
//	POST /v1/stop     Stop → 204; returns when the run has ended
//	POST /v1/policy/allow   Allow → 204; holds for the rest of the run
//	POST /v1/attach   Upgrade: moat-frames → 101; see below
//	POST /v1/exec     Upgrade: moat-frames → 101; see below
//
// # Streams
//
// Attach and exec take the connection over (RFC 9110, 7.8). From there on it carries frames (package frame), in both
// directions at once, and nothing stands between a frame and the socket. A client's first frame is the body
// of its request; descriptors come no earlier than the answer.
//
//	client ── Attach | Exec ──▶        always first
//	client ── Input, Resize, Signal, Typed ──▶
//	       ◀── Started, Output, InputDone, Notice, Keyboard ── supervisor
//	       ◀── Exit | Failed | Gone ── supervisor     always last
//
// Output carries the number of its first byte, as in the run's output record; a client that comes back asks for
// the first byte that it has not seen. Input is numbered per Source and is kept by the client until InputDone
// says that the command has taken it, so that nothing is lost or doubled when a supervisor is replaced.
//
// # The command's terminal
//
// Where the supervisor has borrowed it (package line), it passes it on, with Keyboard, to clients that type on a
// terminal. The one that leads (Lead) then writes what is typed straight to the command, once all of its Input is
// taken, and says from time to time with Typed that somebody is there. Any other goes on with Input, and so becomes the
// leader.
package api

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"moat/internal/line"
)

// Version is the protocol's version. Supervisors outlive upgrades of moat, so it changes only when old clients or old
// supervisors could misunderstand.
const Version = "2"

// VersionHeader carries Version, both ways.
const VersionHeader = "Moat-Version"

// SocketName is the socket's file name in the run's folder.
const SocketName = "sock"

// InputWindow is how much unacknowledged input a client may have on the way, in bytes.
const InputWindow = line.InputWindow

// Kinds of frames in streams.
const (
	KindAttach    byte = 'A' // client, first: Attach
	KindExec      byte = 'E' // client, first: Exec
	KindInput     byte = 'I' // client: binary, see Input
	KindResize    byte = 'Z' // client: Size
	KindSignal    byte = 'K' // client, exec only: Signal
	KindTyped     byte = 't' // client: Typed
	KindStarted   byte = 's' // supervisor: Started
	KindOutput    byte = 'o' // supervisor: binary, see Output
	KindInputDone byte = 'i' // supervisor: binary, uint64: input taken
	KindNotice    byte = 'n' // supervisor: Notice
	KindRepaint   byte = 'r' // supervisor, terminals only: Repaint; Paint frames with its bytes follow
	KindPaint     byte = 'p' // supervisor: bytes for the terminal
	KindLead      byte = 'l' // supervisor: Lead
	KindKeyboard  byte = 'k' // supervisor: empty, with the command's terminal beside it
	KindExit      byte = 'x' // supervisor, last: Exit
	KindFailed    byte = 'f' // supervisor, last: Failed
	KindGone      byte = 'g' // supervisor, last: Gone
)

// Info is what only the supervisor knows about its run; the rest is in the run's record.
type Info struct {
	ID           string     `json:"id"`
	PID          int        `json:"pid"`   // of the supervisor
	State        string     `json:"state"` // of the run; what is on disk may be a moment older
	Clients      int        `json:"clients"`
	OutputBytes  int64      `json:"output_bytes"`
	LastOutputAt *time.Time `json:"last_output_at"`
	Version      string     `json:"version"` // of moat

	// Attention says why the command seems to wait for somebody: "bell", "silent", or a notification's text, which is
	// the command's own and not to be believed. Nil: it does not.
	Attention      *string    `json:"attention"`
	AttentionSince *time.Time `json:"attention_since"`
}

// Attach opens an attach stream.
type Attach struct {
	From     int64  `json:"from"`             // first output byte wanted
	Source   uint64 `json:"source,omitempty"` // of the input; 0: this client sends none
	ReadOnly bool   `json:"read_only,omitempty"`

	// Terminal is set by a client that shows the run's terminal on its own. Then what comes first is a Repaint, and
	// another one whenever the client is too slow to be shown everything; From is what comes after what it shows Again.
	Terminal *Terminal `json:"terminal,omitempty"`
}

// Terminal is a client's own terminal.
type Terminal struct {
	Size Size `json:"size"`
	// Key names the terminal, so that one which comes back is not shown again what it has scrolled off its screen. Empty:
	// it is never known.
	Key          string `json:"key,omitempty"`
	NoScrollback bool   `json:"no_scrollback,omitempty"`
	// Again says that it shows the run already, and only the connection was lost.
	Again bool `json:"again,omitempty"`
}

// Repaint announces what brings the client's terminal, after a reset, to where the run's is.
type Repaint struct {
	Bytes  int   `json:"bytes"`  // in the Paint frames that follow
	Offset int64 `json:"offset"` // of the output that comes next
	Again  bool  `json:"again"`  // not the first one of this stream
}

// Exec starts a further command in the sandbox and attaches to it.
type Exec struct {
	Args   []string `json:"args"`
	Env    []string `json:"env,omitempty"` // KEY=value, added to the run's
	Dir    string   `json:"dir,omitempty"`
	Stdin  bool     `json:"stdin,omitempty"`
	TTY    bool     `json:"tty,omitempty"`
	Size   Size     `json:"size,omitzero"`
	Source uint64   `json:"source,omitempty"`
}

// Stop asks for the end of the run: SIGTERM to the command, SIGKILL to all after the grace time.
type Stop struct {
	GraceMS int64 `json:"grace_ms"`
}

// Allow adds a pattern to what the run may reach (package policy).
type Allow struct {
	Pattern string `json:"pattern"`
}

// Size is a terminal's size in characters.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Signal is a Linux signal number for an exec'ed command.
type Signal struct {
	Signal int `json:"signal"`
}

// Typed says when somebody typed last.
type Typed struct {
	At time.Time `json:"at"`
}

// Started says that the command runs, and how much of this source's input it has already taken.
type Started struct {
	PID       int    `json:"pid"` // inside the sandbox
	InputDone uint64 `json:"input_done"`
}

// Lead says whether the client's terminal is the one that answers the command's questions.
type Lead struct {
	On bool `json:"on"`
}

// Notice is something that the person should know now; it is not output.
type Notice struct {
	Text string `json:"text"`
}

// Exit says how the command ended. For attach it comes after all output, and State is the run's final state.
type Exit struct {
	Code   int    `json:"code"`
	Signal int    `json:"signal,omitempty"`
	State  string `json:"state,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Failed says that the command could not be started.
type Failed struct {
	Code  int    `json:"code"` // exit code to use
	Error string `json:"error"`
}

// Gone says that the supervisor lets this client go though the run lives on.
type Gone struct {
	Reason string `json:"reason"`
}

// Output is a piece of what the command printed.
type Output struct {
	Stream line.Stream
	Offset int64
	Time   time.Time
	Data   []byte // valid until the next frame is read
}

const outputHeader = 17 // stream, offset and time

// AppendOutputHeader appends the header of an Output frame's payload; the data follows it.
func AppendOutputHeader(dst []byte, stream line.Stream, offset int64, at time.Time) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, byte(stream)), uint64(offset))
	return binary.BigEndian.AppendUint64(dst, uint64(at.UnixNano()))
}

// ParseOutput is the reverse of AppendOutputHeader and the data after it.
func ParseOutput(p []byte) (Output, error) {
	if len(p) < outputHeader {
		return Output{}, errShort
	}
	return Output{
		Stream: line.Stream(p[0]),
		Offset: int64(binary.BigEndian.Uint64(p[1:])),
		Time:   time.Unix(0, int64(binary.BigEndian.Uint64(p[9:]))).UTC(),
		Data:   p[outputHeader:],
	}, nil
}

// Input is a piece of what a client typed; EOF says that nothing follows.
type Input struct {
	Offset uint64
	EOF    bool
	Data   []byte
}

const inputHeader = 9 // offset and flags

// AppendInput appends an Input frame's payload.
func AppendInput(dst []byte, in Input) []byte {
	var flags byte
	if in.EOF {
		flags = 1
	}
	dst = append(binary.BigEndian.AppendUint64(dst, in.Offset), flags)
	return append(dst, in.Data...)
}

// ParseInput is the reverse of AppendInput.
func ParseInput(p []byte) (Input, error) {
	if len(p) < inputHeader {
		return Input{}, errShort
	}
	if len(p)-inputHeader > line.MaxData {
		return Input{}, fmt.Errorf("%d bytes in one input frame, at most %d are allowed", len(p)-inputHeader, line.MaxData)
	}
	return Input{Offset: binary.BigEndian.Uint64(p), EOF: p[8]&1 != 0, Data: p[inputHeader:]}, nil
}

var errShort = errors.New("frame is too short")

// Encode returns a message's JSON. The types of this package always have one.
func Encode(msg any) []byte {
	b, err := json.Marshal(msg)
	if err != nil {
		panic(fmt.Sprintf("api: %T has no JSON: %v", msg, err))
	}
	return b
}

// Decode reads a message's JSON.
func Decode[T any](p []byte) (T, error) {
	var msg T
	if err := json.Unmarshal(p, &msg); err != nil {
		return msg, fmt.Errorf("decode %T: %w", msg, err)
	}
	return msg, nil
}

// AppendInputDone appends an InputDone frame's payload.
func AppendInputDone(dst []byte, taken uint64) []byte {
	return binary.BigEndian.AppendUint64(dst, taken)
}

// ParseInputDone is the reverse of AppendInputDone.
func ParseInputDone(p []byte) (uint64, error) {
	if len(p) != 8 {
		return 0, errShort
	}
	return binary.BigEndian.Uint64(p), nil
}
