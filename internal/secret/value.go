package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// redacted is all that a Value says of itself.
const redacted = "[redacted]"

// Value is a text that must not be shown. Its zero value is the empty text. Values may be copied and used concurrently.
//
// It holds a function and not the text because fmt walks through unexported fields of a struct without asking their
// methods, and then shows a function as an address.
type Value struct{ expose func() string }

// New makes a Value of a text.
func New(text string) Value {
	if text == "" {
		return Value{}
	}
	return Value{func() string { return text }}
}

// Expose returns the text. Every call of it is a place to look at in a review.
func (v Value) Expose() string {
	if v.expose == nil {
		return ""
	}
	return v.expose()
}

// IsZero reports whether the text is empty.
func (v Value) IsZero() bool { return v.expose == nil }

// Equal compares in constant time, except for the length.
func (v Value) Equal(w Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Expose()), []byte(w.Expose())) == 1
}

// String does not return the text.
func (v Value) String() string { return redacted }

// Format writes the same for every verb.
func (v Value) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) } // fmt reports what Write says

// MarshalText does not return the text. It serves encoding/json, also for keys of maps.
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue is for log/slog.
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }
