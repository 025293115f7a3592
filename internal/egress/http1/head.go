package http1

import (
	"fmt"
	"net/http"
	"strconv"

	"golang.org/x/net/http/httpguts"
)

// ours are the fields that say where a message ends: they are written from what is known, never copied.
func ours(name string) bool {
	switch name {
	case "Content-Length", "Transfer-Encoding", "Trailer", "Host":
		return true
	}
	return false
}

// appendHead writes the head of a request. What cannot be said in HTTP/1.1 is ErrMalformed, and nothing is sent.
func appendHead(buf *buffer, r *http.Request) (*buffer, error) {
	host, target := r.Host, r.URL.RequestURI()
	if host == "" {
		host = r.URL.Host
	}
	if !httpguts.ValidHeaderFieldName(r.Method) || !httpguts.ValidHostHeader(host) || host == "" || !validTarget(target) {
		return buf, fmt.Errorf("%w: its line", ErrMalformed)
	}
	b := append(buf.b, r.Method...)
	b = append(append(b, ' '), target...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), host...)
	b = append(b, "\r\n"...)
	var ok bool
	if b, ok = appendFields(b, r.Header); !ok {
		buf.b = b
		return buf, fmt.Errorf("%w: its header", ErrMalformed)
	}
	buf.b = append(appendFraming(b, r), "\r\n"...)
	return buf, nil
}

// appendFields writes a header but for what is ours. It is not ok if one of them cannot be written.
func appendFields(b []byte, h http.Header) (_ []byte, ok bool) {
	for name, values := range h {
		if ours(name) || name == "User-Agent" && len(values) == 1 && values[0] == "" { // as in net/http: none
			continue
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return b, false
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return b, false
			}
			b = appendField(b, name, value)
		}
	}
	return b, true
}

func appendField(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), "\r\n"...)
}

// appendFraming says where the body of a request ends.
func appendFraming(b []byte, r *http.Request) []byte {
	switch {
	case bodyless(r):
		switch r.Method {
		case http.MethodPost, http.MethodPut, http.MethodPatch: // RFC 9110 section 8.6
			b = append(b, "Content-Length: 0\r\n"...)
		}
	case r.ContentLength > 0 && len(r.Trailer) == 0:
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, r.ContentLength, 10), "\r\n"...)
	default:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		for name := range r.Trailer {
			if httpguts.ValidTrailerHeader(name) && httpguts.ValidHeaderFieldName(name) {
				b = appendField(b, "Trailer", name)
			}
		}
	}
	return b
}

// validTarget reports whether text is one word that no server could cut.
func validTarget(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return text != ""
}
