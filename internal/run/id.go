package run

import (
	crypto "crypto/rand"
	"encoding/hex"
	"math/rand/v2"
	"strings"
)

const (
	idPrefix = "run-"
	idDigits = 12
	maxName  = 63 // a DNS label's (RFC 1035, 2.3.4), because names become host names
)

// NewID makes an id that no other run has: "run-" and 12 random hexadecimal digits.
func NewID() string {
	var b [idDigits / 2]byte
	_, _ = crypto.Read(b[:]) // never fails: crypto/rand ends the process instead
	return idPrefix + hex.EncodeToString(b[:])
}

// IsID reports whether s is a whole id.
func IsID(s string) bool { return isIDPart(s) && len(s) == len(idPrefix)+idDigits }

// isIDPart reports whether s is the beginning of an id, with at least one of its digits.
func isIDPart(s string) bool {
	digits, ok := strings.CutPrefix(s, idPrefix)
	return ok && digits != "" && len(digits) <= idDigits && only(digits, "0123456789abcdef")
}

// CheckName returns a *NameError if a run cannot be called so. Names are 1 to 63 characters of a-z, 0-9, '-', '_'
// and '.', begin with a letter or digit, and do not look like an id or the beginning of one.
func CheckName(name string) error {
	const letters, digits = "abcdefghijklmnopqrstuvwxyz", "0123456789"
	refuse := func(reason string) error { return &NameError{Name: name, Reason: reason} }
	switch {
	case name == "":
		return refuse("it is empty")
	case len(name) > maxName:
		return refuse("it is longer than 63 characters")
	case !only(name, letters+digits+"-_."):
		return refuse("only the characters a-z 0-9 - _ . are possible")
	case !only(name[:1], letters+digits):
		return refuse("it must begin with a letter or a digit")
	case name == "run", strings.HasPrefix(name, idPrefix) && only(name[len(idPrefix):], "0123456789abcdef"):
		return refuse("it looks like the id of a run")
	}
	return nil
}

// only reports whether s has no other characters than these.
func only(s, chars string) bool { return strings.Trim(s, chars) == "" }

// RandomName makes up a name of two words for a person to remember: ^[a-z]+-[a-z]+$.
func RandomName() string {
	return pick(adjectives) + "-" + pick(nouns)
}

func pick(words string) string {
	list := strings.Fields(words)
	return list[rand.IntN(len(list))]
}

const adjectives = `
	able amber ample azure bold brave brief bright brisk broad calm candid civil clean clear clever cool
	cosmic crisp curious daring deep deft eager early even fair fast fine firm fleet fond frank fresh
	gentle glad golden grand green happy hardy honest jolly keen kind lively loyal lucid merry mild
	neat nimble noble patient plain polite proud quick quiet rapid ready robust silent silver sleek
	smart smooth solid steady sunny swift tidy vivid warm wise witty zesty`

const nouns = `
	acorn alder anchor aspen badger basin beacon beaver birch bison brook canyon cedar comet coral cove
	crane creek delta dune eagle elm ember falcon fern finch fjord fox glade grove harbor hawk hazel
	heron island ivy jay juniper lagoon lark ledge linden lotus lynx maple marten meadow mesa moss
	oak orbit otter owl panda pebble pine plover prairie quail quartz raven reef ridge river robin
	sparrow spruce summit thicket tiger tulip valley walnut willow wren`
