package term

import (
	"slices"
	"strconv"
	"strings"
)

// permit says on what it depends whether a sequence passes.
type permit string

// The permits are the fields of [Options], by name, and three that need no option.
const (
	always        permit = "passes"
	never         permit = "dropped"
	judged        permit = "in part"
	queries       permit = "Queries"
	colours       permit = "Colours"
	clipboard     permit = "Clipboard"
	notifications permit = "Notifications"
	images        permit = "Images"
)

func (p permit) granted(o Options) bool {
	switch p {
	case always, judged:
		return true
	case queries:
		return o.Queries
	case colours:
		return o.Colours
	case clipboard:
		return o.Clipboard
	case notifications:
		return o.Notifications
	case images:
		return o.Images
	}
	return false
}

// The kinds of sequences.
type kind string

const (
	kindControl kind = "C0" // what they do is written in Filter.control
	kindEscape  kind = "ESC"
	kindCSI     kind = "CSI"
	kindMode    kind = "CSI ? … h/l"
	kindANSI    kind = "CSI … h/l"
	kindOSC     kind = "OSC"
	kindDCS     kind = "DCS"
	kindString  kind = "APC, PM, SOS" // what they do is written in Filter.application
)

// rule is a row of the table: sequences that are treated alike, and why.
type rule struct {
	kind   kind
	keys   string // what identifies them, separated by spaces; SP is a space that does
	name   string
	permit permit
	reason string
	back   string // how it is given back, for the reader; a mode that is switched back needs none

	do func(*Filter, sequence) // passes it and notes what it changes; nil: it is passed

	// Of modes: whether it is set normally, and whether it must be switched back before the screen is left.
	initially, first bool

	private bool  // of modes: made by newRules
	undo    uint8 // of modes: 1 + its bit in modes.switched; 0: it has none
}

// rules is the table, by what a sequence is.
type rules struct {
	plain   [0x80]*rule       // CSI by final byte
	marked  map[[3]byte]*rule // CSI by private mark, intermediate and final byte
	escapes map[string]*rule
	osc     map[int]*rule
	dcs     map[string]*rule // by intermediate and final byte
	undone  []*rule
}

// table is every row.
func table() []rule { return slices.Concat(controlRules(), modeRules(), stringRules()) }

func newRules() rules {
	r := rules{marked: map[[3]byte]*rule{}, escapes: map[string]*rule{}, osc: map[int]*rule{}, dcs: map[string]*rule{}}
	private, ansi := map[int]*rule{}, map[int]*rule{}
	for _, rule := range table() {
		if rule.permit == never {
			continue // as what has no rule
		}
		for key := range strings.FieldsSeq(rule.keys) {
			key = strings.ReplaceAll(key, "SP", " ")
			switch rule.kind {
			case kindEscape:
				r.escapes[key] = &rule
			case kindCSI:
				r.addControl(key, &rule)
			case kindMode:
				r.addMode(private, key, rule)
			case kindANSI:
				r.addMode(ansi, key, rule)
			case kindOSC:
				number, _ := strconv.Atoi(key)
				r.osc[number] = &rule
			case kindDCS:
				r.dcs[key] = &rule
			}
		}
	}
	for _, final := range "hl" {
		r.plain[final] = &rule{permit: judged, do: setModes(ansi)}
		r.marked[[3]byte{'?', 0, byte(final)}] = &rule{permit: judged, do: setModes(private)}
	}
	return r
}

// addControl adds the CSI that key describes: a private mark, an intermediate byte, a final byte.
func (r *rules) addControl(key string, rule *rule) {
	var id [3]byte
	for i := range len(key) {
		switch b := key[i]; {
		case b >= 0x40:
			id[2] = b
		case b >= '<':
			id[0] = b
		default:
			id[1] = b
		}
	}
	switch {
	case len(key) > 1:
		r.marked[id] = rule
	case r.plain[id[2]] == nil: // rows that share a key share a function, which knows the difference
		r.plain[id[2]] = rule
	}
}

// addMode adds one mode, with its own bit if a reset or a set gives it back.
func (r *rules) addMode(modes map[int]*rule, key string, rule rule) {
	number, _ := strconv.Atoi(key)
	rule.keys, rule.private = key, rule.kind == kindMode
	if rule.back == "" {
		r.undone = append(r.undone, &rule)
		rule.undo = uint8(len(r.undone))
	}
	modes[number] = &rule
}
