package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const hidden = "s3cr3t-T0ken"

// A Value inside other things, where fmt does not ask it what to print.
type holder struct {
	Exported   Value
	unexported Value
	pointer    *Value
	nested     struct{ list []Value }
	byName     map[string]Value
	anything   any
}

func newHolder() holder {
	v := New(hidden)
	h := holder{Exported: v, unexported: v, pointer: &v, byName: map[string]Value{"a": v}, anything: v}
	h.nested.list = []Value{v}
	return h
}

func TestValueDoesNotShowItself(t *testing.T) {
	h := newHolder()
	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10s", "%U", "%p"} {
		shown["value "+verb] = fmt.Sprintf(verb, h.Exported)
		shown["holder "+verb] = fmt.Sprintf(verb, h)
		shown["pointer "+verb] = fmt.Sprintf(verb, &h)
	}
	for name, v := range map[string]any{"value": h.Exported, "holder": h} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Errorf("json of %s: %v", name, err)
		}
		shown["json "+name] = string(text)
	}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("used", "value", h.Exported, "holder", h, "pointer", &h, "group", slog.GroupValue(slog.Any("v", h.Exported)))
	}
	shown["log"] = log.String()
	shown["error"] = fmt.Errorf("use %v: %w", h.Exported, errors.New(h.Exported.String())).Error()
	shown["println"] = fmt.Sprintln(h.Exported, h, &h)
	for how, text := range shown {
		lower := strings.ToLower(text)
		for _, form := range []string{hidden, fmt.Sprintf("%x", hidden), fmt.Sprintf("%v", []byte(hidden))} {
			if strings.Contains(lower, strings.ToLower(form)) {
				t.Errorf("%s shows it: %s", how, text)
			}
		}
	}
	if got := fmt.Sprint(h.Exported); got != redacted {
		t.Errorf("it prints %q", got)
	}
}

func TestValue(t *testing.T) {
	a, b, empty := New(hidden), New(hidden), New("")
	if a.Expose() != hidden || empty.Expose() != "" {
		t.Error("Expose does not return the text")
	}
	if !a.Equal(b) || a.Equal(empty) || !empty.Equal(Value{}) {
		t.Error("Equal is wrong")
	}
	if !empty.IsZero() || a.IsZero() {
		t.Error("IsZero is wrong")
	}
}
