package policy

import "strings"

// Rule is one line of network.rules: what happens to requests with one of its methods below its path.
type Rule struct {
	text    string
	allow   bool
	methods []string // nil: every method
	path    []string // segments: "*" is one, "**" any number, everything else itself
}

// ParseRule reads "allow GET /repos/**" or "deny POST,PUT /admin/*". Errors are of type [*SyntaxError] and say what to
// write instead.
func ParseRule(s string) (Rule, error) {
	r, err := parseRule(s)
	if err != nil {
		return Rule{}, err
	}
	return r, nil
}

// String is the rule with single spaces, as ParseRule reads it.
func (r Rule) String() string { return r.text }

func parseRule(s string) (Rule, *SyntaxError) {
	fail := func(at int, message, hint string) (Rule, *SyntaxError) {
		return Rule{}, &SyntaxError{What: "rule", Input: s, At: at, Message: message, Hint: hint}
	}
	fields := strings.Fields(s)
	if len(fields) != 3 {
		return fail(0, "is not an action, a method and a path", `write for example "allow GET /repos/**"`)
	}
	r := Rule{text: strings.Join(fields, " "), allow: fields[0] == "allow"}
	if !r.allow && fields[0] != "deny" {
		return fail(strings.Index(s, fields[0]), "begins with "+quote(fields[0]), `an action is "allow" or "deny"`)
	}
	at := strings.Index(s, fields[0]) + len(fields[0])
	at += strings.Index(s[at:], fields[1])
	if fields[1] != "*" {
		for _, method := range strings.Split(fields[1], ",") {
			if !upperToken(method) {
				return fail(at, "has the method "+quote(method), `write a method in capitals, several with commas and no spaces, or "*"`)
			}
			r.methods = append(r.methods, method)
		}
	}
	at += len(fields[1])
	at += strings.Index(s[at:], fields[2])
	segments, err := parsePathPattern(fields[2])
	if err != nil {
		return Rule{}, err.within("rule", s, at)
	}
	r.path = segments
	return r, nil
}

// upperToken recognises the methods that rules may name: a token (RFC 9110 section 5.6.2) without small letters.
func upperToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.!#$%&'+^`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

func parsePathPattern(s string) ([]string, *SyntaxError) {
	fail := func(at int, message, hint string) ([]string, *SyntaxError) {
		return nil, &SyntaxError{What: "path", Input: s, At: at, Message: message, Hint: hint}
	}
	normal, err := normalizePath(s)
	if err != nil {
		if strings.HasPrefix(err.Message, "does not begin") {
			err.Hint = "write " + quote("/"+s)
		}
		return nil, err
	}
	if normal != s {
		return fail(0, "is not in its plain form", "write "+quote(normal))
	}
	if reason := ambiguous(s); reason != "" {
		return fail(0, reason, "such paths are refused on hosts with rules")
	}
	if strings.Contains(s, "%2F") {
		return fail(strings.Index(s, "%2F"), "has an encoded slash", `write "/": a request is judged with the slash decoded, too`)
	}
	s = strings.TrimSuffix(s, "/")
	if s == "" {
		return nil, nil
	}
	segments, at := strings.Split(s[1:], "/"), 1
	for _, segment := range segments {
		if strings.Contains(segment, "*") && segment != "*" && segment != "**" {
			return fail(at, "has a * beside other characters", `"*" is a whole segment, "**" any number of segments`)
		}
		at += len(segment) + 1
	}
	return segments, nil
}

// matches reports whether the rule is about a request. Methods and paths are compared as they are, except that a deny
// rule also covers what a lax server would take for the same: small letters in the method, and parameters after ";".
func (r *Rule) matches(method, path string) bool {
	return r.hasMethod(method) && matchPath(r.path, strings.TrimSuffix(path, "/"), !r.allow)
}

func (r *Rule) hasMethod(method string) bool {
	for _, m := range r.methods {
		if m == method || !r.allow && strings.EqualFold(m, method) {
			return true
		}
	}
	return r.methods == nil
}

// matchPath matches segments against a path in its one spelling, without its trailing slash. It looks at each pair of
// segment and path segment at most once for each "**".
func matchPath(pattern []string, path string, lax bool) bool {
	next, pos := 0, 0 // in pattern; in path, at a slash or its end
	star, retry := -1, 0
	for pos < len(path) {
		end := segmentEnd(path, pos+1)
		switch {
		case next < len(pattern) && pattern[next] == "**":
			star, retry = next, pos
			next++
		case next < len(pattern) && matchSegment(pattern[next], path[pos+1:end], lax):
			next, pos = next+1, end
		case star >= 0:
			retry = segmentEnd(path, retry+1)
			next, pos = star+1, retry
		default:
			return false
		}
	}
	for next < len(pattern) && pattern[next] == "**" {
		next++
	}
	return next == len(pattern)
}

func matchSegment(pattern, segment string, lax bool) bool {
	if pattern == "*" || pattern == segment {
		return true
	}
	if !lax {
		return false
	}
	bare, _, _ := strings.Cut(segment, ";")
	return bare == pattern
}

// ruleList is the rules of one host.
type ruleList struct {
	host     string // the pattern as it was written
	rules    []Rule
	verdicts []verdict // beside rules
	open     bool      // only deny rules: the rest passes
}

func newRuleList(host string, rules []Rule) *ruleList {
	list := &ruleList{host: host, rules: rules, open: true}
	for _, r := range rules {
		list.verdicts = append(list.verdicts, verdict{
			"rules " + host + ": " + r.text,
			"network.rules has " + quote(r.text) + " for " + quote(host),
		})
		list.open = list.open && !r.allow
	}
	return list
}

// judge returns whether a request passes, and the rule that says so; nil when no rule is about it.
func (l *ruleList) judge(method, path string) (allow bool, by *verdict) {
	for i := range l.rules {
		if r := &l.rules[i]; r.matches(method, path) {
			return r.allow, &l.verdicts[i]
		}
	}
	return l.open, nil
}
