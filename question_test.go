package main

import (
	"strings"
	"testing"
)

func TestAligned(t *testing.T) {
	words := func(s string) []string { return strings.Split(s, "|") }
	for _, c := range []struct{ clean, corrupt, want string }{
		{"a| b| c", "a| Sm|ith| c", "  clean    a/ b     / c\n  corrupt  a/ Sm/ith/ c"},
		{"a", "b|c", "  clean    a  \n  corrupt  b/c"},
		{"a|b", "a|b|c", "  clean    a/b/ \n  corrupt  a/b/c"},
		{"1|2|3|4|5|6|7|8|x|1|2|3|4|5|6|7", "1|2|3|4|5|6|7|8|x|y|1|2|3|4|5|6|7",
			"  clean    …4/5/6/7/8/x/ /1/2/3/4/5/6…\n  corrupt  …4/5/6/7/8/x/y/1/2/3/4/5/6…"},
	} {
		got := strings.Join(aligned(words(c.clean), words(c.corrupt)), "\n")
		if got != c.want {
			t.Errorf("%s, %s:\n%q, want\n%q", c.clean, c.corrupt, got, c.want)
		}
	}
}

func TestVisible(t *testing.T) {
	for token, want := range map[string]string{
		" a": " a", "\n": `\n`, "\"": `"`, "\xe4": `\xe4`, "ñ": "ñ", "\u200b": `\u200b`, `\`: `\\`,
	} {
		if got := visible(token); got != want {
			t.Errorf("%q: %s, want %s", token, got, want)
		}
	}
}

func TestInOneLine(t *testing.T) {
	for s, want := range map[string]string{
		`C:\new "x" ñ`: `C:\new "x" ñ`, "a\nb\r\x1b]0;title\a": `a\nb\r\x1b]0;title\a`,
		"\xe4": `\xe4`, "\u009b2J": `\u009b2J`, "\u202eabc": `\u202eabc`, "\ufffd": "\ufffd",
	} {
		if got := inOneLine(s); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

func TestSelection(t *testing.T) {
	for _, c := range []struct {
		list string
		want string // of five
	}{
		{"0", "x----"}, {"1,3:", "-x-xx"}, {"0:2", "xx---"}, {":3", "xxx--"}, {"-1", "----x"},
		{"-2:", "---xx"}, {" 1 , 2 ", "-xx--"}, {":", "xxxxx"},
		{"5", ""}, {"3:3", ""}, {"4:2", ""}, {"0:6", ""}, {"-6", ""}, {"a", ""}, {"1,", ""},
		{"1:2:3", ""}, {"99999999999999999999", ""},
	} {
		chosen, err := selection(c.list, 5)
		got := ""
		for _, x := range chosen {
			got += map[bool]string{true: "x", false: "-"}[x]
		}
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q chooses %q, %v, want %q", c.list, got, err, c.want)
		}
	}
	if chosen, err := selection("", 5); chosen != nil || err != nil {
		t.Error("no list does not stand for all")
	}
}
