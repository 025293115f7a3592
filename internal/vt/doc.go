// Package vt is the screen model: the state of a terminal that all output of a run feeds, whether somebody watches or not.
//
// It promises that one [Terminal.Snapshot] brings a freshly reset terminal of the same size into the same state: both
// screens with wrapped lines as wrapped lines, scrollback, cursors, pens, modes, margins, tab stops, character sets,
// keyboard flags, titles, colours. It promises that [Terminal.Write] never fails, and that hostile output costs memory
// within fixed bounds and time in proportion to its length and the size of the screen. It leaves to others who is
// attached, how large the terminal is, when to ask and what to record (package session), and what of the program's
// output a person's terminal should see at all (package term).
//
// A Terminal has no goroutine and no lock: its owner serialises all calls. What it has to say is drained by the owner:
// answers for the program ([Terminal.TakeReplies], switched by [Terminal.SetAnswering]) and what may interest a person
// ([Terminal.TakeEvents]).
//
// # Cutting output anywhere
//
// A snapshot says everything when the parser is between two sequences and two characters ([Terminal.Ground]). In the
// middle of one, send [Terminal.Pending] after the snapshot: it is the beginning of what is unfinished, without the
// controls inside it that were executed already. Then
//
//	Snapshot + Pending + everything written later
//
// is one valid stream at any byte. Of a string longer than 64 KB only a beginning that swallows its rest is pending. A
// program may go on with a combining mark or REP after a character: if its last act was to print, a snapshot's is too.
//
// # What is understood
//
//	C0      BEL BS HT LF VT FF CR SO SI; CAN and SUB cut a sequence; others are ignored
//	C1      as UTF-8 encoded U+0080-U+009F, like xterm in UTF-8 mode; raw bytes 0x80-0x9f are malformed UTF-8
//	ESC     DECSC DECRC IND NEL HTS RI SS2 SS3 LS2 LS3 SPA EPA DECID RIS DECBI DECFI DECKPAM DECKPNM,
//	        SCS for G0-G3 (ASCII, DEC graphics, UK), DECALN, DECDHL DECSWL DECDWL (kept, not drawn)
//	CSI     CUU CUD CUF CUB CNL CPL CHA CUP HVP HPA HPR VPA VPR HPB VPB CHT CBT TBC DECST8C,
//	        ICH DCH ECH IL DL ED EL (also 3: scrollback) SU SD REP SL SR DECIC DECDC,
//	        DECSCA DECSED DECSEL, DECFRA DECERA DECSERA DECCRA DECCARA DECRARA,
//	        DECSTBM DECSLRM SCOSC SCORC DECSTR DECSCUSR, XTPUSHSGR XTPOPSGR XTMODKEYS,
//	        SM RM 2 4 12 20; DECSET DECRST XTSAVE XTRESTORE 1 3 5-9 12 25 40 45 47 66 67 69 1000-1007 1015 1016
//	        1034-1036 1039 1042 1045 1047-1049 2004 2026 2027 2031 2048; kitty keyboard < = > ? u
//	SGR     0-9 21-29 30-49 53 55 58 59 90-107, 4:0-5, 38/48/58 with ; and : for 5 and 2
//	OSC     0 1 2 4 8 9 10-19 99 104 110-119 777
//	asked   DA1 DA2 DA3 DSR CPR DECXCPR DECRQM DECRQSS DECREQTPARM DECRQPSR DECRQUPSS XTVERSION XTGETTCAP XTQMODKEYS
//	        XTSMGRAPHICS (refused), XTWINOPS 11 13 14 16 18 19 20 21 (empty titles) 22 23, OSC 4 10-19, kitty ? u
//
// Everything else is parsed and has no effect: images, clipboard (OSC 52), window operations, printing, VT52.
//
// # Deliberate differences
//
// The tests compare this package with tmux and with xterm.js; testdata/cases.txt says in each case where those two
// differ whom we follow. Where they agree against xterm, programs see what they see almost everywhere, so we agree too:
// malformed UTF-8 prints nothing, DECSC forgets a pending wrap, EL and ED at a pending wrap spare the last column,
// modes 47 and 1047 enter a clear screen, and REP repeats once. Where they lack what xterm's ctlseqs document
// (margins, rectangles, single shifts, C1 …), ctlseqs decides.
//
// One code point has the width that wcwidth gives it, whatever stands beside it, unless the program sets mode 2027: then
// a grapheme cluster has the width of the whole. Terminals disagree about emoji and clusters, so after each of them a
// snapshot says in which column it goes on.
//
// Resizing wraps the main screen's lines anew and follows the cursor; rows below the cursor go before rows above it.
// The scrollback is kept packed and independent of the width, so its lines are wrapped when they are shown.
//
// Not in a snapshot: what XTSAVE saved of mode 1048, a window's size, and on a screen of one row the exact cells of a
// wrapped line that can no longer be reached.
package vt
