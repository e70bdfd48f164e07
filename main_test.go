package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// words are the words of a command line, in which some stand for more.
func words(line string) (args []string) {
	more := map[string][]string{"PAIR": examplePair, "TEXTS": examplePair[:3],
		"TEXT": {"-e", exampleClean}, "EMPTY": {""}}
	for _, word := range strings.Fields(line) {
		if known, ok := more[word]; ok {
			args = append(args, known...)
		} else {
			args = append(args, word)
		}
	}
	return args
}

// TestMainCommand runs the example as the README does and checks everything that it leaves behind.
func TestMainCommand(t *testing.T) {
	elsewhere(t)
	put(t, ".", map[string]string{"clean.txt": exampleClean, "corrupt.txt": exampleCorrupt + "\n"})
	files := map[string]string{"-o": "h.png", "-json": "r.json", "-csv": "m.csv"}
	code, stdout, stderr := command(t, words("clean.txt corrupt.txt -o h.png Jones -json r.json "+
		"Smith -csv m.csv")...)
	if code != 0 || stderr != "" {
		t.Fatal(code, stderr)
	}
	for _, want := range []string{
		"Michelle/ Jones/ was/ a/ top/-/not/ch/ student/./ Michelle",
		"48736 4176 373 257 1353 12 1662 354 3710 13 16738",
		"Position  Token index  Token",
		`5437  " Jones"`,
		`1 " Smith" (clean " Jones")`,
		`layer 0, position 1 (" Jones"): -`,
		"not GPT-2",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("standard output lacks %q:\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "\x1b") { // it is no terminal
		t.Errorf("standard output has colours: %q", stdout)
	}
	var r Report
	d := json.NewDecoder(bytes.NewReader(must(os.ReadFile("r.json"))))
	var rest struct {
		*Report
		Version string
		Command []string
		Matrix  [][]float64                          `json:"matrix"`
		Logits  struct{ Clean, Corrupt [][]float64 } `json:"logits"`
	}
	rest.Report = &r
	d.DisallowUnknownFields()
	check(t, d.Decode(&rest))
	if r.Model.Name != "circuit" || r.Model.Layers != 12 || r.Model.Vocab != 50257 ||
		r.Metric != "logit(Smith) - logit(Jones)" || r.Site != "resid" ||
		r.Answer.Clean.ID != 5437 || r.Answer.Corrupt.Token != " Smith" ||
		r.Clean.Text != exampleClean || r.Corrupt.Tokens[1] != " Smith" ||
		len(r.Clean.Top) != 20 || r.Clean.Top[0].Token != " Jones" ||
		len(rest.Matrix) != 12 || len(rest.Matrix[0]) != 11 || len(rest.Logits.Clean) != 12 ||
		rest.Matrix[0][0] != float64(r.Corrupt.Metric) || !(rest.Matrix[0][1] < -10) {
		t.Errorf("JSON: %+v", rest)
	}
	rows := must(csv.NewReader(bytes.NewReader(must(os.ReadFile("m.csv")))).ReadAll())
	if len(rows) != 13 || rows[0][2] != "1: Smith" || rows[12][0] != "11" || len(rows[5]) != 12 {
		t.Errorf("CSV: %q", rows)
	}
	if left, _ := filepath.Glob("*"); len(left) != 5 {
		t.Errorf("left behind: %v", left)
	}
	for flag, file := range files {
		code, alone, stderr := command(t, append(words("PAIR -o"), "", flag, "-")...)
		want := string(must(os.ReadFile(file)))
		if code != 0 || stderr != "" || uncommanded(alone) != uncommanded(want) {
			t.Errorf("%s -: %d, %s %.40q…: not what is in the file", flag, code, stderr, alone)
		}
	}
}

// The picture is that of the study, in the colours and the size that were asked for.
func TestPictureFlags(t *testing.T) {
	elsewhere(t)
	write(t, "pairs.tsv", exampleLine)
	r := study(t, Study{site: "resid", metric: metricDiff})
	means := meansOf(t, r) // one pair: dividing the sum again would change nothing
	for flags, look := range map[string]style{
		"":                    {colorMap: "viridis", scale: 1},
		"-scale 2 -cmap rdbu": {colorMap: "rdbu", scale: 2},
	} {
		for line, figure := range map[string]*Figure{
			"PAIR": r.figure(look), "-pairs pairs.tsv": means.figures("-", look)["-"],
		} {
			var want strings.Builder
			check(t, figure.write(&want))
			code, _, stderr := command(t, words(line+" -o h.png "+flags)...)
			got := string(must(os.ReadFile("h.png")))
			if code != 0 || uncommanded(got) != uncommanded(want.String()) {
				t.Errorf("%s %s: %d, %s: another picture", line, flags, code, stderr)
			}
		}
	}
}

// As many next tokens are listed as are asked for, in JSON and in words.
func TestTopFlag(t *testing.T) {
	line := regexp.MustCompile(`(?m)^ +[0-9]+ +[0-9]+  ".*" +[01]\.[0-9]{4}$`)
	for _, n := range []int{0, 1, 7} {
		args := append(words("PAIR -top "+strconv.Itoa(n)+" -o"), "")
		var r struct{ Clean, Corrupt struct{ Top []any } }
		_, stdout, _ := command(t, append(args, "-json", "-")...)
		decodeJSON(t, stdout, &r)
		_, said, _ := command(t, args...)
		if listed := len(line.FindAllString(said, -1)); len(r.Clean.Top) != n ||
			len(r.Corrupt.Top) != n || listed != 2*n {
			t.Errorf("-top %d: %d, %d, in words %d", n, len(r.Clean.Top), len(r.Corrupt.Top),
				listed)
		}
	}
}

// TestTextFiles checks what of a file is its text.
func TestTextFiles(t *testing.T) {
	holds(t, func(content string) string {
		_, stdout, stderr := command(t, "tokens", file(t, "text.txt", content))
		first, _, _ := strings.Cut(stdout+stderr, "\n")
		return first[max(0, strings.Index(first, "it is")):]
	}, map[string]string{
		"a b": "a/ b", "a b\n": "a/ b", "a b\r\n": "a/ b", "\ufeffa b\n": "a/ b",
		"a b\n\n": `a/ b/\n`, "a b\r": `a/ b/\r`, "a\r\nb\r\n": `a/\r/\n/b`,
		"\xff\xfea\x00": "it is UTF-16: save it as UTF-8",
	})
}

// No output takes the place of an input or of another output, also through links, and nothing is
// written where one would.
func TestOutputsApart(t *testing.T) {
	elsewhere(t)
	inputs := map[string]string{
		"clean.txt": exampleClean, "corrupt.txt": exampleCorrupt, "pairs.txt": exampleLine,
		"m.safetensors": string(smallGPT2()), "program": emptyProgram,
		"parts/model.safetensors.index.json": `{"weight_map": {"wte.weight": "a.safetensors",
			"wpe.weight": "b.safetensors"}}`,
		"parts/a.safetensors": "{}", "parts/b.safetensors": "{}", "parts/config.json": "{}",
	}
	put(t, ".", inputs)
	put(t, ".", map[string]string{ // Windows lets few people make links
		"clean-link": "-> clean.txt", "pairs-link": "-> pairs.txt", "m-link": "-> m.safetensors",
		"program-link": "-> program", "new-link": "-> new", "links": "-> .",
	})
	if err := os.Link("corrupt.txt", "corrupt-hard"); err != nil {
		t.Skip(err)
	}
	const pair = "clean.txt corrupt.txt Jones Smith "
	for _, c := range []struct{ line, want string }{
		{pair + "-o clean.txt", "-o clean.txt would overwrite the clean text"},
		{pair + "-json links/links/clean.txt",
			"-json links/links/clean.txt would overwrite the clean text"},
		{pair + "-csv corrupt-hard", "-csv corrupt-hard would overwrite the corrupt text"},
		{pair + "-model m.safetensors -json m-link", "-json m-link would overwrite the model"},
		{pair + "-model parts -json parts/config.json",
			"-json parts/config.json would overwrite the model"},
		{"-pairs pairs-link -o pairs.txt", "-o pairs.txt would overwrite the file of pairs"},
		{"next clean.txt -json clean-link", "-json clean-link would overwrite the text"},
		{"tokens clean.txt -json clean.txt", "-json clean.txt would overwrite the text"},
		{"convert m.safetensors m-link -dtype f16", "OUT m-link would overwrite the model"},
		{"convert parts parts/b.safetensors", "OUT parts/b.safetensors would overwrite the model"},
		{"bundle -exe program m.safetensors m-link", "OUT m-link would overwrite the model"},
		{"bundle -exe program m.safetensors program-link",
			"OUT program-link would overwrite the program"},
		{pair + "-o new -json new", "-o and -json would both be written to new"},
		{pair + "-o new-link -csv new", "-o and -csv would both be written to new"},
		{pair + "-json - -csv -", "-json and -csv would both be written to standard output"},
		{"-pairs pairs.txt -o new -json new", "-o and -json would both be written to new"},
		// A name promises another format.
		{pair + "-o fig.pdf", "-o writes PNG: name it fig.png"},
		{pair + "-o fig.v2.SVG", "-o writes PNG: name it fig.v2.png"},
		{pair + "-json x.csv", "-json writes JSON: name it x.json"},
		{pair + "-csv x.json", "-csv writes CSV: name it x.csv"},
		{"next clean.txt -json x.png", "-json writes JSON: name it x.json"},
	} {
		refuse(t, c.line, c.want)
	}
	// The pictures of several means have names of their own, which are known only at the end.
	write(t, "two.tsv", exampleLine+"\nAnna Jones. Anna\tAnna Smith. Anna\tJones\tSmith\n")
	code, _, stderr := command(t, "-pairs", "two.tsv", "-o", "y", "-json", "y-11")
	if code != 2 || !strings.Contains(stderr, "-json and -o's would both be written to y-11") ||
		!strings.HasPrefix(string(must(os.ReadFile("y-11"))), `{"line":1`) {
		t.Errorf("a mean's picture over the results: exit code %d, %s", code, stderr)
	}
	for name, want := range inputs {
		if string(must(os.ReadFile(name))) != want {
			t.Errorf("%s is not what it was", name)
		}
	}
	for _, name := range []string{"new", "heatmap.png"} {
		if _, err := os.Stat(name); err == nil {
			t.Errorf("%s was written", name)
		}
	}

	// What is no file can take several outputs, and two files may differ in their folder alone.
	check(t, os.Mkdir("folder", 0o777))
	for _, flags := range []string{
		"-o " + os.DevNull + " -json " + os.DevNull, "-o new -json folder/new", "-o fig.PNG -csv x",
		"-o fig.v2 -json x.jsonl",
	} {
		code, _, stderr := command(t, strings.Fields(pair+flags)...)
		if code != 0 {
			t.Errorf("%s: %d %s", flags, code, stderr)
		}
	}
}

// What can be written is written, and the tables are printed, though the picture cannot be.
func TestResultsAreKept(t *testing.T) {
	elsewhere(t)
	lines := map[string]string{}
	if _, err := os.Stat("/dev/full"); err == nil {
		lines["-o /dev/full -csv /dev/full"] = "mechpatch: writing /dev/full: "
	}
	// In a folder where nothing can be written the default picture is given up before the run.
	check(t, os.Mkdir("heatmap.png", 0o755)) // root may write into any folder
	lines[""] = "there will be no picture"
	for flags, want := range lines {
		code, stdout, stderr := command(t, words("PAIR -json r.json "+flags)...)
		if code != 1 || strings.Count(stderr, want) != max(1, strings.Count(flags, "full")) ||
			!strings.Contains(stdout, "clean -14.58, corrupt 19.09") ||
			strings.Contains(stdout, "The heat map is in") {
			t.Errorf("%s: exit code %d, %s%s", flags, code, stdout, stderr)
		}
		check(t, os.Remove("r.json"))
	}
}

// What is quoted in a message has an end, and what to do stands there.
func TestLongNotes(t *testing.T) {
	code, _, stderr := command(t, "next", "-e", exampleClean, strings.Repeat("a", 100000))
	if code != 1 || len(stderr) > 4000 || !strings.Contains(stderr, " … ") || !oneLine(stderr) {
		t.Errorf("exit code %d, %d bytes: %.300s", code, len(stderr), stderr)
	}
}

// No name of a file, model, flag or variable reaches the terminal as it is: it could clear the
// screen or pass for a line of the program's own.
func TestStrangersNames(t *testing.T) {
	elsewhere(t)
	evil := "\x1b[2J\nmechpatch: all is well\u009b\u202e"
	t.Setenv("MECHPATCH_MODEL", evil)
	dirty := regexp.MustCompile(`(?m)[^\P{C}\n]|^mechpatch: all is well`)
	if err := os.WriteFile(evil+".safetensors", smallGPT2(), 0o666); err != nil {
		t.Skip(err) // Windows has no such names
	}
	for _, line := range []string{
		"PAIR", "PAIR -model EVIL.safetensors", "PAIR -model EVIL.safetensors -lens",
		"next -model EVIL.safetensors TEXT", "PAIR -model EVIL", "PAIR -EVIL", "PAIR -site EVIL",
		"PAIR -model circuit -layers EVIL", "PAIR -model circuit -o EVIL/picture",
		"PAIR -model circuit -o EVIL", "PAIR -model circuit -o EVIL -json EVIL",
		"-pairs EVIL -model circuit", "tokens EVIL", "tokens -e EVIL", "fetch EVIL",
		"convert EVIL x", "bundle -exe EVIL x y", "bundle -exe EVIL -h",
		"-model circuit -e EVIL a Jones Smith", "-model circuit TEXTS EVIL Smith",
	} {
		args := words(line)
		for i := range args {
			args[i] = strings.Replace(args[i], "EVIL", evil, 1)
		}
		_, stdout, stderr := invoke(args...)
		if found := dirty.FindString(stdout + stderr); found != "" {
			t.Errorf("%s: %q\n%s%s", line, found, stdout, stderr)
		}
		for said := range strings.Lines(stderr) {
			if !strings.HasPrefix(said, "mechpatch: ") {
				t.Errorf("%s: %s of %s", line, said, stderr)
			}
		}
	}
}

// Files are written though nobody reads standard output, and this is no error worth a word.
func TestClosedPipe(t *testing.T) {
	elsewhere(t)
	write(t, "pairs.tsv", strings.Repeat(exampleLine+"\n", 3))
	t.Setenv("MECHPATCH_MODEL", "circuit")
	for _, c := range []struct{ line, files string }{
		{"PAIR -o 1.png -json 1.json -csv 1.csv", "1.png 1.json 1.csv"},
		{"PAIR -o 2.png -json - -csv 2.csv", "2.png 2.csv"},
		{"PAIR -o - -json 3.json -csv 3.csv", "3.json 3.csv"},
		{"-pairs pairs.tsv -o 4.png", "4.png"},
		{"next TEXT -json 5.json", "5.json"},
		{"tokens TEXT -json 6.json", "6.json"},
	} {
		r, w, err := os.Pipe()
		check(t, err)
		r.Close()
		var stderr bytes.Buffer
		if code := execute(words(c.line), w, &stderr); code != 1 || stderr.Len() > 0 {
			t.Errorf("%s: exit code %d, %s", c.line, code, &stderr)
		}
		w.Close()
		for _, file := range strings.Fields(c.files) {
			must(os.Stat(file))
		}
	}
}

// A panic, also of another goroutine, reaches the user as a request to report it, with the stack of
// the place where it happened.
func TestPanic(t *testing.T) {
	set(t, &threads, 3)
	for name, f := range map[string]func(){
		"here":      func() { indexOutOfRange(0) },
		"elsewhere": func() { parallel(100, indexOutOfRange) },
	} {
		var stderr bytes.Buffer
		p := &program{stdout: bufio.NewWriter(io.Discard), stderr: &stderr,
			bar: newProgress(io.Discard)}
		code := p.end(withoutPanic(f))
		said := stderr.String()
		if code != 1 || !strings.HasPrefix(said, "mechpatch: this is a fault of the program") ||
			!strings.Contains(said, "index out of range") ||
			!strings.Contains(said, "indexOutOfRange(") {
			t.Errorf("%s: %d %s", name, code, said)
		}
	}
}

func indexOutOfRange(i int) { _ = []int{}[i] }

// refuse makes sure that a command line is refused in one line that says this.
func refuse(t *testing.T, line, want string) {
	t.Helper()
	said(t, 2, line, want)
}

// said makes sure of the exit code of a command line, and of what it says, where it fails in one
// line.
func said(t *testing.T, want int, line, text string) {
	t.Helper()
	code, stdout, stderr := command(t, words(line)...)
	ok := strings.Contains(stdout, text) && stderr == ""
	if want != 0 {
		ok = strings.Contains(stderr, text) && stdout == "" && oneLine(stderr)
	}
	if code != want || !ok {
		t.Errorf("%s: exit code %d, %s%s, want %d, %q", line, code, stdout, stderr, want, text)
	}
}

// Every command line does what it says, or fails in one line that says what is wrong, with the
// right exit code, and leaves nothing behind.
func TestCommandLines(t *testing.T) {
	hub := scripted(t, reply{code: 404})
	model := tinySource(t, "module-zip")
	bareMachine(t, "HF_ENDPOINT="+hub.URL)
	put(t, ".", map[string]string{"clean.txt": exampleClean, "corrupt.txt": exampleCorrupt,
		"text": "no model at all, and no program"})
	before, _ := filepath.Glob("*")
	for _, c := range []struct{ flags, want string }{
		{"-site soul", `-site soul: "soul" is not a site: they are resid_pre, z, q, `},
		{"-site resid,", `-site resid,: "" is not a site`},
		{"-site resid,z", "resid and z have cells of different kinds"},
		{"-site z,9.6.pattern", "z and 9.6.pattern have cells of different kinds"},
		{"-site z,head", "names z twice"},
		{"-site 9.x.pattern", `"9.x" is not a head`},
		{"-site 9.6.pattern -layers 9", "-site 9.6.pattern is of one layer: -layers"},
		{"-site 9.6.pattern -positions 1..3", "patches entries one by one: -positions 1..3"},
		{"-to 9.9", "-to 9.9: the receivers are logits, and heads' q, k and v"},
		{"-to 9.9.q,logits", "-to 9.9.q,logits: the receivers are logits"},
		{"-to 9.9.q,9.9.q", "names 9.9.q twice"},
		{"-to logits -site q", "-site z goes with it, but not q"},
		{"-to logits -positions 1", "-positions does not go with it"},
		{"-to 0.0.q", "-to 0.0.q: no head comes before it"},
		{"-layers 1..3", "layers are patched one by one: write 1:4 for 1 to 3"},
		{"-layers 4:2", `-layers 4:2: "4:2" holds nothing`},
		{"-positions 3..1", `-positions 3..1: "3..1" holds nothing`},
		{"-metric x", "flag -metric: it is one of diff logit prob restored logprob kl"},
		{"-lens -direct", "-lens and -direct make a picture each"},
		{"-attention 9.9 -direct", "-attention and -direct make a picture each"},
		{"-lens -site attn", "-lens looks at the two runs and patches nothing: -site, -to, -la"},
		{"-attention 9.9 -positions 1", "-attention looks at the two runs and patches nothing"},
		{"-lens -metric kl", "-lens has no -metric kl"},
		{"-direct -metric restored", "-metric restored does not go with it"},
		{"-range 5:-5", "flag -range: it is two numbers, the lower one first, such as -5:5 (mec"},
		{"-range x", "it is two numbers"},
		{"-range nan:5", "it is two numbers"},
		{"-range -1e308:1e308", "it is two numbers"},
		{"-heads 0", "-heads 0: a model has one head at least"},
		{"-heads 3", "-heads 3: the built-in circuit has 4"},
		{"-cmap jet", `invalid value "jet" for flag -cmap: it is one of viridis rdbu`},
		{"-scale 0", "-scale 0"},
		{"-top -1", "-top -1"},
		{"-pairs x", "-pairs takes the texts and answers from its file"},
	} {
		refuse(t, "clean.txt corrupt.txt Jones Smith "+c.flags, c.want)
	}
	for _, c := range []struct{ line, want string }{
		{"-pairs x -lens", "-lens is for one pair: -pairs"},
		{"-pairs x -o -", "-o - is for one pair"},
		{"-pairs x -csv y", "-csv is for one pair"},
		{"", "0 arguments; expected: CLEAN.txt CORRUPT.txt CLEAN_ANSWER CORRUPT_ANSWER"},
		{"a b c d e", "5 arguments"},
		{"a b", "CORRUPT_ANSWER; a # begins a comment in a shell: write '#5437'"},
		{"a b -metric logit",
			"2 arguments; expected: CLEAN.txt CORRUPT.txt CLEAN_ANSWER [CORRUPT_ANSWER]"},
		{"a -metric kl",
			"1 argument; expected: CLEAN.txt CORRUPT.txt [CLEAN_ANSWER] [CORRUPT_ANSWER]"},
		{"a b Jones Jones", `both answers are "Jones": they must differ`},
		{"a b #x Smith", `the clean answer: "#x" is not a token id, such as '#5437'`},
		{"a b Jones =", "the corrupt answer: it is empty"},
		{"TEXTS EMPTY Smith -metric kl", "the clean answer: it is empty"},
		{"a a Jones Smith", `"a" is both texts`},
		{"next a #-1", `the answer "#-1": "#-1" is not a token id`},
		{"-colour red", "-colour; a word that begins with - is a flag unless"},
		{"-o next -e a b c", "3 arguments"},
		{"-e Michelle next", "2 arguments; expected: CLEAN.txt"}, // a command's name is first
		{"tokens -top 3 a", "-top"},
		{"tokens a -e b", "2 arguments; expected: TEXT.txt"},
		{"convert a", "1 argument; expected: IN OUT.safetensors"},
		{"bundle a", "1 argument; expected: MODEL OUT"},
		{"convert " + model + " out -dtype f64", "flag -dtype: it is one of f32 f16 bf16"},
		{"convert circuit out", "there is no file of it"},
		{"fetch gpt3", "fetching gpt3: no model of that name: known are gpt2, gpt2-medium"},
		{"fetch circuit", "it is built into the program"},
		{"fetch gpt2 distilgpt2", "expected: [NAME]"},
		{"fetch -offline", "-offline"}, // it could only fail
	} {
		refuse(t, c.line, c.want)
	}
	for _, c := range []struct{ line, want string }{
		{"-pairs none.tsv", "reading none.tsv: no such file"},
		{"-pairs none.tsv -o /no/such/folder/h.png", "writing /no/such/folder/h.png: no such file"},
		{"none.txt corrupt.txt Jones Smith", "reading the clean text none.txt: no such file"},
		{". corrupt.txt Jones Smith", "reading the clean text .: is a directory"},
		{"-e EMPTY a Jones Smith", "the clean text is empty"},
		{"clean.txt ./clean.txt Jones Smith", "are the same text"},
		{"TEXTS Jones/was Smith -direct", "two answers of one token each"},
		{"TEXTS is/is Smith", `the clean answer: "is/is" has the token " is" twice`},
		{"TEXTS is/Jones Jones/was", `both answers are the token " Jones"`},
		{"TEXTS Jones #5437", `both answers are the token " Jones"`},
		{"TEXTS #50257 Smith", `"#50257" is not a token of the model`},
		{"TEXTS Kowalczyk Smith", `the clean answer: " Kowalczyk" is not one token but 5, ` +
			` K/ow/al/c/zyk: take the first, which is what the model predicts, as K or '#509', ` +
			`or another word`},
		{"PAIR -layers 5:20", "-layers 5:20"},
		{"PAIR -positions 11", "mechpatch: -positions 11: \"11\" lies outside 0 to 10\n"},
		{"PAIR -positions 11:", `"11:" holds nothing`},
		{"PAIR -to 3.0.q -layers -3:", "-to 3.0.q: no head of -layers -3: comes before it"},
		{"PAIR -to 3.0.q,2.1.k -layers 3:5,7", "no head of -layers 3:5,7 comes before it"},
		{"PAIR -to 12.0.q", "there is no head 12.0 in circuit: its heads are 0.0 to 11.3"},
		{"PAIR -site 0.4.pattern", "there is no head 0.4 in circuit"},
		{"PAIR -attention 12", "there is no head 12.0 in circuit"},
		{"PAIR -o /no/such/folder/h.png", "writing /no/such/folder/h.png: no such file"},
		{"-model next next -e Michelle", "-model next: there is no such file"},
		{"convert absent out", "mechpatch: absent: there is no such file"},
		{"convert text out", "text: "},
		{"convert gpt2 out", "it is not on this machine"},
		{"convert " + model + " absent/out", "writing "},
		{"bundle " + model + " out -exe absent", "absent: "},
		{"bundle " + model + " out -exe text",
			"text: not a program for Linux (ELF), Windows (PE) or macOS"},
	} {
		said(t, 1, c.line, c.want)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"Michelle Jones was", "corrupt.txt", "Jones", "Smith"}, "Jones was: no such " +
			"file or directory; with -e the arguments are the texts themselves"},
		{[]string{"-e", "one two three four", "one two drei four", "a", "b"}, "the clean text " +
			"has 4 tokens and the corrupt text 6: they must have equally many, so change a word " +
			"where they part: clean is one/ two/ three/ four, corrupt is one/ two/ d/re/i/ four"},
	} {
		if code, _, said := command(t, c.args...); code != 1 || !strings.Contains(said, c.want) {
			t.Errorf("%q: %d, %s, want %s", c.args, code, said, c.want)
		}
	}
	if asked := hub.requests(); asked != "" {
		t.Errorf("the hub got: %s", asked)
	}
	said(t, 1, "fetch distilgpt2", "404")
	if hub.requests() == "" {
		t.Error("the hub got nothing")
	}
	for _, c := range []struct{ line, want string }{ // flags stand anywhere
		{"tokens -e Hello", "Hello\n1 token: 15496\n"},
		{"tokens -e EMPTY", "0 tokens"},
		{"tokens -json - -e Hello", `{"text":"Hello","ids":[15496],"tokens":["Hello"],"vers`},
		{"tokens -json - -e Hello", `"command":["tokens","-json","-","-e","Hello"]}` + "\n"},
		{"tokens -json " + os.DevNull + " -e Hello", "Hello\n1"},
		{"tokens -e -- -version", "2 tokens"},
		{"tokens -version", "mechpatch " + version},
		{"next TEXT -top 3", `       1         5437  " Jones"`},
		{"next TEXT -json -", `{"model":{"name":"circuit"`},
		{"next TEXT -json -", `"top":[{"id":5437,`},
		{"next -e -top 1 Michelle", "built-in circuit"},
		{"-top 1 -e next Michelle", "built-in circuit"},
		{"-h", "CLEAN_ANSWER"},
		{"-h", "\n  -cmap MAP\n"},
		{"next -h", "-top N"},
		{"-version", "mechpatch " + version},
	} {
		said(t, 0, c.line, c.want)
	}
	_, got := (&program{}).parse([]string{"a", "c", "--", "-b", "--"})
	if !slices.Equal(got, []string{"a", "c", "-b", "--"}) {
		t.Errorf("after --: %q", got)
	}
	if after, _ := filepath.Glob("*"); !slices.Equal(after, before) {
		t.Errorf("left behind: %v, where there was %v", after, before)
	}
}

