package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bareMachine makes the test run on a machine without weights and, but for the hub at this address, without a network.
func bareMachine(t *testing.T, hub string) {
	t.Helper()
	for _, name := range []string{"MECHPATCH_MODEL", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"} {
		t.Setenv(name, "")
	}
	for _, name := range []string{"HOME", "USERPROFILE", "XDG_CACHE_HOME", "LocalAppData"} {
		t.Setenv(name, looseFolder(t))
	}
	t.Setenv("HF_ENDPOINT", hub)
	back, err := os.Getwd()
	if err == nil {
		err = os.Chdir(t.TempDir())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chdir(back) })
}

// looseFolder is a temporary folder of which the files that the program still has mapped may be left: Windows keeps those.
func looseFolder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "mechpatch-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	return folder
}

// invoke runs the program as if from a shell.
func invoke(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = execute(args, &out, &err)
	return code, out.String(), err.String()
}

// oneLine reports whether what the program says is one line of its own.
func oneLine(stderr string) bool {
	return strings.HasPrefix(stderr, "mechpatch: ") && strings.Count(stderr, "\n") == 1 && strings.HasSuffix(stderr, "\n")
}

const circuitNote = "this is the built-in circuit, not GPT-2"

// TestWithoutWeights runs the program where no weights are: it asks the hub unless it may not, and says when the circuit takes
// GPT-2's place.
func TestWithoutWeights(t *testing.T) {
	for _, c := range []struct {
		name      string
		args      []string
		variables []string
		code      int
		asks      bool   // whether the hub is asked
		says      string // on stderr; "" for nothing at all
	}{
		{"nothing said", nil, nil, 0, true, circuitNote},
		{"-offline", []string{"-offline"}, nil, 0, false, circuitNote},
		{"HF_HUB_OFFLINE", nil, []string{"HF_HUB_OFFLINE", "1"}, 0, false, circuitNote},
		{"-model circuit", []string{"-model", "circuit"}, nil, 0, false, ""},
		{"MECHPATCH_MODEL=circuit", nil, []string{"MECHPATCH_MODEL", "circuit"}, 0, false, ""},
		{"-model gpt2", []string{"-model", "gpt2"}, nil, 1, true, "fetching gpt2: "},
		{"-model gpt2 -offline", []string{"-model", "gpt2", "-offline"}, nil, 1, false, "-offline forbids"},
		{"-model before MECHPATCH_MODEL", []string{"-model", "gpt2", "-offline"}, []string{"MECHPATCH_MODEL", "circuit"}, 1, false, "-offline forbids"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hub := newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
			bareMachine(t, hub.URL)
			if c.variables != nil {
				t.Setenv(c.variables[0], c.variables[1])
			}
			code, stdout, stderr := invoke(append(c.args, "next", "-e", exampleClean)...)
			if code != c.code || (code == 0) != strings.Contains(stdout, "built-in circuit (not GPT-2)") {
				t.Errorf("exit code %d, %s %s", code, stdout, stderr)
			}
			if asked := hub.requests() != ""; asked != c.asks {
				t.Errorf("the hub got: %s", hub.requests())
			}
			if c.says == "" && stderr != "" || !strings.Contains(stderr, c.says) || strings.Contains(stderr, circuitNote) != (c.says == circuitNote) {
				t.Errorf("it says %q, want %q", stderr, c.says)
			}
		})
	}
}

// TestModelFlag checks that -model FILE is the model that runs, though another one is in MECHPATCH_MODEL.
func TestModelFlag(t *testing.T) {
	code, _, stderr := command(t, "next", "-model", filepath.Join("testdata", "oracle", "heads.safetensors"), "-e", exampleClean)
	if code != 1 || !oneLine(stderr) || !strings.Contains(stderr, "the vocabulary of heads, which has 96") {
		t.Errorf("%d %s", code, stderr)
	}
}

// smallGPT2 is a checkpoint with GPT-2's vocabulary and hardly anything else, as a file.
func smallGPT2() []byte {
	ck := randomCheckpoint(Config{layers: 1, heads: 1, width: 8, context: 16, vocab: vocabSize}, 32, "F32")
	ck.meta["n_head"] = "1"
	return encodeCheckpoint(ck, 0)
}

