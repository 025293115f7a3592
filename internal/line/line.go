// Package line is the protocol between a supervisor and the guest of its run: what DESIGN calls "the line".
//
// It promises that output crosses a broken line exactly once, that input does too, and that nobody but the
// supervisor can speak to a guest. It leaves what the messages cause to package guest (inside) and to package
// supervisor (outside), and the making of the byte stream to the runtimes.
//
// # Opening
//
//	guest                                   host (supervisor)
//	  ── Hello{version, nonce} ──────────▶    the guest always speaks first
//	  ◀───────── Proof{version, mac} ──────   mac = HMAC-SHA-256(run's secret, nonce); each nonce is used once
//	  ── Welcome{processes, more} ───────▶    or the connection is closed, without a reason
//	  ◀───────── Resume{process, offset} ──   for each process: the output that the host already has
//
// The newest proven connection is the line: the guest closes an older one. Before the proof a guest reads at
// most one frame and waits at most ProofTimeout. Until the Resume of a process that Welcome named, nothing is
// sent for it; a process that was spawned on this connection needs none.
//
// # Processes
//
// A process is one command with its streams: the run's command is process Main, further ones (moat exec) have
// other numbers that the host chooses.
//
//	host ── Spawn ──▶ guest ── Spawned | Failed ──▶ host … Output … Exit ──▶ host ── Release ──▶ guest
//
// Everything that a process printed is one sequence of bytes, stdout and stderr in the order in which the guest
// read them, numbered from 0. An Output frame says the number of its first byte. The guest keeps what was not
// acknowledged, at most Window bytes, and stops reading from the process when that is full: the process waits.
// The host acknowledges (Ack) what it has recorded. After a reconnection the host's Resume names the next byte
// that it wants; frames keep their bounds, so a host that records whole frames never sees half of one again.
// Exit follows the last Output and is repeated on each new connection until Release. Resume acknowledges too. That of Main
// ends all other processes: the Exit of those that had ended before comes before it, and the others have none.
//
// Input is numbered too, per source (one client's stdin): an Input frame says the number of its first byte, the
// guest drops what it had, and tells with InputDone how much the process has taken. A source may have at most
// InputWindow bytes on the way. After a reconnection Welcome says, per process and source, what was taken; what a
// guest received and the process did not take yet is kept by the guest, and repeating it does no harm.
//
// # Frames
//
// Messages are frames (package frame). Numbers are big endian, times are nanoseconds since 1970.
//
//	Output     process u32, stream u8, offset u64, time i64, data
//	Input      process u32, source u64, offset u64, flags u8 (1: EOF), data
//	Ack        process u32, offset u64
//	InputDone  process u32, source u64, offset u64
//
// All others are JSON. Arguments and environments are bytes and not text, so Spawn has them in base64, and
// because they may be long its beginning may travel in Part frames directly before it.
//
// # Two bodies
//
// On one kernel the stream is a unix socket and Files may pass descriptors. Elsewhere (any net.Conn that is no unix socket, or
// one that Relayed hides) there are none: both ends put a multiplexer (package mux) on the connection, whose stream 0 is the
// line, and the same messages work on it. What has no descriptor to be passed is carried in further streams:
//
//	guest ── Door{names} ──▶ host          once, in the place of Files; only now somebody stands at the door
//	guest ── stream{Visit} ─▶ host         for each connection that comes to the door, and one for each socket of datagrams
//
// A visitor waits for his stream while there are too many, in the backlog of the door's socket.
//
// # Borrowed terminals
//
// There a host may read a terminal itself, which saves each piece of output the way through the guest:
//
//	host ── Borrow ──▶ guest … Output … ── Files{terminal, slate, loan} ──▶ host
//
// The guest stops reading, sends what it has, and then lends the terminal: its master, a Slate, and one end of a pipe.
// The loan lasts until every descriptor of that end is closed, by the host or by its death, whatever becomes of the
// line; then the guest has the terminal back. What the host has read and not recorded is on the slate, so that the
// death of a host at any moment loses nothing: the guest takes it into its window, as if it had read it. What was
// recorded nevertheless, the next Resume tells. There is no Ack for what a host reads itself.
package line

