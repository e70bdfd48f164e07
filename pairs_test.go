package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestPairs runs a file of pairs of two token counts, among them some that cannot be run.
func TestPairs(t *testing.T) {
	lines := []string{
		"\ufeff# clean, corrupt, clean answer, corrupt answer",
		exampleClean + "\t" + exampleCorrupt + "\tJones\tSmith\r",
		"",
		exampleClean + "\t" + exampleCorrupt + "\tJones",
		exampleClean + "\tJessica Jones was a top-notch student. Michelle\tJones\tSmith",
		"The cat saw a dog. The\tThe dog saw a dog. The\tcat\tdog",
		"a\tb\tunbelievableness\tdog",
	}
	pairs := file(t, "pairs.tsv", strings.Join(lines, "\n"))
	image := filepath.Join(t.TempDir(), "mean.png")
	code, stdout, stderr := command(t, "-pairs", pairs, "-o", image)
	if code != 1 {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	for _, want := range []string{
		pairs + ":4: 3 fields", pairs + ":7: the clean answer", "2 of 5 pairs could not be run",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in %s", want, stderr)
		}
	}
	var numbers, means []int
	for d := json.NewDecoder(strings.NewReader(stdout)); d.More(); {
		var r struct {
			Line   int
			Matrix [][]float64
			Mean   struct{ Tokens, Pairs int }
		}
		check(t, d.Decode(&r))
		if r.Mean.Pairs > 0 {
			means = append(means, r.Mean.Tokens, r.Mean.Pairs)
			continue
		}
		numbers = append(numbers, r.Line)
		if len(r.Matrix) != 12 {
			t.Errorf("line %d: %v", r.Line, r.Matrix)
		}
	}
	if !slices.Equal(numbers, []int{2, 5, 6}) || !slices.Equal(means, []int{7, 1, 11, 2}) {
		t.Errorf("lines %v, means %v", numbers, means)
	}
	for _, T := range []int{7, 11} {
		mean := fmt.Sprintf("%s-%d.png", strings.TrimSuffix(image, ".png"), T)
		must(os.Stat(mean))
	}

	one := file(t, "one.tsv", lines[1])
	code, stdout, stderr = command(t, "-pairs", one, "-o", image, "-metric", "prob")
	_, err := os.Stat(image)
	if code != 0 || err != nil || !strings.Contains(stdout, `"metric":"p(Smith) - p(Jones)"`) {
		t.Errorf("one pair: %d %s %v", code, stderr, err)
	}
}

