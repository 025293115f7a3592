package sigv4

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moat/internal/secret"
)

// The keys of AWS's own examples.
func suiteKeys() Keys {
	return Keys{ID: "AKIDEXAMPLE", Secret: secret.New("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")}
}

func s3Keys() Keys {
	return Keys{ID: "AKIAIOSFODNN7EXAMPLE", Secret: secret.New("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")}
}

// request makes one as a client would send it: "METHOD url", headers "Name: value", an empty line, a body.
func request(t *testing.T, text string) *http.Request {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	r, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		r.Header.Add(name, strings.TrimSpace(value))
	}
	return r
}

// signature is what a request was signed with.
func signature(r *http.Request) string {
	if _, text, ok := strings.Cut(r.Header.Get("Authorization"), "Signature="); ok {
		return text
	}
	return r.URL.Query().Get("X-Amz-Signature")
}

// The test suite that AWS published for signers (aws-sig-v4-test-suite): region us-east-1, service "service".
func TestSuite(t *testing.T) {
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	for _, v := range []struct{ name, request, signed, want string }{
		{"get-vanilla", "GET https://example.amazonaws.com/", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"get-vanilla-query-order-key-case", "GET https://example.amazonaws.com/?Param2=value2&Param1=value1", "host;x-amz-date", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"get-unreserved", "GET https://example.amazonaws.com/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "host;x-amz-date", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
		{"get-vanilla-utf8-query", "GET https://example.amazonaws.com/?%E1%88%B4=bar", "host;x-amz-date", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
		{"get-vanilla-empty-query-key", "GET https://example.amazonaws.com/?Param1=value1", "host;x-amz-date", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
		{"get-header-value-trim", "GET https://example.amazonaws.com/\nMy-Header1: value1\nMy-Header2: \"a   b   c\"", "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
		{"get-vanilla-query-unreserved", "GET https://example.amazonaws.com/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "host;x-amz-date", "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
		{"post-vanilla", "POST https://example.amazonaws.com/", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"post-header-key-sort", "POST https://example.amazonaws.com/\nMy-Header1: value1", "host;my-header1;x-amz-date", "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
		{"post-x-www-form-urlencoded", "POST https://example.amazonaws.com/\nContent-Type: application/x-www-form-urlencoded\n\nParam1=value1", "content-type;host;x-amz-date", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
	} {
		r := request(t, v.request)
		body, _ := io.ReadAll(r.Body)
		claim := Claim{Scope: Scope{"20150830", "us-east-1", "service"}, Signed: strings.Split(v.signed, ";")}
		suiteKeys().Sign(r, claim, Hash(body), at)
		if got := signature(r); got != v.want {
			t.Errorf("%s: %s, want %s", v.name, got, v.want)
		}
		if want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=" + v.signed + ", Signature="; !strings.HasPrefix(r.Header.Get("Authorization"), want) {
			t.Errorf("%s: %s", v.name, r.Header.Get("Authorization"))
		}
	}
}

// The examples of the Amazon S3 API Reference.
func TestStorageExamples(t *testing.T) {
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, v := range []struct{ name, request, payload, signed, want string }{
		{"get object", "GET https://examplebucket.s3.amazonaws.com/test.txt\nRange: bytes=0-9\nX-Amz-Content-Sha256: " + empty, empty, "host;range", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		{"put object", "PUT https://examplebucket.s3.amazonaws.com/test%24file.text\nDate: Fri, 24 May 2013 00:00:00 GMT\nX-Amz-Storage-Class: REDUCED_REDUNDANCY\nX-Amz-Content-Sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072", "date;host", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
		{"lifecycle", "GET https://examplebucket.s3.amazonaws.com/?lifecycle\nX-Amz-Content-Sha256: " + empty, empty, "host", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"list", "GET https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J\nX-Amz-Content-Sha256: " + empty, empty, "host", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	} {
		r := request(t, v.request)
		s3Keys().Sign(r, Claim{Scope: Scope{"20130524", "us-east-1", "s3"}, Signed: strings.Split(v.signed, ";")}, v.payload, at)
		if got := signature(r); got != v.want {
			t.Errorf("%s: %s, want %s", v.name, got, v.want)
		}
	}
}

func TestPresigned(t *testing.T) {
	r := request(t, "GET https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIADUMMY%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"+
		"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=00")
	claim, found, err := Read(r)
	if !found || err != nil || claim.ID != "AKIADUMMY" || !claim.Presigned {
		t.Fatalf("%+v, %v, %v", claim, found, err)
	}
	payload, err := Payload(r, claim)
	if payload != UnsignedPayload || err != nil {
		t.Fatalf("%q, %v", payload, err)
	}
	s3Keys().Sign(r, claim, payload, time.Now())
	if got, want := signature(r), "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"; got != want {
		t.Errorf("%s, want %s in %s", got, want, r.URL)
	}
	if strings.Contains(r.URL.String(), "DUMMY") || strings.Count(r.URL.String(), "X-Amz-Signature") != 1 {
		t.Errorf("it became %s", r.URL)
	}
}

// chunked makes a body in chunks with signatures of zeros.
func chunked(trailer string, sizes ...int) string {
	zeros := strings.Repeat("0", 64)
	var b strings.Builder
	for _, size := range append(sizes, 0) {
		b.WriteString(strings.ToLower(hexSize(size)) + ";chunk-signature=" + zeros + "\r\n")
		if size > 0 {
			b.WriteString(strings.Repeat("a", size) + "\r\n")
		}
	}
	if trailer != "" {
		b.WriteString(trailer + "\r\nx-amz-trailer-signature:" + zeros + "\r\n")
	}
	return b.String() + "\r\n"
}

func hexSize(n int) string {
	const digits = "0123456789abcdef"
	text := ""
	for ; n > 0 || text == ""; n /= 16 {
		text = string(digits[n%16]) + text
	}
	return text
}

// The example of a chunked upload, with its seed and its three signatures.
func TestChunks(t *testing.T) {
	body := chunked("", 65536, 1024)
	r := request(t, "PUT https://s3.amazonaws.com/examplebucket/chunkObject.txt\nX-Amz-Storage-Class: REDUCED_REDUNDANCY\nX-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\n"+
		"Content-Encoding: aws-chunked\nX-Amz-Decoded-Content-Length: 66560\n\n"+body)
	r.ContentLength = 66824
	if len(body) != 66824 {
		t.Fatalf("the body has %d bytes", len(body))
	}
	claim := Claim{Scope: Scope{"20130524", "us-east-1", "s3"}, Signed: []string{"host", "content-encoding", "content-length"}}
	payload, err := Payload(r, claim)
	if err != nil {
		t.Fatal(err)
	}
	s3Keys().Sign(r, claim, payload, time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC))
	if got, want := signature(r), "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"; got != want {
		t.Errorf("the seed is %s, want %s", got, want)
	}
	out, err := io.ReadAll(r.Body)
	if err != nil || len(out) != len(body) {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
	for _, want := range []string{
		"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n",
		"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n",
		"0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n",
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("%q is not there", want)
		}
	}
}

// The example of a chunked upload with a trailer.
func TestTrailer(t *testing.T) {
	r := request(t, "PUT https://s3.amazonaws.com/examplebucket/chunkObject.txt\nX-Amz-Storage-Class: REDUCED_REDUNDANCY\nX-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER\n"+
		"Content-Encoding: aws-chunked\nX-Amz-Decoded-Content-Length: 66560\nX-Amz-Trailer: x-amz-checksum-crc32c\n\n"+chunked("x-amz-checksum-crc32c:sOO8/Q==", 65536, 1024))
	claim := Claim{Scope: Scope{"20130524", "us-east-1", "s3"}, Signed: []string{"host", "content-encoding"}}
	s3Keys().Sign(r, claim, streamingTrailer, time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC))
	if got, want := signature(r), "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"; got != want {
		t.Errorf("the seed is %s, want %s", got, want)
	}
	out, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n",
		"400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n",
		"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n",
		"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("%q is not in the body", want)
		}
	}
}

// What is not in chunks as it claims ends in an error, and never reaches the outside whole.
func TestBadChunks(t *testing.T) {
	good := chunked("", 3)
	for name, body := range map[string]string{
		"empty": "", "cut": good[:len(good)-3], "no signature": "3\r\naaa\r\n0\r\n\r\n", "short signature": strings.ReplaceAll(good, "00\r\n", "0\r\n"),
		"longer": strings.Replace(good, "aaa", "aaaa", 1), "more": good + "x", "large": "7fffffff;chunk-signature=" + strings.Repeat("0", 64) + "\r\n",
		"negative": "-1;chunk-signature=" + strings.Repeat("0", 64) + "\r\n", "zeros": "0" + good, "line feeds": strings.ReplaceAll(good, "\r\n", "\n"),
		"long line": strings.Repeat("0", 1<<20),
	} {
		c := newChunks(io.NopCloser(strings.NewReader(body)), chunkSigner{}, false)
		if out, err := io.ReadAll(c); !errors.Is(err, ErrChunks) {
			t.Errorf("%s: %d bytes, %v", name, len(out), err)
		}
	}
}

func TestRead(t *testing.T) {
	const good = "AWS4-HMAC-SHA256 Credential=AKIA1/20260101/eu-west-1/s3/aws4_request,SignedHeaders=host;x-amz-date,Signature=00"
	want := Claim{ID: "AKIA1", Scope: Scope{"20260101", "eu-west-1", "s3"}, Signed: []string{"host", "x-amz-date"}}
	for value, wanted := range map[string]error{
		good: nil, strings.ReplaceAll(good, ",", ", "): nil,
		"Bearer x": ErrAlgorithm, "AWS AKIA1:sig": ErrAlgorithm, strings.Replace(good, "HMAC", "ECDSA-P256", 1): ErrAlgorithm,
		"AWS4-HMAC-SHA256 ": ErrMalformed, strings.Replace(good, "host;", "", 1): ErrMalformed, strings.Replace(good, "/s3", "/s3/x", 1): ErrMalformed,
		strings.Replace(good, "eu-west-1", "EU west", 1): ErrMalformed, good + ",Credential=x": ErrMalformed, strings.Replace(good, "20260101", "today", 1): ErrMalformed,
	} {
		r := &http.Request{Header: http.Header{"Authorization": {value}}, URL: &url.URL{}}
		claim, found, err := Read(r)
		if !found || !errors.Is(err, wanted) || wanted == nil && !cmp.Equal(claim, want) {
			t.Errorf("%s: %+v, %v", value, claim, err)
		}
	}
	for query, wanted := range map[string]error{
		"X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Signature=0": ErrAlgorithm, "X-Amz-Signature=0": ErrAlgorithm,
		"AWSAccessKeyId=AKIA1&Signature=x&Expires=1":         ErrAlgorithm,
		"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Algorithm=x": ErrMalformed, "X-Amz-Credential=%zz": ErrMalformed,
	} {
		if _, found, err := Read(&http.Request{Header: http.Header{}, URL: &url.URL{RawQuery: query}}); !found || !errors.Is(err, wanted) {
			t.Errorf("%s: %v", query, err)
		}
	}
	if _, found, err := Read(&http.Request{Header: http.Header{}, URL: &url.URL{RawQuery: "list-type=2"}}); found || err != nil {
		t.Errorf("a request without a signature has one, or %v", err)
	}
}

// A session token is sent with the signature, and the client's own is not.
func TestSession(t *testing.T) {
	keys := s3Keys()
	keys.Session = secret.New("the/session+token==")
	r := request(t, "GET https://b.s3.amazonaws.com/?a=b+c\nX-Amz-Security-Token: dummy")
	keys.Sign(r, Claim{Scope: Scope{"20260101", "us-east-1", "s3"}, Signed: []string{"host"}}, Hash(nil), time.Now())
	if got := r.Header["X-Amz-Security-Token"]; len(got) != 1 || got[0] != "the/session+token==" || !strings.Contains(r.Header.Get("Authorization"), "x-amz-security-token") {
		t.Errorf("%v", r.Header)
	}
	if r.URL.RawQuery != "a=b%20c" {
		t.Errorf("the query is %s", r.URL.RawQuery)
	}
}

func FuzzChunks(f *testing.F) {
	f.Add(chunked("", 3, 20), false)
	f.Add(chunked("x-amz-checksum-crc32:aa==", 3), true)
	f.Fuzz(func(t *testing.T, body string, trailer bool) {
		out, err := io.ReadAll(newChunks(io.NopCloser(strings.NewReader(body)), chunkSigner{}, trailer))
		if err == nil && len(out) != len(body) {
			t.Errorf("%d bytes became %d", len(body), len(out))
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKIA1/20260101/eu-west-1/s3/aws4_request,SignedHeaders=host,Signature=00", "")
	f.Add("", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20260101%2Fr%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-SignedHeaders=host&X-Amz-Signature=0")
	f.Fuzz(func(t *testing.T, header, query string) {
		r := &http.Request{Method: "GET", Host: "s3.amazonaws.com", Header: http.Header{}, URL: &url.URL{Path: "/", RawQuery: query}}
		if header != "" {
			r.Header["Authorization"] = []string{header}
		}
		claim, found, err := Read(r)
		if !found || err != nil {
			return
		}
		s3Keys().Sign(r, claim, Hash(nil), time.Now())
		if strings.Contains(r.URL.String()+r.Header.Get("Authorization"), "wJalrXUtnFEMI") {
			t.Error("the secret key is in the request")
		}
		if again, found, err := Read(r); !found || err != nil || again.Scope.Region != claim.Scope.Region || again.Scope.Service != claim.Scope.Service {
			t.Errorf("%+v became %+v, %v", claim, again, err)
		}
	})
}
