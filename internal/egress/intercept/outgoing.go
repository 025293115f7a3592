package intercept

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http/httpguts"
)

// outgoing writes the request anew, without a credential.
func (x *exchange) outgoing(ctx context.Context) (*http.Request, *refusal) {
	out := x.r.WithContext(ctx)
	out.URL = x.outURL()
	out.Host = out.URL.Host
	out.Header = x.outgoingHeader()
	out.RequestURI, out.Close, out.TransferEncoding, out.Trailer = "", false, nil, nil
	out.Form, out.PostForm, out.MultipartForm, out.TLS = nil, nil, nil, nil
	if x.grant != nil {
		x.onlyOurs(out)
	}
	if out.ContentLength == 0 {
		out.Body = http.NoBody
		return out, nil
	}
	body := &requestBody{x: x, body: x.r.Body}
	if len(x.r.Trailer) > 0 {
		out.Trailer = make(http.Header, len(x.r.Trailer))
		for name := range x.r.Trailer {
			if !x.withheld(name) {
				out.Trailer[name] = nil
			}
		}
		body.trailer = out.Trailer
	}
	out.Body, x.body = body, body
	return out, nil
}

// outgoingHeader is the part of the header that is for the server.
func (x *exchange) outgoingHeader() http.Header {
	from := x.r.Header
	named := connectionOptions(from)
	to := make(http.Header, len(from)+2)
	for name, values := range from {
		if !x.withheld(name) && !slices.Contains(named, name) {
			to[name] = slices.Clone(values)
		}
	}
	if httpguts.HeaderValuesContainsToken(from["Te"], "trailers") {
		to["Te"] = []string{"trailers"}
	}
	if protocol := x.upgrade(); protocol != "" {
		to["Connection"], to["Upgrade"] = []string{"Upgrade"}, []string{protocol}
	}
	if _, ok := to["User-Agent"]; !ok {
		to["User-Agent"] = []string{""} // net/http would make one up
	}
	if x.grant != nil && !x.grant.Signs {
		plainAnswers(to)
	}
	return to
}

// upgrade is the protocol to which the client wants to upgrade the connection, if that is forwarded.
func (x *exchange) upgrade() string {
	if x.r.ProtoMajor != 1 || !httpguts.HeaderValuesContainsToken(x.r.Header["Connection"], "upgrade") || len(x.r.Header["Upgrade"]) != 1 {
		return ""
	}
	return upgradeTo(x.r.Header["Upgrade"][0])
}

// connectionOptions are the headers that Connection says are for us (RFC 9110 section 7.6.1), in canonical form.
func connectionOptions(h http.Header) (named []string) {
	for _, value := range h["Connection"] {
		for option := range strings.SplitSeq(value, ",") {
			named = append(named, textproto.CanonicalMIMEHeaderKey(textproto.TrimString(option)))
		}
	}
	return named
}

// withheld reports whether a header of a request is not for the server: it is about this connection, or says what only
// we could know.
func (x *exchange) withheld(name string) bool {
	switch name {
	case "Host", "Content-Length", "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
		"Forwarded", "X-Real-Ip", "Via", "Alt-Used":
		return true
	case "X-Http-Method", "X-Http-Method-Override", "X-Method-Override":
		return x.decision.Inspect // the method that was judged is the one that counts
	}
	return strings.HasPrefix(name, "Proxy-") || strings.HasPrefix(name, "X-Forwarded-")
}

// plainAnswers asks for an answer that can be searched for secrets: not coded, not in parts.
func plainAnswers(h http.Header) {
	h["Accept-Encoding"] = []string{"identity"}
	delete(h, "Range")
	delete(h, "If-Range")
	delete(h, "Sec-Websocket-Extensions") // compression is one
	if _, ok := h["Grpc-Accept-Encoding"]; ok {
		h["Grpc-Accept-Encoding"] = []string{"identity"}
	}
}

