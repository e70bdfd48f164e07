package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"image/png"
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

// TestMainCommand runs the example as the README does and checks everything that it leaves behind.
func TestMainCommand(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("COLORTERM", "truecolor")
	dir := t.TempDir()
	image, result, matrix := filepath.Join(dir, "h.png"), filepath.Join(dir, "r.json"),
		filepath.Join(dir, "m.csv")
	code, stdout, stderr := command(t,
		"clean.txt", "corrupt.txt", "-o", image, "Jones", "-json", result, "Smith", "-csv", matrix)
	if code != 0 {
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
	must(png.Decode(bytes.NewReader(must(os.ReadFile(image)))))

	var r struct {
		Model struct {
			Name, Source                         string
			Layers, Heads, Width, Context, Vocab int
		}
		Metric, Site string
		Answer       struct {
			Clean, Corrupt struct {
				ID    int
				Token string
			}
		}
		Clean, Corrupt struct {
			Text   string
			IDs    []int
			Tokens []string
			Metric float64
			Top    []struct {
				ID          int
				Token       string
				Prob, Logit float64
			}
			Logits struct{ Clean, Corrupt float64 }
		}
		Rows, Columns []string
		Version       string
		Command       []string
		Matrix        [][]float64
		Logits        struct{ Clean, Corrupt [][]float64 }
	}
	data := must(os.ReadFile(result))
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	if r.Model.Name != "circuit" || r.Model.Layers != 12 || r.Model.Vocab != 50257 ||
		r.Metric != "logit(Smith) - logit(Jones)" || r.Site != "resid" ||
		r.Answer.Clean.ID != 5437 || r.Answer.Corrupt.Token != " Smith" ||
		r.Clean.Text != exampleClean || r.Corrupt.Tokens[1] != " Smith" ||
		len(r.Clean.Top) != 20 || r.Clean.Top[0].Token != " Jones" ||
		len(r.Matrix) != 12 || len(r.Matrix[0]) != 11 ||
		r.Matrix[0][0] != r.Corrupt.Metric || !(r.Matrix[0][1] < -10) {
		t.Errorf("JSON: %s", data)
	}

	data = must(os.ReadFile(matrix))
	rows := must(csv.NewReader(bytes.NewReader(data)).ReadAll())
	if len(rows) != 13 || rows[0][2] != "1: Smith" || rows[12][0] != "11" || len(rows[5]) != 12 {
		t.Errorf("CSV: %s", data)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 3 {
		t.Errorf("left behind: %v", left)
	}

	for flag, file := range map[string]string{"-o": image, "-json": result, "-csv": matrix} {
		code, alone, stderr := command(t,
			"clean.txt", "corrupt.txt", "Jones", "Smith", "-o", "", flag, "-")
		if want := string(must(os.ReadFile(file))); code != 0 || stderr != "" ||
			uncommanded(alone) != uncommanded(want) {
			t.Errorf("%s -: %d, %s %.40q…: not what is in the file", flag, code, stderr, alone)
		}
	}
}

// The picture is that of the study, in the colours and the size that were asked for.
func TestPictureFlags(t *testing.T) {
	pairs := file(t, "pairs.tsv", exampleLine)
	r := study(t, Study{site: "resid", metric: metricDiff})
	means := meansOf(t, r) // one pair: dividing the sum again would change nothing
	paint := func(f *Figure) string {
		var picture strings.Builder
		check(t, f.write(&picture))
		return picture.String()
	}
	widths := map[int]int{}
	for _, c := range []struct {
		flags    []string
		colorMap string
		scale    int
	}{
		{nil, "viridis", 1},
		{[]string{"-cmap", "rdbu"}, "rdbu", 1},
		{[]string{"-scale", "2"}, "viridis", 2},
		{[]string{"-scale", "3", "-cmap", "rdbu"}, "rdbu", 3},
	} {
		look := style{colorMap: c.colorMap, scale: c.scale}
		_, figures := means.figures("-", look)
		want := paint(r.figure(look))
		widths[c.scale] = must(png.Decode(strings.NewReader(want))).Bounds().Dx()
		image := filepath.Join(t.TempDir(), "h.png")
		for _, run := range []struct {
			args []string
			want string
		}{{examplePair, want}, {[]string{"-pairs", pairs}, paint(figures[0])}} {
			args := slices.Concat(c.flags, run.args, []string{"-o", image})
			code, _, stderr := command(t, args...)
			got := string(must(os.ReadFile(image)))
			if code != 0 || uncommanded(got) != uncommanded(run.want) {
				t.Errorf("%q: %d, %s: another picture", args, code, stderr)
			}
		}
	}
	if widths[2] != 2*widths[1] || widths[3] != 3*widths[1] {
		t.Errorf("widths at each scale: %v", widths)
	}
}

// As many next tokens are listed as are asked for, in JSON and in words.
func TestTopFlag(t *testing.T) {
	for _, n := range []int{0, 1, 7} {
		args := append(examplePair, "-o", "", "-top", strconv.Itoa(n))
		var r struct{ Clean, Corrupt struct{ Top []any } }
		_, stdout, _ := command(t, append(args, "-json", "-")...)
		decodeJSON(t, stdout, &r)
		_, words, _ := command(t, args...)
		line := regexp.MustCompile(`(?m)^ +[0-9]+ +[0-9]+  ".*" +[01]\.[0-9]{4}$`)
		listed := len(line.FindAllString(words, -1))
		if len(r.Clean.Top) != n || len(r.Corrupt.Top) != n || listed != 2*n {
			t.Errorf("-top %d: %d, %d, in words %d", n, len(r.Clean.Top), len(r.Corrupt.Top),
				listed)
		}
	}
}

// TestTextFiles checks what of a file is its text.
func TestTextFiles(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"a b", "a/ b"}, {"a b\n", "a/ b"}, {"a b\r\n", "a/ b"}, {"\ufeffa b\n", "a/ b"},
		{"a b\n\n", `a/ b/\n`}, {"a b\r", `a/ b/\r`}, {"a\r\nb\r\n", `a/\r/\n/b`},
	} {
		code, stdout, stderr := command(t, "tokens", file(t, "text.txt", c.content))
		if got, _, _ := strings.Cut(stdout, "\n"); code != 0 || got != c.want {
			t.Errorf("%q: %d %s %q, want %q", c.content, code, stderr, got, c.want)
		}
	}
	if code, _, stderr := command(t, "tokens", file(t, "text.txt", "\xff\xfea\x00")); code != 1 ||
		!strings.Contains(stderr, "UTF-16") {
		t.Errorf("UTF-16: %d %s", code, stderr)
	}
}

