package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

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

// TestSpans checks which columns a choice of positions or layers gives: the first and the last
// position of those that are run, - for one that is not.
func TestSpans(t *testing.T) {
	for _, c := range []struct {
		list string
		want string // of five positions
	}{
		{"1..3", "- [1 3] -"}, {"1..3,4", "- [1 3] [4 4]"}, {"-2..-1", "- - - [3 4]"},
		{"0..4", "[0 4]"}, {"2", "- - [2 2] - -"}, {"1:3", "- [1 1] [2 2] - -"},
		{"1..3,2", "- [1 3] [2 2] -"}, {"1..3,2..4", "- [1 3] [2 4]"},
		{"2..2,2", "- - [2 2] - -"}, {":", "[0 0] [1 1] [2 2] [3 3] [4 4]"}, {"", ""},
		{"0", "[0 0] - - - -"}, {"1,3:", "- [1 1] - [3 3] [4 4]"}, {"-1", "- - - - [4 4]"},
		{":2", "[0 0] [1 1] - - -"}, {"-2:", "- - - [3 3] [4 4]"}, {"-4:2", "- [1 1] - - -"},
		{" 1 , 2 ", "- [1 1] [2 2] - -"}, {" 1 : 2 ", "- [1 1] - - -"},
		{"3..1", "no"}, {"1..5", "no"}, {"-6..2", "no"}, {"..3", "no"}, {"1..", "no"},
		{"1..3,", "no"}, {"1..2..3", "no"}, {"x", "no"}, {"5", "no"}, {"3:3", "no"},
		{"4:2", "no"}, {"0:6", "no"}, {"-6", "no"}, {"1:2:3", "no"},
		{"99999999999999999999", "no"},
	} {
		columns, err := spans("-positions", c.list, 5)
		var got []string
		for _, s := range columns {
			if s.run {
				got = append(got, fmt.Sprint([]int{s.lo, s.hi - 1}))
			} else {
				got = append(got, strings.Repeat("-", s.hi-s.lo))
			}
		}
		shown := strings.Join(got, " ")
		if err != nil {
			shown = "no"
		}
		if shown != c.want {
			t.Errorf("%q gives %s, %v, want %s", c.list, shown, err, c.want)
		}
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
}

// TestAnswers checks which tokens an answer names.
func TestAnswers(t *testing.T) {
	m := newCircuit()
	for answer, want := range map[string]string{
		"is/was": "[318 373]", "#373/is": "[373 318]", "Jones": "[5437]", " Jones": "[5437]",
		"=33/=34": "[2091 2682]", "x/=33/=34": "[2124 2091 2682]", "33/34": "[4747 4974]",
		"=08..=11": "[2919 2931 940 1157]", "8..11": "[807 860 838 1367]", "=9..=9": "[24]",
		"=/": "[14]", "/": "[1220]", "=/=": "", "=..": "[492]",
		"=and/or": "", "is/is": "", "is/": "", "is/Kowalczyk": "", "=33/=33": "", "=33/34": "",
		"33..=34": "", "34..33": "", "30..34/33": "", "1..99999": "", "#99999999999999999999": "",
	} {
		ids, err := answerTokens(m, answer)
		if got := fmt.Sprint(ids); (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%q is %s, %v, want %s", answer, got, err, want)
		}
	}
}

// TestAdvice checks what is advised in place of an answer that is not one token, and that any token
// can be typed as it says.
func TestAdvice(t *testing.T) {
	m := newCircuit()
	for answer, want := range map[string]string{
		"'s":    `without the space, as "='s" or '#338', or another word`,
		"の":     `without the space, as '=の' or '#5641', or another word`,
		"首":     `which is what the model predicts, as '#16268', or another word`,
		"n't":   `as n or '#299', or without the space, as '=n' or '#77', or another word`,
		"=x y":  `which is what the model predicts, as '=x' or '#87', or another word`,
		"=$'b":  `which is what the model predicts, as '=$' or '#3', or another word`,
		"#/a":   `"#" is not a token id, such as '#5437'`,
		"-tell": `as '= -' or '#532', or another word`,
	} {
		_, err := answerTokens(m, answer)
		wantError(t, answer, err, want)
	}
	for id := 0; id < vocabSize; id += 7 {
		advice := typed(gpt2, id)
		for _, word := range strings.Split(advice, " or ") {
			ids, err := answerTokens(m, unquoted(word))
			if err != nil || len(ids) != 1 || ids[0] != id {
				t.Errorf("token %d is typed %s", id, advice)
			}
		}
	}
}

// unquoted is what a shell makes of a word.
func unquoted(word string) string {
	if inner, double := strings.CutPrefix(word, `"`); double {
		return strings.TrimSuffix(inner, `"`)
	}
	parts := strings.Split(word, `'\''`)
	for i := range parts {
		parts[i] = strings.Trim(parts[i], "'")
	}
	return strings.Join(parts, "'")
}

func TestShellWord(t *testing.T) {
	words := map[string]string{
		"Jones": "Jones", "=Jones": "'=Jones'", "#5": "'#5'", "='s": `"='s"`, "is/was": "is/was",
		"a b": "'a b'", "$x": "'$x'", "='$": `'='\''$'`, "の": "の", "a!": "'a!'", "3..9": "3..9",
		"~": "'~'", `a\'!`: `'a\'\''!'`, "*": "'*'", `"`: `'"'`,
	}
	holds(t, shellWord, words)
	for _, shell := range []string{"bash", "zsh"} {
		if _, err := exec.LookPath(shell); err != nil {
			continue
		}
		for word, quoted := range words {
			out, err := exec.Command(shell, "-c", "printf %s "+quoted).Output()
			if string(out) != word || err != nil {
				t.Errorf("%s makes %q of %s, %v, want %q", shell, out, quoted, err, word)
			}
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
	notes := func(answer string) string {
		return strings.Join(spaceNotes(gpt2, answer, logits), "\n")
	}
	for answer, names := range map[string]string{
		".": `. '=.' '#13'`, "Jones/was": `Jones '=Jones' '#25784'`, "30..40": `33 '=33' '#2091'`,
	} {
		n := strings.Fields(names)
		want := fmt.Sprintf(`the answer " %s" is less likely than "%s", without the space, `+
			`which is written %s or %s`, n[0], n[0], n[1], n[2])
		if got := notes(answer); got != want {
			t.Errorf("%s: %s, want %s", answer, got, want)
		}
	}
	holds(t, notes, map[string]string{
		"Smith": "", "34": "", "=.": "", "#764": "", " .": "", "Kowalczyk": "", "'s": "", "": "",
	})
}

// TestFormulas checks that a formula shows a missing space, and of a long set its ends.
func TestFormulas(t *testing.T) {
	for _, c := range []struct{ clean, corrupt, want string }{
		{"Jones", "Smith/is", "logit(Smith/is) - logit(Jones)"},
		{"Jones", "=Smith", `logit("Smith") - logit(" Jones")`},
		{".", "?", "logit(?) - logit(.)"},
		{"=33..=99", "=02..=32", `logit("02"/"03"/…/"32") - logit("33"/"34"/…/"99")`},
	} {
		q := must(newQuestion(newCircuit(), Text{"a", exampleClean}, Text{"b", exampleCorrupt},
			c.clean, c.corrupt, metricDiff))
		if got := q.metricName(); got != c.want {
			t.Errorf("%s, %s: %s, want %s", c.clean, c.corrupt, got, c.want)
		}
	}
}

// The circuit tells where it has nothing to go by.
func TestCircuitGuesses(t *testing.T) {
	m := newCircuit()
	for _, c := range []struct {
		clean, corrupt string
		guesses        bool
	}{
		{exampleClean, exampleCorrupt, false},
		{"the cat saw a dog. The", "the cow saw a dog. The", false},
		{"the cat saw a dog. And", "the cow saw a dog. The", false},
		{"the cat saw a dog. And", "the cow saw a dog. And", true},
	} {
		q := must(newQuestion(m, Text{"a", c.clean}, Text{"b", c.corrupt}, "Jones", "Smith",
			metricDiff))
		if got := len(q.notes) == 1; got != c.guesses {
			t.Errorf("%q, %q: %q", c.clean, c.corrupt, q.notes)
		}
	}
	m = randomModel(Config{1, 1, 8, 4, 10}, 1)
	if m.onlyGuesses([]int{1, 2}, []int{1, 3}) {
		t.Error("any other model is not the circuit")
	}
}

// TestHeadsNamed checks which heads -attention names.
func TestHeadsNamed(t *testing.T) {
	for _, c := range []struct{ list, want string }{
		{"2.1, 0.0 ", "[2.1 0.0]"}, {"1", "[1.0 1.1]"}, {"1,2.1", "[1.0 1.1 2.1]"},
		{"all", "[0.0 0.1 1.0 1.1 2.0 2.1]"}, {"3", "[3.0 3.1]"},
		{"1,1.0", ""}, {"all,0", ""}, {"1.", ""}, {"x", ""}, {"-1", ""}, {"1,", ""},
	} {
		s := Study{attention: c.list}
		heads, err := s.heads(Config{layers: 3, heads: 2})
		if names := s.attended(); c.list == "1,2.1" && names != "layer 1, 2.1" ||
			c.list == "all" && names != "all heads" {
			t.Errorf("%q is called %s", c.list, names)
		}
		if got := fmt.Sprint(heads); (err != nil) != (c.want == "") || err == nil && got != c.want {
			t.Errorf("%q: %s, %v, want %s", c.list, got, err, c.want)
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
	if heads := must(s.heads(Config{})); len(heads) != 2 || heads[1] != (Head{6, 3}) {
		t.Error(heads)
	}
	s = Study{to: "9.9.q, 6.3.k"}
	if receivers := must(s.receivers()); len(receivers) != 2 || receivers[1].site != siteK {
		t.Error(receivers)
	}
}
