package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"
)

const circuitSize = "built-in circuit (not GPT-2): 12 layers, 4 heads, width 256"

// TestFigure checks everything that a report tells its heat map, for every metric and site.
func TestFigure(t *testing.T) {
	const diff = "logit(Smith) − logit(Jones)"
	one := []string{""}
	matrix := func(r *Report) [][]float64 { // of the JSON
		var rows [][]float64
		for _, numbers := range r.Matrix {
			var row []float64
			for _, v := range numbers {
				row = append(row, float64(v))
			}
			rows = append(rows, row)
		}
		return rows
	}
	for _, c := range []struct {
		study    Study
		colorMap string
		scale    int
		title    string
		reversed bool
		panels   []string // their titles
		heads    bool
	}{
		{Study{site: "resid", metric: metricDiff}, "rdbu", 3, diff, false, one, false},
		{Study{site: "attn", metric: metricLogit}, "viridis", 1, "logit(Jones)", true, one, false},
		{Study{site: "mlp", metric: metricProb}, "viridis", 2, "p(Smith) − p(Jones)", false,
			one, false},
		{Study{site: "resid", metric: metricRestored}, "rdbu", 1,
			"restored share of " + diff, true, one, false},
		{Study{site: "head", metric: metricDiff}, "viridis", 8, diff, false, one, true},
		{Study{site: "all", metric: metricDiff}, "rdbu", 1, diff, false,
			[]string{"resid", "attn", "mlp"}, false},
		{Study{lens: true, metric: metricDiff}, "rdbu", 1, diff, false,
			[]string{"clean run", "corrupt run"}, false},
	} {
		r := study(t, c.study)
		got := r.figure(c.colorMap, c.scale)
		clean, corrupt := float64(r.Clean.Metric), float64(r.Corrupt.Metric)
		if c.reversed != (clean > corrupt) {
			t.Errorf("%+v: clean %g, corrupt %g", c.study, clean, corrupt)
		}
		want := &Figure{
			title: c.title, subtitle: map[bool]string{true: "patched: " + c.study.site,
				false: "patched one site at a time"}[len(c.panels) == 1] + " · " + circuitSize,
			panels: got.panels,
			rows:   numbered(12), rowTitle: "layer",
			columns: r.Corrupt.Tokens, columnTitle: "token of the corrupt text",
			beside:   []string{"", " Jones", "", "", "", "", "", "", "", "", ""},
			colorMap: c.colorMap, reversed: c.reversed, center: corrupt, scale: c.scale,
			marks: []Mark{{clean, "clean"}, {corrupt, "corrupt"}},
		}
		if c.heads {
			want.columns, want.columnTitle, want.beside = numbered(4), "head", nil
		}
		if c.study.lens {
			want.columnTitle, want.subtitle = "token at this position", "logit lens · "+circuitSize
		}
		if len(c.panels) == 1 {
			want.panels = []Panel{{matrix: matrix(r)}}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v:\n%+v, want\n%+v", c.study, got, want)
		}
		var titles []string
		for _, p := range got.panels {
			titles = append(titles, p.title)
		}
		if !slices.Equal(titles, c.panels) {
			t.Errorf("%+v: panels %q", c.study, titles)
		}
	}
	r := study(t, Study{site: "resid", metric: metricRestored})
	if r.Clean.Metric != 1 || r.Corrupt.Metric != 0 {
		t.Errorf("restored: clean %g, corrupt %g", r.Clean.Metric, r.Corrupt.Metric)
	}
}

// TestCSV checks the columns of a CSV file, that its numbers are the matrix's to the last bit, and
// that a cell that was not run is empty.
func TestCSV(t *testing.T) {
	all := func(l, c int) bool { return true }
	for _, c := range []struct {
		study  Study
		header []string
		sites  []string
		run    func(layer, column int) bool
	}{
		{Study{site: "resid", layers: "5:7", positions: "1,9:"}, []string{"layer"}, []string{""},
			func(l, c int) bool { return (l == 5 || l == 6) && (c == 1 || c >= 9) }},
		{Study{site: "head"}, []string{"layer", "0", "1", "2", "3"}, []string{""}, all},
		{Study{site: "all", layers: "0"}, []string{"site", "layer"},
			[]string{"resid", "attn", "mlp"},
			func(l, c int) bool { return l == 0 }},
		{Study{lens: true}, []string{"site", "layer"}, []string{"clean run", "corrupt run"}, all},
	} {
		c.study.metric = metricDiff
		r := study(t, c.study)
		if c.study.site != "head" {
			c.header = append(c.header, r.Corrupt.Tokens...)
		}
		want := [][]string{c.header}
		for i, site := range c.sites {
			for l, row := range r.panels[i].matrix {
				record := []string{site, strconv.Itoa(l)}
				if site == "" {
					record = record[1:]
				}
				for col, v := range row {
					field := ""
					if c.run(l, col) {
						field = fmt.Sprint(v)
					}
					record = append(record, field)
				}
				want = append(want, record)
			}
		}
		var b bytes.Buffer
		err := r.writeCSV(&b)
		rows, readErr := csv.NewReader(&b).ReadAll()
		if err != nil || readErr != nil || len(rows) != len(want) {
			t.Fatal(c.study, err, readErr, rows)
		}
		for i := range want {
			for j := range rows[i] { // a number may be written in more than one way
				if v, err := strconv.ParseFloat(rows[i][j], 64); err == nil && i > 0 {
					rows[i][j] = fmt.Sprint(v)
				}
			}
			if !slices.Equal(rows[i], want[i]) {
				t.Errorf("%+v: row %d is %q, want %q", c.study, i, rows[i], want[i])
			}
		}
	}
}

// TestWriteFile checks that a failure leaves the old file as it was and nothing beside it, and that
// links are followed.
func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "out")
	put := func(s string, err error) func(io.Writer) error {
		return func(w io.Writer) error {
			io.WriteString(w, s)
			return err
		}
	}
	content := func() string {
		data, _ := os.ReadFile(name)
		return string(data)
	}
	if err := writeFile(name, put("good", nil)); err != nil || content() != "good" {
		t.Fatal(err, content())
	}
	err := writeFile(name, put("half", errors.New("the disk is full")))
	if err == nil || err.Error() != "writing "+name+": the disk is full" || content() != "good" {
		t.Error(err, content())
	}
	link := filepath.Join(dir, "link")
	if os.Symlink("out", link) == nil {
		if err := writeFile(link, put("better", nil)); err != nil || content() != "better" {
			t.Error(err, content())
		}
		if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
			t.Error("the link was replaced")
		}
	}
	if err := writeFile(filepath.Join(dir, "none", "out"), put("", nil)); err == nil {
		t.Error("a folder that does not exist")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Error(left)
	}
}