// TestOtherCommands runs tokens, next, -h and -version.
func TestOtherCommands(t *testing.T) {
	json := filepath.Join(t.TempDir(), "x.json")
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"tokens", "-e", "Hello world"}, []string{"Hello/ world\n2 tokens: 15496 995\n"}},
		{[]string{"tokens", "-json", "-", "-e", "Hello world"},
			[]string{`{"text":"Hello world","ids":[15496,995],"tokens":["Hello"," world"],"vers`,
				`"command":["tokens","-json","-","-e","Hello world"]}` + "\n"}},
		{[]string{"tokens", "-json", json, "-e", "Hello world"}, []string{"Hello/ world\n2"}},
		{[]string{"tokens", "-e", ""}, []string{"0 tokens"}},
		{[]string{"next", "-e", exampleClean, "-top", "3"},
			[]string{`       1         5437  " Jones"`, "       3"}},
		{[]string{"next", "-e", exampleClean, "-json", "-"},
			[]string{`{"model":{"name":"circuit"`, `"top":[{"id":5437,`}},
		{[]string{"-h"}, []string{"CLEAN_ANSWER", "-cmap MAP"}},
		{[]string{"next", "-h"}, []string{"TEXT.txt", "-top N"}},
		{[]string{"-version"}, []string{"mechpatch " + version}},
	} {
		code, stdout, stderr := command(t, c.args...)
		if code != 0 || stderr != "" {
			t.Errorf("%q: %d %s", c.args, code, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("%q lacks %q:\n%s", c.args, want, stdout)
			}
		}
	}
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
	for _, c := range []struct{ line, output, input string }{
		{pair + "-o clean.txt", "-o clean.txt", "the clean text"},
		{pair + "-json links/links/clean.txt", "-json links/links/clean.txt", "the clean text"},
		{pair + "-csv corrupt-hard", "-csv corrupt-hard", "the corrupt text"},
		{pair + "-o clean-link", "-o clean-link", "the clean text"},
		{pair + "-model m.safetensors -o m.safetensors", "-o m.safetensors", "the model"},
		{pair + "-model m.safetensors -json m-link", "-json m-link", "the model"},
		{pair + "-model parts -json parts/config.json", "-json parts/config.json", "the model"},
		{"-pairs pairs.txt -json pairs.txt", "-json pairs.txt", "the file of pairs"},
		{"-pairs pairs.txt -json pairs-link", "-json pairs-link", "the file of pairs"},
		{"-pairs pairs-link -o pairs.txt", "-o pairs.txt", "the file of pairs"},
		{"next clean.txt -json clean-link", "-json clean-link", "the text"},
		{"next clean.txt -model m.safetensors -json m-link", "-json m-link", "the model"},
		{"tokens clean.txt -json clean.txt", "-json clean.txt", "the text"},
		{"convert m.safetensors m.safetensors", "OUT m.safetensors", "the model"},
		{"convert m.safetensors m-link -dtype f16", "OUT m-link", "the model"},
		{"convert parts parts/b.safetensors", "OUT parts/b.safetensors", "the model"},
		{"convert parts parts/config.json", "OUT parts/config.json", "the model"},
		{"bundle -exe program m.safetensors m-link", "OUT m-link", "the model"},
		{"bundle -exe program m.safetensors program-link", "OUT program-link", "the program"},
	} {
		refuse(t, c.line, c.output+" would overwrite "+c.input)
	}
	for _, c := range []struct{ line, outputs, file string }{
		{pair + "-o new -json new", "-o and -json", "new"},
		{pair + "-o new-link -csv new", "-o and -csv", "new"},
		{pair + "-json new -csv ./links/new", "-json and -csv", "new"},
		{pair + "-json - -csv -", "-json and -csv", "standard output"},
		{pair + "-json - -o -", "-o and -json", "standard output"},
		{"-pairs pairs.txt -o new -json new", "-o and -json", "new"},
	} {
		refuse(t, c.line, c.outputs+" would both be written to "+c.file)
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
		"-o " + os.DevNull + " -json " + os.DevNull, "-o new -json folder/new",
	} {
		code, _, stderr := command(t, strings.Fields(pair+flags)...)
		if code != 0 {
			t.Errorf("%s: %d %s", flags, code, stderr)
		}
	}
}

