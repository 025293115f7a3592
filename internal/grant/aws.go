package grant

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"

	"moat/internal/grant/sigv4"
)

// aws is for keys that sign requests. The sandbox has made-up ones and signs with those; each request is signed anew on its
// way. The forms of keys: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
func aws() Provider {
	signer := newAWSSigner(awsBody)
	hosts := awsDomains()
	for i := range hosts {
		hosts[i] = "*." + hosts[i]
	}
	return Provider{
		Name: "aws", Title: "AWS access key", Obtain: "https://console.aws.amazon.com/iam/home#/security_credentials",
		Hosts: hosts, Sign: signer.sign, Scoped: true,
		Env: []Var{
			{Name: "AWS_ACCESS_KEY_ID"},
			{Name: "AWS_SECRET_ACCESS_KEY", Shape: &Shape{Length: 40, Alphabet: alphanumeric + "+/"}},
			{Name: "AWS_EC2_METADATA_DISABLED", Value: "true"},
		},
		More:  awsRegionVars,
		Shape: Shape{Prefix: "AKIA", Length: 16, Alphabet: "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"},
		Ask:   []string{"AWS access key ID: ", "AWS secret access key: "},
		Parse: parseAWS, Import: &Import{From: "aws configure export-credentials", Take: fromAWS},
	}
}

// awsRegionVars tell the sandbox the region that was stored with the keys.
func awsRegionVars(c Credential) []Var {
	if c.Region == "" {
		return nil
	}
	return []Var{{Name: "AWS_REGION", Value: c.Region}, {Name: "AWS_DEFAULT_REGION", Value: c.Region}}
}

// awsBody is the largest body that is held until it is signed, because the client has not sent its hash.
const awsBody = 32 << 20

// awsSigner signs requests. Its methods may be called concurrently.
type awsSigner struct {
	most int64               // bytes of a body
	room *semaphore.Weighted // bytes of all bodies of a run
}

func newAWSSigner(most int64) *awsSigner {
	return &awsSigner{most: most, room: semaphore.NewWeighted(2 * most)}
}

// sign signs a request of the sandbox's keys with the real ones. A request without a signature is left as it is: things
// that everybody may read are read so.
func (s *awsSigner) sign(ctx context.Context, u *use, c Credential, r *http.Request) error {
	claim, found, err := sigv4.Read(r)
	if err != nil {
		return u.unfit(err)
	}
	if !found {
		return nil
	}
	if claim.ID != u.mark {
		return u.unfit(errors.New("it is signed with keys that are not this run's"))
	}
	if err := checkAWSScope(strings.ToLower(r.URL.Hostname()), claim.Scope.Region, claim.Scope.Service); err != nil {
		return u.unfit(err)
	}
	if len(u.scopes) > 0 && !slices.Contains(u.scopes, claim.Scope.Service) {
		return u.unfit(fmt.Errorf("it is for the service %s, and the grant is for %s only", claim.Scope.Service, strings.Join(u.scopes, ", ")))
	}
	payload, err := sigv4.Payload(r, claim)
	if err != nil {
		return u.unfit(err)
	}
	if _, careful := awsKeyMakers()[claim.Scope.Service]; payload == "" || careful {
		body, err := s.hold(ctx, r)
		if err != nil {
			return u.unfit(err)
		}
		if err := checkAWSAction(claim.Scope.Service, r.URL.RawQuery, body); err != nil {
			return u.unfit(err)
		}
		payload = sigv4.Hash(body)
		r.Header.Del("X-Amz-Content-Sha256")
	}
	keys := sigv4.Keys{ID: c.User, Secret: c.Token, Session: c.Session}
	keys.Sign(r, claim, payload, u.now())
	return nil
}

// hold reads the body and puts it back.
func (s *awsSigner) hold(ctx context.Context, r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	want, tooLarge := s.most, fmt.Errorf("its body is larger than %d MiB, and the client has not sent its hash", s.most>>20)
	if r.ContentLength >= 0 {
		want = r.ContentLength
	}
	if want > s.most {
		return nil, tooLarge
	}
	if err := s.room.Acquire(ctx, want); err != nil {
		return nil, err
	}
	var once sync.Once
	held := &heldBody{done: func() { once.Do(func() { s.room.Release(want) }) }}
	body, err := io.ReadAll(io.LimitReader(r.Body, s.most+1))
	if err == nil && int64(len(body)) > s.most {
		err = tooLarge
	}
	if err := errors.Join(err, r.Body.Close()); err != nil {
		held.done()
		return nil, err
	}
	held.Reader = bytes.NewReader(body)
	r.Body, r.ContentLength = held, int64(len(body))
	return body, nil
}

// heldBody gives its room back when it was sent.
type heldBody struct {
	*bytes.Reader
	done func()
}

func (b *heldBody) Close() error {
	b.done()
	return nil
}

// awsKeyMakers says, of services that can give the sandbox keys of its own, which actions do.
func awsKeyMakers() map[string]func(action string) bool {
	return map[string]func(string) bool{
		"sts": func(action string) bool {
			return !slices.Contains([]string{"GetCallerIdentity", "DecodeAuthorizationMessage", "GetAccessKeyInfo"}, action)
		},
		"iam": func(action string) bool {
			return slices.Contains([]string{"CreateAccessKey", "CreateServiceSpecificCredential", "ResetServiceSpecificCredential", "CreateLoginProfile", "UpdateLoginProfile"}, action)
		},
	}
}

// checkAWSAction refuses what would give the sandbox keys that it can see.
func checkAWSAction(service, query string, body []byte) error {
	makes, careful := awsKeyMakers()[service]
	if !careful {
		return nil
	}
	var actions []string
	for _, text := range []string{query, string(body)} {
		values, err := url.ParseQuery(text)
		if err != nil {
			return fmt.Errorf("what it asks of %s cannot be read", service)
		}
		actions = append(actions, values["Action"]...)
	}
	if len(actions) != 1 {
		return fmt.Errorf("what it asks of %s cannot be read", service)
	}
	if makes(actions[0]) {
		return fmt.Errorf("%s:%s would give the sandbox keys of its own", service, actions[0])
	}
	return nil
}
