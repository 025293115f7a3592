package intercept

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"moat/internal/egress"
	"moat/internal/journal"
	"moat/internal/policy"
)

// exchange is one request and its answer.
type exchange struct {
	*visit
	ctx context.Context // done when the client is gone
	w   http.ResponseWriter
	r   *http.Request

	host     policy.Host
	port     uint16
	pinned   bool
	path     string // in its one spelling
	query    string // likewise
	decision policy.Decision
	grant    *credential // of the host; nil if there is none, or the connection is not one that it may be used on

	began    time.Time
	rec      journal.Request
	id       uint64
	dialled  atomic.Pointer[bulk]
	in, out  atomic.Int64
	body     *requestBody // nil if there is none
	sent     *capture     // of the request's body
	received *capture     // of the answer's
	status   int
	early    early
	err      error
	broken   bool // the answer began and cannot be completed
}

// serveRequest serves one request of a visit in HTTP/2.
func serveRequest(w http.ResponseWriter, r *http.Request) {
	v := r.Context().Value(visitKey{}).(*visit)
	if !v.requests.enter() {
		panic(http.ErrAbortHandler)
	}
	defer v.requests.leave()
	if !v.exchange(r.Context(), w, r) {
		panic(http.ErrAbortHandler)
	}
}

// exchange serves one request. It reports whether the answer is whole.
func (v *visit) exchange(ctx context.Context, w http.ResponseWriter, r *http.Request) (whole bool) {
	x := &exchange{visit: v, ctx: ctx, w: w, r: r, host: v.target.Host, port: v.target.Port, pinned: v.target.Pinned, began: time.Now()}
	func() {
		defer x.finish() // whatever happens
		x.serve(ctx)
	}()
	return !x.broken
}

func (x *exchange) serve(ctx context.Context) {
	if refusal := x.judge(); refusal != nil {
		x.describe()
		x.refuse(refusal)
		return
	}
	x.describe()
	if d := x.config.Meter.Request(x.host); !d.Allow {
		x.refuse(byPolicy(x, d))
		return
	}
	out, refusal := x.outgoing(ctx)
	if refusal != nil {
		x.refuse(refusal)
		return
	}
	if x.grant != nil {
		x.rec.Grant = &x.grant.Name
	}
	x.id = x.config.Recorder.Begin(x.rec)
	if x.grant != nil {
		if err := x.inject(ctx, out); err != nil {
			x.withoutCredential(err)
			return
		}
	}
	x.forward(out)
}

// secure reports whether the request came inside TLS, and so leaves inside TLS.
func (x *exchange) secure() bool { return x.target.TLS }

// refusal is an answer that is ours.
type refusal struct {
	status int
	rule   string // for the record
	body   string
	kind   string         // value of egress.BlockedHeader, "" for none
	hint   egress.Refusal // for the clients of the run; without a host there is none
}

// byPolicy is the refusal of a decision.
func byPolicy(x *exchange, d policy.Decision) *refusal {
	hint := egress.NewRefusal(x.config.Policy(), x.host, x.port, d)
	return &refusal{
		status: egress.BlockedStatus(x.secure()), rule: d.Rule, body: hint.BlockedBody(), kind: egress.BlockedValue, hint: hint,
	}
}

// refuse answers a request that is not forwarded. Bodies are not waited for.
func (x *exchange) refuse(f *refusal) {
	x.rec.Decision, x.rec.Rule = journal.Denied, f.rule
	if f.hint.Rule != "" {
		x.config.Refused(f.hint)
	}
	if f.kind != "" {
		x.w.Header().Set(egress.BlockedHeader, f.kind)
	}
	x.say(f.status, f.body)
}

// withoutCredential answers a request that did not get its credential.
func (x *exchange) withoutCredential(err error) {
	var unfit interface{ Unfit() string }
	if !errors.As(err, &unfit) {
		x.fail("the credential "+x.grant.Name+" cannot be used", err)
		return
	}
	if out := x.bodyFailure(); out != nil {
		x.unanswered(out)
		return
	}
	reason := x.hidden.Load().String(unfit.Unfit())
	rule := "grant " + x.grant.Name + ": " + reason
	x.refuse(&refusal{
		status: http.StatusForbidden, rule: rule, kind: "credential",
		body: "moat: refused: the grant " + x.grant.Name + " is not used for this request: " + reason + ".\n",
		hint: egress.Refusal{Host: x.host, Port: x.port, Rule: rule, Reason: reason},
	})
}

// bodyFailure is why the body could not be read, if somebody wanted it.
func (x *exchange) bodyFailure() error {
	if x.body == nil {
		return nil
	}
	if failed := x.body.failed.Load(); failed != nil {
		return *failed
	}
	return nil
}

// fail answers a request that could not be forwarded. The text of the error has no secrets.
func (x *exchange) fail(what string, err error) {
	x.err = err
	x.say(http.StatusBadGateway, "moat: "+what+": "+x.hidden.Load().String(err.Error())+"\n")
}

// say answers in plain text.
func (x *exchange) say(status int, text string) {
	h := x.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if x.r.ProtoMajor == 1 && (status == http.StatusBadRequest || x.r.ContentLength != 0 || x.upgrade() != "") {
		h.Set("Connection", "close") // what follows is no request, or not worth waiting for
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	x.status = status
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		n, _ := x.w.Write([]byte(text))
		x.in.Add(int64(n))
	}
}

// outURL is where the request is sent.
func (x *exchange) outURL() *url.URL {
	u := &url.URL{Scheme: "http", Host: authority(x.host, x.port, x.secure()), RawQuery: x.query}
	if x.secure() {
		u.Scheme = "https"
	}
	if x.path == "*" {
		u.Opaque = "*"
		return u
	}
	plain, err := url.PathUnescape(x.path)
	if err != nil || plain == x.path {
		u.Path = x.path
		return u
	}
	u.Path, u.RawPath = plain, x.path
	return u
}

// authority is host[:port], without the port that its scheme has anyway.
func authority(host policy.Host, port uint16, tls bool) string {
	if tls && port == 443 || !tls && port == 80 {
		text := host.String()
		if addr, ok := host.Addr(); ok && addr.Is6() {
			text = "[" + text + "]"
		}
		return text
	}
	return host.WithPort(port)
}