// A name that promises another format is refused before anything runs.
func TestEndings(t *testing.T) {
	elsewhere(t)
	put(t, ".", map[string]string{"clean.txt": exampleClean, "corrupt.txt": exampleCorrupt,
		"pairs.tsv": exampleLine})
	const pair = "clean.txt corrupt.txt Jones Smith "
	for _, c := range []struct{ line, advice string }{
		{pair + "-o fig.pdf", "-o writes PNG: name it fig.png"},
		{pair + "-o fig.v2.SVG", "-o writes PNG: name it fig.v2.png"},
		{"-pairs pairs.tsv -o mean.jpeg", "-o writes PNG: name it mean.png"},
		{pair + "-json x.csv", "-json writes JSON: name it x.json"},
		{pair + "-csv x.json", "-csv writes CSV: name it x.csv"},
		{"next clean.txt -json x.png", "-json writes JSON: name it x.json"},
	} {
		refuse(t, c.line, c.advice)
	}
	for _, name := range []string{"fig", "fig.PNG", "fig.v2", os.DevNull} {
		if code, _, stderr := command(t, strings.Fields(pair+"-o "+name)...); code != 0 {
			t.Errorf("-o %s: %d %s", name, code, stderr)
		}
	}
}

// What can be written is written, and the tables are printed, though the picture cannot be.
func TestResultsAreKept(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full")
	}
	result := filepath.Join(t.TempDir(), "r.json")
	line := append([]string{"-o", "/dev/full", "-csv", "/dev/full", "-json", result},
		examplePair...)
	code, stdout, stderr := command(t, line...)
	if code != 1 || strings.Count(stderr, "mechpatch: writing /dev/full: ") != 2 ||
		!strings.Contains(stdout, "clean -14.58, corrupt 19.09") &&
			!strings.Contains(stdout, "clean −14.58, corrupt 19.09") ||
		strings.Contains(stdout, "The heat map is in") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	must(os.ReadFile(result))

	// In a folder where nothing can be written the default picture is given up before the run.
	elsewhere(t)
	check(t, os.Mkdir("heatmap.png", 0o755)) // root may write into any folder
	code, stdout, stderr = command(t, append([]string{"-json", result}, examplePair...)...)
	if code != 1 || !strings.Contains(stderr, "writing heatmap.png: ") || !oneLine(stderr) ||
		!strings.Contains(stderr, "there will be no picture") ||
		!strings.Contains(stdout, "clean -14.58, corrupt 19.09") &&
			!strings.Contains(stdout, "clean −14.58, corrupt 19.09") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
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
	pair, model := examplePair, evil+".safetensors"
	if err := os.WriteFile(model, smallGPT2(), 0o666); err != nil {
		t.Skip(err) // Windows has no such names
	}
	for _, args := range [][]string{
		pair,
		append(pair, "-model", model),
		append(pair, "-model", model, "-lens"),
		{"next", "-model", model, "-e", exampleClean},
		append(pair, "-model", evil),
		append(pair, "-"+evil),
		append(pair, "-site", evil),
		append(pair, "-model", "circuit", "-layers", evil),
		append(pair, "-model", "circuit", "-o", evil+"/picture"),
		append(pair, "-model", "circuit", "-o", evil),
		append(pair, "-model", "circuit", "-o", evil, "-json", evil),
		{"-pairs", evil, "-model", "circuit"},
		{"tokens", evil}, {"tokens", "-e", evil}, {"fetch", evil},
		{"convert", evil, "x"}, {"bundle", "-exe", evil, "x", "y"}, {"bundle", "-exe", evil, "-h"},
		{"-model", "circuit", "-e", evil, "a", "Jones", "Smith"},
		{"-model", "circuit", "-e", exampleClean, exampleCorrupt, evil, "Smith"},
	} {
		_, stdout, stderr := invoke(args...)
		if found := dirty.FindString(stdout + stderr); found != "" {
			t.Errorf("%q: %q\n%s%s", args, found, stdout, stderr)
		}
		for line := range strings.Lines(stderr) {
			if !strings.HasPrefix(line, "mechpatch: ") {
				t.Errorf("%q: %s of %s", args, line, stderr)
			}
		}
	}
}

