package grant

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moat/internal/secret"
)

func TestAWSHosts(t *testing.T) {
	for _, v := range []struct {
		host, region, service string
		ok                    bool
	}{
		{"s3.amazonaws.com", "us-east-1", "s3", true},
		{"s3.amazonaws.com", "eu-west-1", "s3", true},
		{"bucket.s3.eu-west-1.amazonaws.com", "eu-west-1", "s3", true},
		{"us-east-1.s3.eu-west-1.amazonaws.com", "eu-west-1", "s3", true}, // a bucket may be called so
		{"us-east-1.s3.eu-west-1.amazonaws.com", "us-east-1", "s3", false},
		{"a.b.s3.dualstack.eu-west-1.amazonaws.com", "eu-west-1", "s3", true},
		{"s3-eu-west-1.amazonaws.com", "eu-west-1", "s3", true},
		{"point-123.s3-accesspoint.eu-west-1.amazonaws.com", "eu-west-1", "s3", true},
		{"s3.cn-north-1.amazonaws.com.cn", "cn-north-1", "s3", true},
		{"s3.eu-west-1.api.aws", "eu-west-1", "s3", true},
		{"dynamodb.eu-central-1.amazonaws.com", "eu-central-1", "dynamodb", true},
		{"bedrock-runtime.us-west-2.amazonaws.com", "us-west-2", "bedrock", true},
		{"sts-fips.us-east-1.amazonaws.com", "us-east-1", "sts", true},
		{"sts.amazonaws.com", "us-east-1", "sts", true},
		{"iam.amazonaws.com", "us-east-1", "iam", true},
		{"iam.us-gov.amazonaws.com", "us-gov-west-1", "iam", false},
		{"email.eu-west-1.amazonaws.com", "eu-west-1", "ses", true},
		{"api.ecr.eu-west-1.amazonaws.com", "eu-west-1", "ecr", true},
		{"x1.execute-api.eu-west-1.amazonaws.com", "eu-west-1", "execute-api", true},
		{"search-x.eu-west-1.es.amazonaws.com", "eu-west-1", "es", true},

		{"s3.eu-west-1.amazonaws.com", "us-east-1", "s3", false},
		{"s3.eu-west-1.amazonaws.com", "eu-west-1", "dynamodb", false},
		{"sts.amazonaws.com", "eu-west-1", "sts", false},
		{"dynamodb.s3.eu-west-1.amazonaws.com", "eu-west-1", "dynamodb", false}, // a bucket called dynamodb
		{"ec2-1-2-3-4.eu-west-1.compute.amazonaws.com", "eu-west-1", "compute", false},
		{"ec2-1-2-3-4.compute-1.amazonaws.com", "us-east-1", "compute-1", false},
		{"lb-1.eu-west-1.elb.amazonaws.com", "eu-west-1", "elb", false},
		{"site.s3-website.eu-west-1.amazonaws.com", "eu-west-1", "s3", false},
		{"eu-west-1.amazonaws.com", "eu-west-1", "s3", false},
		{"s3.eu-west-1.amazonaws.com.evil.test", "eu-west-1", "s3", false},
		{"amazonaws.com", "us-east-1", "s3", false},
	} {
		if err := checkAWSScope(v.host, v.region, v.service); (err == nil) != v.ok {
			t.Errorf("%s, %s, %s: %v", v.host, v.region, v.service, err)
		}
	}
}

