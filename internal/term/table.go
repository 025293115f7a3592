package term

// controlRules are the rows of docs/terminal-output.md for control characters, ESC and CSI. What has no row is dropped.
func controlRules() []rule {
	const harmless = "draws on the screen that the program has"
	return []rule{
		{kind: kindControl, keys: "BEL BS HT LF VT FF CR", name: "bell, movement", permit: always, reason: harmless},
		{kind: kindControl, keys: "SO SI", name: "shift to G1, G0", permit: always, reason: harmless, back: "SI"},
		{kind: kindControl, keys: "ENQ", name: "answerback", permit: never, reason: "the terminal would type a text that somebody configured"},
		{kind: kindControl, keys: "others DEL", name: "no meaning", permit: never, reason: "nothing needs them; CAN and SUB break off a sequence"},
		{kind: kindControl, keys: "0x80-0x9f", name: "C1 in 8 bits, as a byte or a character", permit: never, reason: "some terminals take them for ESC [ and the like. A byte that is no UTF-8 becomes U+FFFD"},

		{kind: kindEscape, keys: "7 8", name: "save, restore cursor", permit: always, reason: harmless, do: saveCursor},
		{kind: kindEscape, keys: "D E M 6 9", name: "index, next line, reverse index, back and forward index", permit: always, reason: harmless, do: (*Filter).passEscape},
		{kind: kindEscape, keys: "V W N O #3 #4 #5 #6 #8", name: "protected area, single shifts, double lines, test pattern", permit: always, reason: harmless, do: (*Filter).passEscape},
		{kind: kindEscape, keys: "H", name: "set tab stop", permit: always, reason: harmless, back: "CSI ? 5 W", do: tabs},
		{kind: kindEscape, keys: "= >", name: "keypad", permit: always, reason: "changes what keys send, to the program", back: "ESC >", do: keypad},
		{kind: kindEscape, keys: "n o", name: "locking shifts", permit: always, reason: harmless, back: "SI", do: lockingShift},
		{kind: kindEscape, keys: "(B (0 (A )B )0 )A *B *0 *A +B +0 +A", name: "character sets: ASCII, line drawing, UK", permit: always, reason: harmless, back: "ESC ( B …", do: charset},
		{kind: kindEscape, keys: "c", name: "full reset", permit: judged, reason: "it would reset what is the person's too. Becomes: give back, soft reset, erase the screen", do: fullReset},
		{kind: kindEscape, keys: "SPF SPG %G %@ ~ } |", name: "8-bit controls, other encodings", permit: never, reason: "the same bytes would mean something else from there on"},
		{kind: kindEscape, keys: "Z l m", name: "identify (old), memory lock", permit: never, reason: "nothing needs them"},

		{kind: kindCSI, keys: "A B C D E F G H I Z ` a d e f", name: "cursor movement", permit: always, reason: harmless},
		{kind: kindCSI, keys: "@ K L M P S T X b ?J ?K SP@ SPA '} '~", name: "insert, delete, erase, scroll, repeat", permit: always, reason: harmless},
		{kind: kindCSI, keys: "J", name: "erase in display", permit: judged, reason: "with 3 the scrollback goes too: not with KeepScrollback", do: erase},
		{kind: kindCSI, keys: "$r $t $v $x $z ${", name: "rectangles", permit: always, reason: harmless},
		{kind: kindCSI, keys: "*x", name: "extent of rectangles", permit: always, reason: harmless, back: "CSI 0 * x", do: rectangles},
		{kind: kindCSI, keys: "\"q", name: "protected characters", permit: always, reason: harmless, back: "CSI 0 \" q", do: protection},
		{kind: kindCSI, keys: "m", name: "style and colours (SGR)", permit: always, reason: harmless, back: "CSI m", do: style},
		{kind: kindCSI, keys: "r", name: "scroll region", permit: always, reason: harmless, back: "CSI r", do: region},
		{kind: kindCSI, keys: "s u", name: "save (or margins, with mode 69), restore cursor", permit: always, reason: harmless, do: saveCursor},
		{kind: kindCSI, keys: "g ?W", name: "tab stops", permit: always, reason: harmless, back: "CSI ? 5 W", do: tabs},
		{kind: kindCSI, keys: "!p", name: "soft reset", permit: always, reason: "resets only what a program sets"},
		{kind: kindCSI, keys: "SPq", name: "cursor shape", permit: always, reason: harmless, back: "CSI 0 SP q", do: cursorShape},
		{kind: kindCSI, keys: ">u <u =u", name: "kitty's keyboard modes", permit: judged, reason: "changes what keys send, to the program. Never pops what it did not push; at most 5 deep", back: "CSI < n u, on both screens", do: keyboard},
		{kind: kindCSI, keys: ">m", name: "modifyOtherKeys (4)", permit: judged, reason: "changes what keys send, to the program. Other resources are the person's", back: "CSI > 4 m", do: otherKeys},
		{kind: kindCSI, keys: "t", name: "window: 22, 23 title stack", permit: judged, reason: "never pops what it did not push; at most 5 deep", back: "CSI 23 ; 0 t", do: window},
		{kind: kindCSI, keys: "t", name: "window: 14, 16, 18 sizes", permit: queries, reason: "exactly one terminal may answer", do: window},
		{kind: kindCSI, keys: "c >c =c", name: "device attributes", permit: queries, reason: "exactly one terminal may answer", do: oneOf(0, 0)},
		{kind: kindCSI, keys: "n", name: "status, cursor position (5, 6)", permit: queries, reason: "exactly one terminal may answer", do: oneOf(0, 5, 6)},
		{kind: kindCSI, keys: "?n", name: "cursor position, colour scheme (6, 996)", permit: queries, reason: "exactly one terminal may answer", do: oneOf(0, 6, 996)},
		{kind: kindCSI, keys: "$p ?$p ?u ?m >q", name: "modes, keyboard, version", permit: queries, reason: "exactly one terminal may answer"},
		{kind: kindCSI, keys: "?S", name: "size and colours of images", permit: images, reason: "of use with images only", do: imageQuery},

		{kind: kindCSI, keys: "t", name: "window: all others", permit: never, reason: "moves, resizes and hides the window; reports its title as typed text, which the program could have set"},
		{kind: kindCSI, keys: "*y", name: "checksum of a rectangle", permit: never, reason: "reads what is on the screen"},
		{kind: kindCSI, keys: "i ?i", name: "print", permit: never, reason: "prints on paper"},
		{kind: kindCSI, keys: "?r ?s", name: "save, restore modes", permit: never, reason: "nobody could say what a restored mode is"},
		{kind: kindCSI, keys: "\"p >T >t >p >s >n", name: "conformance level, format of titles, pointer, shift", permit: never, reason: "reconfigures the terminal"},
		{kind: kindCSI, keys: "$| *| $} $~", name: "columns, lines, status line", permit: never, reason: "reconfigures the terminal"},
		{kind: kindCSI, keys: "'z '{ '| 'w", name: "DEC locator", permit: never, reason: "an old mouse protocol that nothing uses"},
		{kind: kindCSI, keys: "x y q SPt SPu", name: "parameters, self-test, lamps, volumes", permit: never, reason: "nothing needs them"},
		{kind: kindCSI, keys: "#{ #} #p #q #P #Q #R", name: "stacks of styles and colours", permit: never, reason: "nobody could say what is restored"},
	}
}

