package soak

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// exitTalked is the exit code of a talker that said everything.
const exitTalked = 7

// talk is a command to run in a sandbox. What it prints can be checked: see lines.
//
//	talk steady N EVERY    N lines on stdout and stderr, one every EVERY
//	talk held N EVERY GO   steady, but with its last lines it waits for the file GO: see held
//	talk flood N           N lines on stdout as fast as they are taken
//	talk deaf N EVERY      steady, ignoring SIGTERM
//	talk polite N EVERY    steady; SIGTERM makes it end with code 42
//
// Each begins with a line in the file that $SOAK_BEGAN names, so that a command that was started twice is noticed.
func talk(args []string) int {
	if name := os.Getenv("SOAK_BEGAN"); name != "" {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 99
		}
		fmt.Fprintln(f, os.Getpid())
		f.Close()
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return 98
	}
	term := make(chan os.Signal, 1)
	switch args[0] {
	case "flood":
		w := bufio.NewWriterSize(os.Stdout, 64<<10)
		for i := range n {
			fmt.Fprintf(w, "o%08d\n", i+1)
		}
		w.Flush()
		return exitTalked
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	case "polite":
		signal.Notify(term, syscall.SIGTERM)
	}
	every, err := time.ParseDuration(args[2])
	if err != nil {
		return 97
	}
	tick := time.NewTicker(every)
	for i := range n {
		for args[0] == "held" && i == n-1 {
			if _, err := os.Stat(args[3]); err == nil {
				break
			}
			<-tick.C
		}
		fmt.Fprintf(os.Stdout, "o%08d\n", i+1)
		fmt.Fprintf(os.Stderr, "e%08d\n", i+1)
		select {
		case <-tick.C:
		case <-term:
			return 42
		}
	}
	return exitTalked
}

// increment counts up the decimal digits at the end of b, which has one that is no nine.
func increment(b []byte) {
	i := len(b) - 1
	for ; b[i] == '9'; i-- {
		b[i] = '0'
	}
	b[i]++
}

// lines checks that data is lines 1, 2, 3, … of a talker and nothing else, and returns how many there are. Only the
// last one may be cut off, and only if cut allows it.
func lines(t *testing.T, what string, stream byte, data []byte, cut bool) int {
	t.Helper()
	n := 0
	want := append([]byte{stream}, "00000000"...)
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		increment(want)
		if !whole && cut && bytes.HasPrefix(want, line) {
			return n
		}
		if !whole || !bytes.Equal(line, want) {
			t.Errorf("%s: line %d is %.200q, want %q", what, n+1, line, want)
			return n
		}
		n++
		data = rest
	}
	return n
}