func TestAWSKeys(t *testing.T) {
	end := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	full := Credential{User: "ASIAEXAMPLEEXAMPLE12", Token: secret.New("se/cr+et"), Session: secret.New("tok/en=="), ExpiresAt: end, Region: "eu-west-1"}
	plain := Credential{User: "AKIAEXAMPLEEXAMPLE12", Token: secret.New("se/cr+et")}
	for text, want := range map[string]Credential{
		`{"Version":1,"AccessKeyId":"ASIAEXAMPLEEXAMPLE12","SecretAccessKey":"se/cr+et","SessionToken":"tok/en==","Expiration":"2026-06-01T12:00:00+00:00","Region":"eu-west-1"}`: full,
		"[default]\naws_access_key_id = AKIAEXAMPLEEXAMPLE12\n# no\naws_secret_access_key=se/cr+et\n\n[other]\naws_access_key_id = X\n":                                           plain,
		"AKIAEXAMPLEEXAMPLE12\nse/cr+et\n": plain,
	} {
		got, err := parseAWS(text)
		got.ExpiresAt = got.ExpiresAt.UTC()
		want.ExpiresAt = want.ExpiresAt.UTC()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s (-want +got) %v:\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"", "hidden", "hidden hidden", "{hidden", `{"AccessKeyId":"hidden"}`, "AKIAEXAMPLEEXAMPLE12\n", "AKIAEXAMPLEEXAMPLE12 hidden a b", "[default]\naws_access_key_id=hidden\n",
		`{"AccessKeyId":"AKIAEXAMPLEEXAMPLE12","SecretAccessKey":"hidden x"}`, `{"AccessKeyId":"AKIAEXAMPLEEXAMPLE12","SecretAccessKey":"x","Expiration":"hidden"}`} {
		if _, err := parseAWS(text); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAWSImportFromFiles(t *testing.T) {
	home := t.TempDir()
	t.Setenv("PATH", home) // there is no program aws
	if _, err := fromAWS(t.Context(), Source{Home: home}); err == nil {
		t.Error("keys came from nowhere")
	}
	if err := errors.Join(os.Mkdir(filepath.Join(home, ".aws"), 0o700),
		os.WriteFile(filepath.Join(home, ".aws", "credentials"), []byte("[default]\naws_access_key_id=AKIADEFAULTDEFAULT12\naws_secret_access_key=a\n[work]\naws_access_key_id=AKIAWORKWORKWORK1234\naws_secret_access_key=b\n"), 0o600),
		os.WriteFile(filepath.Join(home, ".aws", "config"), []byte("[default]\nregion=us-east-1\n[profile work]\nregion = eu-west-1\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for profile, want := range map[string]Credential{
		"":     {User: "AKIADEFAULTDEFAULT12", Token: secret.New("a"), Region: "us-east-1", Source: "~/.aws/credentials"},
		"work": {User: "AKIAWORKWORKWORK1234", Token: secret.New("b"), Region: "eu-west-1", Source: "~/.aws/credentials"},
	} {
		got, err := fromAWS(t.Context(), Source{Home: home, Profile: profile})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q (-want +got) %v:\n%s", profile, err, diff)
		}
	}
	if _, err := fromAWS(t.Context(), Source{Home: home, Profile: "none"}); err == nil {
		t.Error("a profile that is not there has keys")
	}
}

// awsGrant is a run's grant, and the ID of the sandbox's key.
func awsGrant(t *testing.T, ref string) (Ready, string) {
	t.Helper()
	book := newBook(t)
	save(t, book, Credential{Provider: "aws", User: "AKIAREALREALREALREAL", Region: "eu-west-1"})
	g := load(t, book, ref)[0]
	return g, g.Env["AWS_ACCESS_KEY_ID"]
}

func TestAWSSandboxHasMadeUpKeys(t *testing.T) {
	g, id := awsGrant(t, "aws")
	if id == "" || len(g.Env["AWS_SECRET_ACCESS_KEY"]) != 40 || g.Env["AWS_REGION"] != "eu-west-1" || !g.Signs || g.Swap != nil {
		t.Errorf("%+v", g)
	}
	if diff := cmp.Diff([]string{id, g.Env["AWS_SECRET_ACCESS_KEY"]}, g.Placeholders); diff != "" {
		t.Error(diff)
	}
}

func awsRequest(t *testing.T, method, url, credential, body string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if credential != "" {
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+credential+"/aws4_request, SignedHeaders=host;x-amz-date, Signature="+strings.Repeat("0", 64))
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// What is signed anew, and what is refused, with a reason.
func TestAWSSign(t *testing.T) {
	g, id := awsGrant(t, "aws")
	narrow, narrowID := awsGrant(t, "aws:dynamodb")
	const form = "Content-Type"
	for name, v := range map[string]struct {
		r    *http.Request
		g    Ready
		want string // part of the reason; empty: it is signed
	}{
		"list":           {awsRequest(t, "GET", "https://b.s3.eu-west-1.amazonaws.com/?list-type=2", id+"/20260101/eu-west-1/s3", "", "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"), g, ""},
		"identity":       {awsRequest(t, "POST", "https://sts.amazonaws.com/", id+"/20260101/us-east-1/sts", "Action=GetCallerIdentity&Version=2011-06-15", form, "x"), g, ""},
		"other region":   {awsRequest(t, "GET", "https://b.s3.eu-west-1.amazonaws.com/", id+"/20260101/us-east-1/s3", ""), g, "the region us-east-1, and the host is in eu-west-1"},
		"other service":  {awsRequest(t, "GET", "https://s3.eu-west-1.amazonaws.com/", id+"/20260101/eu-west-1/iam", ""), g, "the service iam"},
		"not granted":    {awsRequest(t, "GET", "https://s3.eu-west-1.amazonaws.com/", narrowID+"/20260101/eu-west-1/s3", ""), narrow, "the grant is for dynamodb only"},
		"granted":        {awsRequest(t, "POST", "https://dynamodb.eu-west-1.amazonaws.com/", narrowID+"/20260101/eu-west-1/dynamodb", "{}"), narrow, ""},
		"foreign":        {awsRequest(t, "GET", "https://s3.eu-west-1.amazonaws.com/", "AKIAFOREIGNFOREIGN12/20260101/eu-west-1/s3", ""), g, "not this run's"},
		"presigned":      {awsRequest(t, "GET", "https://b.s3.amazonaws.com/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAFOREIGNFOREIGN12%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00", "", ""), g, "not this run's"},
		"version 2":      {awsRequest(t, "GET", "https://s3.amazonaws.com/", "", "", "Authorization", "AWS "+id+":x"), g, "only AWS4-HMAC-SHA256"},
		"asymmetric":     {awsRequest(t, "GET", "https://s3.amazonaws.com/", "", "", "Authorization", "AWS4-ECDSA-P256-SHA256 Credential="+id+"/20260101/s3/aws4_request"), g, "only AWS4-HMAC-SHA256"},
		"events":         {awsRequest(t, "POST", "https://transcribe.eu-west-1.amazonaws.com/", id+"/20260101/eu-west-1/transcribe", "x", "X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-EVENTS"), g, "kind of payload"},
		"takes a role":   {awsRequest(t, "POST", "https://sts.eu-west-1.amazonaws.com/", id+"/20260101/eu-west-1/sts", "Action=AssumeRole&RoleArn=x"), g, "sts:AssumeRole would give"},
		"role in query":  {awsRequest(t, "GET", "https://sts.eu-west-1.amazonaws.com/?Action=AssumeRole", id+"/20260101/eu-west-1/sts", ""), g, "sts:AssumeRole would give"},
		"two actions":    {awsRequest(t, "POST", "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity", id+"/20260101/eu-west-1/sts", "Action=AssumeRole"), g, "cannot be read"},
		"no action":      {awsRequest(t, "POST", "https://sts.eu-west-1.amazonaws.com/", id+"/20260101/eu-west-1/sts", ""), g, "cannot be read"},
		"makes a key":    {awsRequest(t, "POST", "https://iam.amazonaws.com/", id+"/20260101/us-east-1/iam", "Action=CreateAccessKey"), g, "iam:CreateAccessKey would give"},
		"large":          {awsRequest(t, "POST", "https://lambda.eu-west-1.amazonaws.com/", id+"/20260101/eu-west-1/lambda", "x", "X-Large", "1"), g, "larger than 32 MiB"},
		"customer's own": {awsRequest(t, "GET", "https://ec2-1-2-3-4.eu-west-1.compute.amazonaws.com/", id+"/20260101/eu-west-1/compute", ""), g, "a customer"},
	} {
		if v.r.Header.Get("X-Large") != "" {
			v.r.ContentLength = awsBody + 1
		}
		before := v.r.Header.Get("Authorization") + v.r.URL.RawQuery
		err := v.g.Inject(t.Context(), v.r)
		after := v.r.Header.Get("Authorization") + v.r.URL.RawQuery
		unfit, isUnfit := errors.AsType[*UnfitError](err)
		switch {
		case v.want == "" && (err != nil || !strings.Contains(after, "AKIAREALREALREALREAL") || strings.Contains(after, id)):
			t.Errorf("%s: %v, %s", name, err, after)
		case v.want != "" && (!isUnfit || !strings.Contains(unfit.Unfit(), v.want) || before != after):
			t.Errorf("%s: %v, %s", name, err, after)
		}
		if strings.Contains(after, realToken) {
			t.Errorf("%s: the secret key is sent", name)
		}
	}
}

// Unsigned requests pass, and bodies that were held are sent whole.
func TestAWSBodies(t *testing.T) {
	g, id := awsGrant(t, "aws")
	r := awsRequest(t, "GET", "https://public.s3.amazonaws.com/x", "", "")
	if err := g.Inject(t.Context(), r); err != nil || len(r.Header) > 0 {
		t.Errorf("%v, %v", err, r.Header)
	}
	r = awsRequest(t, "POST", "https://lambda.eu-west-1.amazonaws.com/x", id+"/20260101/eu-west-1/lambda", "body")
	r.ContentLength = -1
	if err := g.Inject(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if sent, err := io.ReadAll(r.Body); err != nil || string(sent) != "body" || r.ContentLength != 4 {
		t.Errorf("%q of %d, %v", sent, r.ContentLength, err)
	}
}

// There is room for two bodies at once, and a third one waits until one was sent.
func TestAWSRoom(t *testing.T) {
	s := newAWSSigner(1 << 20)
	hold := func(ctx context.Context, size int) (*http.Request, error) {
		r := awsRequest(t, "POST", "https://lambda.eu-west-1.amazonaws.com/", "", strings.Repeat("b", size))
		r.ContentLength = -1
		_, err := s.hold(ctx, r)
		return r, err
	}
	one, err := hold(t.Context(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold(t.Context(), 1<<20+1); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("too large: %v", err)
	}
	if _, err := hold(t.Context(), 1<<20); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := hold(ended, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("a third one: %v", err)
	}
	if err := errors.Join(one.Body.Close(), one.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := hold(t.Context(), 1<<20); err != nil {
		t.Errorf("after one was sent: %v", err)
	}
}
