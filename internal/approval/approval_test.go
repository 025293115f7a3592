package approval

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parse reads asks: "grant github", "!policy strict" narrows, "memory<5" is a bound, "allow@policy a" is within policy.
func parse(list string) []Ask {
	var asks []Ask
	for word := range strings.SplitSeq(list, ", ") {
		if word == "" {
			continue
		}
		if topic, n, ok := strings.Cut(word, "<"); ok {
			asks = append(asks, Ask{Topic: topic, Text: n, Narrows: true, Bound: int64(n[0] - '0')})
			continue
		}
		topic, text, _ := strings.Cut(word, " ")
		topic, narrows := strings.CutPrefix(topic, "!")
		topic, within, _ := strings.Cut(topic, "@")
		asks = append(asks, Ask{Topic: topic, Text: text, Within: within, Narrows: narrows})
	}
	return asks
}

func TestWidens(t *testing.T) {
	for _, test := range []struct{ old, now, want string }{
		{"", "", ""},
		{"", "grant github", "+ grant: github"},
		{"grant github", "grant github", ""},
		{"grant github", "", ""},
		{"grant github", "grant gitlab", "+ grant: gitlab"},
		{"grant a, mount /x", "mount /x, grant a", ""},

		// What narrows, and its loss.
		{"", "!policy strict", ""},
		{"!policy strict", "", "- policy: strict"},
		{"!deny a", "!deny a, !deny b", ""},
		{"!deny a, !deny b", "!deny b", "- deny: a"},
		{"!rules x", "!rules y", "- rules: x|+ rules: y"},
		{"!tools none", "tools /x", "- tools: none|+ tools: /x"},

		// What opens something only where it was shut.
		{"", "!policy strict, allow@policy a", ""},
		{"!policy strict", "!policy strict, allow@policy a", "+ allow: a"},
		{"!policy strict, allow@policy a", "!policy strict, allow@policy a, allow@policy b", "+ allow: b"},
		{"!policy strict, allow@policy a", "!policy strict", ""},
		{"!policy strict, allow@policy a", "allow@policy a", "- policy: strict"},
		{"!policy strict", "allow@policy b", "+ allow: b|- policy: strict"},

		// Limits.
		{"", "memory<2", ""},
		{"memory<2", "memory<1", ""},
		{"memory<2", "memory<2", ""},
		{"memory<2", "memory<3", "- memory: 2|+ memory: 3"},
		{"memory<2", "", "- memory: 2"},
		{"memory<2", "pids<1", "- memory: 2"},
	} {
		var got []string
		for _, line := range Widens(parse(test.old), parse(test.now)) {
			got = append(got, line.String())
		}
		if s := strings.Join(got, "|"); s != test.want {
			t.Errorf("%q to %q: %q, want %q", test.old, test.now, s, test.want)
		}
	}
}

// random returns a list of asks out of few, so that two lists have some in common.
func random(r *rand.Rand) []Ask {
	all := parse("grant a, grant b, mount /x, !policy strict, allow@policy a, allow@policy b, !deny a, !deny b, memory<1, memory<2")
	var list []Ask
	for _, a := range all {
		if r.IntN(2) == 0 {
			list = append(list, a)
		}
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// TestWidensProperties: what is the same widens nothing, order says nothing, and nobody gets something by going in steps
// that each widen nothing which they would not get in one.
func TestWidensProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	quiet := 0
	for range 20_000 {
		a, b, c := random(r), random(r), random(r)
		if lines := Widens(a, a); len(lines) > 0 {
			t.Fatalf("%v to itself: %v", a, lines)
		}
		if diff := cmp.Diff(Widens(normal(a), normal(b)), Widens(a, b), cmp.Transformer("sort", func(l []Line) map[Line]bool {
			set := map[Line]bool{}
			for _, line := range l {
				set[line] = true
			}
			return set
		})); diff != "" {
			t.Fatalf("the order of %v, %v matters: %s", a, b, diff)
		}
		if len(Widens(a, b)) == 0 && len(Widens(b, c)) == 0 {
			quiet++
			if lines := Widens(a, c); len(lines) > 0 {
				t.Fatalf("%v to %v to %v widens nothing, at once it does: %v", a, b, c, lines)
			}
		}
	}
	if quiet == 0 {
		t.Error("no chain was tried")
	}
}

func TestDigest(t *testing.T) {
	asks := parse("grant a, !policy strict, memory<2, allow@policy x")
	same := parse("allow@policy x, memory<2, grant a, grant a, !policy strict")
	if Digest("/w", asks) != Digest("/w", same) {
		t.Error("order or repetition matters")
	}
	seen := map[string]string{Digest("/w", asks): "the original"}
	for _, other := range []string{"", "grant b", "grant a, policy strict, memory<2, allow@policy x", "grant a, !policy strict, memory<3, allow@policy x", "grant a, !policy strict, memory<2, allow x"} {
		d := Digest("/w", parse(other))
		if before, twice := seen[d]; twice {
			t.Errorf("%q has the digest of %s", other, before)
		}
		seen[d] = other
	}
	if Digest("/w", asks) == Digest("/v", asks) {
		t.Error("the workspace does not matter")
	}
}
