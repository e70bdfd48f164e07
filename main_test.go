package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	exampleClean   = "Michelle Jones was a top-notch student. Michelle"
	exampleCorrupt = "Michelle Smith was a top-notch student. Michelle"
)

// command runs the program with the built-in model as if from a shell.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv("MECHPATCH_MODEL", "circuit")
	return invoke(args...)
}

// file writes a file into a temporary folder.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMainCommand runs the example as the README does and checks everything that it leaves behind.
func TestMainCommand(t *testing.T) {
	dir := t.TempDir()
	image, result, matrix := filepath.Join(dir, "h.png"), filepath.Join(dir, "r.json"), filepath.Join(dir, "m.csv")
	code, stdout, stderr := command(t, "clean.txt", "corrupt.txt", "-o", image, "Jones", "-json", result, "Smith", "-csv", matrix)
	if code != 0 {
		t.Fatal(code, stderr)
	}
	for _, want := range []string{
		"Michelle/ Jones/ was/ a/ top/-/not/ch/ student/./ Michelle",
		"48736 4176 373 257 1353 12 1662 354 3710 13 16738",
		"Position  Token index  Token",
		`5437  " Jones"`,
		`1 " Smith" (clean " Jones")`,
		`layer 0, position 1 (" Jones"): −`,
		"not GPT-2",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("standard output lacks %q:\n%s", want, stdout)
		}
	}

	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := png.Decode(f); err != nil {
		t.Error(err)
	}

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
		}
		Matrix [][]float64
	}
	data, err := os.ReadFile(result)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	if r.Model.Name != "circuit" || r.Model.Layers != 12 || r.Model.Vocab != 50257 || r.Metric != "logit(Smith) - logit(Jones)" || r.Site != "resid" ||
		r.Answer.Clean.ID != 5437 || r.Answer.Corrupt.Token != " Smith" || r.Clean.Text != exampleClean || r.Corrupt.Tokens[1] != " Smith" ||
		len(r.Clean.Top) != 20 || r.Clean.Top[0].Token != " Jones" || len(r.Matrix) != 12 || len(r.Matrix[0]) != 11 ||
		r.Matrix[0][0] != r.Corrupt.Metric || !(r.Matrix[0][1] < -10) {
		t.Errorf("JSON: %s", data)
	}

	data, err = os.ReadFile(matrix)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil || len(rows) != 13 || rows[0][2] != " Smith" || rows[12][0] != "11" || len(rows[5]) != 12 {
		t.Errorf("CSV: %v\n%s", err, data)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 3 {
		t.Errorf("left behind: %v", left)
	}
}

// TestStandardOutput checks that "-" leaves nothing on standard output but what was asked for.
func TestStandardOutput(t *testing.T) {
	image := filepath.Join(t.TempDir(), "h.png")
	args := []string{"-e", exampleClean, exampleCorrupt, "Jones", "Smith", "-o", image}
	code, stdout, stderr := command(t, append(args, "-json", "-")...)
	if code != 0 || !json.Valid([]byte(stdout)) {
		t.Errorf("-json -: %d %s %s", code, stderr, stdout)
	}
	code, stdout, stderr = command(t, append(args, "-csv", "-")...)
	if code != 0 || !strings.HasPrefix(stdout, `layer,Michelle," Smith"," was",`) || strings.Count(stdout, "\n") != 13 {
		t.Errorf("-csv -: %d %s %s", code, stderr, stdout)
	}
}

// decodeJSON decodes what the program prints.
func decodeJSON(t *testing.T, data string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), into); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
}

