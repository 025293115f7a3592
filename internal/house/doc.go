// Package house holds the tests that keep moat's house in order: which room may
// import which, how large things may grow, what every package must say about
// itself, and which calls belong in one place only.
//
// It promises that `go test ./...` alone finds a breach, on every operating
// system's files and without a linter installed. What a linter does better
// (unused code, unchecked errors, global variables) is left to .golangci.yml.
//
// Each rule is a pure function from parsed source to a list of problems, and is
// itself tested on small sources that break it. A breach is mended, or the table
// beside the rule gets a line with its reason; there is no other way around.
package house