// Files are written though nobody reads standard output, and this is no error worth a word.
func TestClosedPipe(t *testing.T) {
	elsewhere(t)
	write(t, "pairs.tsv", strings.Repeat(exampleLine+"\n", 3))
	t.Setenv("MECHPATCH_MODEL", "circuit")
	pair := examplePair
	for _, c := range []struct {
		args  []string
		files string
	}{
		{append(pair, "-o", "1.png", "-json", "1.json", "-csv", "1.csv"), "1.png 1.json 1.csv"},
		{append(pair, "-o", "2.png", "-json", "-", "-csv", "2.csv"), "2.png 2.csv"},
		{append(pair, "-o", "-", "-json", "3.json", "-csv", "3.csv"), "3.json 3.csv"},
		{[]string{"-pairs", "pairs.tsv", "-o", "4.png"}, "4.png"},
		{[]string{"next", "-e", exampleClean, "-json", "5.json"}, "5.json"},
		{[]string{"tokens", "-e", exampleClean, "-json", "6.json"}, "6.json"},
	} {
		r, w, err := os.Pipe()
		check(t, err)
		r.Close()
		var stderr bytes.Buffer
		if code := execute(c.args, w, &stderr); code != 1 || stderr.Len() > 0 {
			t.Errorf("%q: exit code %d, %s", c.args, code, &stderr)
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
		p := &program{stdout: bufio.NewWriter(io.Discard), stderr: &stderr}
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
	code, stdout, stderr := command(t, strings.Fields(line)...)
	if code != 2 || stdout != "" || !oneLine(stderr) || !strings.Contains(stderr, want) {
		t.Errorf("%s: exit code %d, %s%s, want %q", line, code, stdout, stderr, want)
	}
}

// What does not go together is refused in one line that says what it is.
func TestRefusedCombinations(t *testing.T) {
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
		{"-layers x", `-layers x: "x" is not a number`},
		{"-layers 4:2", `-layers 4:2: "4:2" holds nothing`},
		{"-positions 3..1", `-positions 3..1: "3..1" holds nothing`},
		{"-positions 1,-2:-2", `-positions 1,-2:-2: "-2:-2" holds nothing`},
		{"-metric x", "flag -metric: it is one of diff logit prob restored logprob kl"},
		{"-lens -direct", "-lens and -direct make a picture each"},
		{"-lens -attention 9.9", "-lens and -attention make a picture each"},
		{"-attention 9.9 -direct", "-attention and -direct make a picture each"},
		{"-lens -site attn", "-lens looks at the two runs and patches nothing: -site, -to, -la"},
		{"-direct -to logits", "-direct looks at the two runs and patches nothing"},
		{"-attention 9.9 -positions 1", "-attention looks at the two runs and patches nothing"},
		{"-lens -layers 1", "-lens looks at the two runs and patches nothing"},
		{"-attention 9.x", `"9.x" is not a head`},
		{"-attention 9.9,9.9", "names 9.9 twice"},
		{"-lens -metric kl", "-lens has no -metric kl"},
		{"-direct -metric restored", "-metric restored does not go with it"},
		{"-range 5:-5", "flag -range: it is two numbers, the lower one first, such as -5:5 (mec"},
		{"-range 5:5", "it is two numbers"},
		{"-range 5", "it is two numbers"},
		{"-range x", "it is two numbers"},
		{"-range nan:5", "it is two numbers"},
		{"-range 1:inf", "it is two numbers"},
		{"-range -1e308:1e308", "it is two numbers"},
		{"-heads 0", "-heads 0: a model has one head at least"},
		{"-heads -4", "-heads -4"},
		{"-heads 3", "-heads 3: the built-in circuit has 4"},
		{"-top x", `invalid value "x" for flag -top: parse error (mechpatch -h`},
		{"-cmap jet", `invalid value "jet" for flag -cmap: it is one of viridis rdbu`},
		{"-scale 0", "-scale 0"},
		{"-top -1", "-top -1"},
		{"-pairs x", "-pairs takes the texts and answers from its file"},
	} {
		refuse(t, "clean.txt corrupt.txt Jones Smith "+c.flags, c.want)
	}
	for _, c := range []struct{ line, want string }{
		{"-pairs x -lens", "-lens is for one pair: -pairs"},
		{"-pairs x -direct", "-direct is for one pair"},
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
		{"a a Jones Smith", `"a" is both texts`},
		{"next a #-1", `the answer "#-1": "#-1" is not a token id`},
		{"-colour red", "-colour; a word that begins with - is a flag unless"},
	} {
		refuse(t, c.line, c.want)
	}
}

// TestNextAnswers asks for the rank of answers: of a token, and of a set, whose probability is the
// sum of its members'.
func TestNextAnswers(t *testing.T) {
	var r struct {
		Top []struct {
			ID          int
			Prob, Logit float64
		}
		Answers []struct {
			Answer      string
			IDs         []int
			Tokens      []string
			Rank        int
			Prob, Logit float64
		}
	}
	_, stdout, stderr := command(t,
		"next", "-e", exampleClean, "Jones", "was/Jones", "is", "-json", "-")
	decodeJSON(t, stdout, &r)
	if len(r.Answers) != 3 {
		t.Fatal(stdout, stderr)
	}
	one, set, is := r.Answers[0], r.Answers[1], r.Answers[2]
	probs := map[int]float64{}
	for i, top := range r.Top {
		probs[top.ID] = top.Prob
		if top.ID == 318 && is.Rank != i+1 {
			t.Errorf(" is has position %d, not %d", is.Rank, i+1)
		}
	}
	if one.Rank != 1 || one.Prob != r.Top[0].Prob || math.Abs(one.Logit-r.Top[0].Logit) > 1e-5 ||
		one.Tokens[0] != " Jones" {
		t.Errorf("%+v, want %+v", one, r.Top[0])
	}
	if set.Answer != "was/Jones" || len(set.IDs) != 2 || set.Rank != 1 ||
		math.Abs(set.Prob-probs[373]-probs[5437]) > 1e-9 || !(set.Logit > one.Logit) {
		t.Errorf("%+v", set)
	}
	_, words, _ := command(t, "next", "-e", exampleClean, "Jones")
	if !regexp.MustCompile(`(?m)^" Jones" +1 +0\.6\d+ +\d+\.\d\d$`).MatchString(words) {
		t.Errorf("in words: %s", words)
	}
}

// Every fault ends in one clear line, the right exit code and no output.
func TestErrors(t *testing.T) {
	before, _ := filepath.Glob("heatmap*") // somebody may have run the program here
	texts := slices.Clip(examplePair[:3])
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-pairs", "none.tsv"}, 1, "reading none.tsv: no such file"},
		{[]string{"-pairs", "none.tsv", "-o", "/no/such/folder/h.png"}, 1,
			"writing /no/such/folder/h.png: no such file"},
		{[]string{"none.txt", "corrupt.txt", "Jones", "Smith"}, 1,
			"reading the clean text none.txt: no such file"},
		{[]string{"Michelle Jones was", "corrupt.txt", "Jones", "Smith"}, 1,
			"was: no such file or directory; with -e the arguments are the texts themselves"},
		{[]string{".", "corrupt.txt", "Jones", "Smith"}, 1,
			"reading the clean text .: is a directory"},
		{[]string{"-e", "", "a", "Jones", "Smith"}, 1, "the clean text is empty"},
		{[]string{"clean.txt", "./clean.txt", "Jones", "Smith"}, 1, "are the same text"},
		{append(texts, "Jones/was", "Smith", "-direct"), 1, "two answers of one token each"},
		{append(texts, "is/Jones", "Jones/was"), 1, `both answers are the token " Jones"`},
		{append(texts, "Jones", "#5437"), 1, `both answers are the token " Jones"`},
		{append(texts, "Jones", ""), 2, "the corrupt answer: it is empty"},
		{append(texts, "", "Smith", "-metric", "kl"), 2, "the clean answer: it is empty"},
		{append(texts, "#50257", "Smith"), 1, `"#50257" is not a token of the model`},
		{append(texts, "Kowalczyk", "Smith"), 1,
			`the clean answer: " Kowalczyk" is not one token but 5,  K/ow/al/c/zyk: take the ` +
				`first, which is what the model predicts, as K or '#509', or another word`},
		{append(texts, "日本", "Smith"), 1, "the model predicts, as '#10545', or another word"},
		{append(examplePair, "-layers", "5:20"), 1, "-layers 5:20"},
		{append(examplePair, "-positions", "11"), 1,
			"mechpatch: -positions 11: \"11\" lies outside 0 to 10\n"},
		{append(examplePair, "-positions", "11:"), 1, `"11:" holds nothing`},
		{append(examplePair, "-to", "3.0.q", "-layers", "-3:"), 1,
			"-to 3.0.q: no head of -layers -3: comes before it"},
		{append(examplePair, "-to", "3.0.q,2.1.k", "-layers", "3:5,7"), 1,
			"no head of -layers 3:5,7 comes before it"},
		{append(examplePair, "-o", "/no/such/folder/h.png"), 1,
			"writing /no/such/folder/h.png: no such file"},
		{[]string{"-e", "one two three four", "one two drei four", "a", "b"}, 1,
			"clean is one/ two/ three/ four, corrupt is one/ two/ d/re/i/ four"},
	} {
		code, stdout, stderr := command(t, c.args...)
		if code != c.code || !strings.HasPrefix(stderr, "mechpatch: ") ||
			!strings.Contains(strings.ToLower(stderr), strings.ToLower(c.want)) {
			t.Errorf("%q: exit code %d, %s; want %d, %s", c.args, code, stderr, c.code, c.want)
		}
		if code == 2 && stdout != "" {
			t.Errorf("%q prints %s", c.args, stdout)
		}
	}
	if after, _ := filepath.Glob("heatmap*"); !slices.Equal(after, before) {
		t.Errorf("left behind: %v, where there was %v", after, before)
	}
}

