package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"testing"
)

const (
	awsID     = "AKIAREALREALREALREAL"
	awsSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYREALKEYREAL"
)

// awsStub is AWS as far as signatures go: it works out for itself what a request has to be signed with. A body in signed
// chunks is judged too.
func awsStub(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	verdict := awsVerdict(r, body)
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s %s %s: %s, %d bytes\n", r.Method, r.Host, r.URL.Path, verdict, len(body))
}

// awsVerdict follows the description in the AWS documentation, from the request as it arrived.
func awsVerdict(r *http.Request, body []byte) string {
	fields := map[string]string{}
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return "anonymous"
	}
	for _, field := range strings.Split(text, ", ") {
		name, value, _ := strings.Cut(field, "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[0] != awsID {
		return "unknown key"
	}
	path, query, _ := strings.Cut(r.RequestURI, "?")
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		if pair != "" && !strings.Contains(pair, "=") {
			pairs[i] += "="
		}
	}
	sort.Strings(pairs)
	sum := sha256.Sum256(body)
	payload := hex.EncodeToString(sum[:])
	if said := r.Header.Get("X-Amz-Content-Sha256"); len(said) == 64 && said != payload {
		return "another body"
	} else if said != "" {
		payload = said
	}
	if scope[3] != "s3" {
		path = strings.ReplaceAll(url.PathEscape(path), "%2F", "/")
	}
	canonical := r.Method + "\n" + path + "\n" + strings.Join(pairs, "&") + "\n"
	for _, name := range strings.Split(fields["SignedHeaders"], ";") {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		canonical += name + ":" + value + "\n"
	}
	canonical += "\n" + fields["SignedHeaders"] + "\n" + payload
	hash := sha256.Sum256([]byte(canonical))
	key := []byte("AWS4" + awsSecret)
	for _, word := range append(scope[1:], "AWS4-HMAC-SHA256\n"+r.Header.Get("X-Amz-Date")+"\n"+strings.Join(scope[1:], "/")+"\n"+hex.EncodeToString(hash[:])) {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(word))
		key = h.Sum(nil)
	}
	if hex.EncodeToString(key) != fields["Signature"] {
		return "wrong signature of\n" + canonical
	}
	return "signed by " + scope[0]
}

// TestAWS signs with curl inside, with keys that are worth nothing, and AWS gets a signature of the real ones.
func TestAWS(t *testing.T) {
	l := newLab(t, "command: [sleep, \"1000\"]\n")
	stub := http.HandlerFunc(awsStub)
	l.world(t, map[string]http.Handler{
		"bucket.s3.eu-west-1.amazonaws.com": stub, "dynamodb.eu-west-1.amazonaws.com": stub, "sts.amazonaws.com": stub,
	})
	l.store(t, "[default]\naws_access_key_id = "+awsID+"\naws_secret_access_key = "+awsSecret+"\nregion = eu-west-1\n", "aws", "--token-stdin", "--profile", "lab")
	if out, code := l.moat("run", "-d", "-n", "lab", "--grant", "aws@lab"); code != 0 {
		t.Fatalf("run: exit code %d, %s", code, out)
	}
	signed := func(service, args string) string {
		return `curl -sS -m 20 --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" --aws-sigv4 "aws:amz:` + service + `" ` + args
	}
	for _, c := range []struct{ script, want string }{
		{`echo "$AWS_REGION $AWS_DEFAULT_REGION"`, "eu-west-1 eu-west-1\n"},
		{signed("eu-west-1:s3", `-H "x-amz-content-sha256: UNSIGNED-PAYLOAD" "https://bucket.s3.eu-west-1.amazonaws.com/a%20b/c%2Bd?list-type=2&acl"`), "signed by " + awsID},
		{signed("eu-west-1:s3", `-r 0-9 -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" https://bucket.s3.eu-west-1.amazonaws.com/k`), "signed by " + awsID},
		{signed("eu-west-1:s3", `-T /etc/passwd -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" https://bucket.s3.eu-west-1.amazonaws.com/k`), "signed by " + awsID},
		{signed("eu-west-1:dynamodb", `-H "X-Amz-Target: DynamoDB_20120810.ListTables" -d "{}" https://dynamodb.eu-west-1.amazonaws.com/`), "signed by " + awsID + ", 2 bytes"},
		{signed("us-east-1:sts", `-d "Action=GetCallerIdentity&Version=2011-06-15" https://sts.amazonaws.com/`), "signed by " + awsID},
		{`curl -sS -m 20 https://bucket.s3.eu-west-1.amazonaws.com/public`, "anonymous"},

		{signed("us-east-1:sts", `-d "Action=AssumeRole&Version=2011-06-15" https://sts.amazonaws.com/`), "refused: the grant aws@lab is not used for this request: sts:AssumeRole"},
		{signed("us-east-1:s3", `https://bucket.s3.eu-west-1.amazonaws.com/`), "the host is in eu-west-1"},
		{`curl -sS -m 20 --user AKIAFOREIGNFOREIGN12:x --aws-sigv4 aws:amz:eu-west-1:s3 https://bucket.s3.eu-west-1.amazonaws.com/`, "not this run's"},
	} {
		for range 2 {
			if out, _ := l.inside(c.script); !strings.Contains(out, c.want) {
				t.Errorf("%s: %s, want %q", c.script, out, c.want)
			}
		}
	}
	l.killSupervisor(t)
	if out, _ := l.inside(signed("eu-west-1:dynamodb", `-d "{}" https://dynamodb.eu-west-1.amazonaws.com/`)); !strings.Contains(out, "signed by "+awsID) {
		t.Errorf("with another supervisor: %s", out)
	}
	records, _ := l.moat("trace", "--network", "--json", "lab")
	if !strings.Contains(records, `"grant": "aws@lab"`) || !strings.Contains(records, "grant aws@lab: sts:AssumeRole") {
		t.Errorf("records: %s", records)
	}
	l.searchFor(t, awsSecret)
}
