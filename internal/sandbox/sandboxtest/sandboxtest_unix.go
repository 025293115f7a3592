//go:build unix

package sandboxtest

import (
	"cmp"
	"testing"
	"time"

	"moat/internal/sandbox"
)

// Options say what a runtime promises beyond what all do, and what the suite must know about it.
type Options struct {
	User  sandbox.User  // as whom commands run
	Image sandbox.Image // without one: the host's system directories
	Tools bool          // Spec.Tools works

	// PlainPaths: what is mounted may have no comma, quotation mark or line break in its path, or not together with a colon, and
	// is refused if it has.
	PlainPaths bool

	// SharedKernel: host and sandbox have one kernel, so that the host's tables show what is left.
	SharedKernel bool

	// Landlock: a second wall of the kernel's is in force behind the mounts.
	Landlock bool

	// Walls that moat builds itself, and an engine builds otherwise. Each is asserted where it is promised.
	OwnMounts         bool   // every mount is nosuid, and none tells where moat's folder is
	NoUserNamespaces  bool   // they are forbidden by number, whatever the system call filter says
	Caps, BoundedCaps uint64 // capabilities of commands, and those that they could gain

	// Effort: how many sandboxes are made at once; about how long a start takes, all over which it is interrupted, and how
	// often. Zero: 50, 80 ms and 40.
	Many      int
	StartTime time.Duration
	Kills     int

	// Probe is the program of testdata/probe, built before; empty: it is built.
	Probe string

	// MayAllow are calls of the probe that this runtime need not refuse.
	MayAllow []string

	// Leftovers returns what is left of a removed sandbox outside its folder; nil: nothing to look at.
	Leftovers func(sandbox.Ref) []string
}

type suite struct {
	Options
	rt    sandbox.Runtime
	probe string

	childrenBefore []string
}

// Run runs the suite. newRuntime is called once; a successor's view is taken with another process.
func Run(t *testing.T, newRuntime func(testing.TB) sandbox.Runtime, opts Options) {
	s := &suite{Options: opts, rt: newRuntime(t), probe: opts.Probe}
	s.Many, s.StartTime, s.Kills = cmp.Or(s.Many, 50), cmp.Or(s.StartTime, 80*time.Millisecond), cmp.Or(s.Kills, 40)
	if s.probe == "" {
		s.probe = BuildProbe(t)
	}
	check(t, s.rt.Check(ctx(t)))
	descriptors := s.openDescriptors(t)
	s.childrenBefore = s.children(t)
	// One sandbox serves all that only look or try.
	spec := s.newSpec(t)
	s.furnish(t, &spec)
	t.Run("inside", func(t *testing.T) {
		b := s.start(t, spec)
		for _, test := range []struct {
			name string
			run  func(*testing.T, *box)
		}{
			{"identity", s.testIdentity}, {"status", s.testStatus}, {"calls", s.testCalls},
			{"descriptors", s.testDescriptors}, {"first process", s.testFirstProcess}, {"proc", s.testProc},
			{"devices", s.testDevices}, {"host is invisible", s.testInvisible}, {"secrets of etc", s.testEtc},
			{"system is read-only", s.testReadOnly}, {"temporary directories", s.testTemporary},
			{"network", s.testNetwork}, {"mounts", s.testMounts}, {"mount table", s.testMountTable},
			{"links out", s.testLinksOut}, {"setuid", s.testSetuid}, {"landlock", s.testLandlock}, {"tools", s.testTools},
			{"difficult files", s.testDifficultFiles}, {"walls", s.testWalls},
		} {
			t.Run(test.name, func(t *testing.T) { test.run(t, b) })
		}
	})
	t.Run("door", s.testDoor)
	t.Run("kill everything", s.testKillEverything)
	t.Run("process limit", s.testProcessLimit)
	t.Run("memory limit", s.testMemoryLimit)
	t.Run("cpu limit", s.testCPULimit)
	t.Run("refused specifications", s.testRefused)
	t.Run("life", s.testLife)
	t.Run("leftovers", s.testLeftovers)
	t.Run("home is kept", s.testHomeKept)
	t.Run("cancelled start", s.testCancelled)
	t.Run("owner dies before the first command", s.testOwnerDiesEarly)
	t.Run("owner dies later", s.testOwnerDiesLater)
	t.Run("owner killed at any point", s.testKilledAnywhere)
	t.Run("difficult folders", s.testDifficultFolders)
	t.Run("many at once", s.testMany)
	t.Run("nothing left", func(t *testing.T) { s.testNothingLeft(t, descriptors) })
}