// TestPictureFlags checks that the picture is that of the study, in the colours and the size that were asked for, wherever it
// is written; on standard output it is alone.
func TestPictureFlags(t *testing.T) {
	pairs := file(t, "pairs.tsv", strings.Join([]string{exampleClean, exampleCorrupt, "Jones", "Smith"}, "\t"))
	r := study(t, Study{site: "resid", metric: metricDiff})
	means := Means{}
	if err := means.add(r); err != nil {
		t.Fatal(err)
	}
	sizes := map[int]int{}
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
		var want, mean bytes.Buffer
		if err := r.figure(c.colorMap, c.scale).write(&want); err != nil {
			t.Fatal(err)
		}
		if _, figures := means.figures("-", c.colorMap, c.scale); c.scale == 1 { // dividing the sum again would change nothing: it is one pair
			if err := figures[0].write(&mean); err != nil {
				t.Fatal(err)
			}
		}
		picture, err := png.Decode(bytes.NewReader(want.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		sizes[c.scale] = picture.Bounds().Dx()

		args := append(c.flags, "-e", exampleClean, exampleCorrupt, "Jones", "Smith", "-o")
		image := filepath.Join(t.TempDir(), "h.png")
		code, _, stderr := command(t, append(args, image)...)
		if got, err := os.ReadFile(image); code != 0 || err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%q: %d, %s %v: another picture", c.flags, code, stderr, err)
		}
		code, stdout, stderr := command(t, append(args, "-")...)
		if code != 0 || stderr != "" || stdout != want.String() {
			t.Errorf("%q -o -: %d, %s %.40q…: not the picture alone", c.flags, code, stderr, stdout)
		}
		if c.scale == 1 {
			code, _, stderr = command(t, append(c.flags, "-pairs", pairs, "-o", image)...)
			if got, err := os.ReadFile(image); code != 0 || err != nil || !bytes.Equal(got, mean.Bytes()) {
				t.Errorf("%q -pairs: %d, %s %v: another picture", c.flags, code, stderr, err)
			}
		}
	}
	if sizes[2] != 2*sizes[1] || sizes[3] != 3*sizes[1] {
		t.Errorf("widths at each scale: %v", sizes)
	}
}

