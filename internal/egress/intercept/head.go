package intercept

import (
	"bytes"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

const (
	maxHead     = 64 << 10 // bytes of a request's line and header
	maxLine     = 32 << 10 // bytes of its line
	maxMethod   = 32
	maxLength   = 18        // digits of a Content-Length
	maxChunkLen = 15        // digits of a chunk's size
	maxChunk    = 256       // bytes of a chunk's line
	maxTrailer  = 16 << 10  // bytes of a trailer
	refusedVerb = "REFUSED" // stands for a head that was refused; see gate
)

// flaw says why a request is refused before anybody reads it in another way.
type flaw struct {
	status int
	reason string // without anything that the client wrote
}

func bad(reason string) *flaw      { return &flaw{http.StatusBadRequest, reason} }
func conflict(reason string) *flaw { return &flaw{http.StatusMisdirectedRequest, reason} }

// framing says what follows the head of a request.
type framing struct {
	length  int64 // bytes of body, unless chunked
	chunked bool
	upgrade bool // afterwards the bytes are no requests any more, or the connection ends
}

// head is what checkHead collects.
type head struct {
	framing
	method, target string
	old            bool // HTTP/1.0
	hosts          int
	host           string
	lengths        int
	codings        int
}

// checkHead checks the head of a request in HTTP/1, from its first byte to its empty line. It takes only what RFC 9112
// has a client send, of which nobody has two readings: net/http, which reads it next, is more forgiving.
func checkHead(text []byte) (framing, *flaw) {
	var h head
	line, rest, found := cutLine(text)
	if !found {
		return framing{}, bad("a line does not end in CR LF")
	}
	if f := h.requestLine(line); f != nil {
		return framing{}, f
	}
	for {
		if line, rest, found = cutLine(rest); !found {
			return framing{}, bad("a line does not end in CR LF")
		}
		if len(line) == 0 {
			break
		}
		if f := h.field(line); f != nil {
			return framing{}, f
		}
	}
	return h.framing, h.whole()
}

// cutLine cuts after the first CR LF. A CR or LF elsewhere is no end of a line to us, and is one to others.
func cutLine(text []byte) (line, rest []byte, found bool) {
	at := bytes.IndexByte(text, '\n')
	if at < 1 || text[at-1] != '\r' || bytes.IndexByte(text[:at-1], '\r') >= 0 {
		return nil, nil, false
	}
	return text[:at-1], text[at+1:], true
}

func (h *head) requestLine(line []byte) *flaw {
	method, rest, ok := strings.Cut(string(line), " ")
	target, version, ok2 := strings.Cut(rest, " ")
	switch {
	case !ok || !ok2:
		return bad("the request line has not three parts")
	case version != "HTTP/1.1" && version != "HTTP/1.0":
		return bad("the version is neither HTTP/1.1 nor HTTP/1.0")
	case !httpguts.ValidHeaderFieldName(method) || len(method) > maxMethod || method == refusedVerb:
		return bad("the method is invalid")
	}
	h.method, h.target, h.old = method, target, version == "HTTP/1.0"
	return h.checkTarget()
}

// checkTarget takes the four forms of RFC 9112 section 3.2, each where it belongs.
func (h *head) checkTarget() *flaw {
	for i := range len(h.target) {
		if c := h.target[i]; c <= ' ' || c == 0x7f || c == '#' {
			return bad("the target has an invalid character")
		}
	}
	path, _, _ := strings.Cut(h.target, "?")
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && (i+2 >= len(path) || !hexDigit(path[i+1]) || !hexDigit(path[i+2])) {
			return bad("the target has a percent sign without two digits")
		}
	}
	switch {
	case h.target == "":
		return bad("the target is empty")
	case h.method == http.MethodConnect:
		return nil // refused whatever it says
	case h.target[0] == '/', h.target == "*" && h.method == http.MethodOptions:
		return nil
	}
	authority, ok := absolute(h.target)
	if !ok {
		return bad("the target is no path and no URL")
	}
	if strings.ContainsAny(authority, `@\%`) || authority == "" {
		return bad("the authority is invalid")
	}
	return nil
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// absolute returns the authority of a target in absolute form.
func absolute(target string) (authority string, ok bool) {
	scheme, rest, found := strings.Cut(target, "://")
	if !found || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", false
	}
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		rest = rest[:end]
	}
	return rest, true
}

