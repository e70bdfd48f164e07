package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// kept are pairs whose lines and notes a test looks at.
type kept struct {
	*Pairs
	lines []string
	notes string
}

func newKept(name string) *kept {
	k := &kept{}
	k.Pairs = newPairs(name, Origin{Version: "test"}, func(note error) {
		k.notes += note.Error() + "\n"
	})
	k.out = &lineFile{print: func(line []byte) error {
		k.lines = append(k.lines, string(line))
		return nil
	}}
	return k
}

// meansOf are the means of reports.
func meansOf(t *testing.T, reports ...*Report) *kept {
	t.Helper()
	k := newKept("pairs.tsv")
	for _, r := range reports {
		var text bytes.Buffer
		r.Origin = k.origin
		check(t, r.writeJSON(&text))
		k.addText("a line", text.Bytes(), nil)
	}
	return k
}

// runLines runs lines as a file of pairs of this name.
func runLines(s Study, m *Model, name, lines string) (*kept, error) {
	k := newKept(name)
	k.study, k.model, k.progress = &s, m, quiet
	return k, k.finish(caught(func() { k.run(strings.NewReader(lines)) }))
}

// TestMeans holds a mean heat map to its definition, the ratio of means, for pairs of very
// different gaps: Σ(patched − corrupt) / Σ(clean − corrupt).
func TestMeans(t *testing.T) {
	m, texts := newCircuit(), [2]Text{{"", exampleClean}, {"", exampleCorrupt}}
	for _, site := range []string{"all", "head"} {
		var reports []*Report
		for _, answers := range [][2]string{{"Jones", "Smith"}, {"Jones", "was"}, {"had", "has"}} {
			q := newQuestion(m, texts[0], texts[1], answers[0], answers[1], metricDiff)
			r := must((&Study{site: site, metric: metricDiff}).run(m, q, quiet))
			reports = append(reports, r)
		}
		means := meansOf(t, reports...)
		figures := means.figures("m.png", style{colorMap: "rdbu", scale: 2})
		got := figures["m.png"]
		check(t, got.write(io.Discard))
		check(t, means.finish(nil))
		var line struct {
			Mean struct {
				jsonReport
				Tokens, Pairs int
			}
		}
		decodeJSON(t, means.lines[0], &line)
		mean := line.Mean
		if mean.Matrix != nil {
			mean.Matrices = map[string]matrix{"": mean.Matrix}
		}
		for i, p := range got.panels {
			for row, numbers := range mean.Matrices[p.title] {
				for c, v := range numbers {
					sum, gap := 0., 0.
					for _, r := range reports {
						sum += r.panels[i].at(row, c) - float64(r.Corrupt.Metric)
						gap += float64(r.Clean.Metric - r.Corrupt.Metric)
					}
					if math.Abs(*v-sum/gap) > 1e-9 || *v != p.at(row, c) {
						t.Errorf("-site %s, (%d, %d): %g, painted %g, want %g", site, row, c, *v,
							p.at(row, c), sum/gap)
					}
				}
			}
		}
		if mean.Tokens != 11 || mean.Pairs != 3 || mean.Site != site ||
			len(mean.Matrices) != len(got.panels) || len(figures) != 1 ||
			!slices.Equal(mean.Rows, numbered(12)) || len(mean.Columns) != len(got.columns.names) {
			t.Errorf("%+v", mean)
		}
		want := &Figure{
			title:    "mean restored share, 3 pairs of 11 tokens",
			subtitle: "patched: resid, attn, mlp · " + circuitSize,
			rows:     Axis{word: "layer", names: numbered(12)},
			columns:  Axis{word: "position", names: numbered(11)},
			reversed: true, center: 0, style: style{colorMap: "rdbu", scale: 2},
			marks: []Mark{{1, "clean"}, {0, "corrupt"}},
		}
		if site == "head" {
			want.columns = Axis{word: "head", names: numbered(4)}
			want.subtitle = "patched: z · " + circuitSize
		}
		got.comments, got.panels = nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("-site %s:\n%+v, want\n%+v", site, got, want)
		}
	}
}