// TestNextAnswers asks for the rank of answers: of a token, and of a set, whose probability is the
// sum of its members'.
func TestNextAnswers(t *testing.T) {
	var r struct {
		Top     []TopReport
		Answers []RankReport
	}
	_, stdout, _ := command(t, words("next TEXT Jones was/Jones is -json -")...)
	decodeJSON(t, stdout, &r)
	one, set, is, probs := r.Answers[0], r.Answers[1], r.Answers[2], map[int]float64{}
	for i, top := range r.Top {
		probs[top.ID] = top.Prob
		if top.ID == 318 && is.Rank != i+1 {
			t.Errorf(" is has position %d, not %d", is.Rank, i+1)
		}
	}
	near := func(a, b float32) bool { return math.Abs(float64(a-b)) < 1e-5 }
	if one.Rank != 1 || one.Prob != r.Top[0].Prob || !near(one.Logit, r.Top[0].Logit) ||
		one.Tokens[0] != " Jones" {
		t.Errorf("%+v, want %+v", one, r.Top[0])
	}
	if set.Answer != "was/Jones" || len(set.IDs) != 2 || set.Rank != 1 ||
		math.Abs(set.Prob-probs[373]-probs[5437]) > 1e-9 || !(set.Logit > one.Logit) {
		t.Errorf("%+v", set)
	}
	_, said, _ := command(t, words("next TEXT Jones")...)
	if !regexp.MustCompile(`(?m)^" Jones" +1 +0\.6\d+ +\d+\.\d\d$`).MatchString(said) {
		t.Errorf("in words: %s", said)
	}
}

