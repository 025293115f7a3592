package audit

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// example has every type of field, and texts that need care.
func example(seq int64) Entry {
	return Entry{Seq: seq, Time: time.Date(2026, 11, 24, 23, 42, 9, 123456789, time.UTC), Kind: "attach", Fields: []Field{
		Text("terminal", "/dev/pts/3 \"quoted\" \\ é \U0001f600 \x1b[31m \u202e\xff"),
		Number("uid", int64(-1)), Number("big", int64(1)<<62),
		Flag("read_only", true), Flag("again", false),
		List("empty", nil), List("words", []string{"a", "b c", ""}),
		Moment("from", time.Unix(1, 5)),
	}}
}

func TestEntryHasOneEncoding(t *testing.T) {
	e := example(7)
	data := e.Append(nil)
	want := `{"seq":7,"t":"2026-11-24T23:42:09.123456789Z","kind":"attach","again":false,"big":4611686018427387904,"empty":[],` +
		`"from":"1970-01-01T00:00:01.000000005Z","read_only":true,"terminal":"/dev/pts/3 \"quoted\" \\ \u00e9 \ud83d\ude00 \u001b[31m \u202e\ufffd",` +
		`"uid":-1,"words":["a","b c",""]}`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("encoding (-want +got):\n%s", diff)
	}
	got, err := ParseEntry(data)
	if err != nil {
		t.Fatal(err)
	}
	if again := got.Append(nil); string(again) != string(data) {
		t.Errorf("parsed and written again it is\n%s", again)
	}
	if got.Text("terminal") == "" || got.Number("uid") != -1 || got.Number("nothing") != -1 || got.Text("nothing") != "" {
		t.Errorf("fields are lost: %+v", got)
	}
}

func TestOtherEncodingsAreRefused(t *testing.T) {
	good := `{"seq":1,"t":"2026-11-24T23:42:09.123456789Z","kind":"exec","a":"x","b":1}`
	if _, err := ParseEntry([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string][2]string{
		"a space":              {`"a":`, `"a": `},
		"fields not in order":  {`"a":"x","b":1`, `"b":1,"a":"x"`},
		"a field twice":        {`"a":"x"`, `"a":"x","a":"x"`},
		"a needless escape":    {`"x"`, `"\u0078"`},
		"upper-case digits":    {`"x"`, `"\u00E9"`},
		"a short escape":       {`"x"`, `"\n"`},
		"half a pair":          {`"x"`, `"\ud83d"`},
		"raw UTF-8":            {`"x"`, `"é"`},
		"a control character":  {`"x"`, "\"\x01\""},
		"a leading zero":       {`"b":1`, `"b":01`},
		"minus zero":           {`"b":1`, `"b":-0`},
		"a fraction":           {`"b":1`, `"b":1.0`},
		"an exponent":          {`"b":1`, `"b":1e0`},
		"null":                 {`"b":1`, `"b":null`},
		"an object":            {`"b":1`, `"b":{}`},
		"a number too large":   {`"b":1`, `"b":9223372036854775808`},
		"seq 0":                {`"seq":1`, `"seq":0`},
		"another zone":         {`789Z`, `789+00:00`},
		"fewer digits":         {`.123456789Z`, `.12345678Z`},
		"a comma in the time":  {`.123`, `,123`},
		"no such day":          {`2026-11-24`, `2026-02-30`},
		"a reserved name":      {`"a":`, `"t":`},
		"an upper-case name":   {`"a":`, `"A":`},
		"an empty kind":        {`"exec"`, `""`},
		"something behind":     {`1}`, `1} `},
		"a missing end":        {`1}`, `1`},
		"a list with a number": {`"b":1`, `"b":[1]`},
		"a list cut off":       {`"b":1`, `"b":["x",]`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if _, err := ParseEntry([]byte(bad)); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s is accepted: %s (%v)", what, bad, err)
		}
	}
}

func TestWhateverIsInATextAnEntryCanBeMade(t *testing.T) {
	long := strings.Repeat("\xff\x00é", 1<<20)
	e := Entry{Seq: 1, Kind: "exec", Time: time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC), Fields: []Field{
		Text("a", long), List("b", []string{long, long, long, long, long}), List("c", strings.Split(strings.Repeat(",", 1<<16), ",")),
	}}
	data := e.Append(nil)
	if _, err := ParseEntry(data); err != nil || len(data) > MaxEntry {
		t.Errorf("%d bytes: %v", len(data), err)
	}
}

func FuzzEntry(f *testing.F) {
	f.Add(example(1).Append(nil))
	f.Add([]byte(`{"seq":1,"t":"2026-11-24T23:42:09.123456789Z","kind":"exec","b":["\ud83d\ude00"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEntry(data)
		if err != nil {
			return
		}
		if again := e.Append(nil); string(again) != string(data) {
			t.Errorf("%q is accepted, and written as %q", data, again)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(AppendFrame(nil, FrameEntry, []byte("x")))
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, payload, size, err := Frame(data)
		if err != nil {
			return
		}
		if again := AppendFrame(nil, kind, payload); string(again) != string(data[:size]) {
			t.Errorf("%q is accepted, and written as %q", data[:size], again)
		}
		if n, ok := LastFrame(data[:size]); !ok || n != size {
			t.Errorf("read backwards it has %d bytes, not %d", n, size)
		}
	})
}