// TestNothingToRestore runs a model in which no position reaches another one, on texts with the
// same last word: both runs end in the same logits, so that there is no way between them of which a
// share could be restored.
func TestNothingToRestore(t *testing.T) {
	m := newCircuit()
	for l := range m.blocks {
		w := &m.blocks[l].attnProj.w
		*w = Matrix{rows: w.rows, cols: w.cols}
	}
	for metric, want := range map[Metric]string{
		metricRestored: "nothing to restore", metricDiff: "",
	} {
		for _, lens := range []bool{false, true} {
			q := question(t, exampleClean, exampleCorrupt, metric)
			_, err := (&Study{lens: lens, metric: metric}).run(m, q, quiet)
			wantError(t, string(metric), err, want)
		}
	}
	k, err := runLines(Study{metric: metricDiff, layers: "11"}, m, "pairs.tsv", exampleLine)
	if len(k.lines) != 1 || len(k.means) > 0 || err != nil ||
		!strings.Contains(k.notes, "pairs.tsv: no mean of 11 tokens") {
		t.Error(k.lines, k.means, err, k.notes)
	}
}

// TestPairLines checks what becomes of every kind of line of a file of pairs.
func TestPairLines(t *testing.T) {
	tabs := func(fields ...string) string { return strings.Join(fields, "\t") }
	clean, corrupt := "Michelle Jones was. Michelle", "Michelle Smith was. Michelle"
	pair := `"clean": "Michelle Jones\nMichelle", "corrupt": "Michelle Smith\nMichelle", `
	answers := `"clean_answer": "Jones", "corrupt_answer": "Smith"`
	for _, c := range []struct {
		name, file, lines string
		want              string // in the notes and the error; "" for neither
		results           int
	}{
		{"tabs", "p.tsv", tabs(clean, corrupt, "Jones", "Smith"), "", 1},
		{"JSON", "p.jsonl", "{" + pair + answers + "}", "", 1},
		{"JSON with more in it", "p.jsonl", "{" + pair + answers + `, "id": 3}`, "", 1},
		{"JSON from standard input", standardInput, "{" + pair + answers + "}", "", 1},
		{"JSON in a file of tabs", "p.tsv", "{" + pair + answers + "}",
			"p.tsv:1: this looks like JSON", 0},
		{"one field", "p.tsv", "a b", "p.tsv:1: 1 field, where four are expected", 0},
		{"tabs in a file of JSON", "p.jsonl", "a\tb\tc\td", "p.jsonl:1: not JSON, or cut short", 0},
		{"no answer", "p.jsonl", "{" + pair + `"clean_answer": "Jones"}`,
			`p.jsonl:1: it has no "corrupt_answer"`, 0},
		{"no text", "P.JSONL", "{" + answers + "}", `P.JSONL:1: it has no "clean"`, 0},
		{"half a surrogate pair", "p.jsonl",
			`{"clean": "a \udce4", "corrupt": "b", ` + answers + "}", "no character", 0},
		{"a byte that is no UTF-8", "p.jsonl", "{\"clean\": \"a \xe4\"}", "not UTF-8", 0},
		{"a number", "p.jsonl", `{"clean": 1}`, "p.jsonl:1: clean: 1 in place of text",
			0},
		{"keys that differ in case", "p.jsonl",
			"{" + pair + answers + `, "CLEAN": "Anna. Michelle"}`, "", 1},
		{"a key of the results", "p.jsonl", "{" + pair + answers + `, "mean": 1}`,
			`p.jsonl:1: its key "mean" is left out`, 1},
		{"a text twice", "p.jsonl", "{" + pair + pair + answers + "}",
			`p.jsonl:1: the key "clean" comes twice`, 0},
		{"quoted", "p.tsv", tabs(`"`+clean+`"`, `"`+corrupt+`"`, "Jones", "Smith"),
			"p.tsv:1: fields are not quoted here", 1},
		{"quotation marks of the text", "p.tsv", tabs(`"Yes" `+clean, `"Yes" `+corrupt, "Jones",
			"Smith"), "", 1},
		{"empty", "p.tsv", "", "p.tsv: there is no pair in it", 0},
		{"comments alone", "p.tsv", "# a\tb\tc\td\n\n", "p.tsv: there is no pair in it", 0},
		{"a mark, a comment and nothing", "p.tsv", "\ufeff# a\tb\tc\td\n\na", "p.tsv:3: 1 field",
			0},
		{"without end", "p.tsv", tabs(clean, corrupt, "Jones", "Smith") + "\r\n" +
			strings.Repeat("x", 1<<20), "p.tsv: line 2 is longer than", 1},
		{"UTF-16", "p.tsv", "\xff\xfea\x00", "p.tsv: it is UTF-16", 0},
		{"answers the wrong way round", "p.tsv", tabs(clean, corrupt, "Smith", "Jones"),
			"p.tsv:1: the clean run itself prefers the corrupt answer", 1},
	} {
		k, err := runLines(Study{metric: metricDiff, layers: "11"}, newCircuit(), c.file, c.lines)
		if err != nil {
			k.notes += err.Error()
		}
		results := 0
		for _, line := range k.lines {
			if !isMean([]byte(line)) {
				results++
			}
		}
		noted := strings.Contains(k.notes, c.want) && (c.want != "" || k.notes == "")
		if !noted || results != c.results {
			t.Errorf("%s: %d results, %q", c.name, results, k.notes)
		}
		if failed := c.results == 0 && err == nil; failed != (k.incomplete() != nil) {
			t.Errorf("%s: incomplete: %v", c.name, k.incomplete())
		}
	}
}

// Keys of a user's own come out again as they were written, and keys count by their spelling.
func TestOwnKeys(t *testing.T) {
	line := fmt.Sprintf(`{"clean": %q, "corrupt": %q, "clean_answer": "Jones", `+
		`"corrupt_answer": "Smith", "id": 1.50e1, "Clean": {"a": [1, "\u00e4"]}, "site": 3}`,
		exampleClean, exampleCorrupt)
	k, err := runLines(Study{metric: metricDiff}, newCircuit(), "p.jsonl", line)
	check(t, err)
	line = k.lines[0]
	want := `,"Clean":{"a": [1, "\u00e4"]},"id":1.50e1}` + "\n"
	if !strings.HasSuffix(line, want) || strings.Count(line, `"site":`) != 1 ||
		!strings.Contains(k.notes, `"site"`) {
		t.Errorf("… %s, want %s; %s", line[len(line)-len(want):], want, k.notes)
	}
	for key := range object([]byte(strings.TrimSpace(line))) {
		if key != "id" && key != "Clean" && !strings.Contains(resultKeys, " "+key+" ") {
			t.Errorf("%q is not in resultKeys", key)
		}
	}
}

// The first few notes of a kind are shown, and one line in the end says how many there were.
func TestManyNotes(t *testing.T) {
	lines := strings.Repeat(exampleClean+"\t"+exampleCorrupt+"\tSmith\tJones\n", 5)
	k, err := runLines(Study{metric: metricDiff, layers: "11"}, newCircuit(), "p.tsv", lines)
	want := "p.tsv: in 5 of 5 pairs the clean run itself prefers the corrupt answer\n"
	if err != nil || strings.Count(k.notes, "\n") != fewNotes+1 ||
		!strings.HasSuffix(k.notes, want) {
		t.Errorf("%v: %s", err, k.notes)
	}
	k = newKept("p.tsv")
	k.resumed, k.pairs = 2, 6
	for i := range 4 {
		k.tell("a line", []string{fmt.Sprintf(`its key "%d" is left out: results have one`, i),
			"it is twice", "it is twice",
			fmt.Sprintf(`the answer "\"%d" is not 'a', as #%d`, i, i)})
	}
	check(t, k.finish(nil))
	for _, want := range []string{"its key … is left out: results have one",
		"the answer … is not 'a'", "it is twice"} {
		want = "\np.tsv: in 4 of 4 pairs run now " + want + "\n"
		if !strings.Contains(k.notes, want) {
			t.Errorf("no %q in %s", want, k.notes)
		}
	}
}

