package main

import (
	"bytes"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	gotoken "go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// rooms are the program's files from the top of the house down. A file may use what is defined in
// the files below it and nothing above: whoever has read the rooms below knows every name in the
// one that they read now. The files of one line are a room and may use each other: a file, and what
// of it differs between processors or systems.
var rooms = []string{
	"main.go",
	// many pairs, results
	"pairs.go", "report.go",
	// the story
	"question.go", "look.go", "patch.go", "circuit.go",
	// the picture
	"heatmap.go", "canvas.go", "font.go",
	// the weights
	"convert.go", "hub.go", "find.go",
	"weights.go", "dialect.go",
	// the story, downstairs
	"model.go",
	// the speed
	"matmul.go", "kernel.go kernel_amd64.go kernel_arm64.go vecmath.go",
	// what everybody uses
	"vocab.go", "bpe.go", "progress.go", "torch.go", "safetensors.go",
	"files.go files_unix.go files_windows.go", "json.go",
}

// TestRooms checks that no file uses a name of a file above it.
func TestRooms(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("without the go command nothing tells what the standard library defines")
	}
	floor := map[string]int{}
	for i, room := range rooms {
		for _, file := range strings.Fields(room) {
			floor[file] = i
		}
	}
	seen := map[string]bool{}
	for arrow, names := range arrows(t) {
		from, to := arrow[0], arrow[1]
		for _, file := range arrow {
			if _, ok := floor[file]; !ok && !seen[file] {
				t.Errorf("%s has no place in the list of rooms", file)
			}
			seen[file] = true
		}
		if floor[from] > floor[to] {
			t.Errorf("%s uses %s of %s, which stands above it", from, strings.Join(names, ", "), to)
		}
	}
	for file := range floor {
		if !seen[file] {
			t.Errorf("%s is in the list of rooms, but there is no such file", file)
		}
	}
}

// arrows tells which file uses which names of which other file, on any kind of system.
func arrows(t *testing.T) map[[2]string][]string {
	t.Helper()
	list := []string{"list", "-export", "-f", "{{.ImportPath}} {{.Export}}"}
	systems := [][2]string{{"linux", "amd64"}, {"windows", "arm64"}} // together all files
	folders := make([]*build.Package, len(systems))
	for i, system := range systems {
		context := build.Default
		context.GOOS, context.GOARCH = system[0], system[1]
		folders[i] = must(context.ImportDir(".", 0))
		list = append(list, folders[i].Imports...)
	}
	// The compiled standard library is this system's: another one's syscall differs, and so what
	// the files of that say of it is no error.
	listed := strings.Fields(string(must(exec.Command("go", list...).Output())))
	set := gotoken.NewFileSet()
	library := importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(listed[slices.Index(listed, path)+1])
	})
	found := map[[2]string][]string{}
	for i, system := range systems {
		var files []*ast.File
		for _, name := range folders[i].GoFiles {
			file := must(parser.ParseFile(set, name, nil, parser.SkipObjectResolution))
			files = append(files, file)
		}
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
		config := types.Config{Importer: library, Error: func(err error) {
			if system == [2]string{build.Default.GOOS, build.Default.GOARCH} {
				t.Error(err)
			}
		}}
		program, _ := config.Check("main", set, files, info)
		for use, object := range info.Uses {
			from, to := set.Position(use.Pos()).Filename, set.Position(object.Pos()).Filename
			if object.Pkg() != program || from == to {
				continue
			}
			if arrow := [2]string{from, to}; !slices.Contains(found[arrow], use.Name) {
				found[arrow] = append(found[arrow], use.Name)
			}
		}
	}
	return found
}

// Lines of code end by column 100, with tabs of four, and so do those of README.md but for tables
// and commands.
func TestLines(t *testing.T) {
	code, _ := filepath.Glob("*.go")
	assembly, _ := filepath.Glob("*.s")
	for _, file := range slices.Concat(code, assembly, []string{"README.md"}) {
		source := must(os.ReadFile(file))
		for i, line := range strings.Split(string(source), "\n") {
			table := strings.HasPrefix(line, "|") || strings.HasPrefix(line, "    ")
			columns := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    "))
			if columns > 100 && !(table && file == "README.md") {
				t.Errorf("%s:%d: %d columns", file, i+1, columns)
			}
		}
	}
}

// There are few files, each is worth opening, and the README leads to it.
func TestSizes(t *testing.T) {
	all, err := filepath.Glob("*.go")
	if err != nil || len(all) == 0 {
		t.Skip("the source is not here")
	}
	files := slices.DeleteFunc(all, func(file string) bool {
		return strings.HasSuffix(file, "_test.go")
	})
	readme := must(os.ReadFile("README.md"))
	if most := 40; len(files) > most {
		t.Errorf("%d files without the tests, where %d are enough", len(files), most)
	}
	for _, file := range files {
		source := must(os.ReadFile(file))
		platform := strings.Contains(file, "_")
		lines := bytes.Count(source, []byte("\n"))
		if lines < 50 && !platform && file != "look.go" {
			t.Errorf("%s has %d lines: too few for a room of its own", file, lines)
		}
		if !platform && !bytes.Contains(readme, []byte("`"+file+"`")) {
			t.Errorf("the README does not name %s", file)
		}
	}
}