import (
	"os"
	"time"
)

// Version is the protocol's version; both ends say it in their first message and a different one ends the line.
const Version = 1

// Main is the process number of the run's own command.
const Main uint32 = 1

// Bounds that both ends keep.
const (
	Window       = 1 << 20         // unacknowledged output of one process that a guest keeps, in bytes
	InputWindow  = 256 << 10       // input of one source that was not reported as taken, in bytes
	MaxData      = 64 << 10        // data in one Output or Input frame, in bytes
	MaxProcesses = 256             // processes that a guest keeps at a time
	MaxSources   = 64              // input sources that a guest remembers per process
	MaxFiles     = 16              // descriptors that travel with one Files message
	MaxSpawn     = 8 << 20         // payload of a Spawn, its parts together; the kernel takes 6 MiB of arguments
	ProofTimeout = 5 * time.Second // from Hello to Proof
)

// Kinds of frames.
const (
	KindHello     byte = 'H' // guest → host
	KindProof     byte = 'P' // host → guest
	KindWelcome   byte = 'W' // guest → host
	KindResume    byte = 'R' // host → guest
	KindSpawn     byte = 'S' // host → guest
	KindPart      byte = '+' // host → guest: the beginning of the Spawn that follows
	KindSpawned   byte = 's' // guest → host
	KindFailed    byte = 'f' // guest → host
	KindOutput    byte = 'o' // guest → host, binary
	KindAck       byte = 'A' // host → guest, binary
	KindInput     byte = 'I' // host → guest, binary
	KindInputDone byte = 'i' // guest → host, binary
	KindSignal    byte = 'K' // host → guest
	KindResize    byte = 'Z' // host → guest
	KindExit      byte = 'x' // guest → host
	KindRelease   byte = 'L' // host → guest
	KindFiles     byte = 'F' // either way, one kernel only: names of the descriptors that travel with it
	KindShutdown  byte = 'Q' // host → guest: end every process at once and exit
	KindBorrow    byte = 'B' // host → guest, one kernel only: the host wants to read a process's terminal itself
	KindDoor      byte = 'D' // guest → host, not on one kernel: the sockets of the door whose visitors are carried
)

// Stream says which of a process's streams data belongs to.
type Stream uint8

// Streams. A process with a terminal has only that one.
const (
	Stdout   Stream = 1
	Stderr   Stream = 2
	Terminal Stream = 3
)

// Hello is the guest's first message on each connection.
type Hello struct {
	Version int    `json:"version"`
	Nonce   []byte `json:"nonce"` // 32 random bytes
}

// Proof shows that the host knows the run's secret.
type Proof struct {
	Version int    `json:"version"`
	MAC     []byte `json:"mac"`
}

// Welcome says what the guest is doing. It comes in several messages when there are many processes.
type Welcome struct {
	Processes []ProcessState `json:"processes"`
	More      bool           `json:"more,omitempty"` // another Welcome follows
}

// ProcessState is one process as the guest knows it.
type ProcessState struct {
	Process uint32            `json:"process"`
	PID     int               `json:"pid"`             // inside the sandbox
	First   uint64            `json:"first"`           // number of the oldest output byte that the guest still has
	End     uint64            `json:"end"`             // number of the next output byte
	Input   map[uint64]uint64 `json:"input,omitempty"` // per source: bytes taken
	Exit    *Exit             `json:"exit,omitempty"`
}

// Resume tells from which byte on the host wants a process's output. A host that forgot a process releases it.
type Resume struct {
	Process uint32 `json:"process"`
	Offset  uint64 `json:"offset"`
}

// Spawn starts a process. Repeating the number of a process that exists is answered as the first time and starts nothing.
type Spawn struct {
	Process uint32   `json:"process"`
	Args    []string `json:"-"`                 // Args[0] is looked up in the PATH of Env
	Env     []string `json:"-"`                 // KEY=value; the whole environment. Nil: the environment of Main
	Inherit bool     `json:"inherit,omitempty"` // put Env over the environment of Main
	Dir     string   `json:"-"`                 // empty: the root directory
	Stdin   bool     `json:"stdin"`             // a pipe (or the terminal) takes Input; otherwise /dev/null
	TTY     bool     `json:"tty"`
	Rows    uint16   `json:"rows,omitempty"` // with TTY; zero in either: 24 × 80
	Cols    uint16   `json:"cols,omitempty"`
}