// FuzzPairLines checks that a line of any kind becomes two texts and two answers or an error, and
// the texts of a line of JSON are what it says, to the byte.
func FuzzPairLines(f *testing.F) {
	f.Add("a b\ta c\tb\tc", false)
	f.Add(`{"clean": "a b", "corrupt": "a c", "clean_answer": "b", "corrupt_answer": "c"}`, true)
	f.Add(`{"clean": "\ud83d\ude00 \udce4 \ufffd", "corrupt": 7}`, true)
	f.Fuzz(func(t *testing.T, line string, asJSON bool) {
		s, name := Study{metric: metricLogit}, "p.tsv"
		if asJSON {
			name = "p.jsonl"
		}
		read := func(line string) (fields []string, err error) {
			err = caught(func() { fields, _, _ = s.fields(name, line) })
			return fields, err
		}
		fields, err := read(line)
		if err != nil {
			return
		}
		if !asJSON {
			if !strings.HasPrefix(strings.Join(fields, "\t"), line) {
				t.Errorf("%q became %q", line, fields)
			}
			return
		}
		again, _ := json.Marshal(map[string]string{"clean": fields[0], "corrupt": fields[1],
			"clean_answer": fields[2], "corrupt_answer": fields[3]})
		if same, err := read(string(again)); err != nil || !slices.Equal(same, fields) {
			t.Errorf("%q became %q and then %q, %v", line, fields, same, err)
		}
	})
}

// TestLineFile checks what a file of lines and its partial file hold after every kind of end, with
// an older file there and without.
func TestLineFile(t *testing.T) {
	full := errors.New("the disk is full")
	for _, c := range []struct {
		name          string
		old           string
		lines         int
		fault         error
		file, partial string // what is there in the end; "" for no such file
	}{
		{"new", "", 2, nil, "line\nline\n", ""},
		{"over an old one", "old", 1, nil, "line\n", ""},
		{"failed", "old", 1, full, "old", "line\n"},
		{"failed at once", "old", 0, full, "old", ""},
		{"nothing to write", "old", 0, nil, "old", ""},
	} {
		name := filepath.Join(t.TempDir(), "out.jsonl")
		os.WriteFile(name+".partial", nil, 0o666) // of a run that was killed at once
		if c.old != "" {
			os.WriteFile(name, []byte(c.old), 0o600)
		}
		f := must(openLines(name, false))
		for range c.lines {
			f.write([]byte("line\n"))
		}
		_, another := openLines(name, false)
		if !says(another, name+": another run is writing it") {
			t.Errorf("%s: another run at the same time: %v", c.name, another)
		}
		err := f.finish(c.fault)
		if (err != nil) != (c.fault != nil) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.partial != "" {
			_, another = openLines(name, false)
			wantError(t, c.name, another, "with -resume, or rename or delete it")
		}
		if c.partial != "" && !strings.Contains(err.Error(), name+".partial") {
			t.Errorf("%s: the error does not say where the lines are: %v", c.name, err)
		}
		for name, want := range map[string]string{name: c.file, name + ".partial": c.partial} {
			if got, _ := os.ReadFile(name); string(got) != want {
				t.Errorf("%s: %s holds %q, want %q", c.name, filepath.Base(name), got, want)
			}
		}
		if info, _ := os.Stat(name); c.old != "" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v", c.name, info.Mode())
		}
	}
}

// TestPairsOnFullDisk runs pairs whose results have no room, on standard output and in a file: what
// is there are the first lines of a run with room, and the error names the output.
func TestPairsOnFullDisk(t *testing.T) {
	pairs := file(t, "pairs.tsv", strings.Repeat(exampleLine+"\n", 9))
	args := []string{"-pairs", pairs, "-o", ""}
	_, all, _ := command(t, args...)
	folder := smallDisk(t)
	output, partial := filepath.Join(folder, "out"), filepath.Join(folder, "out.partial")
	check := func(code int, stderr, file, want string) {
		t.Helper()
		lines := string(must(os.ReadFile(file)))
		if file == output { // standard output, which may end within a line
			lines = lines[:strings.LastIndex(lines, "\n")+1]
		}
		if code != 1 || stderr != "mechpatch: writing "+want+"\n" || len(lines) == len(all) ||
			!strings.HasPrefix(uncommanded(all), uncommanded(lines)) ||
			!strings.HasSuffix(lines, "\n") {
			t.Errorf("exit code %d, %s, want %s; %s has %d bytes of %d and ends in %.60q", code,
				stderr, want, file, len(lines), len(all), lines[max(0, len(lines)-60):])
		}
	}
	out := must(os.Create(output))
	var stderr strings.Builder
	code := execute(args, out, &stderr)
	out.Close()
	check(code, stderr.String(), output, "to standard output: no space left on device")
	os.Remove(output)
	code, _, inFile := command(t, append(args, "-json", output)...)
	check(code, inFile, partial,
		output+": no space left on device; the lines that are done are in "+partial)

	if _, err := os.Stat("/dev/full"); err == nil {
		code, _, stderr := command(t, append(args, "-json", "/dev/full")...)
		if code != 1 || stderr != "mechpatch: writing /dev/full: no space left on device\n" {
			t.Errorf("/dev/full: exit code %d, %s", code, stderr)
		}
	}
}

