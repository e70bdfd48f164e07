package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"
)

// This file reads JSON that others wrote, and says in plain words what is wrong with it.

// parseJSON decodes a JSON object into a value, as json.Unmarshal does; numbers without a type of
// their own become a json.Number. What could be read in more ways than one is an error: the
// standard library lets the last of two equal keys win, and puts U+FFFD in place of broken UTF-8.
func parseJSON(data []byte, into any) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	err := d.Decode(into)
	var syntax *json.SyntaxError
	switch start := bytes.TrimLeft(data, " \t\r\n"); {
	case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("its JSON ends in the middle")
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON at byte %d: %s", syntax.Offset, shorten(syntax.Error()))
	case start[0] != '{':
		return errors.New("not a JSON object, {…}")
	case err != nil:
		return plainWords(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more follows its JSON object")
	}
	if key, ok := repeatedKey(data); ok {
		return fmt.Errorf("the key %s comes twice in an object", quote(key))
	}
	return nil
}

// plainWords says of a JSON value of the wrong type which it is, and what should be there. Other
// errors of decoding valid JSON are returned as they are.
func plainWords(err error) error {
	var e *json.UnmarshalTypeError
	if !errors.As(err, &e) {
		return err
	}
	is, number, _ := strings.Cut(e.Value, " ") // "number 1e99"
	is = map[string]string{
		"string": "text", "array": "a list", "object": "an object", "bool": "true or false",
		"number": "a number",
	}[is]
	if number != "" {
		is = shorten(number)
	}
	should := "a number"
	switch e.Type.Kind() {
	case reflect.String:
		should = "text"
	case reflect.Slice, reflect.Array:
		should = "a list"
	case reflect.Map, reflect.Struct, reflect.Pointer:
		should = "an object"
	case reflect.Bool:
		should = "true or false"
	case reflect.Int:
		should = "a whole number"
	}
	where := fmt.Sprintf("byte %d", e.Offset)
	if e.Field != "" {
		where = shorten(e.Field)
	}
	return fmt.Errorf("%s: %s in place of %s", where, is, should)
}

// repeatedKey finds a key that comes twice in one object of valid JSON.
func repeatedKey(data []byte) (key string, ok bool) {
	var open []map[string]bool // of each object or list that is open, the keys so far
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			open = append(open, nil)
		case '}', ']':
			open = open[:len(open)-1]
		case '"':
			start := i
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			quoted := data[start : i+1]
			if rest := bytes.TrimLeft(data[i+1:], " \t\r\n"); len(rest) == 0 || rest[0] != ':' {
				continue // a value
			}
			key = string(quoted[1 : len(quoted)-1])
			if strings.Contains(key, `\`) {
				json.Unmarshal(quoted, &key)
			}
			keys := open[len(open)-1]
			if keys[key] {
				return key, true
			}
			if keys == nil {
				keys = map[string]bool{}
				open[len(open)-1] = keys
			}
			keys[key] = true
		}
	}
	return "", false
}