// TestMeans holds a mean heat map to its definition, the ratio of means, for pairs of very
// different gaps: Σ(patched − corrupt) / Σ(clean − corrupt).
func TestMeans(t *testing.T) {
	m := newCircuit()
	for _, site := range []string{"all", "head"} {
		means, reports := Means{}, []*Report{}
		for _, answers := range [][2]string{{"Jones", "Smith"}, {"Jones", "was"}, {"had", "has"}} {
			q := must(newQuestion(m, Text{"", exampleClean}, Text{"", exampleCorrupt},
				answers[0], answers[1], metricDiff))
			r := must((&Study{site: site, metric: metricDiff}).run(m, q, quiet))
			check(t, means.add(r))
			reports = append(reports, r)
		}
		files, figures := means.figures("m.png", style{colorMap: "rdbu", scale: 2})
		if len(files) != 1 || files[0] != "m.png" || len(figures) != 1 {
			t.Fatal(files, figures)
		}
		got, line := figures[0], means[11].report(11).Mean
		for i, p := range got.panels {
			for row := range p.matrix {
				for c, v := range p.matrix[row] {
					sum, gap := 0., 0.
					for _, r := range reports {
						sum += r.panels[i].matrix[row][c] - float64(r.Corrupt.Metric)
						gap += float64(r.Clean.Metric - r.Corrupt.Metric)
					}
					if math.Abs(v-sum/gap) > 1e-9 {
						t.Errorf("-site %s, (%d, %d): %g, want %g", site, row, c, v, sum/gap)
					}
					numbers := line.Matrix
					if site == "all" {
						numbers = line.Matrices[p.title]
					}
					if float64(numbers[row][c]) != v {
						t.Errorf("-site %s, (%d, %d): JSON has %g", site, row, c, numbers[row][c])
					}
				}
			}
		}
		if line.Tokens != 11 || line.Pairs != 3 || line.Site != site ||
			!slices.Equal(line.Rows, numbered(12)) || len(line.Columns) != len(got.columns.names) {
			t.Errorf("%+v", line)
		}
		figure := &Figure{
			title:    "mean restored share, 3 pairs of 11 tokens",
			subtitle: "patched: resid, attn, mlp · " + circuitSize,
			panels:   got.panels,
			rows:     Axis{title: "layer", names: numbered(12)},
			columns:  Axis{title: "position", names: numbered(11)},
			reversed: true, center: 0, style: style{colorMap: "rdbu", scale: 2},
			marks: []Mark{{1, "clean"}, {0, "corrupt"}},
		}
		panels := 3
		if site == "head" {
			figure.columns, panels = Axis{title: "head", names: numbered(4)}, 1
			figure.subtitle = "patched: z · " + circuitSize
		}
		if !reflect.DeepEqual(got, figure) || len(got.panels) != panels {
			t.Errorf("-site %s:\n%+v, want\n%+v", site, got, figure)
		}
		check(t, got.write(io.Discard))
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
	for _, c := range []struct {
		name  string
		study Study
		want  string
	}{
		{"restored", Study{site: "resid", metric: metricRestored}, "nothing to restore"},
		{"restored, all sites", Study{site: "all", metric: metricRestored}, "nothing to restore"},
		{"restored, lens", Study{lens: true, metric: metricRestored}, "nothing to restore"},
		{"diff", Study{site: "resid", metric: metricDiff}, ""},
		{"diff, lens", Study{lens: true, metric: metricDiff}, ""},
	} {
		q := question(t, exampleClean, exampleCorrupt, c.study.metric)
		r, err := c.study.run(m, q, quiet)
		wantError(t, c.name, err, c.want)
		if err == nil && r.Clean.Metric != r.Corrupt.Metric {
			t.Errorf("%s: clean %g, corrupt %g", c.name, r.Clean.Metric, r.Corrupt.Metric)
		}
	}
	line := exampleClean + "\t" + exampleCorrupt + "\tJones\tSmith\n"
	s, wrote, notes := Study{site: "resid", metric: metricDiff}, 0, ""
	means, incomplete, err := s.runPairs(m, "pairs.tsv", strings.NewReader(line),
		func(any) error { wrote++; return nil },
		func(note error) { notes += note.Error() }, quiet)
	if len(means) > 0 || wrote != 1 || incomplete != nil || err != nil {
		t.Error(means, wrote, incomplete, err)
	}
	if !strings.Contains(notes, "pairs.tsv: no mean of 11 tokens") {
		t.Error(notes)
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
		{"a text twice", "p.jsonl", "{" + pair + pair + answers + "}",
			`p.jsonl:1: the key "clean" comes twice`, 0},
		{"quoted", "p.tsv", tabs(`"`+clean+`"`, `"`+corrupt+`"`, "Jones", "Smith"),
			"p.tsv:1: fields are not quoted here", 1},
		{"quotation marks of the text", "p.tsv", tabs(`"Yes" `+clean, `"Yes" `+corrupt, "Jones",
			"Smith"), "", 1},
		{"empty", "p.tsv", "", "p.tsv: there is no pair in it", 0},
		{"comments alone", "p.tsv", "# a\tb\tc\td\n\n", "p.tsv: there is no pair in it", 0},
		{"UTF-16", "p.tsv", "\xff\xfea\x00", "p.tsv: it is UTF-16", 0},
		{"answers the wrong way round", "p.tsv", tabs(clean, corrupt, "Smith", "Jones"),
			"p.tsv:1: the clean run itself prefers the corrupt answer", 1},
	} {
		s, results, notes := Study{site: "resid", metric: metricDiff}, 0, ""
		_, incomplete, err := s.runPairs(newCircuit(), c.file, strings.NewReader(c.lines),
			func(r any) error {
				if _, ok := r.(*Report); ok {
					results++
				}
				return nil
			},
			func(note error) { notes += note.Error() + "\n" }, quiet)
		if err != nil {
			notes += err.Error()
		}
		if !strings.Contains(notes, c.want) || c.want == "" && notes != "" || results != c.results {
			t.Errorf("%s: %d results, %q", c.name, results, notes)
		}
		if failed := c.results == 0 && err == nil; failed != (incomplete != nil) {
			t.Errorf("%s: incomplete: %v", c.name, incomplete)
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
		s := Study{metric: metricLogit}
		if !asJSON {
			fields, err := s.tabFields(line, func(error) {})
			if err == nil && !strings.HasPrefix(strings.Join(fields, "\t"), line) {
				t.Errorf("%q became %q", line, fields)
			}
			return
		}
		fields, err := s.jsonFields(line)
		if err != nil {
			return
		}
		again, _ := json.Marshal(map[string]string{"clean": fields[0], "corrupt": fields[1],
			"clean_answer": fields[2], "corrupt_answer": fields[3]})
		if same, err := s.jsonFields(string(again)); err != nil || !slices.Equal(same, fields) {
			t.Errorf("%q became %q and then %q, %v", line, fields, same, err)
		}
	})
}

// A line longer than any text is an error that says which line it is.
func TestLongLine(t *testing.T) {
	lines := "a\tb\tc\td\n" + strings.Repeat("x", 1<<20) + "\ne\tf\tg\th\n"
	var read []int
	err := eachLine(strings.NewReader(lines), func(n int, line string) error {
		read = append(read, n)
		return nil
	})
	if !says(err, "line 2 is longer than") || len(read) != 1 {
		t.Error(read, err)
	}
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
		f := must(openLines(name))
		for range c.lines {
			must(f.Write([]byte("line\n")))
		}
		_, another := openLines(name)
		if c.lines > 0 && !says(another, name+".partial: rename or delete it") {
			t.Errorf("%s: another run at the same time: %v", c.name, another)
		}
		err := f.finish(c.fault)
		if (err != nil) != (c.fault != nil) {
			t.Errorf("%s: %v", c.name, err)
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
// is there are the first lines of a run with room, whole, and the error names the output.
func TestPairsOnFullDisk(t *testing.T) {
	pairs := file(t, "pairs.tsv", strings.Repeat(exampleLine+"\n", 9))
	args := []string{"-pairs", pairs, "-o", ""}
	_, all, _ := command(t, args...)
	folder := smallDisk(t)
	output, partial := filepath.Join(folder, "out"), filepath.Join(folder, "out.partial")
	const old = "an old line\n"
	check := func(code int, stderr, file, old, want string) {
		t.Helper()
		data, _ := os.ReadFile(file)
		if code != 1 || !oneLine(stderr) || !strings.Contains(stderr, want) ||
			strings.Contains(stderr, pairs) {
			t.Errorf("exit code %d, %s, want %s", code, stderr, want)
		}
		lines, ok := strings.CutPrefix(string(data), old)
		if !ok || !strings.HasPrefix(all, lines) || len(lines) == len(all) ||
			!strings.HasSuffix(lines, "\n") {
			t.Errorf("%s, which began with %q, has %d bytes of %d and ends in %.60q", file, old,
				len(lines), len(all), lines[max(0, len(lines)-60):])
		}
	}
	for kept, flags := range map[string]int{"": os.O_TRUNC, old: os.O_APPEND} {
		os.WriteFile(output, []byte(old), 0o666)
		out := must(os.OpenFile(output, os.O_WRONLY|flags, 0))
		var stderr strings.Builder
		code := execute(args, out, &stderr)
		out.Close()
		check(code, stderr.String(), output, kept, "writing to standard output: no space left")
	}
	os.Remove(output)
	code, _, stderr := command(t, append(args, "-json", output)...)
	check(code, stderr, partial, "",
		"writing "+output+": no space left on device; the lines that are done are in "+partial)

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

// A name of any length has room for its partial file, and a link stays one, also if nothing is
// there yet where it leads.
func TestLineFileNames(t *testing.T) {
	folder := t.TempDir()
	long := filepath.Join(folder, strings.Repeat("n", 255))
	link, end := filepath.Join(folder, "link"), filepath.Join(folder, "end")
	names := map[string]string{long: long}
	if os.Symlink("end", link) == nil {
		names[link] = end
	}
	for name, target := range names {
		f := must(openLines(name))
		must(f.Write([]byte("line\n")))
		check(t, f.finish(nil))
		if mode := must(os.Lstat(target)).Mode(); !mode.IsRegular() {
			t.Errorf("%.20q: %v", name, mode)
		}
	}
	if target, _ := os.Readlink(link); names[link] != "" && target != "end" {
		t.Errorf("the link leads to %q", target)
	}
}