// modeRules are the rows for modes.
func modeRules() []rule {
	const drawing, typing = "changes how text is drawn", "changes what the terminal sends, to the program"
	return []rule{
		{kind: kindMode, keys: "2026", name: "synchronized output", permit: always, reason: drawing, first: true},
		{kind: kindMode, keys: "6", name: "origin", permit: always, reason: drawing, back: "CSI ? 6 l"},
		{kind: kindMode, keys: "69", name: "left and right margins", permit: always, reason: drawing, first: true},
		{kind: kindMode, keys: "5", name: "reverse video", permit: always, reason: drawing},
		{kind: kindMode, keys: "7", name: "automatic wrap", permit: always, reason: drawing, initially: true},
		{kind: kindMode, keys: "45", name: "reverse wrap", permit: always, reason: drawing},
		{kind: kindMode, keys: "2027", name: "grapheme clusters", permit: always, reason: drawing},
		{kind: kindMode, keys: "25", name: "cursor shown", permit: always, reason: drawing, initially: true},
		{kind: kindMode, keys: "12", name: "cursor blinks", permit: always, reason: drawing, back: "CSI 0 SP q"},
		{kind: kindMode, keys: "47 1047 1049", name: "alternate screen", permit: always, reason: drawing, back: "left, after its keyboard modes"},
		{kind: kindMode, keys: "1048", name: "save, restore cursor", permit: always, reason: drawing, back: "nothing stays"},
		{kind: kindMode, keys: "1", name: "cursor keys", permit: always, reason: typing},
		{kind: kindMode, keys: "66", name: "keypad", permit: always, reason: typing, back: "ESC >"},
		{kind: kindMode, keys: "9 1000 1001 1002 1003", name: "mouse", permit: always, reason: typing},
		{kind: kindMode, keys: "1005 1006 1015 1016", name: "mouse, encodings", permit: always, reason: typing},
		{kind: kindMode, keys: "1004", name: "focus", permit: always, reason: typing},
		{kind: kindMode, keys: "2004", name: "bracketed paste", permit: always, reason: typing},
		{kind: kindMode, keys: "2031 2048", name: "reports of colour scheme and size", permit: always, reason: typing},
		{kind: kindMode, keys: "80 1070 8452", name: "sixel", permit: images, reason: "of use with images only", initially: false},

		{kind: kindMode, keys: "2", name: "VT52", permit: never, reason: "the same bytes would mean something else from there on"},
		{kind: kindMode, keys: "3 40 95", name: "80 or 132 columns", permit: never, reason: "resizes the window, erases the screen"},
		{kind: kindMode, keys: "42", name: "national character sets", permit: never, reason: "the same bytes would mean something else from there on"},
		{kind: kindMode, keys: "8 67 1035 1036 1039 1050 1051 1052 1053 1060 1061", name: "keyboard", permit: never, reason: "settings of the person's keyboard, whose normal state is not known"},
		{kind: kindMode, keys: "1007", name: "wheel as cursor keys", permit: never, reason: "its normal state differs between terminals: it could not be given back"},
		{kind: kindMode, keys: "1010 1011 1042 1043 1046", name: "scrolling, urgency, no alternate screen", permit: never, reason: "settings of the person's terminal"},
		{kind: kindMode, keys: "9001 5522", name: "win32 input, clipboard", permit: never, reason: "keys in a form that moat does not read; reads the clipboard"},

		{kind: kindANSI, keys: "4 20", name: "insert, new line", permit: always, reason: drawing},
		{kind: kindANSI, keys: "2 12", name: "keyboard locked, local echo", permit: never, reason: "the person could not type, or would see what is typed twice"},
	}
}

