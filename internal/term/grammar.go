package term

// The states of the parser.
type state uint8

const (
	inText   state = iota
	inEscape       // after ESC
	inIntro        // after ESC [
	inParams       // after ESC [ and digits, colons or semicolons: it may be a key
	inReport       // after ESC [ and anything else: no key
	inPaste
)

// The classes of bytes that matter inside a sequence.
type class uint8

const (
	isControl class = iota // and bytes that no sequence has
	isEscape
	isBracket
	isParam
	isMark // private marks and intermediate bytes
	isFinal
	classes
)

func classOf(b byte) class {
	switch {
	case b == esc:
		return isEscape
	case b == '[':
		return isBracket
	case b >= '0' && b <= ';':
		return isParam
	case b >= 0x20 && b <= 0x3f:
		return isMark
	case b >= 0x40 && b <= 0x7e:
		return isFinal
	}
	return isControl
}

// What a byte does to the sequence.
type deed uint8

const (
	typed   deed = iota // it is a key
	begin               // it begins a sequence
	collect             // it belongs to the sequence
	finish              // it ends the sequence
	escaped             // the ESC before it was the Escape key (or Alt), and it is to be looked at anew
	abandon             // the sequence was none, and it is to be looked at anew
)

type transition struct {
	deed deed
	next state
}

// transitions is the grammar of keys (ECMA-48 5.4): what each class of bytes does in each state.
//
//nolint:gochecknoglobals // read-only table
var transitions = [inPaste][classes]transition{
	inText: {
		isControl: {typed, inText}, isEscape: {begin, inEscape}, isBracket: {typed, inText},
		isParam: {typed, inText}, isMark: {typed, inText}, isFinal: {typed, inText},
	},
	inEscape: {
		isControl: {escaped, inText}, isEscape: {escaped, inText}, isBracket: {collect, inIntro},
		isParam: {escaped, inText}, isMark: {escaped, inText}, isFinal: {escaped, inText},
	},
	inIntro: {
		isControl: {abandon, inText}, isEscape: {abandon, inText}, isBracket: {finish, inText},
		isParam: {collect, inParams}, isMark: {collect, inReport}, isFinal: {finish, inText},
	},
	inParams: {
		isControl: {abandon, inText}, isEscape: {abandon, inText}, isBracket: {finish, inText},
		isParam: {collect, inParams}, isMark: {collect, inReport}, isFinal: {finish, inText},
	},
	inReport: {
		isControl: {abandon, inText}, isEscape: {abandon, inText}, isBracket: {finish, inText},
		isParam: {collect, inReport}, isMark: {collect, inReport}, isFinal: {finish, inText},
	},
}
