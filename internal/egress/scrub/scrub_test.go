package scrub

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

const (
	token = "ghp_Zk3/xQ+9v&Lw7RtY\"2uBn"
	other = "sk-ant-api03-AAbbCCddEEff"
)

// encodings are written without the code under test.
func encodings(secret string) map[string]string {
	text, _ := json.Marshal(secret)
	percent := ""
	for i := range len(secret) {
		percent += fmt.Sprintf("%%%02x", secret[i])
	}
	all := map[string]string{
		"raw": secret, "query": url.QueryEscape(secret), "path": url.PathEscape(secret), "every byte": percent,
		"json": strings.Trim(string(text), `"`), "json slash": strings.ReplaceAll(strings.Trim(string(text), `"`), "/", `\/`),
		"hex": hex.EncodeToString([]byte(secret)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(secret))),
	}
	for _, before := range []string{"", "u", "us", "user:", "x-access-token:"} {
		for _, after := range []string{"", "\n", "zz"} {
			plain := []byte(before + secret + after)
			for name, e := range map[string]*base64.Encoding{"std": base64.StdEncoding, "url": base64.URLEncoding, "raw": base64.RawURLEncoding} {
				all[fmt.Sprintf("base64 %s %q %q", name, before, after)] = e.EncodeToString(plain)
			}
		}
	}
	return all
}

func TestEveryForm(t *testing.T) {
	s := New([]string{token, other, "", "abc"})
	for _, secret := range []string{token, other} {
		for name, form := range encodings(secret) {
			text := "before " + form + " after"
			got := s.String(text)
			if len(got) != len(text) || !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") {
				t.Errorf("%s: %q became %q", name, text, got)
			}
			// Of base64 some digits at the edges are shared with neighbours; they stay.
			if strings.Count(got, "*") < len(secret) {
				t.Errorf("%s: %q became %q", name, text, got)
			}
			if !s.Contains(text) || s.Contains(got) {
				t.Errorf("%s: Contains(%q) = %v, then %v", name, text, s.Contains(text), s.Contains(got))
			}
		}
	}
	for _, innocent := range []string{"", "g", "ghp_", token[:len(token)-1], token[1:], "abc", strings.Repeat("ghp_", 1000)} {
		if got := s.String(innocent); got != innocent {
			t.Errorf("%q became %q", innocent, got)
		}
	}
	if New([]string{"", "abc"}) != nil {
		t.Error("a Set of nothing is not nil")
	}
}

// stream filters text in pieces of the given sizes, as the body of a response is.
func stream(s *Set, text []byte, size func(left int) int) []byte {
	var out, held []byte
	f := s.Stream()
	for len(text) > 0 {
		n := min(max(size(len(text)), 1), len(text))
		held = append(held, text[:n]...)
		text = text[n:]
		from, to, again := f.Filter(held, false)
		out = append(out, held[from:to]...)
		held = slices.Clone(held[again:])
		if len(held) > 0 && len(held) >= s.Longest() {
			panic("too much is held back")
		}
	}
	from, to, _ := f.Filter(held, true)
	return append(out, held[from:to]...)
}

// same reports whether text was filtered as it should be: up to lead bytes of each secret may be as they were.
func same(got, want, text string, lead int) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range len(got) {
		begins := false // some secret begins at most lead bytes before
		for j := max(0, i-lead+1); j <= i; j++ {
			begins = begins || want[j] == mask && (j == 0 || want[j-1] != mask || text[j-1] == mask)
		}
		if got[i] != want[i] && (want[i] != mask || got[i] != text[i] || !begins) {
			return false
		}
	}
	return true
}

func TestEveryCut(t *testing.T) {
	s := New([]string{token, other})
	for name, form := range encodings(token) {
		text := []byte("data: " + form + " " + form + " ghp_" + other + " " + other[:9])
		want := s.String(string(text))
		for size := 1; size <= len(text); size++ {
			if got := stream(s, bytes.Clone(text), func(int) int { return size }); !same(string(got), want, string(text), maxLead) {
				t.Fatalf("%s in pieces of %d: %q, want %q", name, size, got, want)
			}
		}
		for cut := range text {
			first := true
			got := stream(s, bytes.Clone(text), func(left int) int {
				if first {
					first = false
					return cut
				}
				return left
			})
			if !same(string(got), want, string(text), maxLead) {
				t.Fatalf("%s cut at %d: %q, want %q", name, cut, got, want)
			}
		}
	}
}

