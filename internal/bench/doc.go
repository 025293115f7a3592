// Package bench holds moat's figures of speed and size: measurements of the real program against the tools that a
// person would use otherwise, each with the limit that it should stay below. `make bench` takes them.
//
// It promises numbers that mean something on a shared machine: what is compared runs interleaved in the same minutes,
// every sample starts when nothing of the one before is left, medians come with minima and with the CPU time that
// was used, and the bytes that a fast run recorded are checked. A figure over its limit is reported and fails
// nothing: whether it matters is for a person to say.
//
// What single packages do per second is in their own Benchmark functions (`make microbench`). docs/benchmarks.md
// says how each figure is taken and what it was.
package bench
