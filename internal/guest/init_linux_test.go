//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

package guest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"moat/internal/guest"
	"moat/internal/line"
)

// The test binary plays these parts too, by the name that it is called with.
const (
	asInit     = "guest-test-init"     // PID 1 of a namespace
	asStranger = "guest-test-stranger" // tries to speak to the guest from inside
	asAttacker = "guest-test-attacker" // sends PID 1 every signal in every way
)

func TestMain(m *testing.M) {
	// A part of guest.Protect: go test's own descriptors must not reach commands. Not all of it, because only a
	// dumpable process may write an ordinary user's uid_map.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		panic(err)
	}
	switch os.Args[0] {
	case asInit:
		beInit()
	case asStranger:
		beStranger(os.Args[1])
	case asAttacker:
		beAttacker()
	default:
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP) // nohup must not reach commands either
		os.Exit(m.Run())
	}
}

// beInit serves on descriptor 4 in namespaces that are made already.
func beInit() {
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	check(guest.Protect())
	check(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	check(unix.Mount("proc", "/proc", "proc", 0, ""))
	l, err := net.FileListener(os.NewFile(4, "socket"))
	check(err)
	check(syscall.SetNonblock(3, true))
	check(guest.Serve(context.Background(), guest.Config{Listener: l, Secret: secret, Lifeline: os.NewFile(3, "lifeline"), Init: true}))
	os.Exit(0)
}

func beStranger(socket string) {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_, _, err = line.Open(context.Background(), nc, secret)
	fmt.Println("refused:", err != nil)
	os.Exit(0)
}

// beAttacker sends signals with kill(2), tgkill(2), and sigqueue(3), which does not say that a program sent them.
func beAttacker() {
	for sig := 1; sig <= 64; sig++ {
		_ = syscall.Kill(1, syscall.Signal(sig))
		_ = unix.Tgkill(1, 1, syscall.Signal(sig))
		var info [128]byte
		*(*int32)(unsafe.Pointer(&info[0])) = int32(sig)
		*(*int32)(unsafe.Pointer(&info[8])) = -1 // SI_QUEUE
		_, _, _ = syscall.Syscall(unix.SYS_RT_SIGQUEUEINFO, 1, uintptr(sig), uintptr(unsafe.Pointer(&info[0])))
	}
	fmt.Println("done")
	os.Exit(0)
}

// An initRig is a guest that is PID 1 of its own namespaces.
type initRig struct {
	*rig
	cmd      *exec.Cmd
	lifeline *os.File
}

func serveInit(t *testing.T) *initRig {
	t.Helper()
	r := &initRig{rig: &rig{t: t, socket: filepath.Join(t.TempDir(), "s"), ended: make(chan error, 1)}}
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	socket, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.lifeline = wr
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd = &exec.Cmd{
		Path: exe, Args: []string{asInit}, Stderr: os.Stderr, ExtraFiles: []*os.File{rd, socket},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags:                 syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
			UidMappings:                []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings:                []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
			GidMappingsEnableSetgroups: false,
		},
	}
	if err := r.cmd.Start(); err != nil {
		t.Skipf("this machine makes no user namespaces: %v", err)
	}
	for _, f := range []io.Closer{l, socket, rd} {
		f.Close()
	}
	go func() { r.ended <- r.cmd.Wait() }()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		wr.Close()
	})
	return r
}

func (r *initRig) self(name string, args ...string) line.Spawn {
	return line.Spawn{Args: append([]string{"bash", "-c", `exec -a "$0" ` + r.cmd.Path + ` "$@"`, name}, args...), Env: os.Environ()}
}