// smallDisk is a folder on a disk of its own that has room for 48 kB.
func smallDisk(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	mount := exec.Command("mount", "-t", "tmpfs", "-o", "size=48k", "none", folder)
	if err := mount.Run(); err != nil {
		t.Skip("there is no way to mount a small disk here: ", err)
	}
	t.Cleanup(func() { exec.Command("umount", folder).Run() })
	return folder
}

// A link stays one, also if nothing is there yet where it leads.
func TestLineFileNames(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	if os.Symlink("end", link) != nil {
		t.Skip("needs symbolic links")
	}
	for range 2 {
		f := must(openLines(link, false))
		f.write([]byte("line\n"))
		check(t, f.finish(nil))
		if target := must(os.Readlink(link)); target != "end" {
			t.Errorf("the link leads to %q", target)
		}
	}
}

// TestSum adds numbers in many orders: the sum is the same to the last bit, and the exact one.
func TestSum(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	sum := func(terms ...float64) float64 {
		var s Sum
		for _, v := range terms {
			s.add(v)
		}
		return s.value()
	}
	var terms []float64
	exact := new(big.Float).SetPrec(500)
	for i := range 1000 {
		v := math.Ldexp(random.Float64()-0.5, i%40-10)
		v = float64(float32(v)) - float64(float32(v/3)) // as differences of logits are
		terms = append(terms, v)
		exact.Add(exact, big.NewFloat(v))
		if one := sum(v); one != v {
			t.Errorf("%g alone is %g", v, one)
		}
	}
	want, _ := exact.Float64()
	first := sum(terms...)
	for range 20 {
		random.Shuffle(len(terms), func(i, j int) { terms[i], terms[j] = terms[j], terms[i] })
		got := sum(terms...)
		if got != first || math.Abs(got-want) > 2e-16*math.Abs(want) {
			t.Fatalf("%v, first %v, exactly %v", got, first, want)
		}
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1 << 32} {
		if got := sum(v, 1); !math.IsNaN(got) {
			t.Errorf("with %g the sum is %g", v, got)
		}
	}
}

// manyPairs is a file of seven pairs of two token counts, one of which cannot be run.
func manyPairs(t *testing.T) string {
	lines := []string{exampleLine, "not a pair",
		"The cat saw a dog. The\tThe dog saw a dog. The\tcat\tdog"}
	for _, name := range []string{"Brown", "Hill", "Hall", "Young"} {
		lines = append(lines, strings.ReplaceAll(exampleLine, "Jones", name))
	}
	return file(t, "pairs.tsv", strings.Join(lines, "\n"))
}

// TestMeanOfResults joins results that lie in several files in any order: the means and the
// pictures are those of one run, to the last bit.
func TestMeanOfResults(t *testing.T) {
	pairs, folder := manyPairs(t), t.TempDir()
	for _, site := range []string{"resid", "z,q"} {
		first := filepath.Join(folder, "one.png")
		_, all, _ := command(t, "-pairs", pairs, "-site", site, "-positions", "1,3:",
			"-layers", "5:7", "-o", first)
		lines := strings.SplitAfter(strings.TrimSpace(all), "\n")
		a, b := filepath.Join(folder, "a.jsonl"), filepath.Join(folder, "b.jsonl")
		write(t, a, lines[5]+lines[1]+lines[3]+lines[6])
		write(t, b, lines[6]+lines[4]+lines[0]+lines[2])
		joined := filepath.Join(folder, "joined.png")
		code, stdout, stderr := command(t, "mean", b, a, "-o", joined)
		want := uncommanded(lines[6]+lines[7]) + "\n"
		if code != 0 || uncommanded(stdout) != want {
			t.Errorf("%s: %d, %s\n%.300s, want\n%.300s", site, code, stderr, stdout, want)
		}
		if !strings.Contains(stderr, b+" does not end in a mean") || strings.Contains(stderr, a) {
			t.Errorf("%s: %s", site, stderr)
		}
		for _, T := range []string{"-7.png", "-11.png"} {
			picture := func(file string) string {
				return uncommanded(string(must(os.ReadFile(strings.TrimSuffix(file, ".png") + T))))
			}
			if picture(first) != picture(joined) {
				t.Errorf("%s: another picture %s", site, T)
			}
		}
	}
}

