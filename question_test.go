package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestAligned(t *testing.T) {
	words := func(s string) []string { return strings.Split(s, "|") }
	for _, c := range []struct{ clean, corrupt, want string }{
		{"a| b| c", "a| Sm|ith| c", "  clean    a/ b     / c\n  corrupt  a/ Sm/ith/ c"},
		{"a", "b|c", "  clean    a  \n  corrupt  b/c"},
		{"a| b", "a| | b", "  clean    a/ / b\n  corrupt  a/␣/ b"},
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
	holds(t, visible, map[string]string{
		" a": " a", "\n": `\n`, "\"": `"`, "\xe4": `\xe4`, "ñ": "ñ", "\u200b": `\u200b`, `\`: `\\`,
	})
}

func TestInOneLine(t *testing.T) {
	holds(t, inOneLine, map[string]string{
		`C:\new "x" ñ`: `C:\new "x" ñ`, "a\nb\r\x1b]0;title\a": `a\nb\r\x1b]0;title\a`,
		"\xe4": `\xe4`, "\u009b2J": `\u009b2J`, "\u202eabc": `\u202eabc`, "\ufffd": "\ufffd",
	})
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

// TestSpans checks which columns a choice of positions gives: the first and the last position of
// those that are run, - for one that is not.
func TestSpans(t *testing.T) {
	for _, c := range []struct {
		list string
		want string // of six positions
	}{
		{"1..3", "- [1 3] - -"}, {"1..3,5", "- [1 3] - [5 5]"}, {"-2..-1", "- - - - [4 5]"},
		{"0..5", "[0 5]"}, {"2", "- - [2 2] - - -"}, {"1:3", "- [1 1] [2 2] - - -"},
		{"1..3,2", "- [1 3] [2 2] - -"}, {"1..3,2..4", "- [1 3] [2 4] -"},
		{"2..2,2", "- - [2 2] - - -"}, {":", "[0 0] [1 1] [2 2] [3 3] [4 4] [5 5]"},
		{"3..1", ""}, {"1..6", ""}, {"-7..2", ""}, {"..3", ""}, {"1..", ""}, {"1..3,", ""},
		{"1..2..3", ""}, {"x", ""},
	} {
		columns, err := spans(c.list, 6)
		var got []string
		for _, s := range columns {
			if s.run {
				got = append(got, fmt.Sprint([]int{s.lo, s.hi - 1}))
			} else {
				got = append(got, strings.Repeat("-", s.hi-s.lo))
			}
		}
		if shown := strings.Join(got, " "); shown != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q gives %q, %v, want %q", c.list, shown, err, c.want)
		}
	}
	if columns, err := spans("", 6); columns != nil || err != nil {
		t.Error("no list does not stand for all")
	}
}

// TestTargets checks what the command line's names of sites and receivers stand for.
func TestTargets(t *testing.T) {
	for _, c := range []struct{ site, to, want string }{
		{"", "", "resid"},
		{"resid_pre,resid_mid,attn", "", "resid_pre resid_mid attn"},
		{"head", "", "z"},
		{"all", "", "resid attn mlp"},
		{"heads", "", "z q k v pattern"},
		{"9.6.pattern,10.1.pattern", "", "9.6.pattern 10.1.pattern"},
		{"", "logits", "z→logits"},
		{"head", "9.9.q,10.0.v", "z→9.9.q 10.0.v"},
	} {
		s := Study{site: c.site, to: c.to}
		var got []string
		for _, target := range must(s.targets()) {
			name := target.name()
			if target.frozen {
				to := "logits"
				if len(target.to) > 0 {
					to = strings.Trim(fmt.Sprint(target.to), "[]")
				}
				name += "→" + to
			}
			got = append(got, name)
		}
		if shown := strings.Join(got, " "); shown != c.want {
			t.Errorf("-site %s -to %s: %s, want %s", c.site, c.to, shown, c.want)
		}
	}
}

// TestAnswers checks which tokens an answer names.
func TestAnswers(t *testing.T) {
	m := newCircuit()
	for answer, want := range map[string]string{
		"is/was": "[318 373]", "#373/is": "[373 318]", "Jones": "[5437]", " Jones": "[5437]",
		"=/": "[14]", "/": "[1220]", "=and/or": "", "is/is": "", "is/": "", "is/Kowalczyk": "",
	} {
		ids, err := answerTokens(m, answer)
		if got := fmt.Sprint(ids); (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%q is %s, %v, want %s", answer, got, err, want)
		}
	}
}

// White space around the commas of a list does not matter.
func TestSpacesInLists(t *testing.T) {
	s := Study{site: " resid, attn ,9.6.pattern", attention: "9.9, 6.3 "}
	if _, err := s.targets(); !says(err, "resid and 9.6.pattern have cells of different kinds") {
		t.Error(err)
	}
	s.site = "resid, attn"
	if targets := must(s.targets()); len(targets) != 2 || targets[1].site != siteAttn {
		t.Error(targets)
	}
	if heads := must(s.heads()); len(heads) != 2 || heads[1] != (Head{6, 3}) {
		t.Error(heads)
	}
	s = Study{to: "9.9.q, 6.3.k"}
	if receivers := must(s.receivers()); len(receivers) != 2 || receivers[1].site != siteK {
		t.Error(receivers)
	}
}
