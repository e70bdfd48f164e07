package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// Keys count as they are spelt, and what is wrong with JSON is said in words that are not Go's.
func TestParseJSON(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)
	for _, c := range []struct{ text, want string }{
		{` {"text": "ñ", "number": 1e999, "any": [{"a": 1}, {"a": 2}]} `, ""},
		{`{"CLEAN": "a", "clean": "b", "Clean": 3, "ſ": 1, "": 1}`, ""},
		{`{"a": {"a": 1}, "b": "a", "c": ["a", "a"], "d": "\\\ufffd\ud83d\ude00�"}`, ""},
		{`{"a": "\ud83d"}`, "half a surrogate pair"},
		{`{"a": "\\ufffd\ud83d"}`, "half a surrogate pair"},
		{`{"\udc00": 1}`, "half a surrogate pair"},
		{`[]`, "not a JSON object, {…}"},
		{`"{"`, "not a JSON object, {…}"},
		{`1`, "not a JSON object, {…}"},
		{``, "not JSON, or cut short, at byte 0"},
		{`{"a": "`, "not JSON, or cut short, at byte 7"},
		{`{"a": 'x'}`, "not JSON, or cut short, at byte 7"},
		{`{} []`, "not JSON"},
		{"{\"a\": \"\xe4\"}", "not UTF-8"},
		{"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
		{`{"b": [{"a\"": 1, "b": {"a\"": 2}, "a\u0022" : 3}]}`, `the key "a\"" comes twice`},
		{deep, "nested more than 100 deep"},
	} {
		if _, err := parseJSON([]byte(c.text)); !says(err, c.want) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
}

// A value of another type than it should have is named with its keys. null is none.
func TestJSONTypes(t *testing.T) {
	o := must(parseJSON([]byte(`{"text": "a", "yes": true, "null": null, "object": {"x": "1"},
		"number": 1, "half": 1.5, "large": 9223372036854775808, "list": ["", 1]}`)))
	if as[string](o["null"], "") != "" || asInt(o["null"], "") != 0 || asInt(o["number"], "") != 1 {
		t.Error(o)
	}
	for want, read := range map[string]func(){
		"number: 1 in place of text":       func() { as[string](o["number"], "number") },
		"yes: true or false in place of a": func() { as[[]any](o["yes"], "yes") },
		"object: an object in place of tr": func() { as[bool](o["object"], "object") },
		"text: text in place of a whole n": func() { asInt(o["text"], "text") },
		"half: 1.5 in place of a whole nu": func() { asInt(o["half"], "half") },
		"large: 9223372036854775808 in pl": func() { asInt(o["large"], "large") },
		"list: 1 in place of text":         func() { asList(o["list"], "list", as[string]) },
		"list: a list in place of an obje": func() { asMap(o["list"], "list", as[string]) },
		"object.x: text in place of a who": func() { asMap(o["object"], "object", asInt) },
	} {
		wantError(t, want, caught(read), want)
	}
}

// FuzzParseJSON holds what is read to the standard library: the same values, unless a key comes
// twice or half a surrogate pair was replaced.
func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{
		`{"a": {"a": [1, "a", {"b": null}]}, "b": "\"a\":"}`, `{"\u0061": 1, "a": 2}`, `[{"a":1}]`,
		`{"a": "\\", "a": 1}`, `{"": {}, "" : 0}`, `"a"`, `{"a": "\ud83d"}`, `{"a": "\uFFFD�"}`,
		`{"a":[true,false , -1.5e+9]}`, `{"a":"\\\"\/\u00e9,]}:"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseJSON(data)
		if err != nil && len(err.Error()) > 500 {
			t.Error(err)
		}
		var want map[string]any
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		wantErr := d.Decode(&want)
		switch {
		case err == nil && (wantErr != nil || !reflect.DeepEqual(got, want)):
			t.Errorf("%s: %v, want %v, %v", data, got, want, wantErr)
		case err != nil && wantErr == nil && want != nil && utf8.Valid(data) && json.Valid(data) &&
			!says(err, "comes twice") && !says(err, "surrogate") && !says(err, "nested"):
			t.Errorf("%s: %v", data, err)
		}
	})
}
