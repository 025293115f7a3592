// Package sigv4 signs requests to AWS anew: a sandbox signs with keys that are worth nothing, and the signature is
// replaced by one of the real keys.
//
// It promises that what is signed is the request as it is sent, for the host that it is sent to, with the region and
// the service that the client named and no others; that the secret key is in no request, only what is derived from it; and
// that a body in signed chunks is signed anew chunk by chunk, in bounded memory. Whether a request may be signed at all,
// which keys are the sandbox's, and what a host is, are left to the caller.
//
// Sources: the AWS IAM User Guide, "Create a signed AWS API request", and the Amazon S3 API Reference, "Authenticating
// Requests (AWS Signature Version 4)", for the headers, the query and chunked uploads.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"moat/internal/secret"
)

// Algorithm is the only one that is spoken; the asymmetric one has another name.
const Algorithm = "AWS4-HMAC-SHA256"

// Values of the header X-Amz-Content-Sha256 that are no hash.
const (
	UnsignedPayload  = "UNSIGNED-PAYLOAD"
	unsignedTrailer  = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	streamingPayload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamingTrailer = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
)

const (
	timeForm   = "20060102T150405Z"
	dayForm    = "20060102"
	terminator = "aws4_request"
	maxSigned  = 64 // headers that a client may sign
)

// Errors about what a client sent.
var (
	ErrMalformed = errors.New("the signature is malformed")
	ErrAlgorithm = errors.New("only AWS4-HMAC-SHA256 can be signed anew")
	ErrPayload   = errors.New("the kind of payload cannot be signed anew")
)

// Keys sign.
type Keys struct {
	ID      string
	Secret  secret.Value
	Session secret.Value // of temporary keys; otherwise empty
}

// Scope is what a signature is good for.
type Scope struct {
	Day             string // YYYYMMDD
	Region, Service string
}

func (s Scope) String() string {
	return s.Day + "/" + s.Region + "/" + s.Service + "/" + terminator
}

// Claim is what a client says about its own signature.
type Claim struct {
	ID        string // of the keys
	Scope     Scope
	Signed    []string // names of headers, lower case
	Presigned bool     // it is in the query
}

// Read finds the signature of a request: in its header, or in its query. found is false if there is none.
func Read(r *http.Request) (claim Claim, found bool, err error) {
	if values := r.Header["Authorization"]; len(values) > 0 {
		if len(values) > 1 || r.URL.RawQuery != "" && strings.Contains(r.URL.RawQuery, "X-Amz-Signature=") {
			return Claim{}, true, fmt.Errorf("%w: there are two", ErrMalformed)
		}
		claim, err = readHeader(values[0])
		return claim, true, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Claim{}, true, fmt.Errorf("%w: the query cannot be read", ErrMalformed)
	}
	if query.Has("AWSAccessKeyId") || query.Has("Signature") && query.Has("Expires") {
		return Claim{}, true, ErrAlgorithm // a presigned request of version 2
	}
	if !slices.ContainsFunc([]string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"}, query.Has) {
		return Claim{}, false, nil
	}
	claim, err = readQuery(query)
	return claim, true, err
}

// readHeader reads "AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…".
func readHeader(value string) (Claim, error) {
	algorithm, rest, _ := strings.Cut(value, " ")
	if algorithm != Algorithm {
		return Claim{}, ErrAlgorithm
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[name]; !ok || twice {
			return Claim{}, ErrMalformed
		}
		fields[name] = value
	}
	return newClaim(fields["Credential"], fields["SignedHeaders"])
}

func readQuery(query url.Values) (Claim, error) {
	for name, values := range query {
		if strings.HasPrefix(name, "X-Amz-") && len(values) != 1 {
			return Claim{}, fmt.Errorf("%w: %s is there twice", ErrMalformed, name)
		}
	}
	if query.Get("X-Amz-Algorithm") != Algorithm {
		return Claim{}, ErrAlgorithm
	}
	claim, err := newClaim(query.Get("X-Amz-Credential"), query.Get("X-Amz-SignedHeaders"))
	if err != nil {
		return Claim{}, err
	}
	claim.Presigned = true
	if at, err := time.Parse(timeForm, query.Get("X-Amz-Date")); err != nil || at.Format(dayForm) != claim.Scope.Day {
		return Claim{}, fmt.Errorf("%w: the date", ErrMalformed)
	}
	return claim, nil
}