// stringRules are the rows for OSC, DCS and the others.
func stringRules() []rule {
	const (
		one  = "exactly one terminal may answer"
		file = "reads or writes this machine's files"
	)
	return []rule{
		{kind: kindOSC, keys: "0 1 2", name: "title", permit: always, reason: "at most 256 characters, no controls, no bidirectional overrides", back: "CSI 23 ; 0 t: the person's was saved", do: title},
		{kind: kindOSC, keys: "8", name: "links", permit: judged, reason: "http, https and mailto, at most 2 kB; others become text", back: "OSC 8 ; ; ST", do: hyperlink},
		{kind: kindOSC, keys: "4", name: "palette", permit: colours, reason: "changes the colours of all of the window. Queries: with Queries", back: "OSC 104", do: palette},
		{kind: kindOSC, keys: "10 11 12", name: "colours of text, background, cursor", permit: colours, reason: "the same", back: "OSC 110, 111, 112", do: defaultColours},
		{kind: kindOSC, keys: "104 110 111 112", name: "reset colours", permit: colours, reason: "they may be the person's", do: resetColours},
		{kind: kindOSC, keys: "133", name: "prompt marks", permit: always, reason: "the terminal only notes the line", do: printableOnly},
		{kind: kindOSC, keys: "52", name: "clipboard", permit: clipboard, reason: "what is pasted next would be the program's. Reading is never allowed", do: setClipboard},
		{kind: kindOSC, keys: "9", name: "notification; progress (9 ; 4)", permit: notifications, reason: "looks as if the machine said it. Progress always passes", back: "OSC 9 ; 4 ; 0", do: notify},
		{kind: kindOSC, keys: "777 99", name: "notification", permit: notifications, reason: "looks as if the machine said it", do: notify},
		{kind: kindOSC, keys: "7 3008 633", name: "current folder, contexts, shell integration", permit: never, reason: "a path in the sandbox means another one here; a new tab would open there"},
		{kind: kindOSC, keys: "1337 5113", name: "iTerm2's commands, kitty's file transfer", permit: never, reason: file},
		{kind: kindOSC, keys: "5 13 14 15 16 17 18 19 21 22 50 105", name: "other colours, pointer, font", permit: never, reason: "reconfigures the terminal"},
		{kind: kindOSC, keys: "3 46 51 60 61 66 5522 30001 30101", name: "window properties, log file, features, clipboard", permit: never, reason: "reconfigures the terminal, " + file},

		{kind: kindDCS, keys: "$q", name: "setting (DECRQSS)", permit: queries, reason: one + "; only settings that exist, as some terminals repeat others", do: settingQuery},
		{kind: kindDCS, keys: "+q", name: "capability (XTGETTCAP)", permit: queries, reason: one, do: capabilityQuery},
		{kind: kindDCS, keys: "q", name: "sixel", permit: images, reason: "at most 8 MB, no large numbers"},
		{kind: kindDCS, keys: "|", name: "user-defined keys", permit: never, reason: "a key would type what the program wants"},
		{kind: kindDCS, keys: "+p $t {", name: "capabilities, presentation state, fonts", permit: never, reason: "reconfigures the terminal"},
		{kind: kindDCS, keys: "tmux;", name: "tmux's and screen's pass-through", permit: never, reason: "what is inside is judged like all else"},

		{kind: kindString, keys: "APC-G", name: "kitty graphics", permit: images, reason: "only images that are sent inline (t=d), at most 8 MB"},
		{kind: kindString, keys: "others ESC-k", name: "no known use, screen's title", permit: never, reason: "nothing needs them"},
	}
}