// Flags may stand before, between and after a command's name and its arguments; the first word that
// is no flag's value may be a command's name.
func TestFlagsAnywhere(t *testing.T) {
	for _, c := range []struct {
		line string
		code int
		want string // on either output
	}{
		{"next -e -top 1 Michelle", 0, "built-in circuit"},
		{"-top 1 -e next Michelle", 0, "built-in circuit"},
		// A command's name is the first word, but no flag's value and nothing after --.
		{"-e Michelle next", 2, "2 arguments; expected: CLEAN.txt"},
		{"-model next next -e Michelle", 1, "-model next: there is no such file"},
		{"-e -- next tokens", 2, "2 arguments; expected: CLEAN.txt"},
		{"-o next -e a b c", 2, "3 arguments"},
		{"tokens -e -- -version", 0, "2 tokens"},
		{"tokens -version", 0, "mechpatch " + version},
		{"tokens -top 3 a", 2, "-top"},
		{"tokens a -e b", 2, "2 arguments; expected: TEXT.txt"},
		{"next", 2, "0 arguments; expected: TEXT.txt"},
		{"convert a", 2, "1 argument; expected: IN OUT.safetensors"},
		{"bundle a", 2, "1 argument; expected: MODEL OUT"},
	} {
		code, stdout, stderr := command(t, strings.Fields(c.line)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) ||
			code != 0 && !oneLine(stderr) {
			t.Errorf("%s: exit code %d, %q %q; want %d, %q", c.line, code, stdout, stderr, c.code,
				c.want)
		}
	}
	_, words := (&program{}).parse([]string{"a", "c", "--", "-b", "--"})
	if !slices.Equal(words, []string{"a", "c", "-b", "--"}) {
		t.Errorf("after --: %q", words)
	}
}

