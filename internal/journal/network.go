package journal

import (
	"strings"
	"time"
)

// Kinds of network records.
const (
	KindHTTP    = "http"    // a request
	KindConnect = "connect" // a tunnel or a TLS connection that is not looked into
	KindTCP     = "tcp"     // a connection of another kind
	KindDNS     = "dns"     // a question
)

// Decisions.
const (
	Allowed = "allow"
	Denied  = "deny"
)

// Request is one record of network.jsonl, a JSON object on a line. It is written twice with the same ID if it takes
// longer than an instant: when it begins, and when it is complete; the later one counts.
type Request struct {
	ID         uint64    `json:"id"`
	T          time.Time `json:"t"` // UTC
	Kind       string    `json:"kind"`
	Method     string    `json:"method"`
	URL        string    `json:"url"`     // absolute
	Host       string    `json:"host"`    // the name asked for, or the address
	Address    string    `json:"address"` // dialled or asked for, with the port
	SNI        string    `json:"sni,omitempty"`
	Protocol   string    `json:"protocol,omitempty"` // HTTP/1.1, h2, websocket, tls, tcp …
	Status     *int      `json:"status"`             // null: there was none
	DurationMS *float64  `json:"duration_ms"`        // null: not complete yet
	BytesIn    int64     `json:"bytes_in"`           // to the sandbox
	BytesOut   int64     `json:"bytes_out"`
	Decision   string    `json:"decision"`
	Rule       string    `json:"rule"`
	Grant      *string   `json:"grant"` // whose credential was put in; null: none
	Error      *string   `json:"error"`

	RequestHeaders  map[string][]string `json:"request_headers,omitempty"`
	ResponseHeaders map[string][]string `json:"response_headers,omitempty"`
	RequestBody     *string             `json:"request_body,omitempty"`
	ResponseBody    *string             `json:"response_body,omitempty"`
	Truncated       bool                `json:"truncated"` // a body was longer than what is kept of it
}

// LeakRule begins the rule of a request that was refused because it holds the placeholder of a credential that is not for
// its host; the name of the grant follows.
const LeakRule = "leak: placeholder of "

// LeakOf is the grant whose placeholder a request was refused for.
func LeakOf(r Request) (grant string, ok bool) {
	grant, ok = strings.CutPrefix(r.Rule, LeakRule)
	return grant, ok && r.Decision == Denied
}