func TestInit(t *testing.T) {
	r := serveInit(t)
	h := r.dial()
	h.send(sh(1, "sleep 1000"))
	next := uint32(1)
	run := func(m line.Spawn) *record {
		t.Helper()
		next++
		m.Process = next
		return h.run(m)
	}

	t.Run("orphans are reaped", func(t *testing.T) {
		rec := run(sh(0, `for i in $(seq 200); do (sleep 0.0$i & exit 0) done; sleep 1.2
			for try in $(seq 100); do n=$(grep -ls '^State:.Z' /proc/[0-9]*/status | wc -l); [ $n = 0 ] && break; sleep 0.1; done; echo $n`))
		if rec.all.String() != "0\n" {
			t.Errorf("%q zombies", rec.all.String())
		}
	})
	t.Run("strangers inside", func(t *testing.T) {
		if rec := run(r.self(asStranger, r.socket)); rec.all.String() != "refused: true\n" {
			t.Errorf("%q %+v", rec.all.String(), rec.exit)
		}
	})
	t.Run("signals", func(t *testing.T) {
		for range 3 {
			if rec := run(r.self(asAttacker)); rec.all.String() != "done\n" {
				t.Fatalf("%q %+v", rec.all.String(), rec.exit)
			}
		}
	})
	t.Run("many at once", func(t *testing.T) {
		const n, first = 100, 10_000
		for i := range n {
			h.send(line.Spawn{Process: uint32(first + i), Args: []string{"sh", "-c", fmt.Sprintf("(exit 99 & exit 98); exit %d", i)}})
		}
		for range n {
			exit := h.nextExit()
			if exit.Code != int(exit.Process-first) {
				t.Errorf("%+v", exit)
			}
			h.send(line.Release{Process: exit.Process})
		}
	})
	t.Run("killed first when memory runs out", func(t *testing.T) {
		// The guest takes its own value back when the command has begun, so that the command may see it too early.
		rec := run(sh(0, `for i in $(seq 1000); do
			d=$(expr $(cat /proc/self/oom_score_adj) - $(cat /proc/1/oom_score_adj)); [ $d = 0 ] || break; done; echo $d`))
		if rec.all.String() != "100\n" {
			t.Errorf("%q", rec.all.String())
		}
	})
	t.Run("descriptors", func(t *testing.T) {
		rec := run(sh(0, `ls /proc/self/fd | tr '\n' ' '; ls -l /proc/1/fd | grep -c cgroup`))
		if rec.all.String() != "0 1 2 3 0\n" {
			t.Errorf("%q", rec.all.String())
		}
	})
	t.Run("everything is killed from inside", func(t *testing.T) {
		h.send(sh(90, `echo ready; sleep 1000`))
		rec := newRecord()
		h.until(90, rec, "ready")
		h.send(sh(91, `kill -9 -1; echo survived`))
		for { // of the others one hears only if their end was noticed before
			x := h.nextExit()
			if x.Signal != 9 && x.Process != 91 {
				t.Errorf("%+v", x)
			}
			if x.Process == line.Main {
				break
			}
		}
	})
	h.send(line.Release{Process: 1})
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

func TestInitEndsEverything(t *testing.T) {
	for _, how := range []string{"main ends", "shutdown", "killed", "lifeline"} {
		t.Run(how, func(t *testing.T) {
			r := serveInit(t)
			h := r.dial()
			if how == "lifeline" {
				r.lifeline.Close()
				var exit *exec.ExitError
				if err := r.end(); !errors.As(err, &exit) {
					t.Error(err)
				}
				return
			}
			h.send(sh(1, `setsid sh -c 'trap "" HUP TERM INT; exec sleep 1000' & echo started; read x </dev/zero`))
			rec := newRecord()
			h.until(1, rec, "started")
			pids := inside(t, r.cmd.Process.Pid)
			if len(pids) < 2 {
				t.Fatal(pids)
			}
			switch how {
			case "main ends":
				h.send(line.Signal{Process: 1, Signal: 15})
				if exit := h.nextExit(); exit.Code != 143 || exit.Cut {
					t.Errorf("%+v", exit)
				}
				h.send(line.Release{Process: 1})
			case "shutdown":
				h.send(line.Shutdown{})
			case "killed":
				_ = r.cmd.Process.Kill()
			}
			if err := r.end(); (err != nil) != (how == "killed") {
				t.Error(err)
			}
			for _, pid := range pids {
				gone(t, pid)
			}
		})
	}
}

// nextExit waits for the end of any process.
func (h *host) nextExit() line.Exit {
	h.t.Helper()
	for {
		if x, ok := h.next().(line.Exit); ok {
			return x
		}
	}
}

// inside returns the processes in the PID namespace of a process, without itself.
func inside(t *testing.T, init int) (pids []int) {
	t.Helper()
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", init))
	if err != nil {
		t.Fatal(err)
	}
	list, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range list {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if got, _ := os.Readlink(dir + "/ns/pid"); got == ns && pid != init {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestMemory checks what a guest costs when it is idle, and after and while much went through it.
func TestMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory is not the guest's")
	}
	r := serveInit(t)
	h := r.dial()
	h.send(sh(1, "sleep 1000"), sh(2, "sleep 1000"))
	_, _ = h.next(), h.next()
	private := func() int {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", r.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		kib := 0
		for _, l := range strings.Split(string(b), "\n") {
			var n int
			if c, _ := fmt.Sscanf(l, "Private_Clean: %d kB", &n); c == 1 {
				kib += n
			}
			if c, _ := fmt.Sscanf(l, "Private_Dirty: %d kB", &n); c == 1 {
				kib += n
			}
		}
		return kib
	}
	idle := private()
	h.send(sh(3, "yes | head -c 500000000"))
	most, seen := 0, uint64(0)
	h.followCheaply(3, 500_000_000, func(total uint64) {
		if total-seen > 10<<20 {
			seen, most = total, max(most, private())
		}
	})
	h.send(line.Release{Process: 3})
	_ = h.run(sh(4, "true"))
	after := private()
	for deadline := time.Now().Add(patience); after > 3<<10 && time.Now().Before(deadline); after = private() {
		<-time.After(100 * time.Millisecond)
	}
	t.Logf("private memory: idle %d KiB, at most %d KiB, afterwards %d KiB", idle, most, after)
	if idle > 3<<10 || most > 20<<10 || after > 4<<10 {
		t.Error("the guest needs too much memory")
	}
}

// followCheaply takes and acknowledges a process's output, which must be size bytes, to its end.
func (h *host) followCheaply(process uint32, size uint64, progress func(total uint64)) {
	h.t.Helper()
	for total := uint64(0); ; {
		switch m := h.next().(type) {
		case line.Output:
			if m.Process != process || m.Offset != total {
				h.t.Fatalf("process %d: byte %d instead of %d", m.Process, m.Offset, total)
			}
			total += uint64(len(m.Data))
			h.send(line.Ack{Process: process, Offset: total})
			progress(total)
		case line.Exit:
			if total != size {
				h.t.Fatalf("%d bytes", total)
			}
			return
		}
	}
}