// Spawned says that a process runs.
type Spawned struct {
	Process uint32 `json:"process"`
	PID     int    `json:"pid"`
}

// Failed says that a process could not be started. Nothing follows for it, and it needs no Release.
type Failed struct {
	Process uint32 `json:"process"`
	Code    int    `json:"code"` // exit code to report: 126 cannot be executed, 127 not found, 125 anything else
	Error   string `json:"error"`
}

// Signal sends a signal to a process's group, and to the foreground group of its terminal if that is another one.
type Signal struct {
	Process uint32 `json:"process"`
	Signal  int    `json:"signal"` // Linux number, 1 … 64
}

// Resize sets the size of a process's terminal. A size with a zero in it is ignored: the last one stays.
type Resize struct {
	Process uint32 `json:"process"`
	Rows    uint16 `json:"rows"`
	Cols    uint16 `json:"cols"`
}

// Exit says how a process ended. It comes after all of its output.
type Exit struct {
	Process uint32    `json:"process"`
	Code    int       `json:"code"`             // 128+n when a signal ended it
	Signal  int       `json:"signal,omitempty"` // Linux number, 0 if it exited
	Time    time.Time `json:"time"`
	Cut     bool      `json:"cut,omitempty"` // children that it left behind still hold its output: what they print goes nowhere
}

// Release lets the guest forget a process: its exit is recorded. A process that still runs gets SIGHUP and, when
// it has ended, is forgotten with its output. Releasing Main when it has ended makes the guest end everything and exit.
type Release struct {
	Process uint32 `json:"process"`
}

// Files names the descriptors that travel with it, in their order. Whoever receives it owns and closes them.
type Files struct {
	Names []string   `json:"names"`
	Files []*os.File `json:"-"`
}

// Door announces the sockets of the sandbox's door whose visitors are carried over this line; see [Conn.DoorSockets].
type Door struct {
	Names []string `json:"names"`
}

// Names of the door's sockets, in the order of their descriptors.
const (
	DoorTCP4  = "tcp4"  // listener: every IPv4 connection that a program makes comes here
	DoorTCP6  = "tcp6"  // the same for IPv6
	DoorDNS4  = "dns4"  // datagrams to port 53, wherever to
	DoorDNS6  = "dns6"  // the same for IPv6
	DoorProxy = "proxy" // listener for programs that use a proxy
	DoorAgent = "agent" // listener on a unix socket, for clients of an ssh agent; only if it was asked for
)

// DoorNames lists them. DoorAgent, the last, may be missing.
func DoorNames() []string {
	return []string{DoorTCP4, DoorTCP6, DoorDNS4, DoorDNS6, DoorProxy, DoorAgent}
}

// Borrow asks for a process's terminal. A guest that cannot lend it does nothing.
type Borrow struct {
	Process uint32 `json:"process"`
}

// Names of the files of a loan, in their order.
const (
	FileTerminal = "terminal" // the master's side, not blocking
	FileSlate    = "slate"
	FileLoan     = "loan" // to be closed when the terminal is not read any more
)

// LoanNames lists them.
func LoanNames() []string { return []string{FileTerminal, FileSlate, FileLoan} }

// Shutdown ends every process at once, and the guest.
type Shutdown struct{}

// Output is a piece of what a process printed.
type Output struct {
	Process uint32
	Stream  Stream
	Offset  uint64
	Time    time.Time // when the guest read it
	Data    []byte
}

// Input is a piece of what a source typed. EOF says that nothing follows Data from this source: it closes the
// process's stdin, for other sources too. On a terminal it types the end-of-file character if lines are being edited.
type Input struct {
	Process uint32
	Source  uint64
	Offset  uint64
	EOF     bool
	Data    []byte
}

// Ack says that the host has recorded a process's output before Offset.
type Ack struct {
	Process uint32
	Offset  uint64
}

// InputDone says that a process has taken a source's input before Offset.
type InputDone struct {
	Process uint32
	Source  uint64
	Offset  uint64
}