const circuitNote = "this is the built-in circuit, not GPT-2"

// TestWithoutWeights runs the program where no weights are: it asks the hub unless it may not, and
// says when the circuit takes GPT-2's place.
func TestWithoutWeights(t *testing.T) {
	const offline = "this run does not use the network"
	for _, c := range []struct {
		flags, variable string
		asks            bool   // whether the hub is asked
		says            string // on stderr; "" for nothing at all
	}{
		{"", "", true, circuitNote},
		{"-offline", "", false, circuitNote},
		{"", "HF_HUB_OFFLINE=1", false, circuitNote},
		{"-model circuit", "", false, ""},
		{"", "MECHPATCH_MODEL=circuit", false, ""},
		{"-model gpt2", "", true, "fetching gpt2: "},
		{"-model gpt2 -offline", "", false, offline},
		{"-model gpt2 -offline", "MECHPATCH_MODEL=circuit", false, offline},
	} {
		hub := scripted(t, reply{code: 404})
		bareMachine(t, "HF_ENDPOINT="+hub.URL)
		if name, value, ok := strings.Cut(c.variable, "="); ok {
			t.Setenv(name, value)
		}
		code, stdout, stderr := invoke(words(c.flags + " next TEXT")...)
		runs := c.says == "" || c.says == circuitNote
		shown := strings.Contains(stdout, "built-in circuit (not GPT-2)")
		if (code == 0) != runs || shown != runs ||
			strings.Contains(stderr, circuitNote) != (c.says == circuitNote) ||
			!strings.Contains(stderr, c.says) || c.says == "" && stderr != "" {
			t.Errorf("%s %s: exit code %d, %s %s", c.flags, c.variable, code, stdout, stderr)
		}
		if asked := hub.requests() != ""; asked != c.asks {
			t.Errorf("%s %s: the hub got: %s", c.flags, c.variable, hub.requests())
		}
	}
}

