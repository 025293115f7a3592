package names

import (
	"errors"

	"golang.org/x/net/dns/dnsmessage"
)

// Sizes of messages (RFC 1035 section 4.2.1, RFC 6891 section 6.2.5).
const (
	minUDP   = 512
	maxUDP   = 1232 // what crosses every network without fragments; what is larger is asked again over TCP
	maxQuery = 4096 // longer questions are nobody's
	badVers  = dnsmessage.RCode(16)
)

// query is a question that was understood.
type query struct {
	header   dnsmessage.Header
	question dnsmessage.Question
	edns     bool
	udpSize  int // what the client can take over UDP
}

// errNoAnswer says that a message must not be answered at all.
var errNoAnswer = errors.New("the message is not a question")

// parseQuery reads a question. Where it returns a code other than success, that is the answer, and of the query only
// the header and what else was understood are set. Answers to answers would go back and forth for ever: those are
// errNoAnswer, and so is what has no header.
func parseQuery(msg []byte) (query, dnsmessage.RCode, error) {
	q := query{udpSize: minUDP}
	var p dnsmessage.Parser
	var err error
	if q.header, err = p.Start(msg); err != nil || q.header.Response {
		return q, 0, errNoAnswer
	}
	switch {
	case q.header.OpCode != 0:
		return q, dnsmessage.RCodeNotImplemented, nil
	case len(msg) > maxQuery, q.header.Truncated:
		return q, dnsmessage.RCodeFormatError, nil
	}
	if q.question, err = p.Question(); err != nil {
		return q, dnsmessage.RCodeFormatError, nil
	}
	if _, err = p.Question(); !errors.Is(err, dnsmessage.ErrSectionDone) { // RFC 9619: there is exactly one
		return q, dnsmessage.RCodeFormatError, nil
	}
	if code := q.sections(&p); code != dnsmessage.RCodeSuccess {
		return q, code, nil
	}
	if q.question.Class != dnsmessage.ClassINET {
		return q, dnsmessage.RCodeRefused, nil
	}
	return q, dnsmessage.RCodeSuccess, nil
}

// sections reads what follows the question: nothing, or one OPT.
func (q *query) sections(p *dnsmessage.Parser) dnsmessage.RCode {
	if _, err := p.AnswerHeader(); !errors.Is(err, dnsmessage.ErrSectionDone) {
		return dnsmessage.RCodeFormatError
	}
	if _, err := p.AuthorityHeader(); !errors.Is(err, dnsmessage.ErrSectionDone) {
		return dnsmessage.RCodeFormatError
	}
	for {
		h, err := p.AdditionalHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return dnsmessage.RCodeSuccess
		}
		if err != nil || h.Type != dnsmessage.TypeOPT || h.Name.String() != "." || q.edns {
			return dnsmessage.RCodeFormatError
		}
		q.edns, q.udpSize = true, min(max(int(h.Class), minUDP), maxUDP)
		if version := h.TTL >> 16 & 0xff; version != 0 {
			return badVers
		}
		if err := p.SkipAdditional(); err != nil {
			return dnsmessage.RCodeFormatError
		}
	}
}

// reply packs an answer. One that is longer than limit is empty and says that it was cut.
func (q query) reply(code dnsmessage.RCode, answers []dnsmessage.Resource, limit int) []byte {
	msg, err := q.pack(code, answers, false)
	if err == nil && len(msg) > limit {
		msg, err = q.pack(code, nil, true)
	}
	if err != nil {
		// What cannot be packed came from upstream: the names that we make fit.
		msg, _ = q.pack(dnsmessage.RCodeServerFailure, nil, false)
	}
	return msg
}

func (q query) pack(code dnsmessage.RCode, answers []dnsmessage.Resource, cut bool) ([]byte, error) {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: q.header.ID, OpCode: q.header.OpCode, Response: true, Truncated: cut,
			RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true, RCode: code & 0xf,
		},
		Answers: answers,
	}
	if q.question.Name.Length > 0 {
		m.Questions = []dnsmessage.Question{q.question}
	}
	if q.edns {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(maxUDP, code, false); err != nil {
			return nil, err
		}
		m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	}
	return m.Pack()
}
