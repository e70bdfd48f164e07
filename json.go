package main

// JSON that others wrote: keys count as they are spelt, and what is wrong is said in plain words.
// The standard library would take "CLEAN" for "clean", let the last of two equal keys win, and put
// U+FFFD in place of what is no character.

import (
	"bytes"
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
func parseJSON(data []byte, into any) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	if bytes.HasPrefix(data, []byte("version https://git-lfs")) {
		return errors.New("a Git LFS pointer, not the file itself: fetch it with `git lfs pull`")
	}
	r := jsonReader{Decoder: json.NewDecoder(bytes.NewReader(data)), data: data}
	r.UseNumber()
	tree, err := r.value(0)
	if err != nil {
		return err
	}
	if _, ok := tree.(map[string]any); !ok {
		return errors.New("not a JSON object, {…}")
	}
	if _, err := r.Token(); err != io.EOF {
		return errors.New("more follows its JSON object")
	}
	return fill(reflect.ValueOf(into).Elem(), tree, "")
}

type jsonReader struct {
	*json.Decoder
	data   []byte
	values int // read so far
}

// value reads the next value, with all that is in it.
func (r *jsonReader) value(depth int) (any, error) {
	token, err := r.next()
	if r.values++; err != nil {
		return nil, err
	}
	if depth > mostDepth || r.values > mostValues {
		return nil, fmt.Errorf("its JSON is nested more than %d deep, or has more than %d values",
			mostDepth, mostValues)
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for r.More() {
			v, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = r.next()
		return list, err
	case json.Delim('{'):
		object := map[string]any{}
		for r.More() {
			token, err := r.next()
			if err != nil {
				return nil, err
			}
			key := token.(string)
			if _, twice := object[key]; twice {
				return nil, fmt.Errorf("the key %s comes twice in an object", quote(key))
			}
			if object[key], err = r.value(depth + 1); err != nil {
				return nil, err
			}
		}
		_, err = r.next()
		return object, err
	}
	return token, nil
}

func (r *jsonReader) next() (json.Token, error) {
	start := r.InputOffset()
	token, err := r.Token()
	end := r.InputOffset()
	if err != nil {
		return nil, fmt.Errorf("not JSON, or cut short, at byte %d", end)
	}
	const replacement = "\ufffd"
	if s, ok := token.(string); ok && strings.Contains(s, replacement) {
		written := strings.ToLower(string(r.data[start:end]))
		n := strings.Count(written, replacement) + strings.Count(written, `\ufffd`)
		if strings.Count(s, replacement) > n {
			return nil, fmt.Errorf("half a surrogate pair, which is no character, before byte %d",
				end)
		}
	}
	return token, nil
}

// fill puts a value that was read, found at a path of keys, into a Go value. A type may do it by
// itself: with a method fromJSON.
func fill(into reflect.Value, v any, path string) error {
	if v == nil {
		return nil
	}
	if own, ok := into.Addr().Interface().(interface{ fromJSON(v any) error }); ok {
		if err := own.fromJSON(v); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	}
	object, isObject := v.(map[string]any)
	list, isList := v.([]any)
	text, isText := v.(string)
	yes, isBool := v.(bool)
	number, isNumber := v.(json.Number)
	is := map[bool]string{isObject: "an object", isList: "a list", isText: "text",
		isBool: "true or false", isNumber: shorten(string(number))}[true]
	var should string
	switch into.Kind() {
	case reflect.Interface:
		into.Set(reflect.ValueOf(v))
		return nil
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		return fill(into.Elem(), v, path)
	case reflect.Struct:
		for i := range into.NumField() {
			key, _, _ := strings.Cut(into.Type().Field(i).Tag.Get("json"), ",")
			if inner, ok := object[key]; ok && key != "" {
				if err := fill(into.Field(i), inner, joinPath(path, key)); err != nil {
					return err
				}
			}
		}
		should = "an object"
	case reflect.Map:
		into.Set(reflect.MakeMapWithSize(into.Type(), len(object)))
		for _, key := range slices.Sorted(maps.Keys(object)) {
			inner := reflect.New(into.Type().Elem()).Elem()
			if err := fill(inner, object[key], joinPath(path, key)); err != nil {
				return err
			}
			into.SetMapIndex(reflect.ValueOf(key), inner)
		}
		should = "an object"
	case reflect.Slice:
		into.Set(reflect.MakeSlice(into.Type(), len(list), len(list)))
		for i, inner := range list {
			if err := fill(into.Index(i), inner, path); err != nil {
				return err
			}
		}
		should = "a list"
	case reflect.String:
		into.SetString(text)
		should = "text"
	case reflect.Bool:
		into.SetBool(yes)
		should = "true or false"
	case reflect.Int:
		n, err := strconv.Atoi(string(number))
		into.SetInt(int64(n))
		if should = "a whole number"; isNumber && err == nil {
			return nil
		}
	default:
		x, err := strconv.ParseFloat(string(number), 64)
		into.SetFloat(x)
		if should = "a number"; isNumber && err == nil {
			return nil
		}
	}
	if is != should {
		return errors.New(strings.TrimPrefix(path+": "+is+" in place of "+should, ": "))
	}
	return nil
}

func joinPath(path, key string) string {
	if path == "" {
		return shorten(key)
	}
	return path + "." + shorten(key)
}

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