// smallGPT2 is a checkpoint with GPT-2's vocabulary and hardly anything else, as a file.
func smallGPT2() []byte {
	ck := randomCheckpoint(Config{1, 1, 8, 16, vocabSize}, 32, "F32")
	ck.meta["n_head"] = "1"
	return encodeCheckpoint(ck, 0)
}

// TestDownloadedModel asks for a published model by its name: it is fetched once, and gives the
// same numbers as its file does.
func TestDownloadedModel(t *testing.T) {
	weights := smallGPT2()
	hub := newRepositoryHub(t, map[string]string{"model.safetensors": string(weights)})
	model := must(parseRepository("distilgpt2"))
	hub.commits[model.revision] = model.revision
	bareMachine(t, "HF_ENDPOINT="+hub.URL)
	file := filepath.Join(looseFolder(t), "distilgpt2.safetensors")
	write(t, file, weights)
	run := func(model string, more ...string) (string, any) {
		t.Helper()
		var r map[string]any
		args := slices.Concat(more, examplePair)
		code, stdout, stderr := invoke(append(args, "-model", model, "-o", "", "-json", "-")...)
		if code != 0 {
			t.Fatal(code, stderr)
		}
		decodeJSON(t, stdout, &r)
		if name := r["model"].(map[string]any)["name"]; name != "distilgpt2" {
			t.Errorf("the model is called %v", name)
		}
		return stderr, r["matrix"]
	}
	_, want := run(file)
	if hub.requests() != "" {
		t.Errorf("a file is fetched: %s", hub.requests())
	}
	said, got := run("distilgpt2")
	if !reflect.DeepEqual(got, want) || len(hub.gave) != 1 ||
		!strings.Contains(said, "fetching distilgpt2: model.safetensors, 1.6 MB, from "+hub.URL) {
		t.Errorf("%s, %s: %v, want %v", hub.requests(), said, got, want)
	}
	said, got = run("distilgpt2", "-offline")
	if !reflect.DeepEqual(got, want) || len(hub.gave) != 1 ||
		strings.Contains(said, "fetching") {
		t.Errorf("again: %s, %s: %v, want %v", hub.requests(), said, got, want)
	}

	out := filepath.Join(t.TempDir(), "out.safetensors")
	code, stdout, stderr := invoke("fetch", "distilgpt2", "-o", out)
	if data, _ := os.ReadFile(out); code != 0 || stdout != out+"\n" ||
		!bytes.Equal(data, weights) {
		t.Errorf("fetch -o: %d %s %s", code, stdout, stderr)
	}
}

