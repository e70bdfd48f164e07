package main

import (
	"encoding/json"
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
		{`{"text": 1}`, "text: a number in place of text"},
		{`{"number": "1"}`, "number: text in place of a whole number"},
		{`{"number": 1.5}`, "number: 1.5 in place of a whole number"},
		{`{"float": {}}`, "float: an object in place of a number"},
		{`{"switch": []}`, "switch: a list in place of true or false"},
		{`{"list": true}`, "list: true or false in place of a list"},
		{`{"list": ["", 1]}`, "list: a number in place of text"},
		{`{"inner": {"name": 1}}`, "name: a number in place of text"},
		{`{"inner": {"name": []}}`, "name: a list in place of text"},
		{`{"map": "x"}`, "map: text in place of an object"},
		{`{"map": {"x": []}}`, "a list in place of a whole number"},
		{`[]`, "not a JSON object, {…}"},
		{`"{"`, "not a JSON object, {…}"},
		{``, "its JSON ends in the middle"},
		{`{"text": "`, "its JSON ends in the middle"},
		{`{"text": 'x'}`, "not JSON at byte 10: invalid character"},
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

// FuzzParseJSON holds the search for repeated keys to the standard library's own tokens.
func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{
		`{"a": {"a": [1, "a", {"b": null}]}, "b": "\"a\":"}`, `{"\u0061": 1, "a": 2}`, `[{"a":1}]`,
		`{"a": "\\", "a": 1}`, `{"": {}, "" : 0}`, `"a"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := parseJSON(data, new(any)); err != nil && len(err.Error()) > 500 {
			t.Error(err)
		}
		if !json.Valid(data) || !utf8.Valid(data) {
			return
		}
		_, got := repeatedKey(data)
		if want := repeatedByTokens(json.NewDecoder(strings.NewReader(string(data)))); got != want {
			t.Errorf("%s: a key comes twice: %t, want %t", data, got, want)
		}
	})
}

// repeatedByTokens is repeatedKey as the standard library tells it.
func repeatedByTokens(d *json.Decoder) (twice bool) {
	token, _ := d.Token()
	keys := map[any]bool{}
	for token == json.Delim('{') && d.More() {
		key, _ := d.Token()
		twice = twice || keys[key]
		keys[key] = true
		twice = repeatedByTokens(d) || twice
	}
	for token == json.Delim('[') && d.More() {
		twice = repeatedByTokens(d) || twice
	}
	if token == json.Delim('{') || token == json.Delim('[') {
		d.Token()
	}
	return twice
}
