//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestLoadReadsNoWeights takes the weights away between opening and loading: what is cut off a
// mapped file cannot be read any more, so that loading can succeed only if it reads none of them.
func TestLoadReadsNoWeights(t *testing.T) {
	c := Config{1, 1, 64, 1024, 1024}
	ck := randomCheckpoint(c, 256, "F32")
	path := file(t, "x.safetensors", encodeCheckpoint(ck, 3))
	ck = must(openFile(path, 0, -1))
	defer ck.close()
	if ck.release == nil || !inPlace {
		t.Skip("here a file is not mapped, or not used in place")
	}
	check(t, os.Truncate(path, 0))
	var m *Model
	if faults(func() { m = must(loadModel(ck, 1)) }) {
		t.Fatal("loading reads weights")
	}
	if !faults(func() { runtime.KeepAlive(m.wte.f32[0]) }) {
		t.Error("the test shows nothing: the weights can be read though the file is empty")
	}
}

// TestFetchPlanted puts something else in the partial file's place: it is left as it is.
func TestFetchPlanted(t *testing.T) {
	for _, plant := range []func(victim, partial string) error{
		os.Symlink, os.Link,
		func(_, partial string) error { return os.Mkdir(partial, 0o755) },
		func(_, partial string) error { return syscall.Mkfifo(partial, 0o644) },
	} {
		d := testDownloader(t, scripted(t, whole).URL, "")
		dest, victim := filepath.Join(t.TempDir(), "x"), file(t, "victim", "precious")
		check(t, plant(victim, partialOf(dest)))
		_, err := d.fetch("gpt2", dest)
		checkFetched(t, dest, err)
		if data, _ := os.ReadFile(victim); string(data) != "precious" {
			t.Errorf("the other file has %d bytes", len(data))
		}
	}
}

// TestRefsPlanted puts links in the place of what a fetch writes into the program's cache, which
// several people may share: nothing is written where they lead.
func TestRefsPlanted(t *testing.T) {
	repo := "models--o--r/"
	for planted, target := range map[string]string{
		repo + "refs/main": "VICTIM/notes", repo + "refs/main.new": "VICTIM/notes",
		repo + "refs":      "VICTIM",
		repo + "snapshots": "VICTIM", repo + "snapshots/" + commit: "VICTIM",
		strings.TrimSuffix(repo, "/"):                 "VICTIM",
		repo + "snapshots/" + commit + "/config.json": "VICTIM/notes",
	} {
		hub := newRepositoryHub(t, map[string]string{
			"config.json": "{}", "model.safetensors": string(testFile)})
		d := testDownloader(t, hub.URL, "")
		victim := folderOf(t, map[string]string{"notes": "precious"})
		put(t, cacheFolder(), map[string]string{
			planted: "-> " + strings.ReplaceAll(target, "VICTIM", victim)})
		folder, err := d.fetch("o/r", "")
		if there := inFolder(t, victim); len(there) != 1 || there["notes"] != "precious" {
			t.Errorf("%s: %q", planted, there)
		}
		if isLink := strings.HasSuffix(target, "notes"); (err == nil) != isLink {
			t.Errorf("%s: %v", planted, err)
		} else if found, _ := findHere(Repository{id: "o/r"}); isLink &&
			filepath.Dir(found.path) != folder {
			t.Errorf("%s: found %+v", planted, found)
		}
	}
}

// TestFault cuts a mapped file short while it is read.
func TestFault(t *testing.T) {
	path := file(t, "x", strings.Repeat("x", 2<<20))
	data, release, err := readRange(path, 0, -1)
	if err != nil || release == nil {
		t.Skipf("the file cannot be mapped here: %v", err)
	}
	defer release()
	check(t, os.Truncate(path, 1<<20))
	err = withoutPanic(func() {
		touch(data)
		fail("%d", data[1<<20])
	})
	wantWhole(t, "cut short", err,
		"reading the weights: their file was cut short, or its disk failed, while in use")
}

// TestSignals ends a program that is writing a file by each signal: it dies of that, and leaves the
// old file and nothing else. A signal that it was told to ignore does nothing.
func TestSignals(t *testing.T) {
	run := func(path, ignored string) *exec.Cmd {
		command := exec.Command("/bin/sh", "-c", `trap "" `+ignored+`; exec "$0" "$@"`,
			os.Args[0], "-test.run=^TestSignalsChild$", "-test.count=1")
		command.Env = append(os.Environ(), "MECHPATCH_TEST_WRITES="+path, "GOCOVERDIR="+t.TempDir())
		return command
	}
	for _, s := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
	} {
		for _, ignored := range []string{"PIPE", "HUP"} {
			path := file(t, "out", "old")
			command := run(path, ignored)
			stdout := must(command.StdoutPipe())
			stdin, _ := command.StdinPipe()
			if err := command.Start(); err != nil {
				t.Skipf("this program cannot be started here: %v", err)
			}
			if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "writing\n" {
				t.Fatalf("%q, %v", line, err)
			}
			command.Process.Signal(s)
			want := "old"
			if signal.Ignored(s) || s == syscall.SIGHUP && ignored == "HUP" { // by nohup, say
				stdin.Write([]byte("x"))
				want = "new"
			}
			io.Copy(io.Discard, stdout)
			err := command.Wait()
			status := command.ProcessState.Sys().(syscall.WaitStatus)
			died := s
			if s == syscall.SIGQUIT {
				died = syscall.SIGTERM
			}
			if want == "old" && (!status.Signaled() || status.Signal() != died) ||
				want == "new" && err != nil {
				t.Errorf("%s without %s: %v", s, ignored, err)
			}
			if got := inFolder(t, filepath.Dir(path)); len(got) != 1 || got["out"] != want {
				t.Errorf("%s without %s: left are %q", s, ignored, got)
			}
		}
	}
}

// TestSignalsChild is what TestSignals starts: it begins to write a file, and ends it if told to.
func TestSignalsChild(t *testing.T) {
	path := os.Getenv("MECHPATCH_TEST_WRITES")
	if path == "" {
		t.Skip("runs as a child of TestSignals")
	}
	endCleanly()
	check(t, replaceFile(path, 0o644, 0, func(w io.Writer) error {
		w.Write(make([]byte, 1<<20))
		fmt.Println("writing")
		_, err := io.ReadFull(os.Stdin, make([]byte, 1))
		return err
	}))
	write(t, path, "new")
}

// TestPipes puts a pipe that nobody writes into in place of each small file and of the weights:
// what is no file is no model, and the next place is looked at.
func TestPipes(t *testing.T) {
	pipe := func(path string) {
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, syscall.Mkfifo(path, 0o644))
	}
	for i := range 5 {
		d := testDownloader(t, scripted(t, whole).URL, "")
		repo := filepath.Join(hubCache(), hubFolder("openai-community/gpt2"))
		weights := filepath.Join(repo, "snapshots", commit, "model.safetensors")
		places := []string{cacheFile(), filepath.Join(repo, "refs", "main"), weights,
			filepath.Join(hubHome(), "token"), "gpt2.safetensors"}
		pipe(places[i])
		if found := must(findModel("", false, nil)); !found.download {
			t.Errorf("%s: %+v", places[i], found)
		}
		dest, err := d.fetch("gpt2", "")
		if i == 0 {
			checkFailed(t, err, "gpt2.safetensors is not a regular file", false)
		} else {
			checkFetched(t, dest, err)
		}
	}
	path := file(t, "model.safetensors", "x")
	pipe(filepath.Join(filepath.Dir(path), "config.json"))
	if _, _, err := openModel(path, 0, 0, 0); err == nil {
		t.Error("weights of one byte open")
	}
}
