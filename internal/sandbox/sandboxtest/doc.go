// Package sandboxtest is the conformance suite of package sandbox: every runtime runs it, and what it asserts is what
// "a sandbox" means here.
//
// It promises to test from inside, with real commands that try what must not work, and to look from outside for what
// must not be left. It speaks to the guest over the line, as a supervisor does, so it tests the guest that is shipped
// and not one of its own. What only one runtime can promise is behind Options.
package sandboxtest
