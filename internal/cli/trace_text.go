package cli

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"moat/internal/journal"
)

// maxTarget is how many characters of host and path a row has room for.
const maxTarget = 160

// rowFormat is a row of the table. What may be long comes last, so that it needs no room to be kept for it.
const rowFormat = "%-12s  %-7s  %-7s  %8s  %6s  %6s  %s\n"

// traceTable prints a row for each request and, with -v, what else is known of it.
func traceTable(w io.Writer, requests iter.Seq2[journal.Request, error], o traceOptions) error {
	day := ""
	for r, err := range requests {
		if err != nil {
			return err
		}
		var text strings.Builder
		if day == "" {
			fmt.Fprintf(&text, rowFormat, "TIME", "METHOD", "RESULT", "MS", "IN", "OUT", "HOST AND PATH")
		}
		if d := r.T.UTC().Format("2006-01-02 UTC"); d != day {
			day = d
			fmt.Fprintf(&text, "-- %s\n", day)
		}
		row(&text, r, o.verbose)
		if o.verbose {
			details(&text, r)
		}
		if _, err := io.WriteString(w, text.String()); err != nil {
			return fmt.Errorf("print table: %w", err)
		}
	}
	return nil
}

func row(w io.Writer, r journal.Request, whole bool) {
	where := visible(target(r))
	if runes := []rune(where); !whole && len(runes) > maxTarget {
		where = string(runes[:maxTarget-1]) + "…"
	}
	if why := reason(r); why != "" {
		where += "  (" + visible(why) + ")"
	}
	ms := "…"
	if r.DurationMS != nil {
		ms = strconv.FormatFloat(*r.DurationMS, 'f', 1, 64)
	}
	method := cut(visible(r.Method), 12)
	if r.Kind != journal.KindHTTP {
		method = strings.TrimSuffix(visible(r.Kind)+" "+strings.TrimPrefix(method, "-"), " ")
	}
	fmt.Fprintf(w, rowFormat, r.T.UTC().Format("15:04:05.000"), method, result(r), ms, sizeText(r.BytesIn), sizeText(r.BytesOut), where)
}

// result is how it ended, in a word.
func result(r journal.Request) string {
	switch {
	case r.Decision == journal.Denied:
		return "denied"
	case r.DurationMS == nil:
		return "…"
	case r.Status != nil && r.Kind == journal.KindHTTP:
		return strconv.Itoa(*r.Status)
	case r.Error != nil:
		return "error"
	case r.Status != nil && r.Kind == journal.KindDNS && *r.Status != 0:
		return fmt.Sprintf("rcode %d", *r.Status) // RFC 6895 section 2.3
	}
	return "ok"
}

// reason says why it was refused or failed; empty if neither.
func reason(r journal.Request) string {
	var why []string
	if r.Decision == journal.Denied {
		why = append(why, r.Rule)
	}
	if r.Error != nil {
		why = append(why, *r.Error)
	}
	return strings.Join(why, "; ")
}

// target is the host and, of a request, the path; of another connection the port.
func target(r journal.Request) string {
	if r.URL != "" {
		rest := strings.TrimPrefix(r.URL, "https://")
		if strings.HasPrefix(strings.TrimPrefix(rest, "http://"), r.Host) {
			return rest
		}
		return r.Host + " " + r.URL
	}
	if _, port, err := net.SplitHostPort(r.Address); err == nil && r.Kind != journal.KindDNS {
		return net.JoinHostPort(r.Host, port)
	}
	return r.Host
}

// details prints what a row has no room for.
func details(w io.Writer, r journal.Request) {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	for _, d := range [][2]string{
		{"address", r.Address}, {"protocol", r.Protocol}, {"sni", r.SNI}, {"rule", r.Rule}, {"grant", text(r.Grant)}, {"error", text(r.Error)},
	} {
		if d[1] != "" {
			fmt.Fprintf(w, "    %s: %s\n", d[0], visible(d[1]))
		}
	}
	message(w, ">", r.RequestHeaders, r.RequestBody)
	message(w, "<", r.ResponseHeaders, r.ResponseBody)
	if r.Truncated {
		fmt.Fprintln(w, "    (more than what was recorded)")
	}
}

// message prints what was recorded of a request or a response.
func message(w io.Writer, mark string, headers map[string][]string, body *string) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		for _, value := range headers[name] {
			fmt.Fprintf(w, "    %s %s: %s\n", mark, visible(name), visible(value))
		}
	}
	if body == nil || *body == "" {
		return
	}
	fmt.Fprintf(w, "    %s\n", mark)
	for line := range strings.Lines(*body) {
		fmt.Fprintf(w, "    %s %s\n", mark, visible(strings.TrimRight(line, "\r\n")))
	}
}

// visible makes a text that comes from the sandbox one harmless line: what is not printable is written as an escape.
func visible(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
		s = s[size:]
	}
	return b.String()
}

// sizeText is a number of bytes for people.
func sizeText(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10)
	}
	value := float64(n)
	for _, unit := range "KMGTPE" {
		if value /= 1024; value < 999.95 || unit == 'E' {
			return fmt.Sprintf("%.1f%c", value, unit)
		}
	}
	return ""
}
