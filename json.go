package main

// JSON that others wrote: keys count as they are spelt, and what is wrong is said in plain words.
// The standard library would take "CLEAN" for "clean", let the last of two equal keys win, and put
// U+FFFD in place of what is no character.

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	mostDepth  = 100     // of objects and lists within each other
	mostValues = 1 << 23 // in one text: a tokenizer.json of half a million tokens has 4 million
)

// parseJSON reads a JSON object into what into points to: a map, or a struct whose tags have the
// keys. Other keys are left out, null leaves a field as it is, and what has the type any becomes a
// string, bool, json.Number, []any or map[string]any.
func parseJSON(data []byte, into any) (err error) {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	if bytes.HasPrefix(data, []byte("version https://git-lfs")) {
		return errors.New("a Git LFS pointer, not the file itself: fetch it with `git lfs pull`")
	}
	defer catchFault(&err)
	r := jsonReader{Decoder: json.NewDecoder(bytes.NewReader(data)), data: data}
	r.UseNumber()
	tree, ok := r.value(0).(map[string]any)
	if !ok {
		return errors.New("not a JSON object, {…}")
	}
	if _, err := r.Token(); err != io.EOF {
		return errors.New("more follows its JSON object")
	}
	return fill(reflect.ValueOf(into).Elem(), tree, "")
}

// A fault is what a reader stops with, however deep it is: fail panics with one, and catchFault,
// deferred, makes an error of it.
type fault struct{ error }

func fail(format string, args ...any) { panic(fault{fmt.Errorf(format, args...)}) }

func catchFault(err *error) {
	switch thrown := recover().(type) {
	case nil:
	case fault:
		*err = thrown.error
	default:
		panic(thrown)
	}
}

type jsonReader struct {
	*json.Decoder
	data   []byte
	values int // read so far
}

// value reads the next value, with all that is in it.
func (r *jsonReader) value(depth int) any {
	if r.values++; depth > mostDepth || r.values > mostValues {
		fail("its JSON is nested more than %d deep, or has more than %d values", mostDepth,
			mostValues)
	}
	start := r.next()
	switch start {
	case json.Delim('['):
		list := []any{}
		for r.More() {
			list = append(list, r.value(depth+1))
		}
		r.next() // ]
		return list
	case json.Delim('{'):
		object := map[string]any{}
		for r.More() {
			key, _ := r.next().(string)
			if _, twice := object[key]; twice {
				fail("the key %s comes twice in an object", quote(key))
			}
			object[key] = r.value(depth + 1)
		}
		r.next() // }
		return object
	}
	return start
}

// next reads the next token. The decoder would read half a surrogate pair as U+FFFD.
func (r *jsonReader) next() json.Token {
	start := r.InputOffset()
	token, err := r.Token()
	end := r.InputOffset()
	if err != nil {
		fail("not JSON, or cut short, at byte %d", end)
	}
	const replacement = "\ufffd"
	if s, ok := token.(string); ok && strings.Contains(s, replacement) {
		written := strings.ReplaceAll(string(r.data[start:end]), `\\`, "")
		n := strings.Count(written, replacement) +
			strings.Count(strings.ToLower(written), `\ufffd`)
		if strings.Count(s, replacement) > n {
			fail("half a surrogate pair, which is no character, before byte %d", end)
		}
	}
	return token
}

// fill puts a value that was read, found at a path of keys, into a Go value. A type may do it by
// itself: with a method fromJSON.
func fill(into reflect.Value, v any, path string) (err error) {
	defer catchFault(&err)
	assign(into, v, path)
	return nil
}

func assign(into reflect.Value, v any, path string) {
	if v == nil {
		return
	}
	if own, ok := into.Addr().Interface().(interface{ fromJSON(v any) error }); ok {
		if err := own.fromJSON(v); err != nil {
			fail("%s: %w", path, err)
		}
		return
	}
	within := func(key string) string { return strings.TrimPrefix(path+"."+shorten(key), ".") }
	switch into.Kind() {
	case reflect.Interface:
		into.Set(reflect.ValueOf(v))
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		assign(into.Elem(), v, path)
	case reflect.Struct:
		object := as[map[string]any](v, path, "an object")
		for i := range into.NumField() {
			key, _, _ := strings.Cut(into.Type().Field(i).Tag.Get("json"), ",")
			if inner, ok := object[key]; ok && key != "" {
				assign(into.Field(i), inner, within(key))
			}
		}
	case reflect.Map:
		object := as[map[string]any](v, path, "an object")
		into.Set(reflect.MakeMapWithSize(into.Type(), len(object)))
		for _, key := range sortedKeys(object) {
			inner := reflect.New(into.Type().Elem()).Elem()
			assign(inner, object[key], within(key))
			into.SetMapIndex(reflect.ValueOf(key), inner)
		}
	case reflect.Slice:
		list := as[[]any](v, path, "a list")
		into.Set(reflect.MakeSlice(into.Type(), len(list), len(list)))
		for i, inner := range list {
			assign(into.Index(i), inner, path)
		}
	case reflect.String:
		into.SetString(as[string](v, path, "text"))
	case reflect.Bool:
		into.SetBool(as[bool](v, path, "true or false"))
	case reflect.Int:
		n, err := strconv.Atoi(string(as[json.Number](v, path, "a whole number")))
		if err != nil {
			mismatch(v, path, "a whole number")
		}
		into.SetInt(int64(n))
	default:
		x, err := strconv.ParseFloat(string(as[json.Number](v, path, "a number")), 64)
		if err != nil {
			mismatch(v, path, "a number")
		}
		into.SetFloat(x)
	}
}

// as is a value that must be of the type T, called want.
func as[T any](v any, path, want string) T {
	t, ok := v.(T)
	if !ok {
		mismatch(v, path, want)
	}
	return t
}

func mismatch(v any, path, want string) {
	is := map[reflect.Kind]string{reflect.Map: "an object", reflect.Slice: "a list",
		reflect.String: "text", reflect.Bool: "true or false"}[reflect.TypeOf(v).Kind()]
	if number, ok := v.(json.Number); ok {
		is = shorten(string(number))
	}
	fail("%s", strings.TrimPrefix(path+": "+is+" in place of "+want, ": "))
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
