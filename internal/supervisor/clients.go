package supervisor

import (
	"os"
	"slices"
	"sync"
	"time"

	"moat/internal/api"
	"moat/internal/audit"
)

// client is one attached client, as the rest of the supervisor sees it.
type client struct {
	source   uint64 // of its input, 0 if it sends none
	terminal bool   // it types on a terminal that shows the run's: it has a say in the size, and may lead

	*api.Stream
}

// stallTime is how long a terminal may take nothing before it is let go. Its client comes back as soon as it can, and
// is shown a repaint; one that is gone for good should not be counted among those who watch.
const stallTime = 30 * time.Second

// clients are those attached to the run's command.
type clients struct {
	mu  sync.Mutex
	all map[*client]*mailbox
}

// mailbox holds what a client should hear besides output. It is bounded by what it can hold: the newest progress of
// its input, whether it leads, and the newest few notices.
type mailbox struct {
	inputDone *uint64
	lead      *bool
	keyboard  func() *os.File // a copy of the command's terminal, to be given to the client; nil if there is none any more
	notices   []string
	news      chan struct{} // holds a token when there is something
}

const maxNotices = 8

// add registers a client; remove ends that.
func (cs *clients) add(c *client) *mailbox {
	m := &mailbox{news: make(chan struct{}, 1)}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.all == nil {
		cs.all = make(map[*client]*mailbox)
	}
	cs.all[c] = m
	return m
}

func (cs *clients) remove(c *client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.all, c)
}

func (cs *clients) count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.all)
}

// warn tells all clients something, and enters it in the audit record. It never blocks.
func (s *supervisor) warn(text string) {
	s.audit.event("warning", audit.Text("text", text))
	s.clients.notice(text)
}

// notice tells all clients something. It never blocks.
func (cs *clients) notice(text string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, m := range cs.all {
		if len(m.notices) == maxNotices {
			m.notices = m.notices[1:]
		}
		m.notices = append(m.notices, text)
		m.knock()
	}
}

// inputDone tells the client with that source how much of its input was taken. It never blocks.
func (cs *clients) inputDone(source, offset uint64) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c, m := range cs.all {
		if c.source == source {
			m.inputDone = &offset
			m.knock()
		}
	}
}

// lead tells every terminal whether it is the leader. It never blocks.
func (cs *clients) lead(leader *client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c, m := range cs.all {
		if !c.terminal {
			continue
		}
		on := c == leader
		m.lead = &on
		m.knock()
	}
}

// keyboard gives the terminal that open opens to clients that type on one: to the given ones, or to all. It never blocks.
func (cs *clients) keyboard(open func() *os.File, to ...*client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c, m := range cs.all {
		if c.terminal && (len(to) == 0 || slices.Contains(to, c)) {
			m.keyboard = open
			m.knock()
		}
	}
}

func (m *mailbox) knock() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// deliver sends a client what is in its mailbox.
func (cs *clients) deliver(c *client, m *mailbox) error {
	cs.mu.Lock()
	done, lead, keyboard, notices := m.inputDone, m.lead, m.keyboard, m.notices
	m.inputDone, m.lead, m.keyboard, m.notices = nil, nil, nil, nil
	cs.mu.Unlock()
	if done != nil {
		c.Put(api.KindInputDone, api.AppendInputDone(nil, *done))
	}
	if lead != nil {
		c.Put(api.KindLead, api.Encode(api.Lead{On: *lead}))
	}
	for _, text := range notices {
		c.Put(api.KindNotice, api.Encode(api.Notice{Text: text}))
	}
	if keyboard == nil {
		return c.Flush()
	}
	return giveKeyboard(c, keyboard())
}

// giveKeyboard passes the command's terminal on, if it is there.
func giveKeyboard(c *client, tty *os.File) error {
	if tty == nil {
		return c.Flush()
	}
	defer tty.Close()
	return c.SendFiles(api.KindKeyboard, nil, tty)
}
