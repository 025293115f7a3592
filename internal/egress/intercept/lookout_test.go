package intercept

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// A client that goes away before there is an answer ends the request outside.
func TestGoneBeforeTheAnswer(t *testing.T) {
	for _, body := range []string{"", "Content-Length: 3\r\n"} {
		l := newLab(t, labOptions{})
		began, ended := make(chan bool, 1), make(chan bool, 1)
		l.outside("plain.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			began <- true
			<-r.Context().Done()
			ended <- true
		}))
		c := l.raw("plain.lab.test:443", true)
		c.send("POST / HTTP/1.1\r\nHost: plain.lab.test\r\n" + body + "\r\n")
		if body != "" {
			c.send("abc")
		}
		<-began
		c.Close()
		select {
		case <-ended:
		case <-time.After(60 * time.Second):
			t.Error("the request outside goes on")
		}
		if rec := l.records.wait(t, 1)[0]; rec.Error == nil || rec.Status != nil {
			t.Errorf("%+v", rec)
		}
	}
}

// A request that comes while the one before is answered is the next one, also when it was read ahead.
func TestReadAhead(t *testing.T) {
	l := newLab(t, labOptions{})
	slow := make(chan bool)
	l.outside("plain.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/0" {
			<-slow
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.URL.Path, body)
	}))
	c := l.raw("plain.lab.test:443", true)
	c.send("GET /0 HTTP/1.1\r\nHost: plain.lab.test\r\n\r\n")
	for n := range 3 { // long enough for rounds of the patrol, and a piece in each
		time.Sleep(2 * lookEvery) // sleep: a slow server, which is what is watched for
		c.send([]string{"POST /1 HT", "TP/1.1\r\nHost: plain.lab.test\r\nContent-", "Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: plain.lab.test\r\n\r\n"}[n])
	}
	close(slow)
	for n, want := range []string{"/0 ", "/1 abc", "/2 "} {
		if status, body := c.answer(); status != 200 || body != want {
			t.Errorf("answer %d: %d %q, want %q", n, status, body, want)
		}
	}
}
