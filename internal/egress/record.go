package egress

import (
	"errors"
	"time"

	"moat/internal/journal"
	"moat/internal/policy"
)

// record is what is known of the connection.
func (v *visit) record(kind string) journal.Request {
	rec := journal.Request{
		ID: v.id, T: v.began.UTC(), Kind: kind, Host: v.host.String(), SNI: v.sni, Rule: v.decision.Rule, Decision: journal.Denied,
		Protocol: "tcp", URL: "tcp://" + v.host.WithPort(v.port),
	}
	if kind == journal.KindConnect {
		rec.Method, rec.Protocol, rec.URL = "CONNECT", "tls", "https://"+authority(v.host, v.port, 443)+"/"
	}
	if v.decision.Allow {
		rec.Decision = journal.Allowed
	}
	if v.asked.IsValid() {
		rec.Address = v.asked.String()
	}
	return rec
}

// authority is host[:port], without the port that its scheme has anyway.
func authority(host policy.Host, port, usual uint16) string {
	text := host.WithPort(port)
	if port == usual {
		return text[:len(text)-len(":")-digits(port)]
	}
	return text
}

func digits(n uint16) (d int) {
	for d = 1; n >= 10; n /= 10 {
		d++
	}
	return d
}

// finish completes a record. An error is told without addresses of the host's own network.
func (v *visit) finish(rec journal.Request, err error) {
	took := float64(time.Since(v.began)) / float64(time.Millisecond)
	rec.DurationMS = &took
	if err != nil {
		text := err.Error()
		rec.Error = &text
	}
	v.config.Recorder.End(rec)
}

// finishRelay completes the record of a connection that was passed through.
func (v *visit) finishRelay(rec journal.Request, r *relay, err error) {
	rec.BytesIn, rec.BytesOut = r.in.Load(), r.out.Load()
	var leak *leakError
	if errors.As(err, &leak) {
		v.refuseWith(leak.decision())
		rec.Decision, rec.Rule = journal.Denied, v.decision.Rule
	}
	v.finish(rec, err)
}

// refuseWith takes back that the connection is allowed, and tells who wants to know.
func (v *visit) refuseWith(d policy.Decision) {
	d.Allow = false
	v.decision = d
	v.refusal = NewRefusal(v.config.Policy(), v.host, v.port, d)
	v.config.Refused(v.refusal)
}

// deny resets the connection, which is refused, and records it. The status is that of an answer, if there was one.
func (v *visit) deny(kind string, status *int) {
	abort(v.conn.Conn)
	rec := v.record(kind)
	rec.Status = status
	v.finish(rec, nil)
}