// field reads one line of the header.
func (h *head) field(line []byte) *flaw {
	name, value, found := strings.Cut(string(line), ":")
	switch {
	case !found:
		return bad("a header line has no colon")
	case !httpguts.ValidHeaderFieldName(name):
		return bad("the name of a header is invalid") // also a folded line, and a space before the colon
	}
	value = strings.Trim(value, " \t")
	if !validValue(value) {
		return bad("the value of a header has an invalid character")
	}
	switch {
	case strings.EqualFold(name, "Host"):
		h.hosts++
		h.host = value
		if !httpguts.ValidHostHeader(value) {
			return bad("the host is invalid")
		}
	case strings.EqualFold(name, "Content-Length"):
		h.lengths++
		return h.contentLength(value)
	case strings.EqualFold(name, "Transfer-Encoding"):
		h.codings++
		if !strings.EqualFold(value, "chunked") || h.old {
			return bad("Transfer-Encoding is not chunked")
		}
		h.chunked = true
	case strings.EqualFold(name, "Upgrade"):
		h.upgrade = h.upgrade || upgradeTo(value) != ""
	}
	return nil
}

// upgradeTo returns the protocol that an Upgrade header asks for, or "" if it is none that is forwarded: other versions
// of HTTP would carry requests that nobody sees, and TLS would hide them.
func upgradeTo(value string) string {
	lower := strings.ToLower(value)
	for _, never := range []string{"h2", "http/", "tls/"} {
		if strings.HasPrefix(lower, never) {
			return ""
		}
	}
	if name, version, _ := strings.Cut(value, "/"); !httpguts.ValidHeaderFieldName(name) || strings.ContainsAny(version, ", ") {
		return ""
	}
	return value
}

func validValue(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func (h *head) contentLength(value string) *flaw {
	if value == "" || len(value) > maxLength {
		return bad("Content-Length is no length")
	}
	for _, c := range []byte(value) {
		if c < '0' || c > '9' {
			return bad("Content-Length is no length")
		}
		h.length = 10*h.length + int64(c-'0')
	}
	return nil
}

// whole checks what can be told at the end only.
func (h *head) whole() *flaw {
	switch {
	case h.lengths > 1 || h.codings > 1 || h.lengths+h.codings > 1:
		return bad("the length is said twice")
	case h.hosts > 1 || h.hosts == 0 && !h.old:
		return bad("there is not one Host")
	case h.method == http.MethodConnect:
		return nil
	}
	// net/http forgets Host when the target has an authority (RFC 9112 section 3.2.2).
	if authority, ok := absolute(h.target); ok && h.hosts == 1 {
		if scheme, _, _ := strings.Cut(h.target, ":"); !sameAuthority(authority, h.host, scheme) {
			return conflict("the target and Host are not the same")
		}
	}
	return nil
}

func sameAuthority(a, b, scheme string) bool {
	port := ":80"
	if strings.EqualFold(scheme, "https") {
		port = ":443"
	}
	return strings.EqualFold(strings.TrimSuffix(a, port), strings.TrimSuffix(b, port))
}

// chunkSize reads the line before a chunk, without its CR LF. Extensions are taken and forgotten.
func chunkSize(line []byte) (size int64, f *flaw) {
	digits, extension, _ := bytes.Cut(line, []byte(";"))
	if len(digits) == 0 || len(digits) > maxChunkLen || !validValue(string(extension)) {
		return 0, bad("a chunk has no size")
	}
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, bad("a chunk has no size")
		}
		size = size<<4 | int64(c)
	}
	return size, nil
}

// trailerLine checks a line of a trailer.
func trailerLine(line []byte) *flaw {
	name, value, found := strings.Cut(string(line), ":")
	if !found || !httpguts.ValidHeaderFieldName(name) || !validValue(strings.Trim(value, " \t")) {
		return bad("a trailer is invalid")
	}
	return nil
}
