// Package screens puts moat on real terminals and looks at what people would see. It is a room of tests only: they
// build the moat program, start real runs with terminals, and sit down at them: on pseudo-terminals whose other side is
// the test, and in panes of a private tmux server.
//
// What it promises to check is what a person expects of a session: that the screen is as it was after any way of leaving
// and coming back, that nothing typed or printed is lost or doubled, that their terminal is given back after every
// ending, and that no output can harm it. Random cases print their seed. MOAT_SOAK=n makes the long form: n rounds of
// leaving and coming back, and the programs that are not installed everywhere. What one package does by itself is left
// to that package's tests, and killing everything at every moment to internal/soak.
package screens