const circuitNote = "this is the built-in circuit, not GPT-2"

// TestWithoutWeights runs the program where no weights are: it asks the hub unless it may not, and
// says when the circuit takes GPT-2's place.
func TestWithoutWeights(t *testing.T) {
	for _, c := range []struct {
		flags, variable string
		code            int
		asks            bool   // whether the hub is asked
		says            string // on stderr; "" for nothing at all
	}{
		{"", "", 0, true, circuitNote},
		{"-offline", "", 0, false, circuitNote},
		{"", "HF_HUB_OFFLINE=1", 0, false, circuitNote},
		{"-model circuit", "", 0, false, ""},
		{"", "MECHPATCH_MODEL=circuit", 0, false, ""},
		{"-model gpt2", "", 1, true, "fetching gpt2: "},
		{"-model gpt2 -offline", "", 1, false, "this run does not use the network"},
		{"-model gpt2 -offline", "MECHPATCH_MODEL=circuit", 1, false,
			"this run does not use the network"},
	} {
		t.Run(c.flags+" "+c.variable, func(t *testing.T) {
			hub := scripted(t, status(404))
			bareMachine(t, hub.URL)
			if name, value, ok := strings.Cut(c.variable, "="); ok {
				t.Setenv(name, value)
			}
			args := append(strings.Fields(c.flags), "next", "-e", exampleClean)
			code, stdout, stderr := invoke(args...)
			if code != c.code ||
				(code == 0) != strings.Contains(stdout, "built-in circuit (not GPT-2)") {
				t.Errorf("exit code %d, %s %s", code, stdout, stderr)
			}
			if asked := hub.requests() != ""; asked != c.asks {
				t.Errorf("the hub got: %s", hub.requests())
			}
			if c.says == "" && stderr != "" || !strings.Contains(stderr, c.says) ||
				strings.Contains(stderr, circuitNote) != (c.says == circuitNote) {
				t.Errorf("it says %q, want %q", stderr, c.says)
			}
		})
	}
}

