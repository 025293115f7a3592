package run

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"moat/internal/plan"
)

// The tests of what several processes do to one home run this binary again: role, home and arguments are in its
// environment, and it speaks on stdout, one line at a time, and listens on stdin.
const roleVar = "MOAT_RUN_TEST"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		if err := play(role); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func play(role string) error {
	h, err := Open(os.Getenv("MOAT_RUN_TEST_HOME"))
	if err != nil {
		return err
	}
	arg := os.Getenv("MOAT_RUN_TEST_ARG")
	switch role {
	case "inherit": // a supervisor: goes on with what its parent holds
		return tend(h.Inherit(arg, 3))
	case "adopt":
		return tend(h.Adopt(arg))
	case "create":
		return createForEver(h)
	case "save":
		return saveForEver(h, arg)
	case "destroy":
		return outcome(func() error { return h.Destroy(arg) })
	case "claim":
		return outcome(func() error {
			_, err := h.Create(plan.Plan{Name: arg}, time.Now()) // held until the process ends
			return err
		})
	case "probe": // whether the home can be used
		_, err := h.Create(plan.Plan{}, time.Now())
		return err
	case "get":
		e, err := h.Get(arg)
		if err == nil {
			fmt.Println(e.ID, e.State, e.Locked)
		}
		return err
	case "remove":
		return removeTree(arg)
	}
	return fmt.Errorf("no role %q", role)
}

// createForEver makes runs, tells their ids while they are starting, and lets them fail.
func createForEver(h *Home) error {
	p := typicalPlan()
	p.Name = ""
	for {
		f, err := h.Create(p, time.Now())
		if err != nil {
			return err
		}
		if err := f.Do(EventStart, time.Now(), nil); err != nil {
			return err
		}
		fmt.Println(f.Record().ID)
		if err := f.Do(EventError, time.Now(), nil); err != nil {
			return err
		}
		f.Close()
	}
}

// saveForEver counts in a run's record and tells each number that is saved.
func saveForEver(h *Home, id string) error {
	f, err := h.Adopt(id)
	if err != nil {
		return err
	}
	for n := f.Record().Attempts + 1; ; n++ {
		if err := f.Update(func(r *Record) { r.Attempts = n }); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// tend holds a run until stdin is closed.
func tend(f *Folder, err error) error {
	if err != nil {
		return err
	}
	fmt.Println(f.Record().ID)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// outcome waits for the starting shot, does it, tells, and stays until stdin is closed.
func outcome(do func() error) error {
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	err := do()
	switch {
	case err == nil:
		fmt.Println("won")
	case errors.As(err, new(*NotFoundError)):
		fmt.Println("not found")
	case errors.As(err, new(*NameTakenError)):
		fmt.Println("taken")
	default:
		fmt.Println("error:", err)
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

type child struct {
	*exec.Cmd
	out *bufio.Reader
	in  io.WriteCloser
}

func start(t testing.TB, h *Home, role, arg string, change ...func(*exec.Cmd)) *child {
	t.Helper()
	c := &child{Cmd: exec.Command("/proc/self/exe")}
	c.Env = append(os.Environ(), roleVar+"="+role, "MOAT_RUN_TEST_HOME="+h.path, "MOAT_RUN_TEST_ARG="+arg,
		"GORACE=atexit_sleep_ms=0") // or each child would wait for a second before it ends
	c.Stderr = os.Stderr
	for _, do := range change {
		do(c.Cmd)
	}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	t.Cleanup(func() { c.kill() })
	return c
}

// line is the next thing that the child says; what is not a whole line counts as nothing.
func (c *child) line() string {
	s, err := c.out.ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimSpace(s)
}

func (c *child) tell(word string) { fmt.Fprintln(c.in, word) }

// kill ends the child as kill -9 does, and returns when it is dead.
func (c *child) kill() {
	if c.ProcessState == nil {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// finish closes the child's stdin and waits for its end.
func (c *child) finish() {
	c.in.Close()
	_ = c.Wait()
}