// What is no line of results, or of another study, is refused.
func TestOtherResults(t *testing.T) {
	first, err := runLines(Study{metric: metricDiff}, newCircuit(), "p.tsv", exampleLine)
	check(t, err)
	line := first.lines[0]
	for _, c := range []struct{ from, to, want string }{
		{"", "", ""},
		{`"layers":12`, `"layers":13`, `its "model" is not that of the results before it`},
		{`"site":"resid"`, `"site":"mlp"`, `its "site" is not that`},
		{`,"matrix"`, `,"bos":true,"matrix"`, `its "bos" is not that`},
		{`"matrix":[[`, `"matrix":[[1,`, "shape"},
		{`"matrix":[[`, `"matrix":[[1],[`, "shape"},
		{`"matrix":[[`, `"matrix":[[0x1p4`, "0x1p4"},
		{`"matrix":[[`, `"matrix":[[-Inf,`, `"-Inf" is not a number`},
		{`"matrix"`, `"Matrix"`, "shape"},
		{`"matrix":`, `"matrix":[[1]],"matrix":`, "comes twice"},
		{`"logits":{"clean":[`, `"logits":{"clean":[[1],`, "shape"},
		{"}\n", "", errNoResult.Error()},
		{`"version"`, `"v"`, "an older mechpatch"},
		{`{"line":1,`, `{"line":1, `, errNoResult.Error()},
		{`"ids":[`, `"ids":[5,`, "shape"},
	} {
		k, changed := newKept("results"), strings.Replace(line, c.from, c.to, 1)
		err := caught(func() { k.readResults(file(t, "r.jsonl", line+changed)) })
		wantError(t, c.to, err, c.want)
	}
	for _, other := range []string{"{}", `{"mean":{}}`, "[1,2]", `{"clean":{},"corrupt":{}}`,
		strings.Replace(line, `"version"`, `"v"`, 1),
		strings.Replace(line, `"site":"resid"`, `"site":"lens"`, 1),
		strings.Replace(line, `"layers":12`, `"layers":100000000`, 1),
		strings.Replace(line, `"layers":12`, `"layers":"12"`, 1)} {
		k := newKept("results")
		err := caught(func() { k.readResults(file(t, "r.jsonl", other)) })
		if len(k.means) > 0 || err == nil && !isMean([]byte(other)) {
			t.Errorf("%.80s: %v", other, err)
		}
	}
}

// FuzzResults checks that a line of any kind is a part of a mean or refused, and that what is
// written then is JSON.
func FuzzResults(f *testing.F) {
	k, _ := runLines(Study{site: "all", metric: metricDiff}, newCircuit(), "p.tsv", exampleLine)
	one, _ := runLines(Study{metric: metricLogit}, newCircuit(), "p.tsv", exampleLine)
	f.Add([]byte(k.lines[0]))
	f.Add([]byte(one.lines[0]))
	f.Add([]byte(k.lines[1]))
	f.Fuzz(func(t *testing.T, line []byte) {
		k := newKept("results")
		if k.finish(caught(func() { k.addText("a line", line, nil) })) != nil {
			return
		}
		for _, mean := range k.lines {
			if !json.Valid([]byte(mean)) {
				t.Errorf("%q gives %s", line, mean)
			}
		}
	})
}

