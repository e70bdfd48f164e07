package main

import (
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What several files of tests share.

const (
	exampleClean   = "Michelle Jones was a top-notch student. Michelle"
	exampleCorrupt = "Michelle Smith was a top-notch student. Michelle"
)

// The metrics that only tests name.
const metricLogit, metricProb, metricLogProb = Metric("logit"), Metric("prob"), Metric("logprob")

var (
	examplePair = []string{"-e", exampleClean, exampleCorrupt, "Jones", "Smith"}
	exampleLine = strings.Join(examplePair[1:], "\t") // of a file of pairs
	exampleIDs  = []int{48736, 5437, 373, 257, 1353, 12, 1662, 354, 3710, 13, 16738}
)

// The tests compute as a run of the program does.
func init() {
	if err := chooseKernel(os.Getenv("MECHPATCH_KERNEL")); err != nil {
		panic(err)
	}
}

// command runs the program with the built-in model as if from a shell.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv("MECHPATCH_MODEL", "circuit")
	return invoke(args...)
}

// write writes a file, and makes the folder above it.
func write[T string | []byte](t testing.TB, path string, content T) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(content), 0o755))
}

// file writes a file into a temporary folder of its own.
func file[T string | []byte](t testing.TB, name string, content T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	write(t, path, content)
	return path
}

// folderOf makes a temporary folder of files, as put does.
func folderOf(t testing.TB, files map[string]string) (path string) {
	t.Helper()
	path = t.TempDir()
	put(t, path, files)
	return path
}

// put writes files below root, each given as its slash-separated path and its content; "-> TARGET"
// as the content makes a symbolic link.
func put(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		target, isLink := strings.CutPrefix(content, "-> ")
		if !isLink {
			write(t, path, content)
			continue
		}
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if err := os.Symlink(filepath.FromSlash(target), path); err != nil {
			t.Skipf("needs symbolic links: %v", err)
		}
	}
}

// testdata reads a JSON file of testdata.
func testdata(t testing.TB, path string, into any) {
	t.Helper()
	decodeJSON(t, string(must(os.ReadFile(filepath.Join("testdata", path)))), into)
}

// decodeJSON decodes what the program prints.
func decodeJSON(t testing.TB, data string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), into); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
}

// bareMachine makes the test run on a machine without weights, and without a network but for what
// these variables tell, NAME=VALUE with blanks between. It has the folders home and work below
// root, which ROOT stands for.
func bareMachine(t testing.TB, variables string) (root string) {
	t.Helper()
	elsewhere(t)
	root = filepath.Dir(must(os.Getwd()))
	for _, name := range strings.Fields("MECHPATCH_MODEL XDG_CACHE_HOME HF_HOME HF_HUB_CACHE " +
		"HUGGINGFACE_HUB_CACHE HF_ENDPOINT HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_TOKEN " +
		"HUGGING_FACE_HUB_TOKEN HF_TOKEN_PATH HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		t.Setenv(name, "") // which it is again when the test has ended
		os.Unsetenv(name)
	}
	for _, name := range []string{"HOME", "USERPROFILE", "LocalAppData"} {
		t.Setenv(name, filepath.Join(root, "home"))
	}
	for v := range strings.SplitSeq(variables, " ") {
		if name, value, ok := strings.Cut(v, "="); ok {
			t.Setenv(name, strings.ReplaceAll(value, "ROOT", root))
		}
	}
	return root
}

// elsewhere makes an empty folder the working directory of the test.
func elsewhere(t testing.TB) {
	t.Helper()
	work := filepath.Join(looseFolder(t), "work")
	check(t, os.Mkdir(work, 0o755))
	t.Chdir(work)
}

// looseFolder is a temporary folder of which the files that the program still has mapped may be
// left: Windows keeps those.
func looseFolder(t testing.TB) string {
	t.Helper()
	folder := must(os.MkdirTemp("", "mechpatch-test"))
	t.Cleanup(func() { os.RemoveAll(folder) })
	return folder
}