// smallGPT2 is a checkpoint with GPT-2's vocabulary and hardly anything else, as a file.
func smallGPT2() []byte {
	ck := randomCheckpoint(Config{1, 1, 8, 16, vocabSize}, 32,
		"F32")
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
	bareMachine(t, hub.URL)
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
	if !reflect.DeepEqual(got, want) || len(hub.gave) != 1 || said != "" {
		t.Errorf("again: %s, %s: %v, want %v", hub.requests(), said, got, want)
	}

	out := filepath.Join(t.TempDir(), "out.safetensors")
	code, stdout, stderr := invoke("fetch", "distilgpt2", "-o", out)
	if data, _ := os.ReadFile(out); code != 0 || stdout != out+"\n" ||
		!bytes.Equal(data, weights) {
		t.Errorf("fetch -o: %d %s %s", code, stdout, stderr)
	}
}

// TestConvertCommand converts a PyTorch file into every format.
func TestConvertCommand(t *testing.T) {
	for flag, want := range map[string]string{
		"": "F32", "f32": "F32", "f16": "F16", "bf16": "BF16", "BF16": "BF16",
	} {
		out := filepath.Join(t.TempDir(), "out.safetensors")
		args := []string{"convert", tinySource(t, "module-zip"), out}
		if flag != "" {
			args = append(args, "-dtype", flag)
		}
		if code, _, stderr := command(t, args...); code != 0 || stderr != "" {
			t.Fatal(args, code, stderr)
		}
		checkLean(t, out, 0, -1, want, "tiny-gpt2")
	}
}

// TestBundleCommand makes a bundle of this very program and of one that is named.
func TestBundleCommand(t *testing.T) {
	other := file(t, "other", emptyProgram)
	for _, exe := range []string{thisProgram(t), other} {
		out := filepath.Join(t.TempDir(), "out.exe")
		args := []string{"bundle", tinySource(t, "module-zip"), out}
		if exe == other {
			args = append(args, "-exe", other)
		}
		code, _, stderr := command(t, args...)
		offset, length, ok, err := bundled(out)
		// Go's own test program may be linked dynamically, which is told.
		if code != 0 || stderr != "" && !strings.Contains(stderr, "CGO_ENABLED=0") || !ok ||
			err != nil {
			t.Fatal(code, stderr, ok, err)
		}
		checkLean(t, out, offset, length, "F32", "tiny-gpt2")
		if size := must(os.Stat(exe)).Size(); offset != alignUp(size) {
			t.Errorf("the weights begin at %d, the program has %d bytes", offset, size)
		}
	}
}