// TestResume goes on from whatever a run has left, and leaves what is not this run's as it is.
func TestResume(t *testing.T) {
	elsewhere(t)
	pairs, name := manyPairs(t), filepath.Join(t.TempDir(), "r.jsonl")
	args := []string{"-pairs", pairs, "-o", "", "-json", name, "-resume", "-layers", "5:8"}
	run := func(more ...string) string {
		code, _, stderr := command(t, append(args, more...)...)
		if code != 1 || !strings.Contains(stderr, pairs+":2: 1 field") {
			t.Errorf("%d %s", code, stderr)
		}
		return stderr
	}
	read := func(name string) string {
		data, _ := os.ReadFile(name)
		return string(data)
	}
	run()
	one := read(name)
	lines := strings.SplitAfter(one, "\n")
	all, half := strings.Join(lines[:6], ""), strings.Join(lines[:3], "")
	for _, c := range []struct{ what, partial, file, want string }{
		{"nothing", "", "", "could not be run"},
		{"half a line", half + lines[3][:999], "", "could not be run"},
		{"a file older than that", half, "other", "could not be run"},
		{"all lines", all, "", "could not be run"},
		{"a part of the means", all + lines[6], "", "could not be run"},
		{"all means", one, "", "could not be run"},
		{"the file's lines", "", half, "could not be run"},
		{"the file's lines and a half", "", half + lines[3][:999], "could not be run"},
		{"the file's lines without the means", "", all, "could not be run"},
		{"the whole file", "", one, "is whole: there is nothing left to run"},
		{"another study", strings.Replace(half, "resid", "mlp", 1), "", `with another "site"`},
		{"another text", strings.Replace(half, "top-notch", "good", 1), "", `"clean.text"`},
		{"another study's file", "", strings.Replace(half, `"layers":"5:8"`, `"layers":"5"`, 1),
			`"layers"`},
		{"another -top", strings.Replace(half, `"top":[`, `"top":[{"id":1},`, 1), "", "-top"},
		{"numbers of another shape", strings.Replace(half, `"matrix":[[`, `"matrix":[[1,`, 1), "",
			"that is none (its matrices"},
		{"a line too few", lines[0] + lines[2], "", "has no result of " + pairs + ":3"},
		{"a line that is none", lines[0] + "{}\n" + lines[1], "", "is no result"},
		{"more pairs", all + strings.Replace(lines[5], `"line":7`, `"line":8`, 1), "",
			"has results of more pairs than " + pairs},
	} {
		os.Remove(name)
		if c.file != "" {
			write(t, name, c.file)
		}
		write(t, name+".partial", c.partial)
		code, _, stderr := command(t, args...)
		if code != 1 || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: %d, %s, want %s", c.what, code, stderr, c.want)
		}
		file, partial := one, ""
		if !strings.Contains(stderr, "1 of 7 pairs could not be run") {
			file, partial = c.file, c.partial
		}
		if read(name) != file || read(name+".partial") != partial {
			t.Errorf("%s: the file has %d bytes of %d, the partial one %d of %d", c.what,
				len(read(name)), len(file), len(read(name+".partial")), len(partial))
		}
		os.Remove(name + ".partial")
	}
	if pictures, _ := filepath.Glob("*"); len(pictures) > 0 {
		t.Errorf("without -o there is %q", pictures)
	}
}

// TestKilled kills a run again and again: in the end the results are those of one run.
func TestKilled(t *testing.T) {
	resumed := func(name string) []string {
		pairs := filepath.Join(filepath.Dir(name), "pairs.tsv")
		return []string{"-pairs", pairs, "-o", "", "-json", name, "-resume", "-layers", "9:"}
	}
	if name := os.Getenv("MECHPATCH_TEST_RESUME"); name != "" {
		code, _, _ := command(t, resumed(name)...)
		os.Exit(code)
	}
	folder := t.TempDir()
	write(t, filepath.Join(folder, "pairs.tsv"), strings.Repeat(exampleLine+"\n", 15))
	name := filepath.Join(folder, "r.jsonl")
	run := func() *exec.Cmd {
		c := child(t, "TestKilled", "MECHPATCH_TEST_RESUME="+name)
		check(t, c.Start())
		return c
	}
	command(t, resumed(name)...)
	one := string(must(os.ReadFile(name)))
	check(t, os.Remove(name))
	for kills := range 3 { // each time when a third more is there
		c, size := run(), int64(len(one)*kills/3)
		there := func() bool {
			info, err := os.Stat(name + ".partial")
			_, errWhole := os.Stat(name)
			return err == nil && info.Size() >= size || errWhole == nil
		}
		for !there() {
			time.Sleep(time.Millisecond)
		}
		c.Process.Kill()
		c.Wait()
	}
	check(t, run().Wait())
	if got := string(must(os.ReadFile(name))); got != one {
		t.Errorf("%d bytes, of one run %d", len(got), len(one))
	}
}