// TestConvertAndBundle converts a PyTorch file into every format, and makes a bundle of this very
// program and of one that is named.
func TestConvertAndBundle(t *testing.T) {
	in := tinySource(t, "module-zip")
	for flags, want := range map[string]string{
		"": "F32", "-dtype f32": "F32", "-dtype f16": "F16", "-dtype bf16": "BF16",
		"-dtype BF16": "BF16",
	} {
		out := filepath.Join(t.TempDir(), "out.safetensors")
		said(t, 0, "convert "+in+" "+out+" "+flags, "")
		checkLean(t, out, 0, -1, want)
	}
	other := file(t, "other", emptyProgram)
	for flags, exe := range map[string]string{"": thisProgram(t), "-exe " + other: other} {
		out := filepath.Join(t.TempDir(), "out.exe")
		code, _, stderr := command(t, words("bundle "+in+" "+out+" "+flags)...)
		// Go's own test program may be linked dynamically, which is told.
		if code != 0 || stderr != "" && !strings.Contains(stderr, "CGO_ENABLED=0") {
			t.Fatal(code, stderr)
		}
		offset, length, err := bundledIn(out)
		check(t, err)
		checkLean(t, out, offset, length, "F32")
		if size := must(os.Stat(exe)).Size(); offset != alignUp(size) {
			t.Errorf("the weights begin at %d, the program has %d bytes", offset, size)
		}
	}
}