// Whatever goes wrong with weights ends in one clear line and the right exit code.
func TestSetupErrors(t *testing.T) {
	model, text := tinySource(t, "module-zip"),
		file(t, "text.txt", "no model at all, and no program")
	absent, out := filepath.Join(t.TempDir(), "absent"), filepath.Join(t.TempDir(), "out")
	hub := scripted(t, status(404))
	bareMachine(t, hub.URL)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"convert", model, out, "-dtype", "f64"}, 2,
			"flag -dtype: it is one of f32 f16 bf16"},
		{[]string{"convert", absent, out}, 1, "mechpatch: " + absent + ": there is no such file"},
		{[]string{"convert", text, out}, 1, "text.txt: "},
		{[]string{"convert", "circuit", out}, 2, "there is no file of it"},
		{[]string{"convert", "gpt2", out}, 1, "it is not on this machine"},
		{[]string{"convert", model, filepath.Join(absent, "out")}, 1, "writing "},
		{[]string{"bundle", absent, out}, 1, "mechpatch: " + absent + ": there is no such file"},
		{[]string{"bundle", "circuit", out}, 2, "there is no file of it"},
		{[]string{"bundle", model, out, "-exe", absent}, 1, "absent: "},
		{[]string{"bundle", model, out, "-exe", text}, 1,
			"text.txt: not a program for Linux (ELF), Windows (PE) or macOS"},
		{[]string{"fetch", "gpt3"}, 2,
			"fetching gpt3: no model of that name: known are gpt2, gpt2-medium"},
		{[]string{"fetch", "circuit"}, 2, "it is built into the program"},
		{[]string{"fetch", "gpt2", "distilgpt2"}, 2, "expected: [NAME]"},
		{[]string{"fetch", "-offline"}, 2, "-offline"}, // it could only fail
	} {
		code, stdout, stderr := invoke(c.args...)
		if code != c.code || !oneLine(stderr) || !strings.Contains(stderr, c.want) || stdout != "" {
			t.Errorf("%q: exit code %d, %q %q; want %d, %q", c.args, code, stdout, stderr, c.code,
				c.want)
		}
		if _, err := os.Stat(out); err == nil {
			t.Fatalf("%q leaves a file", c.args)
		}
	}
	if hub.requests() != "" {
		t.Errorf("the hub got: %s", hub.requests())
	}
	if code, stdout, stderr := invoke("fetch", "distilgpt2"); code != 1 || stdout != "" ||
		!strings.Contains(stderr, "404") || hub.requests() == "" {
		t.Errorf("a hub without the model: %d %s %s", code, stdout, stderr)
	}
}

// TestCellPainter checks when there are colours, and which.
func TestCellPainter(t *testing.T) {
	f := &Figure{style: style{colorMap: "viridis"}, rows: Axis{names: numbered(1)},
		columns: Axis{names: numbered(2)}, panels: []Panel{{at: cells([][]float64{{0, 1}})}}}
	for _, c := range []struct {
		terminal                 bool
		noColor, term, colorTerm string
		want                     string // how a painted 1 begins; "" where nothing is painted
	}{
		{false, "", "xterm", "truecolor", ""},
		{true, "1", "xterm", "truecolor", "x"},
		{true, "0", "xterm", "truecolor", "x"}, // no-color.org: any value but the empty one
		{true, "", "dumb", "truecolor", "x"},
		{true, "", "xterm", "truecolor", "\x1b[48;2;253;231;37;"},
		{true, "", "xterm", "24bit", "\x1b[48;2;253;231;37;"},
		{true, "", "xterm", "", "\x1b[48;5;"},
		{true, "", "", "yes", "\x1b[48;5;"},
	} {
		t.Setenv("NO_COLOR", c.noColor)
		t.Setenv("TERM", c.term)
		t.Setenv("COLORTERM", c.colorTerm)
		paint := (&program{terminal: c.terminal}).cellPainter(f)
		painted := ""
		if paint != nil {
			painted = paint(1, "x")
		}
		if (painted != "") != (c.want != "") || !strings.HasPrefix(painted, c.want) {
			t.Errorf("%+v: %q", c, painted)
		}
	}
	t.Setenv("NO_COLOR", "1")
	f.rows.names = numbered(13) // too many for figures on a terminal
	if (&program{terminal: true}).cellPainter(f) != nil {
		t.Error("cells without a colour and without a figure")
	}
}