// invoke runs the program as if from a shell.
func invoke(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = execute(args, &out, &err)
	return code, out.String(), err.String()
}

// uncommanded is a result without the command that made it: of JSON the rest, of a PNG the pixels.
func uncommanded(text string) string {
	if strings.HasPrefix(text, "\x89PNG") {
		return string(must(png.Decode(strings.NewReader(text))).(*image.Paletted).Pix)
	}
	return regexp.MustCompile(`"command":\[[^]]*\]`).ReplaceAllString(text, "")
}

// oneLine reports whether what the program says is one line of its own.
func oneLine(stderr string) bool {
	return strings.HasPrefix(stderr, "mechpatch: ") && strings.Count(stderr, "\n") == 1 &&
		strings.HasSuffix(stderr, "\n")
}

// child is this test program again, to run one test with more in its environment.
func child(t testing.TB, test string, env ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.count=1")
	c.Env = append(os.Environ(), "GOCOVERDIR="+t.TempDir())
	c.Env = append(c.Env, env...)
	return c
}

// question asks the circuit's kind of question.
func question(t *testing.T, clean, corrupt string, metric Metric) Question {
	t.Helper()
	m := &Model{Config: Config{vocab: vocabSize}, tokenizer: gpt2}
	q := newQuestion(m, Text{"clean", clean}, Text{"corrupt", corrupt}, "Jones", "Smith",
		metric)
	return q
}

// study runs a study of the example on the circuit.
func study(t *testing.T, s Study) *Report {
	t.Helper()
	q := question(t, exampleClean, exampleCorrupt, s.metric)
	return must(s.run(newCircuit(), q, quiet))
}

// cells are the cells of a matrix, as a panel has them, and cellsOf is a figure's panel again.
func cells(matrix [][]float64) func(row, column int) float64 {
	return func(row, column int) float64 { return matrix[row][column] }
}

func cellsOf(f *Figure, panel int) (matrix [][]float64) {
	for row := range f.rows.names {
		matrix = append(matrix, make([]float64, len(f.columns.names)))
		for column := range matrix[row] {
			matrix[row][column] = f.panels[panel].at(row, column)
		}
	}
	return matrix
}

// numbered is the labels "0", "1", … "n−1".
func numbered(n int) []string {
	labels := make([]string, n)
	for i := range labels {
		labels[i] = strconv.Itoa(i)
	}
	return labels
}

// must is what a call gives that must not fail.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// check ends a test whose preparations fail.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// says tells whether an error is one line with this in it; with "", whether there is none.
func says(err error, want string) bool {
	if err == nil || want == "" {
		return err == nil && want == ""
	}
	return strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "\n")
}

// wantError makes sure of what an error says, and wantWhole that it says nothing else.
func wantError(t *testing.T, what string, err error, want string) {
	t.Helper()
	if !says(err, want) {
		t.Errorf("%s:\n got %v\nwant %s", what, err, want)
	}
}

func wantWhole(t *testing.T, what string, err error, want string) {
	t.Helper()
	if wantError(t, what, err, want); err != nil && err.Error() != want {
		t.Errorf("%s:\n got %s\nwant nothing but %s", what, err, want)
	}
}

// holds makes sure of what a function gives for each argument.
func holds[A, B comparable](t *testing.T, f func(A) B, want map[A]B) {
	t.Helper()
	for argument, want := range want {
		if got := f(argument); got != want {
			t.Errorf("of %#v: %#v, want %#v", argument, got, want)
		}
	}
}

// set gives a variable of the program another value for the time of a test.
func set[T any](t testing.TB, variable *T, value T) {
	before := *variable
	*variable = value
	t.Cleanup(func() { *variable = before })
}

// guarded returns n values; reading past them is a fault where pages can be unmapped.
func guarded(t testing.TB, n int) []float32 {
	_, values := guardedEnds(t, n)
	return values
}

// quiet takes a share of progress and shows nothing.
func quiet(float64) {}
