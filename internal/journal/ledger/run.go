package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"moat/internal/audit"
)

// Subject is a run whose record is verified.
type Subject struct {
	Dir    *os.Root // its folder
	Run    string   // its id
	Keys   Keys
	Claims []Claim // checkpoints of it that are known from elsewhere
	Known  int64   // entries of the newest checkpoint that the machine's record has; 0: it has none
	Held   bool    // somebody looks after the run: the record may be in the middle of a change
	State  State
}

// State is what the run's own record, run.json, says.
type State struct {
	Unknown  error // it cannot be read, and why
	Name     string
	Created  time.Time
	Final    bool
	Cleanup  bool // what was set up has not been taken down yet
	State    string
	ExitCode *int
	Signal   int
	Reason   string
	Started  *time.Time
	Ended    *time.Time
	Plan     string // SHA-256 of the plan
}

// VerifyRun verifies a run's record, and what it is about: the recorded output and network traffic, and run.json. The
// error is one of reading.
func VerifyRun(s Subject) (*Report, error) {
	c := &runChecker{subject: s}
	c.run, c.claims, c.settle = s.Run, s.Claims, !s.Held && s.State.Final && !s.State.Cleanup
	c.keys = func() []audit.Key { return s.Keys.Own }
	c.each = c.look
	r, err := OpenReader(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		c.problem(0, "", "the run has no audit record")
		return &c.Report, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	c.traffic, c.output = newTraffic(s.Dir, &c.Report), newOutput(s.Dir, &c.Report)
	defer c.traffic.close()
	defer c.output.close()
	if err := c.verify(r.file); err != nil {
		return nil, err
	}
	if len(c.Problems) == 0 {
		c.finish()
	}
	return &c.Report, errors.Join(c.traffic.err, c.output.err)
}

// runChecker verifies a run's record.
type runChecker struct {
	checker
	subject Subject
	traffic *traffic
	output  *output
	plan    string // as the record has it
	name    string // as the record has it
	created string // and when the run was made; empty if it does not say
}

// look takes in what an entry says.
func (c *runChecker) look(e *audit.Entry) {
	if c.Closed && e.Kind != "supervisor" && e.Kind != "gap" {
		c.Closed = false // a successor went on
	}
	switch e.Kind {
	case "created":
		if e.Seq != 1 || e.Text("run") != c.run {
			c.problem(e.Seq, e.Kind, "it is that of %s", e.Text("run"))
		}
		c.plan, c.name, c.created = e.Text("plan"), e.Text("name"), e.Text("created_at")
	case "supervisor", "policy":
		c.plan = e.Text("plan")
	case "network":
		c.traffic.entry(e)
	case "output":
		c.output.entry(e)
	case "gap":
		c.gap(e)
	case "cut":
		c.cut(e)
	case "ended":
		kept := *e
		kept.Fields = append([]audit.Field(nil), e.Fields...)
		c.Ended = &kept
	case "closed":
		c.Closed = true
		c.traffic.closed, c.output.closed = e.Number("lines"), [2]int64{e.Number("output"), e.Number("index")}
	}
}

func (c *runChecker) gap(e *audit.Entry) {
	c.Gaps = append(c.Gaps, Problem{e.Seq, e.Kind, GapText(e)})
	if what := e.Text("what"); what != "network" && what != "output" {
		return
	}
	if restart, _ := e.Get("restart"); restart.Num == 0 {
		c.problem(e.Seq, e.Kind, "records were removed while nobody looked after the run: %s", GapText(e))
		return
	}
	if e.Text("what") == "network" {
		c.traffic.lost(e.Number("lines"))
	} else {
		c.output.lost(e.Number("from"), e.Number("first"))
	}
}

// GapText says what is missing.
func GapText(e *audit.Entry) string {
	why := e.Text("why")
	switch e.Text("what") {
	case "supervisor":
		return fmt.Sprintf("nobody looked after the run from %s to %s: %s", e.Text("from"), e.Text("to"), why)
	case "network":
		return fmt.Sprintf("%d network records are missing: %s", e.Number("lost"), why)
	case "output":
		return fmt.Sprintf("%d bytes of output are missing: %s", e.Number("lost"), why)
	case "input":
		return fmt.Sprintf("digests of %d bytes of input are missing: %s", e.Number("lost"), why)
	case "audit":
		return fmt.Sprintf("%d events are missing: %s", e.Number("entries"), why)
	}
	return why
}

// cut checks the file to which the end of the record was moved.
func (c *runChecker) cut(e *audit.Entry) {
	c.Gaps = append(c.Gaps, Problem{e.Seq, e.Kind, fmt.Sprintf("%d bytes that were no whole entries were moved to %s", e.Number("bytes"), cutName(e.Seq))})
	f, err := c.subject.Dir.OpenFile(cutName(e.Seq), os.O_RDONLY|openNoFollow, 0)
	if err != nil {
		c.problem(e.Seq, e.Kind, "%s is missing", cutName(e.Seq))
		return
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil || n != e.Number("bytes") || hex.EncodeToString(sum.Sum(nil)) != e.Text("sha256") {
		c.problem(e.Seq, e.Kind, "%s is not what was moved there", cutName(e.Seq))
	}
}

// finish judges what the record as a whole says.
func (c *runChecker) finish() {
	s := c.subject.State
	if c.Entries == 0 && !c.subject.Held {
		c.problem(0, "", "the record is empty")
		return
	}
	c.traffic.finish(c.Closed, c.subject.Held)
	c.output.finish(c.Closed, c.subject.Held)
	switch unsigned := c.Entries - c.Signed; {
	case unsigned == 0 || c.subject.Held:
	case c.Closed && s.Final && c.Signed > 0:
		c.problem(c.Signed+1, "", "the last %d entries are not signed: a checkpoint was removed", unsigned)
	default:
		c.remark("the last %d entries are not signed", unsigned)
	}
	// All but the end is entered in the machine's record before the record is closed.
	if c.Closed && c.Signed == c.Entries && c.subject.Known < c.Entries-1 && !c.subject.Held {
		c.problem(0, "", "the record of the machine knows %d of %d entries: it was cut off or put back", c.subject.Known, c.Entries)
	}
	c.compare(s)
}

// compare compares what run.json says with the record.
func (c *runChecker) compare(s State) {
	switch {
	case s.Unknown != nil:
		c.problem(0, "", "run.json: %v", s.Unknown)
		return
	case c.Entries > 0 && c.name != s.Name || c.created != "" && c.created != audit.Moment("", s.Created).Text:
		c.problem(0, "", "run.json has another name or beginning than the record")
	case c.plan != s.Plan && !c.subject.Held:
		c.problem(0, "", "run.json has another plan than the record")
	case s.Final && c.Ended == nil && !c.subject.Held && !s.Cleanup:
		c.problem(0, "", "run.json says that the run is %s, and the record has no end", s.State)
	case !s.Final && c.Ended != nil && !c.subject.Held:
		c.problem(c.Ended.Seq, c.Ended.Kind, "run.json says that the run is %s, and the record that it is %s", s.State, c.Ended.Text("state"))
	}
	if s.Final && c.Ended == nil && s.Cleanup && !c.subject.Held {
		c.remark("the end of the run was not entered yet: its supervisor was killed")
	}
	if s.Final && c.Ended != nil && !s.matches(c.Ended) {
		c.problem(c.Ended.Seq, c.Ended.Kind, "run.json has another end than the record, which says: %s", endText(c.Ended))
	}
	if s.Final && c.Ended != nil && !c.Closed && !c.subject.Held {
		c.remark("the record was not closed: its supervisor was killed")
	}
}

// RunEnded is the reason of a client's leaving that is not its own.
const RunEnded = "the run ended"

// EndFields are the fields of the entry that says how a run ended.
func EndFields(s State) []audit.Field {
	fields := []audit.Field{audit.Text("state", s.State)}
	if s.ExitCode != nil {
		fields = append(fields, audit.Number("exit_code", *s.ExitCode))
	}
	if s.Signal != 0 {
		fields = append(fields, audit.Number("signal", s.Signal))
	}
	if s.Reason != "" {
		fields = append(fields, audit.Text("reason", s.Reason))
	}
	if s.Started != nil {
		fields = append(fields, audit.Moment("started_at", *s.Started))
	}
	if s.Ended != nil {
		fields = append(fields, audit.Moment("ended_at", *s.Ended))
	}
	return fields
}

// matches reports whether an entry says the same.
func (s State) matches(e *audit.Entry) bool {
	want := audit.Entry{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Fields: EndFields(s)}
	if f, ok := e.Get("signed"); ok {
		want.Fields = append(want.Fields, f)
	}
	return string(want.Append(nil)) == string(e.Append(nil))
}

func endText(e *audit.Entry) string {
	text := e.Text("state")
	if code := e.Number("exit_code"); code >= 0 {
		text += fmt.Sprintf(" with code %d", code)
	}
	if reason := e.Text("reason"); reason != "" {
		text += ": " + reason
	}
	return text
}