// TestDownloadedModel asks for a published model by its name: it is fetched once, and gives the same numbers as its file does.
func TestDownloadedModel(t *testing.T) {
	weights := smallGPT2()
	hub := newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		if want := "/distilbert/distilgpt2/resolve/"; !strings.HasPrefix(r.URL.Path, want) {
			t.Errorf("%s is asked for, want %s", r.URL.Path, want)
		}
		w.Header().Set("X-Linked-Etag", fmt.Sprintf(`"%x"`, sha256.Sum256(weights)))
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(weights)))
		w.Header().Set("X-Repo-Commit", commit)
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(weights))
	})
	bareMachine(t, hub.URL)
	file := filepath.Join(looseFolder(t), "distilgpt2.safetensors")
	if err := os.WriteFile(file, weights, 0o666); err != nil {
		t.Fatal(err)
	}
	run := func(model string, more ...string) (string, any) {
		t.Helper()
		var r map[string]any
		code, stdout, stderr := invoke(append(more, "-model", model, "-e", exampleClean, exampleCorrupt, "Jones", "Smith", "-o", "", "-json", "-")...)
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
	if !reflect.DeepEqual(got, want) || hub.requests() != "HEAD, GET" || !strings.Contains(said, "fetching distilgpt2 (1.6 MB) from "+hub.URL) {
		t.Errorf("%s, %s: %v, want %v", hub.requests(), said, got, want)
	}
	said, got = run("distilgpt2", "-offline")
	if !reflect.DeepEqual(got, want) || hub.requests() != "HEAD, GET" || said != "" {
		t.Errorf("again: %s, %s: %v, want %v", hub.requests(), said, got, want)
	}

	out := filepath.Join(t.TempDir(), "out.safetensors")
	code, stdout, stderr := invoke("fetch", "distilgpt2", "-o", out)
	if data, err := os.ReadFile(out); code != 0 || stdout != out+"\n" || err != nil || !bytes.Equal(data, weights) {
		t.Errorf("fetch -o: %d %s %s %v", code, stdout, stderr, err)
	}
}

// TestConvertCommand converts a PyTorch file into every format.
func TestConvertCommand(t *testing.T) {
	for flag, want := range map[string]string{"": "F32", "f32": "F32", "f16": "F16", "bf16": "BF16", "BF16": "BF16"} {
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
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("\x7fELF"+string(bundleMagic)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, exe := range []string{thisProgram(t), other} {
		out := filepath.Join(t.TempDir(), "out.exe")
		args := []string{"bundle", tinySource(t, "module-zip"), out}
		if exe == other {
			args = append(args, "-exe", other)
		}
		code, _, stderr := command(t, args...)
		offset, length, ok, err := bundled(out)
		if code != 0 || stderr != "" || !ok || err != nil {
			t.Fatal(code, stderr, ok, err)
		}
		checkLean(t, out, offset, length, "F32", "tiny-gpt2")
		if data, err := os.ReadFile(exe); err != nil || offset != alignUp(int64(len(data))) {
			t.Errorf("the weights begin at %d, the program has %d bytes", offset, len(data))
		}
	}
}

// TestSetupErrors checks that whatever goes wrong with weights ends in one clear line and the right exit code.
func TestSetupErrors(t *testing.T) {
	model, text := tinySource(t, "module-zip"), file(t, "text.txt", "no model at all, and no program")
	absent, out := filepath.Join(t.TempDir(), "absent"), filepath.Join(t.TempDir(), "out")
	hub := newHub(t, func(_ int, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	bareMachine(t, hub.URL)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"convert", model, out, "-dtype", "f64"}, 2, "-dtype f64: there are f32, f16 and bf16"},
		{[]string{"convert", model}, 2, "IN OUT.safetensors"},
		{[]string{"convert", model, out, out}, 2, "IN OUT.safetensors"},
		{[]string{"convert", model, out, "-top", "3"}, 2, "-top"},
		{[]string{"convert", absent, out}, 1, "absent: there is no such file or folder"},
		{[]string{"convert", text, out}, 1, "text.txt: "},
		{[]string{"convert", "circuit", out}, 1, "there is no file of it"},
		{[]string{"convert", "gpt2", out}, 1, "forbids to fetch it"},
		{[]string{"convert", model, filepath.Join(absent, "out")}, 1, "writing "},
		{[]string{"bundle", model}, 2, "MODEL OUT"},
		{[]string{"bundle", absent, out}, 1, "absent: there is no such file or folder"},
		{[]string{"bundle", "circuit", out}, 1, "there is no file of it"},
		{[]string{"bundle", model, out, "-exe", absent}, 1, "absent: "},
		{[]string{"bundle", model, out, "-exe", text}, 1, "text.txt: not a program for Linux (ELF), Windows (PE) or macOS"},
		{[]string{"fetch", "gpt3"}, 1, "fetching gpt3: no model of that name: known are gpt2, gpt2-medium"},
		{[]string{"fetch", "circuit"}, 1, "it is built into the program"},
		{[]string{"fetch", "gpt2", "distilgpt2"}, 2, "expected is: NAME"},
		{[]string{"fetch", "-offline"}, 1, "fetching gpt2: -offline forbids the network"},
		{[]string{"fetch", "-offline", "distilgpt2"}, 1, "fetching distilgpt2: -offline forbids the network"},
	} {
		code, stdout, stderr := invoke(c.args...)
		if code != c.code || !oneLine(stderr) || !strings.Contains(stderr, c.want) || stdout != "" {
			t.Errorf("%q: exit code %d, %q %q; want %d, %q", c.args, code, stdout, stderr, c.code, c.want)
		}
		if _, err := os.Stat(out); err == nil {
			t.Fatalf("%q leaves a file", c.args)
		}
	}
	if hub.requests() != "" {
		t.Errorf("the hub got: %s", hub.requests())
	}
	if code, stdout, stderr := invoke("fetch", "distilgpt2"); code != 1 || stdout != "" || !strings.Contains(stderr, "404") || hub.requests() == "" {
		t.Errorf("a hub without the model: %d %s %s", code, stdout, stderr)
	}
}