// What cannot be the beginning of a secret is passed on at once.
func TestNothingIsHeldBackWithoutCause(t *testing.T) {
	s := New([]string{token})
	for text, want := range map[string]string{
		"data: hello\n\n":    "data: hello\n\n",
		"data: gh":           "data: gh",
		"data: " + token[:5]: "data: " + token[:3],
		"data: ghx":          "data: ghx",
		token:                strings.Repeat("*", len(token)),
		token + "g":          strings.Repeat("*", len(token)) + "g",
		"":                   "",
	} {
		f, b := s.Stream(), []byte(text)
		if from, to, _ := f.Filter(b, false); string(b[from:to]) != want {
			t.Errorf("%q: %q is passed on, want %q", text, b[from:to], want)
		}
	}
}

// Secrets inside of one another leave nothing, whichever comes first.
func TestOverlaps(t *testing.T) {
	s := New([]string{"aaaa-bbbb-cccc", "bbbb", "cccc-dddd", "aaaa-bbbb-cccc-dddd-eeee"})
	for text, want := range map[string]string{
		"aaaa-bbbb-cccc":           "**************",
		"aaaa-bbbb-cccc-dddd-eeee": "************************",
		"aaaa-bbbb-cccx":           "aaaa-****-cccx",
		"aaaa-bbbb-cccc-dddd-eeex": "**************-dddd-eeex",
		"xbbbbcccc-ddddbbbb":       "x*****************",
	} {
		for size := 1; size <= len(text); size++ {
			if got := string(stream(s, []byte(text), func(int) int { return size })); got != want {
				t.Errorf("%q in pieces of %d: %q, want %q", text, size, got, want)
			}
		}
	}
}

// naive is the meaning of a Set: leftmost, then longest.
func naive(patterns [][]byte, text []byte) []byte {
	out := bytes.Clone(text)
	for i := 0; i < len(text); {
		length := 0
		for _, p := range patterns {
			if bytes.HasPrefix(text[i:], p) {
				length = max(length, len(p))
			}
		}
		for j := range length {
			out[i+j] = mask
		}
		i += max(length, 1)
	}
	return out
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte("secret1"), []byte("ret1sec"), []byte("xxsecret1secret1yy"), []byte{3, 1})
	f.Add([]byte(token), []byte(other), []byte(base64.StdEncoding.EncodeToString([]byte("u:"+token))), []byte{1, 7})
	f.Add([]byte("aaaaaa"), []byte("aaaaaaaaab"), []byte("aaaaaaaaaaaaaaaaab"), []byte{1})
	f.Fuzz(func(t *testing.T, a, b, text, sizes []byte) {
		s := New([]string{string(a), string(b)})
		if s == nil {
			return
		}
		text = append(append(append(bytes.Clone(text), a...), text...), b...)
		want := naive(s.patterns, text)
		i := 0
		got := stream(s, bytes.Clone(text), func(left int) int {
			if len(sizes) == 0 {
				return left
			}
			i++
			return int(sizes[i%len(sizes)])
		})
		if s.shortest < 8 && !bytes.Equal(got, want) || len(got) != len(want) {
			t.Fatalf("secrets %q %q, text %q: %q, want %q", a, b, text, got, want)
		}
		for i := range got {
			if got[i] != want[i] && (want[i] != mask || got[i] != text[i]) {
				t.Fatalf("secrets %q %q, text %q: %q, want %q", a, b, text, got, want)
			}
		}
		if !bytes.ContainsRune(append(a, b...), mask) && s.Contains(string(got)) {
			t.Fatalf("secrets %q %q, text %q: %q", a, b, text, got)
		}
		if s.Contains(string(text)) != !bytes.Equal(text, want) {
			t.Fatalf("Contains(%q) is wrong", text)
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	random := make([]byte, 32<<10)
	rand.Read(random)
	for name, text := range map[string][]byte{
		"random": random,
		"json":   bytes.Repeat([]byte(`{"id":12345,"name":"a repository","url":"https://api.example.com/repos/a/b"},`), 400),
		"base64": []byte(base64.StdEncoding.EncodeToString(random)),
		"hex":    []byte(hex.EncodeToString(random)),
	} {
		for _, secrets := range []int{1, 5} {
			var values []string
			for range secrets {
				values = append(values, "ghp_"+rand.Text()+rand.Text()[:10])
			}
			s := New(values)
			b.Run(fmt.Sprintf("%s-%d", name, secrets), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					s.filter(text, false)
				}
			})
		}
	}
}
