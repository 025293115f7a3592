package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata/script read like a terminal: they run the program that is shipped, each in its own home, as
// root and as an ordinary user. Besides testscript's commands they have
//
//	moat ARGS…                a moat command that exits with 0
//	exit CODE PROGRAM ARGS…   a program that exits with CODE
//	until PATTERN ARGS…       a moat command, again and again until its stdout matches
//	start NAME PROGRAM ARGS…  a program in the background
//	terminal NAME PROGRAM…    a program in the background, on a terminal of its own
//	sees NAME PATTERN         wait until what it printed matches
//	begun NAME FILE           wait until a program that it started has FILE open
//	send NAME SIGNAL          INT, TERM, HUP, KILL, STOP or CONT
//	type NAME TEXT            type on its terminal; TEXT is the inside of a Go string
//	hangup NAME               take its terminal away
//	ends NAME CODE            wait until it exits with CODE; stdout and stderr are then what it printed
//	settled                   wait until no run has a supervisor
//	json PATH VALUE           stdout is JSON that has VALUE, as JSON, at a path such as 0.command.1; . is all of it
//	fields PATH NAMES         the object there has exactly these fields, in this order
//	registry, registry off    start a registry of images at $REGISTRY, end it
//	push NAME CONFIG FOLDER…  make an image of folders and a configuration, and push it
//	hold FILE, release FILE   take and give back the lock that moat takes on a file
//
// "< FILE" at the end of a command line is its standard input, and "<< TEXT" a pipe with that text and a newline. Without
// them it is /dev/null. The conditions are [root] and [exec:PROGRAM].

const (
	envBin     = "MOAT_TEST_BIN"     // folder with the program, for the tests as an ordinary user
	envScripts = "MOAT_TEST_SCRIPTS" // folder with the scripts
)

// nobody is an ordinary user that every system has.
const nobody = 65534

func TestScripts(t *testing.T) {
	bin, scripts := os.Getenv(envBin), os.Getenv(envScripts)
	if bin == "" {
		bin, scripts = prepare(t)
	}
	t.Run("as "+map[bool]string{true: "root", false: "user"}[os.Getuid() == 0], func(t *testing.T) { runScripts(t, bin, scripts, nil) })
	if os.Getuid() == 0 {
		t.Run("as user", func(t *testing.T) { runAsNobody(t, bin, scripts) })
	}
}

// prepare builds the program and copies the scripts to where everybody may read them.
func prepare(t *testing.T) (bin, scripts string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "moat-scripts-") //nolint:usetesting // t.TempDir is not for other users to enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	bin, scripts = filepath.Join(dir, "bin"), filepath.Join(dir, "script")
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-X main.version=v0.0.0-test", "-o", filepath.Join(bin, "moat"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build moat: %v\n%s", err, out)
	}
	if err := os.CopyFS(scripts, os.DirFS("testdata/script")); err != nil {
		t.Fatal(err)
	}
	return bin, scripts
}

// runAsNobody runs this test program again as an ordinary user.
func runAsNobody(t *testing.T, bin, scripts string) {
	self := filepath.Join(bin, "moat.test")
	if err := copyProgram(self); err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.run=^TestScripts$", "-test.count=1", "-test.timeout=10m"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	if only := flag.Lookup("test.run").Value.String(); only != "" { // the same choice of scripts
		args[0] = "-test.run=" + only
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = scripts
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/", envBin + "=" + bin, envScripts + "=" + scripts}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || testing.Verbose() {
		t.Logf("%s", out)
	}
	if err != nil {
		t.Error(err)
	}
}

// copyProgram copies this test program, which lies where only its owner may go.
func copyProgram(to string) error {
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// runScripts runs the scripts in a folder. vars are added to their environment.
func runScripts(t *testing.T, bin, scripts string, vars map[string]string) {
	testscript.Run(t, testscript.Params{
		Dir: scripts,
		Setup: func(env *testscript.Env) error {
			j := &jobs{byName: make(map[string]*job), locks: make(map[string]*os.File)}
			env.Values[jobsKey{}] = j
			home := filepath.Join(env.WorkDir, ".home")
			if err := os.MkdirAll(filepath.Join(env.WorkDir, "project"), 0o755); err != nil {
				return err
			}
			if err := os.MkdirAll(home, 0o755); err != nil {
				return err
			}
			env.Cd = filepath.Join(env.WorkDir, "project")
			env.Setenv("HOME", home)
			env.Setenv("MOAT_HOME", filepath.Join(env.WorkDir, "moat"))
			env.Setenv("PATH", bin+":/usr/local/bin:/usr/bin:/bin")
			env.Setenv("LANG", "C.UTF-8")
			for name, value := range vars {
				env.Setenv(name, value)
			}
			env.Defer(func() { tidy(t, bin, filepath.Join(env.WorkDir, "moat"), j) })
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"moat": doMoat, "exit": doExit, "until": doUntil,
			"start": doStart, "terminal": doTerminal, "sees": doSees, "begun": doBegun, "settled": doSettled, "send": doSend, "type": doType, "hangup": doHangup, "ends": doEnds,
			"json": doJSON, "fields": doFields,
			"hold": doHold, "release": doRelease,
			"registry": doRegistry, "push": doPush,
		},
	})
}

// patience is how long a script waits for what must come.
const patience = 60 * time.Second

// tidy ends what a script left and checks that moat leaves nothing behind.
func tidy(t *testing.T, bin, home string, j *jobs) {
	j.end()
	moat := func(args ...string) string {
		cmd := exec.Command(filepath.Join(bin, "moat"), args...)
		cmd.Env = []string{"MOAT_HOME=" + home, "HOME=" + home}
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("moat %s: %v", strings.Join(args, " "), err)
		}
		return string(out)
	}
	if ids := strings.Fields(moat("list", "-aq")); len(ids) > 0 {
		moat(append([]string{"destroy", "-f"}, ids...)...)
	}
	if left := settle(home); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

// settle waits until the home has no supervisors, and returns those that stay.
func settle(home string) []string {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		left := processesOf(home)
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// processesOf are the command lines that name the home: those of its supervisors.
func processesOf(home string) []string {
	var found []string
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		b, err := os.ReadFile(path) // a process may be gone already
		if err == nil && strings.Contains(string(b), "supervise\x00") && strings.Contains(string(b), home+"\x00") {
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}
