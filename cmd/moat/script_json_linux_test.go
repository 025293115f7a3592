package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// at finds a part of the JSON that the last command printed. It refuses output that is not exactly one value.
func at(ts *testscript.TestScript, path string) json.RawMessage {
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	var value json.RawMessage
	ts.Check(dec.Decode(&value))
	if dec.More() {
		ts.Fatalf("there is more on stdout than one JSON value")
	}
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' }) {
		if n, err := strconv.Atoi(step); err == nil {
			var list []json.RawMessage
			ts.Check(json.Unmarshal(value, &list))
			if n >= len(list) {
				ts.Fatalf("%s: there are only %d", path, len(list))
			}
			value = list[n]
			continue
		}
		var object map[string]json.RawMessage
		ts.Check(json.Unmarshal(value, &object))
		v, ok := object[step]
		if !ok {
			ts.Fatalf("%s: there is no %q", path, step)
		}
		value = v
	}
	return value
}

func doJSON(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 2)
	var got, want any
	ts.Check(json.Unmarshal(at(ts, args[0]), &got))
	ts.Check(json.Unmarshal([]byte(args[1]), &want))
	if diff := cmp.Diff(want, got); diff != "" {
		ts.Fatalf("%s (-want +got):\n%s", args[0], diff)
	}
}

func doFields(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 2)
	dec := json.NewDecoder(bytes.NewReader(at(ts, args[0])))
	var names []string
	start, err := dec.Token()
	ts.Check(err)
	if start != json.Delim('{') {
		ts.Fatalf("%s is no object", args[0])
	}
	for dec.More() {
		name, err := dec.Token()
		ts.Check(err)
		names = append(names, fmt.Sprint(name))
		var value json.RawMessage
		ts.Check(dec.Decode(&value))
	}
	if diff := cmp.Diff(strings.Fields(args[1]), names); diff != "" {
		ts.Fatalf("%s (-want +got):\n%s", args[0], diff)
	}
}
