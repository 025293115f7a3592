package scrub

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"strings"
)

const (
	shortestSecret  = 4 // bytes; shorter values are in every text
	shortestEncoded = 6 // bytes; fewer leave too little of themselves in base64
)

// forms returns each form of each secret once.
func forms(secrets []string) [][]byte {
	var all []string
	for _, s := range secrets {
		if len(s) < shortestSecret {
			continue
		}
		all = append(all, s)
		all = append(all, percent(s)...)
		all = append(all, escaped(s)...)
		if len(s) >= shortestEncoded {
			all = append(all, hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s))))
			all = append(all, base64Forms(s)...)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	patterns := make([][]byte, len(all))
	for i, s := range all {
		patterns[i] = []byte(s)
	}
	return patterns
}

// percent returns the percent-encoded forms, with digits in both cases: of what needs it in a query, in a path, and of
// every byte.
func percent(s string) []string {
	var every strings.Builder
	for i := range len(s) {
		every.WriteByte('%')
		every.WriteString(strings.ToUpper(hex.EncodeToString([]byte{s[i]})))
	}
	upper := []string{url.QueryEscape(s), url.PathEscape(s), strings.ReplaceAll(url.QueryEscape(s), "+", "%20"), every.String()}
	all := upper
	for _, u := range upper {
		all = append(all, lowerDigits(u))
	}
	return all
}

// lowerDigits makes the digits of percent forms lower-case.
func lowerDigits(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(string(b[i+1:i+3])))
			i += 2
		}
	}
	return string(b)
}

// escaped returns the forms inside JSON strings and HTML.
func escaped(s string) []string {
	all := []string{html.EscapeString(s)}
	var plain strings.Builder
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	if e.Encode(s) == nil {
		all = append(all, unquoted(strings.TrimSuffix(plain.String(), "\n")))
	}
	if text, err := json.Marshal(s); err == nil {
		all = append(all, unquoted(string(text)))
	}
	for _, form := range slices.Clone(all[1:]) {
		all = append(all, strings.ReplaceAll(form, "/", `\/`))
	}
	return slices.DeleteFunc(all, func(form string) bool { return form == "" })
}

func unquoted(s string) string {
	if len(s) < 2 {
		return ""
	}
	return s[1 : len(s)-1]
}

// base64Forms returns what every base64 text has in it that encodes the secret somewhere: which digits these are depends
// on where in a group of three bytes the secret begins; digits that also encode neighbours are left out.
func base64Forms(s string) []string {
	var all []string
	for offset := range 3 {
		text := append(make([]byte, offset), s...)
		first, last := (8*offset+5)/6, 8*len(text)/6
		all = append(all, base64.StdEncoding.EncodeToString(text)[first:last], base64.URLEncoding.EncodeToString(text)[first:last])
	}
	return all
}
