// Package vt is the screen model: the state of a terminal that all output of a run feeds.
//
// It promises that a Snapshot brings a fresh terminal to the same state, and that hostile output costs bounded time
// and memory. It leaves who is attached, how large the terminal is and what is recorded to packages session and
// supervisor.
package vt