// scopeForm is what regions and services look like.
const scopeForm = `^[a-z0-9-]{1,63}$`

func newClaim(credential, signed string) (Claim, error) {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[4] != terminator {
		return Claim{}, fmt.Errorf("%w: the credential's scope", ErrMalformed)
	}
	scope := Scope{Day: parts[1], Region: parts[2], Service: parts[3]}
	form := regexp.MustCompile(scopeForm)
	if _, err := time.Parse(dayForm, scope.Day); err != nil || !form.MatchString(scope.Region) || !form.MatchString(scope.Service) {
		return Claim{}, fmt.Errorf("%w: the credential's scope", ErrMalformed)
	}
	names := strings.Split(strings.ToLower(signed), ";")
	if len(names) > maxSigned || !slices.Contains(names, "host") {
		return Claim{}, fmt.Errorf("%w: the signed headers", ErrMalformed)
	}
	return Claim{ID: parts[0], Scope: scope, Signed: names}, nil
}

// Payload says how a body has to be treated. It is the value of X-Amz-Content-Sha256, or what stands for it.
func Payload(r *http.Request, claim Claim) (payload string, err error) {
	values := r.Header["X-Amz-Content-Sha256"]
	if claim.Presigned && len(values) == 0 {
		if query, err := url.ParseQuery(r.URL.RawQuery); err == nil && query.Has("X-Amz-Content-Sha256") {
			values = query["X-Amz-Content-Sha256"]
		}
	}
	switch {
	case len(values) > 1:
		return "", fmt.Errorf("%w: X-Amz-Content-Sha256 is there twice", ErrMalformed)
	case len(values) == 0 && claim.Presigned && storage(claim.Scope.Service):
		return UnsignedPayload, nil
	case len(values) == 0:
		return "", nil
	}
	switch value := values[0]; value {
	case UnsignedPayload, unsignedTrailer, streamingPayload, streamingTrailer:
		if claim.Presigned && value != UnsignedPayload {
			return "", fmt.Errorf("%w: %s in a presigned request", ErrPayload, value)
		}
		return value, nil
	default:
		if sum, err := hex.DecodeString(value); err != nil || len(sum) != sha256.Size {
			return "", fmt.Errorf("%w: X-Amz-Content-Sha256", ErrPayload)
		}
		return value, nil
	}
}

// storage reports whether a service is of the family of S3, whose paths are encoded once.
func storage(service string) bool { return service == "s3" || strings.HasPrefix(service, "s3-") }

// Hash is the payload of a body that is known as a whole.
func Hash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// Sign replaces the signature of a request that is otherwise as it will be sent. payload is what Payload returned, or, if
// that was empty, the Hash of the body. A body in signed chunks is replaced by one that signs them anew, of the same length.
// The scope stays the client's, and so does the time of a presigned request, which limits how long it is good for; any
// other is signed for now.
func (k Keys) Sign(r *http.Request, claim Claim, payload string, now time.Time) {
	stamp := now.UTC().Format(timeForm)
	r.URL.RawQuery = strings.ReplaceAll(r.URL.RawQuery, "+", "%20")
	if claim.Presigned {
		k.presign(r, claim, payload)
		return
	}
	claim.Scope.Day = stamp[:len(dayForm)]
	r.Header.Set("X-Amz-Date", stamp)
	r.Header.Del("X-Amz-Security-Token")
	if !k.Session.IsZero() {
		r.Header.Set("X-Amz-Security-Token", k.Session.Expose())
	}
	signed := signedHeaders(r, claim)
	key := k.key(claim.Scope)
	signature := sign(key, stringToSign(stamp, claim.Scope, canonical(r, signed, payload, claim.Scope.Service)))
	r.Header["Authorization"] = []string{Algorithm + " Credential=" + k.ID + "/" + claim.Scope.String() +
		", SignedHeaders=" + strings.Join(signed, ";") + ", Signature=" + signature}
	if payload == streamingPayload || payload == streamingTrailer {
		r.Body = newChunks(r.Body, chunkSigner{key: key, stamp: stamp, scope: claim.Scope, last: signature}, payload == streamingTrailer)
	}
}

