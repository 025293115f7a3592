package policy

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

// expression is a second reading of a path pattern.
func expression(pattern string) *regexp.Regexp {
	var out strings.Builder
	for segment := range strings.SplitSeq(strings.Trim(pattern, "/"), "/") {
		switch segment {
		case "":
		case "*":
			out.WriteString("/[^/]*")
		case "**":
			out.WriteString("(/[^/]*)*")
		default:
			out.WriteString("/" + regexp.QuoteMeta(segment))
		}
	}
	return regexp.MustCompile("^" + out.String() + "$")
}

func FuzzRule(f *testing.F) {
	for _, s := range []string{"allow GET /repos/**", "deny POST,PUT /a/*/b", "allow * /**/a/**/b", "allow GET /%E2%82%AC;x", "deny  *\t/"} {
		f.Add(s, "GET", "/repos/a/b")
	}
	f.Fuzz(func(t *testing.T, s, method, path string) {
		r, err := parseRule(s)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(error(err), &syntax) || syntax.At < 0 || syntax.At > len(s) || syntax.Input != s {
				t.Fatalf("ParseRule(%q): %#v", s, err)
			}
			return
		}
		if again, err := ParseRule(r.String()); err != nil || again.String() != r.String() {
			t.Fatalf("ParseRule(%q) = %q; again %q, %v", s, r, again, err)
		}
		path, err = normalizePath(path)
		if err != nil || ambiguous(path) != "" {
			return
		}
		fields := strings.Fields(r.String())
		want := fields[1] == "*" || strings.Contains(","+fields[1]+",", ","+method+",") && !strings.Contains(method, ",") && method != ""
		want = want && expression(fields[2]).MatchString(strings.TrimSuffix(path, "/"))
		r.allow = true // without what deny adds
		if got := r.matches(method, path); got != want {
			t.Fatalf("%q matches %s %q: %v", r, method, path, got)
		}
		if r.allow = false; want && !r.matches(method, path) {
			t.Fatalf("deny matches less than allow: %q and %s %q", r, method, path)
		}
	})
}
