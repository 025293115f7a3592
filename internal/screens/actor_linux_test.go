package screens

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// act is a command on a run's terminal:
//
//	actor size           prints its size, and again at each SIGWINCH, until a key is typed
//	actor keys           raw; prints what it reads as hexadecimal digits, "." at the end of each read; "q" ends it
//	actor send HEX       raw; prints these bytes, and then acts as keys
//	actor ask            asks the terminal each of queries, when it is told to, and prints the answers
//	actor flood N FROM   prints N MB, in lines of 3.7 KB that are numbered from FROM on, and then the line "flooded FROM"
func act(args []string) int {
	switch args[0] {
	case "size":
		return actSize()
	case "keys":
		return actKeys(nil)
	case "send":
		data, err := strconv.Unquote(`"` + args[1] + `"`)
		if err != nil {
			fmt.Println(err)
			return 98
		}
		return actKeys([]byte(data))
	case "ask":
		return actAsk()
	case "flood":
		n, _ := strconv.Atoi(args[1])
		from, _ := strconv.Atoi(args[2])
		return actFlood(n, from)
	}
	return 99
}

func actSize() int {
	changes := make(chan os.Signal, 8)
	signal.Notify(changes, syscall.SIGWINCH)
	go func() {
		for range changes {
			printSize("winch")
		}
	}()
	printSize("size")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return 0
}

func printSize(what string) {
	size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s %dx%d;\n", what, size.Col, size.Row)
}

func actKeys(first []byte) int {
	before, err := term.MakeRaw(0)
	if err != nil {
		fmt.Println(err)
		return 97
	}
	defer term.Restore(0, before)
	os.Stdout.Write(first)
	fmt.Print("ready ")
	buf := make([]byte, 4096)
	for {
		n, err := os.Stdin.Read(buf)
		if err != nil || n == 1 && buf[0] == 'q' {
			return 0
		}
		fmt.Printf("%x.", buf[:n])
	}
}

// withRaw makes the terminal raw and runs a conversation on it. read returns what came until nothing has for a while.
func withRaw(talk func(read func(time.Duration) []byte, write func(string))) int {
	before, err := term.MakeRaw(0)
	if err != nil {
		fmt.Println(err)
		return 97
	}
	defer term.Restore(0, before)
	pieces := make(chan []byte)
	go func() {
		for {
			buf := make([]byte, 4096)
			n, err := os.Stdin.Read(buf)
			if err != nil {
				return
			}
			pieces <- buf[:n]
		}
	}()
	talk(func(calm time.Duration) []byte {
		var all []byte
		for {
			select {
			case piece := <-pieces:
				all = append(all, piece...)
			case <-time.After(calm):
				return all
			}
		}
	}, func(text string) { _, _ = io.WriteString(os.Stdout, text) })
	return 0
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func actFlood(megabytes, from int) int {
	out := bufio.NewWriterSize(os.Stdout, 64<<10)
	colours := strings.Repeat("\x1b[0;1;38;2;111;222;123;48;2;1;2;3mx", 100)
	for i := range megabytes * 270 {
		fmt.Fprintf(out, "line %08d %s\x1b[m\n", from+i, colours)
	}
	fmt.Fprintf(out, "flooded %d\n", from)
	if out.Flush() != nil {
		return 1
	}
	return 0
}
