package vt

// Limits of the tables that hostile output could otherwise grow.
const (
	maxClusters       = 1 << 15
	maxClusterBytes   = 4 << 20
	maxClusterRunes   = 64
	maxExts           = 1<<16 - 1
	maxLinkBytes      = 2 << 20
	maxLinkLen        = 4096
	collectRetryEvery = 4096 // refusals between two collections of a full table
)

// clusterTable interns text of more than one code point.
type clusterTable struct {
	text    []string
	index   map[string]uint32
	bytes   int
	refused int
}

func (c *clusterTable) full() bool {
	return len(c.index) >= maxClusters || c.bytes >= maxClusterBytes
}

// add interns s, without a limit: whoever calls it has asked full.
func (c *clusterTable) add(s string) uint32 {
	if i, ok := c.index[s]; ok {
		return i | clusterBit
	}
	if c.index == nil {
		c.index = make(map[string]uint32)
	}
	i := uint32(len(c.text))
	c.text = append(c.text, s)
	c.index[s] = i
	c.bytes += len(s)
	return i | clusterBit
}

// link is an OSC 8 hyperlink.
type link struct{ id, uri string }

// ext is what few cells have: an underline colour, a hyperlink.
type ext struct {
	underline color
	link      link
}

// extTable interns exts; entry 0 is the empty one.
type extTable struct {
	list    []ext
	free    []uint16
	index   map[ext]uint16
	bytes   int
	refused int
}

func (e *extTable) get(i uint16) ext {
	if int(i) >= len(e.list) {
		return ext{}
	}
	return e.list[i]
}

func (x ext) size() int { return len(x.link.id) + len(x.link.uri) }

// full reports whether an entry of n more bytes has no room.
func (e *extTable) full(n int) bool {
	return e.bytes+n > maxLinkBytes || len(e.free) == 0 && len(e.list) >= maxExts
}

func (e *extTable) add(x ext) uint16 {
	if e.index == nil {
		e.index = map[ext]uint16{{}: 0}
		e.list = []ext{{}}
	}
	if i, ok := e.index[x]; ok {
		return i
	}
	var i uint16
	if n := len(e.free); n > 0 {
		i, e.free = e.free[n-1], e.free[:n-1]
		e.list[i] = x
	} else {
		i = uint16(len(e.list))
		e.list = append(e.list, x)
	}
	e.index[x] = i
	e.bytes += x.size()
	return i
}

// keep drops every entry that is not marked.
func (e *extTable) keep(marked []bool) {
	e.free = e.free[:0]
	for i := 1; i < len(e.list); i++ {
		if !marked[i] {
			if x := e.list[i]; x != (ext{}) {
				delete(e.index, x)
				e.bytes -= x.size()
			}
			e.list[i] = ext{}
			e.free = append(e.free, uint16(i))
		}
	}
}

// intern returns the cell value for a cluster, or false when the table is
// full of clusters that are on screen.
func (t *Terminal) intern(s string) (uint32, bool) {
	c := &t.clusters
	if i, ok := c.index[s]; ok {
		return i | clusterBit, true
	}
	if c.full() {
		if c.refused%collectRetryEvery == 0 {
			t.collectClusters()
		}
		if c.full() {
			c.refused++
			return 0, false
		}
		c.refused = 0
	}
	return c.add(s), true
}

// eachCell calls f for every cell that is not in the scrollback.
func (t *Terminal) eachCell(f func(*cell)) {
	for _, s := range []*screen{&t.main, &t.alt} {
		for i := range s.ring {
			r := &s.ring[i]
			for x := range r.cells[:r.used] {
				f(&r.cells[x])
			}
		}
		f(&s.saved.pen)
	}
	f(&t.pen)
	f(&t.last.cell)
	for i := range t.penStack {
		f(&t.penStack[i])
	}
}

// collectClusters rebuilds the cluster table from what is on screen. The
// scrollback holds its clusters as text.
func (t *Terminal) collectClusters() {
	old := t.clusters
	t.clusters = clusterTable{}
	t.eachCell(func(c *cell) {
		if c.ch&clusterBit != 0 {
			c.ch = t.clusters.add(old.text[c.ch&^clusterBit])
		}
	})
}

// internExt returns the index of x, or 0 when no room can be made for it.
func (t *Terminal) internExt(x ext) uint16 {
	e := &t.exts
	if x == (ext{}) {
		return 0
	}
	if i, ok := e.index[x]; ok {
		return i
	}
	if e.full(x.size()) {
		if e.refused%collectRetryEvery == 0 {
			t.collectExts()
		}
		if e.full(x.size()) {
			e.refused++
			return 0
		}
		e.refused = 0
	}
	return e.add(x)
}

func (t *Terminal) collectExts() {
	marked := make([]bool, maxExts+1)
	t.eachCell(func(c *cell) { marked[c.ext] = true })
	t.hist.markExts(marked)
	t.exts.keep(marked)
}

// appendText appends the text of c; a blank is a space.
func (t *Terminal) appendText(dst []byte, c cell) []byte {
	return t.clusters.appendText(dst, c.ch)
}