// TestCellPainter checks when there are colours, and which: how a painted 1 begins.
func TestCellPainter(t *testing.T) {
	f := &Figure{style: style{colorMap: "viridis"}, columns: Axis{names: numbered(2)},
		panels: []Panel{{at: cells([][]float64{{0, 1}})}}}
	holds(t, func(line string) string {
		words := strings.Split(line, "|") // the rows, NO_COLOR, TERM and COLORTERM
		f.rows.names = numbered(must(strconv.Atoi(words[0])))
		for i, name := range []string{"NO_COLOR", "TERM", "COLORTERM"} {
			t.Setenv(name, words[1+i])
		}
		if (&program{}).cellPainter(f) != nil {
			return "no terminal"
		}
		paint := (&program{terminal: true}).cellPainter(f)
		if paint == nil {
			return "nothing"
		}
		begin, _, _ := strings.Cut(paint(1, "x"), ";38;")
		return begin
	}, map[string]string{
		"1|1|xterm|truecolor": "x",
		"1|0|xterm|truecolor": "x", // no-color.org: any value but the empty one
		"1||dumb|truecolor":   "x",
		"1||xterm|truecolor":  "[48;2;253;231;37",
		"1||xterm|24bit":      "[48;2;253;231;37",
		"1||xterm|":           "[48;5;220",
		"1|||yes":             "[48;5;220",
		"13|1|xterm|":         "nothing", // too many for figures on a terminal
	})
}
