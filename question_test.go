package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

func TestVisible(t *testing.T) {
	holds(t, visible, map[string]string{
		" a": " a", "\n": `\n`, "\"": `"`, "\xe4": `\xe4`, "ñ": "ñ", "\u200b": `\u200b`, `\`: `\\`,
	})
	holds(t, inOneLine, map[string]string{
		`C:\new "x" ñ`: `C:\new "x" ñ`, "a\nb\r\x1b]0;title\a": `a\nb\r\x1b]0;title\a`,
		"\xe4": `\xe4`, "\u009b2J": `\u009b2J`, "\u202eabc": `\u202eabc`, "\ufffd": "\ufffd",
	})
	// A token of nothing but spaces would look like a gap.
	if got := joined([]string{"a", " ", "  ", " b"}); got != "a/␣/␣␣/ b" {
		t.Errorf("tokens side by side: %s", got)
	}
}

// TestSpans checks which columns a choice of positions or layers gives: the first and the last of
// those that are run together, - for one that is not run.
func TestSpans(t *testing.T) {
	holds(t, func(list string) string {
		var columns []Span
		if err := caught(func() { columns = spans("-positions", list, 5) }); err != nil {
			return "no"
		}
		var got []string
		for _, s := range columns {
			shown := fmt.Sprint([]int{s.lo, s.hi - 1})
			if !s.run {
				shown = strings.Repeat("-", s.hi-s.lo)
			}
			got = append(got, shown)
		}
		return strings.Join(got, " ")
	}, map[string]string{
		"1..3": "- [1 3] -", "1..3,4": "- [1 3] [4 4]", "-2..-1": "- - - [3 4]", "0..4": "[0 4]",
		"2": "- - [2 2] - -", "1:3": "- [1 1] [2 2] - -", "1..3,2": "- [1 3] [2 2] -",
		"1..3,2..4": "- [1 3] [2 4]", "2..2,2": "- - [2 2] - -", "2,1:3": "- [1 1] [2 2] - -",
		":": "[0 0] [1 1] [2 2] [3 3] [4 4]", "": "", "0": "[0 0] - - - -", "-1": "- - - - [4 4]",
		"1,3:": "- [1 1] - [3 3] [4 4]", ":2": "[0 0] [1 1] - - -", "-2:": "- - - [3 3] [4 4]",
		"-4:2": "- [1 1] - - -", " 1 , 2 ": "- [1 1] [2 2] - -", " 1 : 2 ": "- [1 1] - - -",
		"3..1": "no", "1..5": "no", "-6..2": "no", "..3": "no", "1..": "no", "1..3,": "no",
		"1..2..3": "no", "x": "no", "5": "no", "3:3": "no", "4:2": "no", "0:6": "no", "-6": "no",
		"1:2:3": "no", "99999999999999999999": "no",
	})
}

// TestTargets checks what the command line's names of sites, receivers and heads stand for.
func TestTargets(t *testing.T) {
	for _, c := range []struct{ site, to, want string }{
		{"", "", "resid"},
		{"resid_pre, resid_mid ,attn", "", "resid_pre resid_mid attn"},
		{"head", "", "z"},
		{"all", "", "resid attn mlp"},
		{"heads", "", "z q k v pattern"},
		{"9.6.pattern,10.1.pattern", "", "9.6.pattern 10.1.pattern"},
		{"", "logits", "z→logits"},
		{"head", "9.9.q, 10.0.v", "z→9.9.q 10.0.v"},
	} {
		s := Study{site: c.site, to: c.to}
		var got []string
		for _, target := range s.targets() {
			name := target.String()
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
	holds(t, func(list string) string {
		s := Study{attention: list}
		var heads []Head
		if err := caught(func() { heads = s.heads(Config{layers: 3, heads: 2}) }); err != nil {
			return "no"
		}
		return s.attended() + fmt.Sprint(heads)
	}, map[string]string{
		"2.1, 0.0 ": "2.1, 0.0[2.1 0.0]", "1": "layer 1[1.0 1.1]", "3": "layer 3[3.0 3.1]",
		"1,2.1": "layer 1, 2.1[1.0 1.1 2.1]", "all": "all heads[0.0 0.1 1.0 1.1 2.0 2.1]",
		"1,1.0": "no", "all,0": "no", "1.": "no", "x": "no", "-1": "no", "1,": "no",
	})
}

// TestAnswers checks which tokens an answer names, what is advised in place of one that is not one
// token, and that any token can be typed as it says.
func TestAnswers(t *testing.T) {
	m := newCircuit()
	holds(t, func(answer string) string {
		var ids []int
		if err := caught(func() { ids = answerTokens(m, answer) }); err != nil {
			return "no"
		}
		return strings.Trim(fmt.Sprint(ids), "[]")
	}, map[string]string{
		"is/was": "318 373", "#373/is": "373 318", "Jones": "5437", " Jones": "5437",
		"=33/=34": "2091 2682", "x/=33/=34": "2124 2091 2682", "33/34": "4747 4974",
		"=08..=11": "2919 2931 940 1157", "8..11": "807 860 838 1367", "=9..=9": "24",
		"=/": "14", "/": "1220", "=/=": "no", "=..": "492",
		"=and/or": "no", "is/is": "no", "is/": "no", "is/Kowalczyk": "no", "=33/=33": "no",
		"=33/34": "no", "33..=34": "no", "34..33": "no", "30..34/33": "no", "1..99999": "no",
		"#99999999999999999999": "no", "#50257": "no",
	})
	for answer, want := range map[string]string{
		"'s":    `without the space, as '#338', or another word`,
		"の":     `without the space, as '=の' or '#5641', or another word`,
		"首":     `which is what the model predicts, as '#16268', or another word`,
		"n't":   `as n or '#299', or without the space, as '=n' or '#77', or another word`,
		"=x y":  `which is what the model predicts, as '=x' or '#87', or another word`,
		"=$'b":  `which is what the model predicts, as '=$' or '#3', or another word`,
		"#/a":   `"#" is not a token id, such as '#5437'`,
		"-tell": `as '= -' or '#532', or another word`,
	} {
		wantError(t, answer, caught(func() { answerTokens(m, answer) }), want)
	}
	for id := 0; id < vocabSize; id += 7 {
		advice := typed(gpt2, id)
		for _, word := range strings.Split(advice, " or ") {
			if ids := answerTokens(m, strings.Trim(word, "'")); len(ids) != 1 || ids[0] != id {
				t.Errorf("token %d is typed %s", id, advice)
			}
		}
	}
}

// What is advised means the same to a shell.
func TestAdviceInShells(t *testing.T) {
	for _, shell := range []string{"bash", "zsh"} {
		script, words := "", ""
		for id := 0; id < vocabSize; id += 41 {
			word, _, _ := strings.Cut(typed(gpt2, id), " or ")
			script += "printf '%s\\n' " + word + "\n"
			words += strings.Trim(word, "'") + "\n"
		}
		out, err := exec.Command(shell, "-c", script).Output()
		if errors.Is(err, exec.ErrNotFound) {
			continue
		}
		if string(out) != words {
			t.Errorf("%s makes other words of them: %v", shell, err)
		}
	}
}

// Who asks for a word with a space where the model has the one without in mind is told.
func TestSpaceNotes(t *testing.T) {
	logits := make([]float32, vocabSize)
	for text, logit := range map[string]float32{
		".": 1, "Smith": 1, "Jones": 3, "33": .5, " 34": 1, "34": 1,
	} {
		logits[gpt2BPE().encode(text)[0]] = logit
	}
	note := func(names string) string {
		n := strings.Fields(names)
		return fmt.Sprintf(`the answer " %s" is less likely than "%s", without the space, `+
			`which is written %s or %s`, n[0], n[0], n[1], n[2])
	}
	holds(t, func(answer string) string {
		return strings.Join(spaceNotes(gpt2, answer, logits), "\n")
	}, map[string]string{
		".": note(". '=.' '#13'"), "Jones/was": note("Jones '=Jones' '#25784'"),
		"30..40": note("33 '=33' '#2091'"),
		"Smith":  "", "34": "", "=.": "", "#764": "", " .": "", "Kowalczyk": "", "'s": "", "": "",
	})
}

// TestFormulas checks that a formula shows a missing space, and of a long set its ends; and that
// the circuit tells where it has nothing to go by.
func TestQuestions(t *testing.T) {
	m := newCircuit()
	for _, c := range []struct{ clean, corrupt, want string }{
		{"Jones", "Smith/is", "logit(Smith/is) - logit(Jones)"},
		{"Jones", "=Smith", `logit("Smith") - logit(" Jones")`},
		{".", "?", "logit(?) - logit(.)"},
		{"=33..=99", "=02..=32", `logit("02"/"03"/…/"32") - logit("33"/"34"/…/"99")`},
	} {
		q := newQuestion(m, Text{"a", exampleClean}, Text{"b", exampleCorrupt},
			c.clean, c.corrupt, metricDiff)
		if got := q.metricName(); got != c.want || len(q.notes) > 0 {
			t.Errorf("%s, %s: %s, %q, want %s", c.clean, c.corrupt, got, q.notes, c.want)
		}
	}
	for ends, guesses := range map[string]bool{
		"The The": false, "And The": false, "And And": true,
	} {
		clean, corrupt, _ := strings.Cut(ends, " ")
		q := newQuestion(m, Text{"a", "the cat saw a dog. " + clean},
			Text{"b", "the cow saw a dog. " + corrupt}, "Jones", "Smith", metricDiff)
		if (len(q.notes) == 1) != guesses {
			t.Errorf("%s: %q", ends, q.notes)
		}
	}
	if randomModel(Config{1, 1, 8, 4, 10}, 1).onlyGuesses([]int{1, 2}, []int{1, 3}) {
		t.Error("any other model is not the circuit")
	}
}