// TestTopFlag checks that as many next tokens are listed as are asked for, in JSON and in words.
func TestTopFlag(t *testing.T) {
	for _, n := range []int{0, 1, 7} {
		args := []string{"-e", exampleClean, exampleCorrupt, "Jones", "Smith", "-o", "", "-top", strconv.Itoa(n)}
		var r struct{ Clean, Corrupt struct{ Top []any } }
		_, stdout, _ := command(t, append(args, "-json", "-")...)
		decodeJSON(t, stdout, &r)
		_, words, _ := command(t, args...)
		listed := len(regexp.MustCompile(`(?m)^ +[0-9]+ +[0-9]+  ".*" +[01]\.[0-9]{4}$`).FindAllString(words, -1))
		if len(r.Clean.Top) != n || len(r.Corrupt.Top) != n || listed != 2*n {
			t.Errorf("-top %d: %d, %d, in words %d", n, len(r.Clean.Top), len(r.Corrupt.Top), listed)
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
	if code, _, stderr := command(t, "tokens", file(t, "text.txt", "\xff\xfea\x00")); code != 1 || !strings.Contains(stderr, "UTF-16") {
		t.Errorf("UTF-16: %d %s", code, stderr)
	}
}

// TestOtherCommands runs tokens, next, -h and -version.
func TestOtherCommands(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"tokens", "-e", "Hello world"}, []string{"Hello/ world\n2 tokens: 15496 995\n"}},
		{[]string{"-e", "tokens", "Hello world"}, []string{"Hello/ world\n2 tokens: 15496 995\n"}},
		{[]string{"-model", "circuit", "next", "-e", exampleClean}, []string{`" Jones"`}},
		{[]string{"tokens", "-e", "--", "-a"}, []string{"-/a\n2 tokens"}},
		{[]string{"tokens", "-json", "-e", "Hello world"}, []string{`{"text":"Hello world","ids":[15496,995],"tokens":["Hello"," world"]}` + "\n"}},
		{[]string{"tokens", "-e", ""}, []string{"0 tokens"}},
		{[]string{"next", "-e", exampleClean, "-top", "3"}, []string{`       1         5437  " Jones"`, "       3"}},
		{[]string{"next", "-e", exampleClean, "-json", "-"}, []string{`{"model":{"name":"circuit"`, `"top":[{"id":5437,`}},
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

// TestErrors checks that every fault ends in one clear line, the right exit code and no output.
func TestErrors(t *testing.T) {
	before, _ := filepath.Glob("heatmap*") // somebody may have run the program here
	pair := []string{"-e", exampleClean, exampleCorrupt}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{}, 2, "0 arguments, but expected is: CLEAN.txt CORRUPT.txt CLEAN_ANSWER CORRUPT_ANSWER"},
		{[]string{"a", "b", "c", "d", "e"}, 2, "5 arguments"},
		{[]string{"-colour", "red"}, 2, "-colour"},
		{append(pair, "Jones"), 2, "3 arguments"},
		{append(pair, "Jones", "Smith", "-cmap", "jet"), 2, "-cmap jet: there are viridis and rdbu"},
		{append(pair, "Jones", "Smith", "-scale", "0"), 2, "-scale 0"},
		{append(pair, "Jones", "Smith", "-top", "-1"), 2, "-top -1"},
		{append(pair, "Jones", "Smith", "-site", "soul"), 2, "-site soul: there are"},
		{append(pair, "Jones", "Smith", "-metric", "x"), 2, "-metric x: there are"},
		{append(pair, "Jones", "Smith", "-json", "-", "-csv", "-"), 2, "standard output"},
		{append(pair, "Jones", "Smith", "-json", "-", "-o", "-"), 2, "standard output"},
		{[]string{"-pairs", "x", "-o", "-"}, 2, "-o - is for one pair"},
		{append(pair, "Jones", "Smith", "-lens", "-site", "attn"), 2, "-lens"},
		{append(pair, "Jones", "Smith", "-site", "head", "-positions", "1"), 2, "-positions"},
		{append(pair, "Jones", "Smith", "-pairs", "x"), 2, "-pairs"},
		{[]string{"-pairs", "none.tsv"}, 1, "reading none.tsv: no such file"},
		{[]string{"tokens", "a", "b"}, 2, "2 arguments, but expected is: TEXT.txt"},
		{[]string{"none.txt", "corrupt.txt", "Jones", "Smith"}, 1, "reading the clean text none.txt: no such file"},
		{[]string{".", "corrupt.txt", "Jones", "Smith"}, 1, "reading the clean text .: is a directory"},
		{[]string{"-e", "", "a", "Jones", "Smith"}, 1, "the clean text is empty"},
		{[]string{"-e", "a b", "a b", "Jones", "Smith"}, 1, "are the same text"},
		{append(pair, "Jones", "Jones"), 1, `both answers are the token " Jones"`},
		{append(pair, "Jones", ""), 1, "the corrupt answer: it is empty"},
		{append(pair, "=", "Smith"), 1, "the clean answer: it is empty"},
		{append(pair, "#50257", "Smith"), 1, `"#50257" is no token id`},
		{append(pair, "Kowalczyk", "Smith"), 1, `the clean answer: " Kowalczyk" is not one token but 5,  K/ow/al/c/zyk: take the first, which is what the model predicts, as "= K" or #509`},
		{append(pair, "Jones", "Smith", "-layers", "5:20"), 1, "-layers 5:20"},
		{append(pair, "Jones", "Smith", "-positions", "x"), 1, "-positions x"},
		{append(pair, "Jones", "Smith", "-o", "/no/such/folder/h.png"), 1, "writing /no/such/folder/h.png: no such file"},
		{[]string{"-e", "one two three four", "one two drei four", "a", "b"}, 1, "clean    one/ two/ three /"},
	} {
		args := c.args
		code, stdout, stderr := command(t, args...)
		if code != c.code || !strings.HasPrefix(stderr, "mechpatch: ") || !strings.Contains(strings.ToLower(stderr), strings.ToLower(c.want)) {
			t.Errorf("%q: exit code %d, %s; want %d, %s", args, code, stderr, c.code, c.want)
		}
		if code == 2 && stdout != "" {
			t.Errorf("%q prints %s", args, stdout)
		}
	}
	if after, _ := filepath.Glob("heatmap*"); !slices.Equal(after, before) {
		t.Errorf("left behind: %v, where there was %v", after, before)
	}
}