// presign signs in the query.
func (k Keys) presign(r *http.Request, claim Claim, payload string) {
	var kept []string
	stamp := ""
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		switch plain, _ := url.QueryUnescape(name); plain {
		case "X-Amz-Date":
			stamp, _ = url.QueryUnescape(value)
		case "X-Amz-Signature", "X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Security-Token":
			continue
		}
		kept = append(kept, pair)
	}
	signed := signedHeaders(r, claim)
	kept = append(kept, "X-Amz-Credential="+escape(k.ID+"/"+claim.Scope.String(), false), "X-Amz-SignedHeaders="+escape(strings.Join(signed, ";"), false))
	if !k.Session.IsZero() {
		kept = append(kept, "X-Amz-Security-Token="+escape(k.Session.Expose(), false))
	}
	r.URL.RawQuery = strings.Join(kept, "&")
	text := stringToSign(stamp, claim.Scope, canonical(r, signed, payload, claim.Scope.Service))
	r.URL.RawQuery += "&X-Amz-Signature=" + sign(k.key(claim.Scope), text)
}

// signedHeaders are those that the client signed and that are sent, the ones that must be signed, and Host. Headers that
// may change on the way are left out.
func signedHeaders(r *http.Request, claim Claim) []string {
	signed := []string{"host"}
	for name := range r.Header {
		lower := strings.ToLower(name)
		must := strings.HasPrefix(lower, "x-amz-") || lower == "content-type"
		if (must && !claim.Presigned || slices.Contains(claim.Signed, lower)) && !passing(lower) {
			signed = append(signed, lower)
		}
	}
	if slices.Contains(claim.Signed, "content-length") && r.ContentLength > 0 {
		signed = append(signed, "content-length")
	}
	slices.Sort(signed)
	return slices.Compact(signed)
}

func passing(name string) bool {
	switch name {
	case "authorization", "connection", "user-agent", "expect", "te", "transfer-encoding", "accept-encoding", "x-amzn-trace-id", "upgrade":
		return true
	}
	return false
}

// canonical is the canonical request.
func canonical(r *http.Request, signed []string, payload, service string) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + canonicalPath(r.URL, service) + "\n" + canonicalQuery(r.URL.RawQuery) + "\n")
	for _, name := range signed {
		b.WriteString(name + ":" + headerValue(r, name) + "\n")
	}
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + payload)
	return b.String()
}

func headerValue(r *http.Request, name string) string {
	switch name {
	case "host":
		if r.Host != "" {
			return r.Host
		}
		return r.URL.Host
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10)
	}
	var values []string
	for _, value := range r.Header[http.CanonicalHeaderKey(name)] {
		values = append(values, strings.Join(strings.FieldsFunc(value, func(c rune) bool { return c == ' ' || c == '\t' }), " "))
	}
	return strings.Join(values, ",")
}

// canonicalPath is the path as it is sent, encoded once more, and for S3 encoded exactly once.
func canonicalPath(u *url.URL, service string) string {
	path := u.EscapedPath()
	if storage(service) {
		if plain, err := url.PathUnescape(path); err == nil {
			path = plain
		}
	}
	if path == "" {
		return "/"
	}
	return escape(path, true)
}

// canonicalQuery sorts the parameters and encodes them in one way.
func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	var pairs [][2]string
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		pairs = append(pairs, [2]string{respell(name), respell(value)})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	words := make([]string, len(pairs))
	for i, p := range pairs {
		words[i] = p[0] + "=" + p[1]
	}
	return strings.Join(words, "&")
}

func respell(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		text = plain
	}
	return escape(text, false)
}

// escape encodes everything but unreserved characters (RFC 3986 section 2.3), and slashes in a path.
func escape(text string, path bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0, path && c == '/':
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

func stringToSign(stamp string, scope Scope, canonical string) string {
	return Algorithm + "\n" + stamp + "\n" + scope.String() + "\n" + Hash([]byte(canonical))
}

// key derives what signs in a scope.
func (k Keys) key(s Scope) []byte {
	key := []byte("AWS4" + k.Secret.Expose())
	for _, word := range []string{s.Day, s.Region, s.Service, terminator} {
		key = mac(key, word)
	}
	return key
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func sign(key []byte, text string) string { return hex.EncodeToString(mac(key, text)) }
