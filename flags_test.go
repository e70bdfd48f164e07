package main

import (
	"slices"
	"strings"
	"testing"
)

// TestFlagsAnywhere checks that flags may stand before, between and after a command's name and its arguments, and what a word
// is that could be a command's name.
func TestFlagsAnywhere(t *testing.T) {
	for _, c := range []struct {
		line string
		code int
		want string // on either output
	}{
		{"next -e -top 1 Michelle", 0, "built-in circuit"},
		{"-top 1 -e next Michelle", 0, "built-in circuit"},
		{"-e Michelle next", 2, "2 arguments, but expected is: CLEAN.txt"},        // the first word is the main command's clean text
		{"-model next next -e Michelle", 1, "-model next: there is no such file"}, // a flag's value is no command
		{"-e -- next tokens", 2, "2 arguments, but expected is: CLEAN.txt"},       // nor is what follows --
		{"-o next -e a b c", 2, "3 arguments"},
		{"tokens -e -- -version", 0, "2 tokens"},
		{"tokens -version", 0, "mechpatch " + version},
		{"tokens -top 3 a", 2, "-top"},
		{"fetch -model gpt2", 2, "-model"},
		{"next a -e b", 2, "2 arguments, but expected is: TEXT.txt"},
		{"next", 2, "0 arguments, but expected is: TEXT.txt"},
		{"convert a", 2, "1 argument, but expected is: IN OUT.safetensors"},
	} {
		code, stdout, stderr := command(t, strings.Fields(c.line)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) || code != 0 && !oneLine(stderr) {
			t.Errorf("%s: exit code %d, %q %q; want %d, %q", c.line, code, stdout, stderr, c.code, c.want)
		}
	}
	if words, err := parseFlags(newFlags(), []string{"a", "--", "-b", "--"}); err != nil || !slices.Equal(words, []string{"a", "-b", "--"}) {
		t.Errorf("after --: %q, %v", words, err)
	}
}
