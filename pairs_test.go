package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
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
	var numbers []int
	for d := json.NewDecoder(strings.NewReader(stdout)); d.More(); {
		var r struct {
			Line   int
			Matrix [][]float64
		}
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, r.Line)
		if len(r.Matrix) != 12 {
			t.Errorf("line %d: %v", r.Line, r.Matrix)
		}
	}
	if !slices.Equal(numbers, []int{2, 5, 6}) || strings.Count(stdout, "\n") != 3 {
		t.Errorf("lines %v", numbers)
	}
	for _, T := range []int{7, 11} {
		mean := fmt.Sprintf("%s-%d.png", strings.TrimSuffix(image, ".png"), T)
		if _, err := os.Stat(mean); err != nil {
			t.Error(err)
		}
	}

	one := file(t, "one.tsv", lines[1])
	code, stdout, stderr = command(t, "-pairs", one, "-o", image, "-metric", "prob")
	_, err := os.Stat(image)
	if code != 0 || err != nil || !strings.Contains(stdout, `"metric":"p(Smith) - p(Jones)"`) {
		t.Errorf("one pair: %d %s %v", code, stderr, err)
	}
}

// TestMeans holds a mean heat map to the mean of the pairs' matrices.
func TestMeans(t *testing.T) {
	m := newCircuit()
	for _, site := range []string{"all", "head"} {
		means, want := Means{}, []*Report{}
		jessica := "Jessica Jones was a top-notch student. Michelle"
		for _, corrupt := range []string{exampleCorrupt, jessica} {
			// The mean is of the restored share, whatever metric the single pairs are shown in.
			for _, metric := range []Metric{metricDiff, metricRestored} {
				s := Study{site: site, metric: metric}
				r, err := s.run(m, question(t, exampleClean, corrupt, metric), func(float64) {})
				if err != nil {
					t.Fatal(err)
				}
				if metric == metricRestored {
					want = append(want, r)
				} else if err := means.add(r); err != nil {
					t.Fatal(err)
				}
			}
		}
		files, figures := means.figures("m.png", style{colorMap: "rdbu", scale: 2})
		if len(files) != 1 || files[0] != "m.png" || len(figures) != 1 {
			t.Fatal(files, figures)
		}
		got := figures[0]
		for i, p := range got.panels {
			for l, row := range p.matrix {
				for c, v := range row {
					mean := (want[0].panels[i].matrix[l][c] + want[1].panels[i].matrix[l][c]) / 2
					if math.Abs(v-mean) > 1e-12 {
						t.Errorf("-site %s, layer %d, column %d: %g, want %g", site, l, c, v, mean)
					}
				}
			}
		}
		figure := &Figure{
			title:    "mean restored share, 2 pairs of 11 tokens",
			subtitle: "patched one site at a time · " + circuitSize, panels: got.panels,
			rows:     Axis{title: "layer", names: numbered(12)},
			columns:  Axis{title: "position", names: numbered(11)},
			reversed: true, center: 0, style: style{colorMap: "rdbu", scale: 2},
			marks: []Mark{{1, "clean"}, {0, "corrupt"}},
		}
		panels := 3
		if site == "head" {
			figure.columns, panels = Axis{title: "head", names: numbered(4)}, 1
			figure.subtitle = "patched: head · " + circuitSize
		}
		if !reflect.DeepEqual(got, figure) || len(got.panels) != panels {
			t.Errorf("-site %s:\n%+v, want\n%+v", site, got, figure)
		}
		var b bytes.Buffer
		if err := got.write(&b); err != nil {
			t.Error(err)
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
	for _, c := range []struct {
		name  string
		study Study
		fails bool
	}{
		{"restored", Study{site: "resid", metric: metricRestored}, true},
		{"restored, all sites", Study{site: "all", metric: metricRestored}, true},
		{"restored, lens", Study{lens: true, metric: metricRestored}, true},
		{"diff", Study{site: "resid", metric: metricDiff}, false},
		{"diff, lens", Study{lens: true, metric: metricDiff}, false},
	} {
		q := question(t, exampleClean, exampleCorrupt, c.study.metric)
		r, err := c.study.run(m, q, func(float64) {})
		if c.fails {
			if err == nil || !strings.Contains(err.Error(), "nothing to restore") {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		means := Means{}
		err = means.add(r)
		if err == nil || !strings.Contains(err.Error(), "nothing to restore") || len(means) > 0 {
			t.Errorf("%s: the mean takes it: %v, %v", c.name, means, err)
		}
	}
}

// TestLongLine checks that a line longer than any text is an error that says which line it is.
func TestLongLine(t *testing.T) {
	lines := "a\tb\tc\td\n" + strings.Repeat("x", 1<<20) + "\ne\tf\tg\th\n"
	var read []int
	err := eachPair(strings.NewReader(lines), func(line int, fields []string) error {
		read = append(read, line)
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "line 2 is longer than") || len(read) != 1 {
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
		os.WriteFile(name+".partial", []byte("of an earlier run"), 0o666)
		if c.old != "" {
			os.WriteFile(name, []byte(c.old), 0o600)
		}
		f, err := openLines(name)
		if err != nil {
			t.Fatal(c.name, err)
		}
		for range c.lines {
			if _, err := f.Write([]byte("line\n")); err != nil {
				t.Fatal(c.name, err)
			}
		}
		err = f.finish(c.fault)
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
		if info, err := os.Stat(name); c.old != "" && (err != nil || info.Mode().Perm() != 0o600) {
			t.Errorf("%s: mode %v", c.name, info.Mode())
		}
	}
}
