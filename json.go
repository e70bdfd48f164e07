package main

// JSON that others wrote: keys count as they are spelt, and what is wrong is said in plain words.
// The standard library would take "CLEAN" for "clean", let the last of two equal keys win, and put
// U+FFFD in place of what is no character. So it only tells whether a text is JSON at all; the
// values of one that is are read here.

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	mostDepth  = 100     // of objects and lists within each other
	mostValues = 1 << 23 // in one text: a tokenizer.json of half a million tokens has 4 million
)

// parseJSON reads a JSON object. A value in it is a string, bool, json.Number, []any,
// map[string]any, or nil for null.
func parseJSON(data []byte) (object map[string]any, err error) {
	defer catchFault(&err)
	refusePointer(data)
	require(utf8.Valid(data), "not UTF-8")
	if !json.Valid(data) {
		at := int64(len(data))
		err := json.Unmarshal(data, new(any))
		if wrong, ok := errors.AsType[*json.SyntaxError](err); ok {
			at = wrong.Offset
		}
		fail("not JSON, or cut short, at byte %d", at)
	}
	r := jsonReader{rest: string(data)}
	require(r.skip('{'), "not a JSON object, {…}")
	return r.object(1), nil
}

// jsonReader reads a text that is known to be JSON: its commas and colons tell nothing more.
type jsonReader struct {
	rest   string
	values int // read so far
}

// skip tells whether the next byte that tells something is c, and then goes beyond it.
func (r *jsonReader) skip(c byte) bool {
	r.rest = strings.TrimLeft(r.rest, " \t\r\n,:")
	is := r.rest[0] == c
	if is {
		r.rest = r.rest[1:]
	}
	return is
}

// object reads what follows a {.
func (r *jsonReader) object(depth int) map[string]any {
	object := map[string]any{}
	for !r.skip('}') {
		r.rest = r.rest[1:] // "
		key := r.text()
		if _, twice := object[key]; twice {
			fail("the key %s comes twice in an object", quote(key))
		}
		object[key] = r.value(depth)
	}
	return object
}

// value reads the next value, with all that is in it.
func (r *jsonReader) value(depth int) any {
	if r.values++; depth > mostDepth || r.values > mostValues {
		fail("its JSON is nested more than %d deep, or has more than %d values", mostDepth,
			mostValues)
	}
	switch {
	case r.skip('{'):
		return r.object(depth + 1)
	case r.skip('['):
		list := []any{}
		for !r.skip(']') {
			list = append(list, r.value(depth+1))
		}
		return list
	case r.skip('"'):
		return r.text()
	}
	n := strings.IndexAny(r.rest, " \t\r\n,]}")
	word := r.rest[:n]
	r.rest = r.rest[n:]
	switch word {
	case "null":
		return nil
	case "true", "false":
		return word == "true"
	}
	return json.Number(word)
}

// text reads what follows a ". The standard library would read half a surrogate pair as U+FFFD.
func (r *jsonReader) text() (s string) {
	n := 0
	for ; r.rest[n] != '"'; n++ {
		if r.rest[n] == '\\' {
			n++
		}
	}
	written := r.rest[:n]
	r.rest = r.rest[n+1:]
	if !strings.Contains(written, `\`) {
		return written
	}
	json.Unmarshal([]byte(`"`+written+`"`), &s)
	plain := strings.ToLower(strings.ReplaceAll(written, `\\`, ""))
	if strings.Count(s, "\ufffd") > strings.Count(plain, "\ufffd")+strings.Count(plain, `\ufffd`) {
		fail("half a surrogate pair, which is no character, in %s", shorten(written))
	}
	return s
}

// as is a value, found at a path of keys, that must be of the type T. Of null it is the zero value.
func as[T any](v any, path string) T {
	t, ok := v.(T)
	if !ok && v != nil {
		fail("%s: %s in place of %s", path, kindOfJSON(v), kindOfJSON(t))
	}
	return t
}

// asInt is a value that must be a whole number.
func asInt(v any, path string) int {
	number, _ := v.(json.Number)
	n, err := strconv.Atoi(string(number))
	if err != nil && v != nil {
		fail("%s: %s in place of a whole number", path, kindOfJSON(v))
	}
	return n
}

// asList is a value that must be a list of what item makes of each.
func asList[T any](v any, path string, item func(v any, path string) T) []T {
	values := as[[]any](v, path)
	list := make([]T, len(values))
	for i, inner := range values {
		list[i] = item(inner, path)
	}
	return list
}

// asMap is a value that must be an object of what item makes of each value.
func asMap[T any](v any, path string, item func(v any, path string) T) map[string]T {
	object := as[map[string]any](v, path)
	made := make(map[string]T, len(object))
	for key, inner := range object {
		made[key] = item(inner, path+"."+shorten(key))
	}
	return made
}

func kindOfJSON(v any) string {
	if number, _ := v.(json.Number); number != "" {
		return shorten(string(number))
	}
	return map[string]string{"string": "text", "bool": "true or false", "json.Number": "a number",
		"[]interface {}": "a list", "map[string]interface {}": "an object"}[fmt.Sprintf("%T", v)]
}

// sortedKeys is the keys of a map in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// encodeJSON is a value as JSON, in which < and the like stay as they are.
func encodeJSON(value any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		panic(err) // of a type that has no JSON
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// A fault is what a reader stops with, however deep it is: fail panics with one, and catchFault,
// deferred, makes an error of it.
type fault struct{ error }

func fail(format string, args ...any) { panic(fault{fmt.Errorf(format, args...)}) }

// require fails where something does not hold.
func require(holds bool, format string, args ...any) {
	if !holds {
		fail(format, args...)
	}
}

func catchFault(err *error) {
	switch thrown := recover().(type) {
	case nil:
	case fault:
		*err = thrown.error
	default:
		panic(thrown)
	}
}

// try ends what caught or a command runs if a step of it has failed, and get gives what a step
// gives.
func try(err error) {
	if err != nil {
		panic(fault{err})
	}
}

func get[T any](value T, err error) T {
	try(err)
	return value
}

// caught is what f fails with.
func caught(f func()) (err error) {
	defer catchFault(&err)
	f()
	return nil
}

// within puts what was being done before what f fails with.
func within(what string, f func()) {
	if err := caught(f); err != nil {
		fail("%s: %w", what, err)
	}
}

// refusePointer fails where Git LFS has left a pointer in place of a file.
func refusePointer(data []byte) {
	require(!bytes.HasPrefix(data, []byte("version https://git-lfs")),
		"a Git LFS pointer, not the file itself: fetch it with `git lfs pull`")
}

// quote quotes a name from a file for an error: control characters escaped, not too long.
func quote(name string) string { return strconv.Quote(shorten(name)) }

func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
