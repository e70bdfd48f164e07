package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// What is wrong with JSON is said in words that are not Go's.
func TestParseJSON(t *testing.T) {
	var v struct {
		Text   string         `json:"text"`
		Number int            `json:"number"`
		Float  float64        `json:"float"`
		Switch *bool          `json:"switch"`
		List   []string       `json:"list"`
		Map    map[string]int `json:"map"`
		Any    any            `json:"any"`
		Inner  struct {
			Name tokenName `json:"name"`
		} `json:"inner"`
	}
	for _, c := range []struct{ text, want string }{
		{` {"text": "ñ", "number": 1, "float": 1e9, "any": [{"a": 1}, {"a": 2}]} `, ""},
		{`{"text": null, "a": {"text": 1}, "b": "text", "c": ["text", "text"]}`, ""},
		{`{"text": 1}`, "text: 1 in place of text"},
		{`{"number": "1"}`, "number: text in place of a whole number"},
		{`{"number": 1.5}`, "number: 1.5 in place of a whole number"},
		{`{"float": {}}`, "float: an object in place of a number"},
		{`{"switch": []}`, "switch: a list in place of true or false"},
		{`{"list": true}`, "list: true or false in place of a list"},
		{`{"list": ["", 1]}`, "list: 1 in place of text"},
		{`{"inner": {"name": 1}}`, "inner.name: neither text nor a token"},
		{`{"inner": {"name": []}}`, "inner.name: neither text nor a token"},
		{`{"number": 9223372036854775808}`, "9223372036854775808 in place of a whole number"},
		{`{"float": 1e999}`, "float: 1e999 in place of a number"},
		{`{"text": "\ud83d"}`, "half a surrogate pair"},
		{`{"text": "\\ufffd\ud83d"}`, "half a surrogate pair"},
		{`{"text": "\\\ufffd\ud83d\ude00�"}`, ""},
		{`{"map": "x"}`, "map: text in place of an object"},
		{`{"map": {"x": []}}`, "map.x: a list in place of a whole number"},
		{`[]`, "not a JSON object, {…}"},
		{`"{"`, "not a JSON object, {…}"},
		{``, "not JSON, or cut short, at byte 0"},
		{`{"text": "`, "not JSON, or cut short"},
		{`{"text": 'x'}`, "not JSON, or cut short"},
		{`{} []`, "more follows its JSON object"},
		{"{\"text\": \"\xe4\"}", "not UTF-8"},
		{`{"any": [{"a\"": 1, "b": {"a\"": 2}, "a\u0022" : 3}]}`, `the key "a\"" comes twice`},
	} {
		err := parseJSON([]byte(c.text), &v)
		if !says(err, c.want) || says(err, "unmarshal") {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
}

// Keys count as they are spelt, and a type may read itself.
func TestJSONKeys(t *testing.T) {
	var v struct {
		Clean string           `json:"clean"`
		Names []tokenName      `json:"names"`
		Map   map[string][]int `json:"map"`
		file  string
	}
	check(t, parseJSON([]byte(`{"CLEAN": "a", "clean": "b", "Clean": 3, "ſ": 1, "file": "x", "": 1,
		"names": ["c", {"content": "d", "Content": "e"}], "map": {"a": [1], "A": [2, 3]}}`), &v))
	if v.Clean != "b" || v.Names[1] != "d" || len(v.Map["A"]) != 2 || v.file != "" {
		t.Errorf("%+v", v)
	}
	if err := parseJSON([]byte(`{"CLEAN": "a"}`), &v); err != nil || v.Clean != "b" {
		t.Errorf("%+v, %v", v, err)
	}
	deep := strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)
	if err := parseJSON([]byte(deep), &v); !says(err, "nested more than 100 deep") {
		t.Error(err)
	}
}

// FuzzParseJSON holds what is read to the standard library: the same values, unless a key comes
// twice or half a surrogate pair was replaced.
func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{
		`{"a": {"a": [1, "a", {"b": null}]}, "b": "\"a\":"}`, `{"\u0061": 1, "a": 2}`, `[{"a":1}]`,
		`{"a": "\\", "a": 1}`, `{"": {}, "" : 0}`, `"a"`, `{"a": "\ud83d"}`, `{"a": "\uFFFD�"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, want map[string]any
		err := parseJSON(data, &got)
		if err != nil && len(err.Error()) > 500 {
			t.Error(err)
		}
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
