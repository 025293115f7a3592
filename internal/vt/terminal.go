package vt

// Sizes that a Terminal accepts; others are clamped.
const (
	MaxCols = 2000
	MaxRows = 1000
)

// Defaults of Options.
const (
	DefaultScrollback      = 10_000
	DefaultScrollbackBytes = 12 << 20
)

// Options configure a Terminal. The zero value is useful.
type Options struct {
	// Scrollback is the most lines kept above the main screen: 0 means
	// DefaultScrollback, negative none.
	Scrollback int
	// ScrollbackBytes bounds the scrollback's memory: 0 means
	// DefaultScrollbackBytes.
	ScrollbackBytes int
	// Name answers XTVERSION; empty means "moat".
	Name string
	// Foreground, Background and CursorColor answer OSC 10, 11 and 12 until the
	// program sets its own: 0xrrggbb. All zero means light grey on black.
	Foreground, Background, CursorColor uint32
	// CellWidth and CellHeight are in pixels. When 0, questions about pixels
	// are not answered.
	CellWidth, CellHeight int
}

// Terminal is the state of a terminal that all output of a run feeds. It is
// not safe for concurrent use.
type Terminal struct {
	opts       Options
	cols, rows int

	main, alt screen
	cur       *screen // &main or &alt
	altMode   int     // the mode that switched to alt: 47, 1047 or 1049; 0 on main
	hist      history
	clusters  clusterTable
	exts      extTable

	x, y    int
	pending bool // the last column has been written: the next character wraps
	pen     cell // style of what is written next
	link    link // open hyperlink, also in pen.ext
	last    lastChar

	top, bottom, left, right int // margins, inclusive
	modes                    modeSet
	savedModes               modeSet
	mouse, savedMouse        int // 0, 9, 1000, 1001, 1002 or 1003
	mouseEnc, savedMouseEnc  int // 0, 1005, 1006, 1015 or 1016
	charsets                 charsets
	tabs                     []bool
	cursorStyle              int
	modifyKeys               [modifyKeyResources]int // XTMODKEYS; -1 unset
	penStack                 []cell                  // XTPUSHSGR

	title, icon string
	titleStack  []titlePair
	colors      colorSet

	parser  parser
	reply   []byte
	mute    bool
	events  []Event
	scratch []byte
}

// screen is one of the two screens and what each has for itself.
type screen struct {
	grid
	saved savedCursor
	kitty kittyStack
}

// savedCursor is what DECSC keeps.
type savedCursor struct {
	set      bool
	x, y     int
	pen      cell
	origin   bool
	charsets charsets
}

// lastChar is the character that was printed last, as long as nothing but
// printing happened since: REP repeats it, a combining mark joins it.
type lastChar struct {
	valid bool
	x, y  int
	cell  cell
}

// New returns a terminal of the given size, as after a reset.
func New(cols, rows int, opts Options) *Terminal {
	cols, rows = clampSize(cols, rows)
	t := &Terminal{opts: opts.withDefaults(), cols: cols, rows: rows}
	t.main.grid = newGrid(cols, rows)
	t.alt.grid = grid{cols: cols, rows: rows}
	t.hist.maxLines, t.hist.maxBytes = t.opts.Scrollback, t.opts.ScrollbackBytes
	t.cur = &t.main
	t.resetState()
	return t
}

func (o Options) withDefaults() Options {
	if o.Scrollback == 0 {
		o.Scrollback = DefaultScrollback
	}
	if o.ScrollbackBytes <= 0 {
		o.ScrollbackBytes = DefaultScrollbackBytes
	}
	if o.Name == "" {
		o.Name = "moat"
	}
	if o.Foreground|o.Background|o.CursorColor == 0 {
		o.Foreground, o.CursorColor = 0xe5e5e5, 0xe5e5e5
	}
	return o
}

func clampSize(cols, rows int) (int, int) {
	return min(max(cols, 1), MaxCols), min(max(rows, 1), MaxRows)
}

// Size is the terminal's width and height.
func (t *Terminal) Size() (cols, rows int) { return t.cols, t.rows }

// reset is RIS: everything but the scrollback, the titles and the size.
func (t *Terminal) reset() {
	t.main.reset()
	t.hist.cut()
	t.alt.grid = grid{cols: t.cols, rows: t.rows}
	t.resetState()
}

func (t *Terminal) resetState() {
	t.cur, t.altMode = &t.main, 0
	t.main.saved, t.alt.saved = savedCursor{}, savedCursor{}
	t.main.kitty, t.alt.kitty = kittyStack{}, kittyStack{}
	t.moveTo(0, 0)
	t.pen, t.link, t.last = cell{}, link{}, lastChar{}
	t.penStack = nil
	t.resetMargins()
	t.modes, t.savedModes = defaultModes, defaultModes
	t.mouse, t.mouseEnc, t.savedMouse, t.savedMouseEnc = 0, 0, 0, 0
	t.charsets = newCharsets()
	t.tabs = make([]bool, t.cols)
	defaultTabs(t.tabs, 0)
	t.cursorStyle = 0
	t.modifyKeys = noModifyKeys()
	t.colors = colorSet{}
}

// softReset is DECSTR.
func (t *Terminal) softReset() {
	t.modes.set(modeCursor, true)
	t.modes.set(modeInsert|modeOrigin|modeCursorKeys|modeKeypad|modeReverseWrap|modeKeyboardLock, false)
	t.modes.set(modeAutowrap, true)
	t.resetMargins()
	t.charsets = newCharsets()
	t.pen, t.link = cell{}, link{}
	t.cur.saved = savedCursor{}
	t.cursorStyle = 0
}

func (t *Terminal) resetMargins() {
	t.top, t.bottom, t.left, t.right = 0, t.rows-1, 0, t.cols-1
}

// useAlt switches to the alternate screen.
func (t *Terminal) useAlt(mode int) {
	if t.alt.ring == nil {
		t.alt.grid = newGrid(t.cols, t.rows)
	}
	t.cur, t.altMode = &t.alt, mode
}

func (t *Terminal) useMain() {
	t.cur, t.altMode = &t.main, 0
	t.alt.reset()
}

// AltScreen reports whether the alternate screen is shown.
func (t *Terminal) AltScreen() bool { return t.cur == &t.alt }

// Cursor is the cursor's column and row from 0, and whether it is shown.
func (t *Terminal) Cursor() (x, y int, visible bool) {
	return t.x, t.y, t.modes.has(modeCursor)
}

// Title is the window title that the program set, or empty.
func (t *Terminal) Title() string { return t.title }

// saveCursor is DECSC. Unlike xterm, but like tmux and xterm.js, it forgets a
// pending wrap.
func (t *Terminal) saveCursor() {
	t.cur.saved = savedCursor{
		set: true, x: t.x, y: t.y, pen: t.pen,
		origin: t.modes.has(modeOrigin), charsets: t.charsets,
	}
	t.cur.saved.pen.ext = t.internExt(ext{underline: t.exts.get(t.pen.ext).underline})
}

// restoreCursor is DECRC; without a saved cursor it goes home.
func (t *Terminal) restoreCursor() {
	s := t.cur.saved
	if !s.set {
		s.charsets = newCharsets()
	}
	t.moveTo(s.x, s.y)
	t.pen = s.pen
	t.pen.ext = t.internExt(ext{underline: t.exts.get(s.pen.ext).underline, link: t.link})
	t.modes.set(modeOrigin, s.origin)
	t.charsets = s.charsets
}