// authHeaders are the headers by which servers know who asks.
func authHeader(name string) bool {
	switch name {
	case "Authorization", "Cookie", "Api-Key", "X-Api-Key", "X-Apikey", "X-Goog-Api-Key", "X-Goog-Iam-Authorization-Token",
		"X-Auth-Token", "X-Access-Token", "X-Session-Token", "X-Amz-Security-Token", "X-Amz-Content-Token",
		"Private-Token", "Job-Token", "Deploy-Token", "X-Gitlab-Token", "X-Github-Token", "X-Npm-Token", "X-Vault-Token",
		"X-Functions-Key", "Ocp-Apim-Subscription-Key", "X-Csrf-Token", "X-Xsrf-Token", "Dpop":
		return true
	}
	return false
}

// authParameter are the parameters of a query that say the same.
func authParameter(name string) bool {
	switch strings.ToLower(name) {
	case "access_token", "api_key", "apikey", "api-key", "auth_token", "oauth_token", "private_token", "job_token", "token",
		"client_secret", "x-amz-credential", "x-amz-signature", "x-amz-security-token", "x-goog-credential", "x-goog-signature":
		return true
	}
	return false
}

// onlyOurs removes credentials that are not ours, and notes that in the record.
func (x *exchange) onlyOurs(out *http.Request) {
	if x.grant.Foreign {
		return
	}
	var removed []string
	for name, values := range out.Header {
		if authHeader(name) && !slices.ContainsFunc(values, x.ours(name)) {
			delete(out.Header, name)
			removed = append(removed, name)
		}
	}
	if strings.Contains(out.URL.RawQuery, "=") {
		out.URL.RawQuery = x.onlyOurQuery(out.URL.RawQuery, &removed)
	}
	if len(removed) > 0 {
		slices.Sort(removed)
		x.rec.Rule += "; removed foreign " + strings.Join(removed, ", ")
	}
}

// ours tells which values of a header are the grant's business.
func (x *exchange) ours(name string) func(value string) bool {
	if !x.grant.Signs {
		return x.grant.marks.Contains
	}
	return func(value string) bool {
		return name == "Authorization" && strings.HasPrefix(value, "AWS") || x.grant.marks.Contains(value)
	}
}

func (x *exchange) onlyOurQuery(query string, removed *[]string) string {
	parts := strings.Split(query, "&")
	kept := slices.DeleteFunc(parts, func(part string) bool {
		name, value, _ := strings.Cut(part, "=")
		plain, err := url.QueryUnescape(name)
		foreign := err == nil && authParameter(plain) && !(x.grant.Signs && strings.HasPrefix(strings.ToLower(plain), "x-amz-")) && !x.grant.marks.Contains(value) && !x.grant.marks.Contains(unescaped(value))
		if foreign {
			*removed = append(*removed, "?"+strings.ToLower(plain))
		}
		return foreign
	})
	return strings.Join(kept, "&")
}

// requestBody is the body on its way out.
type requestBody struct {
	x       *exchange
	body    io.ReadCloser
	trailer http.Header           // to be filled in at the end
	closed  atomic.Bool           // nobody wants more of it
	failed  atomic.Pointer[error] // why there is not more of it, although somebody wants it
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.read(p)
	if err != nil && !errors.Is(err, io.EOF) && !b.closed.Load() {
		b.failed.Store(&err)
	}
	return n, err
}

func (b *requestBody) read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if n > 0 {
		b.x.out.Add(int64(n))
		b.x.sent.add(p[:n])
		if !b.x.config.Meter.Bytes(b.x.host, int64(n)).Allow {
			return 0, errLimit
		}
	}
	if errors.Is(err, io.EOF) {
		for name := range b.trailer {
			b.trailer[name] = b.trailerValues(name)
		}
	}
	return n, err
}

// trailerValues are those that carry nothing that is not for the server.
func (b *requestBody) trailerValues(name string) []string {
	values := b.x.r.Trailer[name]
	if authHeader(name) || slices.ContainsFunc(values, b.x.marks.Contains) {
		return nil
	}
	return values
}

// Ready implements http1.Ready.
func (b *requestBody) Ready() bool {
	body, ok := b.body.(*inBody)
	return ok && body.Ready()
}

// Close ends a Read that waits.
func (b *requestBody) Close() error {
	b.closed.Store(true)
	return b.body.Close()
}
