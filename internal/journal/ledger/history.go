package ledger

import (
	"errors"
	"io/fs"
	"os"
	"slices"

	"moat/internal/audit"
)

// History is what the machine's record says about runs.
type History struct {
	Report
	runs map[string]*entered
	torn bool // it ends within an entry
}

// entered is what was entered of a run.
type entered struct {
	roots     []rootAt // all of them
	note      string   // the newest checkpoint, signed
	destroyed bool
}

// rootAt is what matters of a checkpoint.
type rootAt struct {
	size int64
	root audit.Hash
}

// VerifyMachine verifies the machine's record. claims are checkpoints of it that are known from elsewhere. Where there is no
// record, and no key that could have signed one, that is no problem. The error is one of reading.
func (m *Machine) VerifyMachine(keys Keys, claims []Claim) (h *History, err error) {
	for range tornTries {
		h, err = m.verifyOnce(keys, slices.Clone(claims))
		if err != nil || !h.torn {
			break
		}
	}
	return h, err
}

// tornTries is how often a record that ends within an entry is read: a write may have been under way.
const tornTries = 3

func (m *Machine) verifyOnce(keys Keys, claims []Claim) (*History, error) {
	h := &historian{runs: make(map[string]*entered), all: keys}
	root, err := os.OpenRoot(m.home)
	if errors.Is(err, fs.ErrNotExist) {
		return h.history(), nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	h.checker = checker{claims: claims, settle: true, keys: func() []audit.Key { return h.allowed }, lazy: true, each: h.look}
	r, err := OpenReader(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if len(keys.Own) > 0 || len(claims) > 0 {
			h.problem(0, "", "%s is missing", LogName)
		}
		return h.history(), nil
	case err != nil:
		return nil, err
	}
	defer r.Close()
	if err := h.verify(r.file); err != nil {
		return nil, err
	}
	h.finish()
	return h.history(), nil
}

// historian verifies the machine's record.
type historian struct {
	checker
	runs    map[string]*entered
	all     Keys
	allowed []audit.Key // those that the record has named so far
}

func (h *historian) history() *History { return &History{h.Report, h.runs, h.torn} }

func (h *historian) look(e *audit.Entry) {
	switch e.Kind {
	case kindKey:
		key, err := audit.ParseKey(e.Text("key"))
		switch {
		case err != nil || !h.all.Owns(key):
			h.problem(e.Seq, e.Kind, "it names a key that %s does not know: %s", keysFile, e.Text("key"))
			return
		case len(h.allowed) > 0 && e.Text("by") == "":
			h.remark("there is a new key that the one before it has not signed (entry %d): the old one was lost", e.Seq)
		}
		h.allowed = append(h.allowed, key)
	case kindRun:
		c, err := audit.TextOf([]byte(e.Text("checkpoint")))
		if err != nil || audit.RunOf(c.Origin) != e.Text("run") {
			h.problem(e.Seq, e.Kind, "it has no checkpoint of %s", e.Text("run"))
			return
		}
		r := h.run(e.Text("run"))
		r.roots = append(r.roots, rootAt{c.Size, c.Root})
		r.note = e.Text("checkpoint")
	case kindDestroyed:
		h.run(e.Text("run")).destroyed = true
	case "cut":
		h.Gaps = append(h.Gaps, Problem{e.Seq, e.Kind, "bytes that were no whole entries were moved to " + cutName(e.Seq)})
	}
}

func (h *historian) run(id string) *entered {
	r, ok := h.runs[id]
	if !ok {
		r = &entered{}
		h.runs[id] = r
	}
	return r
}

func (h *historian) finish() {
	if len(h.Problems) > 0 {
		return
	}
	h.newest()
	for _, key := range h.all.Own {
		if !slices.ContainsFunc(h.allowed, key.Equal) {
			h.problem(0, "", "%s has a key of this machine that its record does not know: %s", keysFile, key)
		}
	}
	switch unsigned := h.Entries - h.Signed; {
	case unsigned == 0:
	case h.kind == kindDestroyed:
		h.remark("the last %d entries are not signed: there was no key", unsigned)
	case h.killed: // between an entry and its checkpoint
		h.remark("the last %d entries are not signed: their writer was killed", unsigned)
	default:
		h.problem(h.Signed+1, "", "the last %d entries are not signed: a checkpoint was removed", unsigned)
	}
}

// Claims are the checkpoints of a run that the machine's record has. An error says that the newest is none.
func (h *History) Claims(run string, keys Keys) ([]Claim, error) {
	r, ok := h.runs[run]
	if !ok || r.note == "" {
		return nil, nil
	}
	signed, err := audit.Open([]byte(r.note), keys.Own)
	if err != nil {
		return nil, err
	}
	var claims []Claim
	for _, at := range r.roots {
		c := audit.Checkpoint{Origin: signed.Origin, Size: at.size, Root: at.root}
		claims = append(claims, Claim{Checkpoint: c, Source: "the record of the machine knows"})
	}
	return claims, nil
}

// Known is how many entries the newest checkpoint of a run is about.
func (h *History) Known(run string) int64 {
	if r := h.runs[run]; r != nil && len(r.roots) > 0 {
		return r.roots[len(r.roots)-1].size
	}
	return 0
}

// Missing are the runs that the machine's record knows, that are not among those that are there, and that nobody has destroyed.
func (h *History) Missing(there []string) []string {
	var missing []string
	for id, r := range h.runs {
		if !r.destroyed && !slices.Contains(there, id) {
			missing = append(missing, id)
		}
	}
	slices.Sort(missing)
	return missing
}

// Destroyed reports whether a person removed a run with moat.
func (h *History) Destroyed(run string) bool { return h.runs[run] != nil && h.runs[run].destroyed }

// Knows reports whether a run was ever entered.
func (h *History) Knows(run string) bool { return h.runs[run] != nil }
