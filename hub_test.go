package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// testFile is what the tests fetch: longer than the buffer of a download, and without a pattern.
var testFile = func() []byte {
	data := make([]byte, 700_001)
	rand.New(rand.NewSource(1)).Read(data)
	return data
}()

// testModel is testFile as a published model whose sum is known.
var testModel = Repository{
	name: "gpt2", id: "openai-community/gpt2", revision: strings.Repeat("a", 40),
	size: int64(len(testFile)), sum: fmt.Sprintf("%x", sha256.Sum256(testFile)),
}

// A reply is how a server answers: with content, or the range of it that is asked for. Where it has
// a code, that and the content are sent as they are, and only the header tells a length.
type reply struct {
	content []byte
	code    int
	header  string // NAME: VALUE, one a line

	pieces int                   // so many pieces of the content come first,
	size   int64                 // each of so many bytes,
	pause  time.Duration         // with a pause behind it;
	end    func(r *http.Request) // then this happens, and the rest comes
}

func (a reply) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for line := range strings.Lines(a.header) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		w.Header().Set(name, value)
	}
	body, content := paced{w, r, a}, bytes.NewReader(a.content)
	if a.code == 0 {
		http.ServeContent(body, r, "", time.Time{}, content)
		return
	}
	w.WriteHeader(a.code)
	w.(http.Flusher).Flush()
	body.ReadFrom(content)
}

// paced is what a reply writes its content to.
type paced struct {
	http.ResponseWriter
	request *http.Request
	reply
}

func (w paced) ReadFrom(content io.Reader) (int64, error) {
	for range w.pieces {
		if n, _ := io.CopyN(w.ResponseWriter, content, w.size); n < w.size {
			return 0, nil
		}
		w.ResponseWriter.(http.Flusher).Flush()
		time.Sleep(w.pause)
	}
	if w.end != nil {
		w.end(w.request)
	}
	return io.Copy(w.ResponseWriter, content)
}

// script is the replies of a server one after the other, the last one again and again.
type script []http.Handler

var whole = reply{content: testFile}

// cut breaks the connection off after n bytes of the file.
func cut(n int64) reply {
	return reply{content: testFile, pieces: 1, size: n, end: breakOff}
}

func breakOff(*http.Request) { panic(http.ErrAbortHandler) }

func hang(r *http.Request) { <-r.Context().Done() }

// linked is what the hub says of a large file: its bytes are elsewhere.
func linked(content []byte, more string) reply {
	return reply{code: 302, header: fmt.Sprintf("X-Linked-Etag: \"%x\"\nX-Linked-Size: %d\n%s",
		sha256.Sum256(content), len(content), more)}
}

// inBubble runs a test in a time and on a network of its own. Where everybody waits, time passes at
// once; whether they do can be told of pipes, but not of a machine's network.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	set(t, &network, map[string]http.Handler{})
	synctest.Test(t, f)
}

// network is the servers by their addresses; nil is the machine's own.
var network map[string]http.Handler

func dial(_ context.Context, _, address string) (net.Conn, error) {
	server, ok := network[address]
	if !ok {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	mine, theirs := net.Pipe()
	go http.Serve(&caller{theirs}, server)
	return mine, nil
}

// caller is a listener that has one connection.
type caller struct{ net.Conn }

func (c *caller) Accept() (conn net.Conn, err error) {
	if conn = c.Conn; conn == nil {
		err = net.ErrClosed
	}
	c.Conn = nil
	return conn, err
}

func (c *caller) Addr() net.Addr { return nil }

func (c *caller) Close() error { return nil }

// testHub is a server that keeps a list of the requests it got: "GET 5" asks for byte 5 and on, and
// whoever shows a token is listed with it.
type testHub struct {
	URL  string
	mu   sync.Mutex
	seen []string
}

func scripted(t testing.TB, answers ...http.Handler) *testHub {
	hub := &testHub{URL: fmt.Sprint("http://hub:", len(network))}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hub.mu.Lock()
		n := len(hub.seen)
		from := strings.Trim(r.Header.Get("Range"), "bytes=-")
		seen := r.Method + " " + from + " " + r.Header.Get("Authorization")
		hub.seen = append(hub.seen, strings.Join(strings.Fields(seen), " "))
		hub.mu.Unlock()
		answers[min(n, len(answers)-1)].ServeHTTP(w, r)
	})
	if network != nil {
		network[hub.URL[len("http://"):]] = handler
		return hub
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	hub.URL = server.URL
	return hub
}

func (hub *testHub) requests() string {
	hub.mu.Lock()
	defer hub.mu.Unlock()
	return strings.Join(hub.seen, ", ")
}

// testDownloader fetches testModel from the server at address, on a machine with these variables.
func testDownloader(t testing.TB, address, variables string) *Downloader {
	bareMachine(t, "HF_ENDPOINT="+address+" "+variables)
	d := newDownloader(false, false)
	if network != nil {
		d.client.Transport.(*http.Transport).DialContext = dial
	}
	set(t, &published, []Repository{testModel})
	t.Cleanup(d.client.CloseIdleConnections)
	return d
}

// leftovers lists what lies beside dest, except dest itself.
func leftovers(dest string) []string {
	names, _ := filepath.Glob(filepath.Join(filepath.Dir(dest), "*"))
	return slices.DeleteFunc(names, func(name string) bool { return name == dest })
}

func cacheFile() string { return filepath.Join(cacheFolder(), "gpt2.safetensors") }

func partialOf(dest string) string { return dest + "." + testModel.sum[:16] + ".partial" }

// checkFetched makes sure that dest is testFile and that nothing lies beside it.
func checkFetched(t testing.TB, dest string, err error) {
	t.Helper()
	if data, _ := os.ReadFile(dest); err != nil || !bytes.Equal(data, testFile) {
		t.Errorf("%s: %d bytes, %v", dest, len(data), err)
	}
	if left := leftovers(dest); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}

// checkFailed makes sure of what a fetch's error says, and of whether it could not even begin.
func checkFailed(t *testing.T, err error, want string, noStart bool) {
	t.Helper()
	wantError(t, "the fetch", err, want)
	if f, ok := errors.AsType[*failure](err); (ok && !f.begun) != noStart {
		t.Errorf("could not begin is %v: %v", !noStart, err)
	}
}

// A fetchTest is a fetch of testFile into the cache.
type fetchTest struct {
	name     string // a plain run has the circuit to fall back on
	script   script // none: nobody listens
	before   []byte // of the partial file
	requests string // what the server is asked; from HEAD on where the sum is not known
	kept     int    // bytes of the partial file that are left after a failure
	err      string // "" for success
}

const wrongSum = "wrong checksum"

func (test fetchTest) run(t *testing.T) {
	hub := scripted(t, test.script...)
	if test.script == nil {
		clear(network)
	}
	d := testDownloader(t, hub.URL, "")
	d.quick = strings.HasPrefix(test.name, "plain run")
	if strings.HasPrefix(test.requests, "HEAD") {
		published[0].sum = ""
	}
	dest := cacheFile()
	if test.before != nil {
		write(t, partialOf(dest), test.before)
	}
	last := int64(-1)
	d.progress = func(done, total int64) {
		if done < 0 || done > total || total != int64(len(testFile)) {
			t.Errorf("progress(%d, %d)", done, total)
		}
		last = done
	}
	var notes []string
	d.note = func(line string) { notes = append(notes, line) }

	path, err := d.fetch("gpt2", "")
	for _, note := range notes {
		if !strings.HasPrefix(note, "model.safetensors, 700.0 kB, from "+hub.URL+
			"/openai-community/gpt2 into "+dest) && !strings.Contains(note, "; trying again in ") {
			t.Errorf("it says %s", note)
		}
	}
	if test.err == "" {
		checkFetched(t, dest, err)
		if path != dest || last != int64(len(testFile)) || len(notes) == 0 {
			t.Errorf("%s; progress ended at %d, notes %q", path, last, notes)
		}
		d.fetch("gpt2", "")
		if again := dest + " is there, and its checksum is right"; !slices.Contains(notes, again) {
			t.Errorf("another fetch: %q", notes)
		}
	} else {
		begun := test.kept >= worth || strings.HasPrefix(test.err, wrongSum)
		checkFailed(t, err, test.err, !begun)
		wantError(t, "what failed", err, "fetching gpt2: ")
		kept, _ := os.ReadFile(partialOf(dest))
		if !bytes.Equal(kept, testFile[:test.kept]) || isFile(dest) {
			t.Errorf("%d bytes are kept, want %d", len(kept), test.kept)
		}
		if left := leftovers(dest); len(left) > 1 || len(left) == 1 && test.kept == 0 {
			t.Errorf("left over: %q", left)
		}
	}
	if got := hub.requests(); got != test.requests {
		t.Errorf("requests: %s\n    want: %s", got, test.requests)
	}
}

func TestFetch(t *testing.T) {
	wrong := bytes.Repeat([]byte("x"), len(testFile))
	wrongSums := fmt.Sprintf("%s: that of what arrived is %x, not %s", wrongSum,
		sha256.Sum256(wrong), testModel.sum)
	longer, part := append(bytes.Clone(testFile), 'x'), testFile[:1000]
	const (
		login            = "bytes of text/html: does this network ask for a login?"
		tooSlow, tooLate = "less than 100.0 kB within 30s", "less than 100.0 kB within 8s"
		k                = 100_000 // bytes, enough to be worth a try
	)
	as := func(code int, header string, content []byte) reply {
		return reply{code: code, header: header, content: content}
	}
	drip := func(pieces int, size int64, seconds time.Duration, end func(*http.Request)) script {
		return script{reply{testFile, 0, "", pieces, size, seconds * time.Second, end}}
	}
	unsizedCut := cut(k)
	unsizedCut.code = 200
	silent := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hang(r) })
	for _, test := range []fetchTest{
		{"broken off again and again, but always further",
			script{cut(1), cut(1), cut(k), cut(1), cut(1), cut(1), cut(1), cut(1), cut(k), cut(1),
				whole},
			nil, "GET, GET 1, GET 2, GET 100002, GET 100003, GET 100004, GET 100005, " +
				"GET 100006, GET 100007, GET 200007, GET 200008", 0, ""},
		{"a byte a connection", script{cut(1)}, nil, "GET, GET 1, GET 2, GET 3", 4,
			"the connection broke off"},

		{"resumed", script{whole}, testFile[:123_456], "GET 123456", 0, ""},
		{"whole, but not yet renamed", script{whole}, testFile, "", 0, ""},
		{"longer than the file", script{whole}, longer, "GET", 0, ""},
		{"spoilt", script{whole}, wrong[:1000], "GET 1000, GET", 0, ""},
		{"spoilt to the end", script{whole}, wrong, "GET", 0, ""},

		{"no Content-Length, broken off", script{unsizedCut, whole}, nil, "GET, GET 100000", 0, ""},
		{"no Content-Length, and longer", script{as(200, "", longer)}, nil, "GET", 0, ""},
		{"no Content-Length, and empty", script{as(200, "", nil)}, nil, "GET, GET, GET, GET", 0,
			"the connection broke off"},
		{"range ignored", script{cut(1000), as(200, "", testFile)}, nil, "GET, GET 1000", 0, ""},
		{"range refused", script{reply{code: 416}, whole}, part, "GET 1000, GET", 0, ""},
		{"never the range that was asked for",
			script{as(206, "Content-Range: bytes 17-700000/700001", testFile[17:117])}, part,
			"GET 1000, GET, GET, GET", 0, "the server's answers do not fit together"},
		{"a range of a file of another length",
			script{as(206, "Content-Range: bytes 1000-1999/2000\nContent-Length: 1000",
				testFile[1000:2000])}, part, "GET 1000", 1000,
			"another file than that of 700001 bytes: 2000 bytes of"},

		{"another file behind the break", script{cut(1000), reply{content: wrong}, whole}, nil,
			"GET, GET 1000, GET", 0, ""},
		{"wrong checksum", script{reply{content: wrong}}, nil, "GET", 0, wrongSums},
		{"wrong checksum of what goes on an earlier run", script{reply{content: wrong}},
			wrong[:10], "GET 10, GET", 0, wrongSums},
		{"wrong length", script{reply{content: part}}, nil, "GET", 0,
			"sends another file than that of 700001 bytes: 1000 bytes of application/"},
		{"a login page without a length, over an earlier part",
			script{as(200, "Content-Type: text/html", []byte("<title>Guest network</title>"))},
			part, "GET 1000", 1000, login},

		{"500, 503, 429, then the file",
			script{reply{code: 500}, reply{code: 503}, reply{code: 429}, whole}, nil,
			"GET, GET, GET, GET", 0, ""},
		{"the middle is as far as it goes", script{cut(k), reply{code: 502}}, nil,
			"GET" + strings.Repeat(", GET 100000", 7), k,
			"502 Bad Gateway; 100.0 kB of 700.0 kB are kept"},
		{"404 in the middle", script{cut(k), reply{code: 404}}, nil, "GET, GET 100000", k,
			"404 Not Found: the file is not there; is HF_ENDPOINT right?"},
		{"asked to come back later than one wants to wait",
			script{as(429, "Retry-After: 3600", nil)}, nil, "GET", 0, "429 Too Many"},
		{"redirects without end", script{as(302, "Location: /again", nil)}, nil,
			"GET" + strings.Repeat(", GET", 9), 0, "more than 10 redirects"},
		{"nobody listens", nil, nil, "", 0, "dial"},

		{"a byte every two seconds", drip(15, 1, 2, hang), nil, "GET, GET 15, GET 30, GET 45", 60,
			tooSlow},
		{"plain run, a byte every two seconds", drip(4, 1, 2, hang), nil, "GET", 4, tooLate},
		{"plain run, a late start", drip(1, 40_000, 7, hang), nil, "GET", 40_000, tooLate},
		{"plain run, fast enough", drip(13, 50_000, 3, nil), nil, "GET", 0, ""},
		{"fast enough", drip(13, 50_000, 14, nil), nil, "GET", 0, ""},
		{"plain run, slow after a good start", drip(1, 600_000, 29, nil), nil, "GET", 0, ""},
		{"nothing any more after a good start", drip(1, 600_000, 0, hang), nil,
			"GET, GET 600000", 0, ""},
		{"plain run, no answer", script{silent}, nil, "GET", 0, tooLate},
		{"no announcement", script{silent}, nil, "HEAD, HEAD, HEAD, HEAD", 0, tooSlow},
	} {
		t.Run(test.name, func(t *testing.T) { inBubble(t, test.run) })
	}
}

// TestFetchDestination covers the ways to say where the file goes, and a file that is there.
func TestFetchDestination(t *testing.T) {
	hub := scripted(t, whole)
	d := testDownloader(t, hub.URL, "")
	put(t, ".", map[string]string{"x.bin": "something else", "link": "-> there", "folder/x": ""})
	for i, test := range []struct{ dest, want string }{
		{"folder", filepath.Join("folder", "gpt2.safetensors")}, {"x.bin", "x.bin"},
		{"link", "there"}, // which is not there before
		{"x.bin", "x.bin"},
	} {
		path, err := d.fetch("openai-community/gpt2", test.dest)
		info, _ := os.Lstat(test.want)
		if requests := strings.Repeat(", GET", min(i+1, 3))[2:]; err != nil || path != test.want ||
			info.Size() != int64(len(testFile)) || hub.requests() != requests {
			t.Errorf("%s: %s, %v, %v, requests: %s", test.dest, path, info, err, hub.requests())
		}
	}

	const elsewhere = "\"mechpatch fetch -o FILE\" puts the file elsewhere"
	for _, test := range []struct{ name, dest, variables, err string }{
		{"gpt2", "no/x", "", "cannot write into no: "},
		{"gpt2", "", "HOME= LocalAppData=", "this system names no cache folder; " + elsewhere},
		// a cache that is no folder
		{"gpt2", "", "HOME=ROOT/work/FILE LocalAppData=ROOT/work/FILE", elsewhere},
		{"gpt3", "", "", "fetching gpt3: no model of that name: known are gpt2"},
		{"o/r", "FILE", "", "FILE cannot be a folder, and this model is several files"},
		{"o/r", "new.safetensors", "", "cannot be a folder"},
		{"circuit", "", "", "it is built into the program"},
		{"gpt2", "", "HF_ENDPOINT=huggingface.co", "HF_ENDPOINT is not an address"},
		{"gpt2", "", "HF_ENDPOINT=ftp://huggingface.co", "HF_ENDPOINT is not an address"},
		{"gpt2", "", "HF_HUB_OFFLINE=1", "HF_HUB_OFFLINE=1 forbids the network"},
	} {
		d := testDownloader(t, hub.URL, test.variables)
		write(t, "FILE", "")
		_, err := d.fetch(test.name, test.dest)
		checkFailed(t, err, test.err, false)
	}
}

// repositoryHub serves repositories as the hub does, below /mirror too. Files of more than a
// kilobyte are large: their bytes are elsewhere. It lists what it gave.
type repositoryHub struct {
	*testHub
	commits map[string]string // of revisions
	files   map[string]string // content by name; VAST is a large one, GONE one that goes away
	gave    []string
}

func newRepositoryHub(t testing.TB, files map[string]string) *repositoryHub {
	hub := &repositoryHub{files: files, commits: map[string]string{"main": commit, commit: commit}}
	serve := func(w http.ResponseWriter, r *http.Request) {
		revision, name := r.PathValue("revision"), r.PathValue("file")
		content, at := hub.files[name], hub.commits[revision]
		// git's sum of a file
		sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content))
		answer := reply{content: []byte(content), header: fmt.Sprintf("ETag: W/\"%x\"\n", sum)}
		_, from, isOld := strings.Cut(r.URL.EscapedPath(), "/old/")
		isGet := r.Method == http.MethodGet
		switch {
		case isOld:
			answer = reply{code: 307, header: "Location: /o/" + from}
		case at == "":
			answer = reply{code: 404, header: "X-Error-Code: RevisionNotFound"}
		case content == "", content == "GONE" && isGet:
			answer = reply{code: 404, header: "X-Error-Code: EntryNotFound"}
		case content == "VAST":
			answer = linked(testFile, "X-Linked-Size: 1100000000\n")
		case len(content) > 1000:
			answer = linked(answer.content, "Location: /elsewhere/"+url.PathEscape(name)+"\n")
		}
		if answer.code < 307 {
			answer.header += "X-Repo-Commit: " + at
			if isGet {
				hub.gave = append(hub.gave, revision+" "+name)
			}
		}
		answer.ServeHTTP(w, r)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/{owner}/{name}/resolve/{revision}/{file}", serve)
	mux.HandleFunc("/mirror/{owner}/{name}/resolve/{revision}/{file}", serve)
	mux.HandleFunc("/elsewhere/{file}", func(w http.ResponseWriter, r *http.Request) {
		reply{content: []byte(hub.files[r.PathValue("file")])}.ServeHTTP(w, r)
	})
	hub.testHub = scripted(t, mux)
	return hub
}

// inFolder are the files of a folder and below it, by name.
func inFolder(t testing.TB, folder string) map[string]string {
	files := map[string]string{}
	check(t, fs.WalkDir(os.DirFS(folder), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files[name] = string(must(os.ReadFile(filepath.Join(folder, name))))
		}
		return err
	}))
	return files
}

func TestFetchRepository(t *testing.T) {
	const index, pytorch = "model.safetensors.index.json", "pytorch_model.bin.index.json"
	const all = "config.json model.safetensors"
	pointing := func(file string) string { return `={"weight_map":{"x":"` + file + `"}}` }
	for _, test := range []struct {
		name, spec string
		files      string // of the repository: NAME, or NAME=CONTENT
		gave       string // what was fetched, in order
		err        string
	}{
		{"a repository", "o/r", all + " tokenizer.json vocab.json merges.txt README.md " +
			"pytorch_model.bin tokenizer_config.json",
			"config.json tokenizer_config.json tokenizer.json model.safetensors", ""},
		{"an old one, under its old name", "old/r",
			"config.json pytorch_model.bin vocab.json merges.txt added_tokens.json",
			"config.json added_tokens.json vocab.json merges.txt pytorch_model.bin", ""},
		{"in parts", "o/r@main", "config.json a.safetensors b.bin=b c.safetensors " + index +
			`={"weight_map":{"x":"b.bin","y":"a.safetensors","z":"b.bin"}}`,
			"config.json model.safetensors.index.json a.safetensors b.bin", ""},
		{"PyTorch in parts, with a name to be escaped", "o/r@" + commit,
			"a#?%.bin " + pytorch + pointing("a#?%.bin"), pytorch + " a#?%.bin", ""},
		{"a branch", "o/r@feature/x", all, all, ""},
		{"another kind of vocabulary", "o/r", all + " spiece.model",
			"config.json spiece.model model.safetensors", ""},
		{"a model that cannot be computed", "o/r",
			`model.safetensors config.json={"model_type":"llama"}`, "config.json",
			`fetching o/r: config.json: model_type is "llama", not gpt2`},
		{"no weights", "o/r", "config.json flax.msgpack", "config.json",
			"the repository has none of model.safetensors, "},
		{"a part missing", "o/r", "config.json " + index + pointing("c.bin"),
			"config.json " + index, `names "c.bin", which the repository does not have`},
		{"a part that lies elsewhere", "o/r", "config.json " + index + pointing("../b"),
			"config.json " + index, `it names "../b": the parts lie beside the index`},
		{"a vast vocabulary", "o/r", "config.json tokenizer.json=VAST", "config.json",
			"tokenizer.json: 1.1 GB are too much"},
		{"a vocabulary that goes away", "o/r", all + " tokenizer.json=GONE", "config.json",
			"tokenizer.json: 127.0.0.1"},
		{"no such revision", "o/r@v2", "config.json", "", "fetching o/r@v2: config.json: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{}
			for _, file := range strings.Fields(test.files) {
				name, content, ok := strings.Cut(file, "=")
				if ext := filepath.Ext(name); !ok && (ext == ".safetensors" || ext == ".bin") {
					content = string(testFile)
				}
				files[name] = cmp.Or(content, "{}")
			}
			hub := newRepositoryHub(t, files)
			hub.commits["feature/x"] = commit
			d := testDownloader(t, hub.URL+"/mirror/", "")
			folder, err := d.fetch(test.spec, "")
			again, _ := findHere(must(parseRepository(test.spec)))
			gave := strings.Fields(test.gave)
			got := strings.ReplaceAll(strings.Join(hub.gave, " "), commit+" ", "")
			if got != test.gave {
				t.Errorf("fetched: %s", got)
			}
			if wantError(t, "the fetch", err, test.err); err != nil {
				if !again.download {
					t.Errorf("found all the same: %+v", again)
				}
				return
			}
			there := inFolder(t, folder)
			for _, name := range gave {
				if there[name] != files[name] {
					t.Errorf("%s has %d bytes", name, len(there[name]))
				}
			}
			if len(there) != len(gave) || filepath.Base(folder) != commit ||
				filepath.Dir(again.path) != folder {
				t.Errorf("%s has %d files; found again: %+v", folder, len(there), again)
			}
		})
	}
}

// TestFetchRepositoryAgain fetches what is there, what a killed run has begun, and a newer commit.
func TestFetchRepositoryAgain(t *testing.T) {
	hub := newRepositoryHub(t, map[string]string{"config.json": "{}", "vocab.json": "{}",
		"merges.txt": "a", "model.safetensors": string(testFile)})
	d := testDownloader(t, hub.URL, "")
	fetch := func(dest, want, wrong string) string {
		t.Helper()
		hub.gave = nil
		folder, err := d.fetch("o/r", dest)
		checkFailed(t, err, wrong, false)
		if got := strings.Join(hub.gave, ", "); got != want {
			t.Errorf("fetched: %s", got)
		}
		return folder
	}
	all := func(c string) string {
		return strings.ReplaceAll("COMMIT config.json, COMMIT vocab.json, COMMIT merges.txt, "+
			"COMMIT model.safetensors", "COMMIT", c)
	}
	folder := fetch("", all(commit), "")
	fetch("", "", "")
	weights := filepath.Join(folder, "model.safetensors")
	os.Remove(weights)
	write(t, partialOf(weights), testFile[:9])
	fetch("", commit+" model.safetensors", "")
	if got := hub.requests(); !strings.HasSuffix(got, "GET 9, GET 9") {
		t.Error(got) // the second is elsewhere
	}

	hub.commits["main"], hub.commits[another] = another, another
	hub.files["merges.txt"] = "b"
	if fetch("", all(another), "") == folder {
		t.Error("another commit lies in the same folder")
	}
	own := fetch(t.TempDir(), all(another), "")
	hub.files["vocab.json"] = "other"
	fetch(own, "", "vocab.json differs from the repository's")
	hub.commits[another] = third
	fetch("", "", "answers with commit "+third+" in place of "+another)
	hub.commits["main"] = "no commit"
	fetch("", "", "does not name the commit (in X-Repo-Commit)")
}

// TestFetchToken looks at who gets to see the token: the hub, but no other port of the same host.
func TestFetchToken(t *testing.T) {
	cdn := scripted(t, whole)
	hub := scripted(t, linked(testFile, "Location: "+cdn.URL+"/x"))
	d := testDownloader(t, hub.URL, "HF_TOKEN=\thf_secret\r\n")
	published[0].sum = ""
	path, err := d.fetch("gpt2", "")
	checkFetched(t, path, err)
	const asked = "HEAD Bearer hf_secret, GET Bearer hf_secret"
	if hub.requests() != asked || cdn.requests() != "GET" {
		t.Errorf("the hub saw %s, the other %s", hub.requests(), cdn.requests())
	}
	for _, token := range []string{"hf_\x01secret", "hf_ösecret", "hf_\nsecret"} {
		d := testDownloader(t, hub.URL, "HF_TOKEN="+token)
		_, err := d.fetch("gpt2", "")
		checkFailed(t, err, "the token in HF_TOKEN holds a space, a line break or another", true)
		if hub.requests() != asked || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, %s", err, hub.requests())
		}
	}
}

// TestFetchHTTPS goes through TLS, with a certificate that is trusted and with one that is not.
func TestFetchHTTPS(t *testing.T) {
	asked := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request) {
		if asked++; r.ProtoMajor != 1 {
			t.Errorf("over %s", r.Proto)
		}
		whole.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it notes the refused handshake
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	d := testDownloader(t, server.URL, "")
	d.quick = true
	_, err := d.fetch("gpt2", "")
	if checkFailed(t, err, "certificate", true); asked != 0 {
		t.Error("the file is asked for all the same")
	}
	d = testDownloader(t, server.URL, "")
	trusting := server.Client().Transport.(*http.Transport).TLSClientConfig
	d.client.Transport.(*http.Transport).TLSClientConfig = trusting
	if _, err := d.fetch("gpt2", ""); err != nil || asked != 1 {
		t.Error(err)
	}
}

// TestFetchProxy has a proxy between itself and the hub that refuses.
func TestFetchProxy(t *testing.T) {
	for code, want := range map[int]string{
		407: "Proxy Authentication Required: the proxy wants a name and a password, as in",
		502: "Bad Gateway",
	} {
		d := testDownloader(t, "https://hub.invalid", "")
		d.quick = true
		proxy := must(url.Parse(scripted(t, reply{code: code}).URL))
		d.client.Transport.(*http.Transport).Proxy = http.ProxyURL(proxy)
		_, err := d.fetch("gpt2", "")
		checkFailed(t, err, want, true)
	}
}

// TestFetchNoSpace runs out of space in the middle.
func TestFetchNoSpace(t *testing.T) {
	d := testDownloader(t, scripted(t, whole).URL, "")
	dest := filepath.Join(smallDisk(t), "x")
	_, err := d.fetch("gpt2", dest)
	checkFailed(t, err, "cannot write into "+filepath.Dir(dest)+": no space left on device", false)
	if left := leftovers(dest); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}

// TestFetchWaits waits for whoever fetches the file already, and takes what that leaves.
func TestFetchWaits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for requests, left := range map[string][]byte{"": testFile, "GET": nil} {
			hub := scripted(t, whole)
			d := testDownloader(t, hub.URL, "")
			dest := filepath.Join(t.TempDir(), "x")
			holder := must(openLocked(partialOf(dest), 0o644))
			var notes []string
			d.note = func(line string) { notes = append(notes, line) }
			began := time.Now()
			time.AfterFunc(time.Minute, func() {
				if left != nil {
					write(t, dest, left)
				}
				holder.Close()
			})
			_, err := d.fetch("gpt2", dest)
			checkFetched(t, dest, err)
			waited := time.Since(began) - time.Minute
			if notes[0] != "another mechpatch is fetching "+dest+": waiting for it" ||
				hub.requests() != requests || waited < 0 || waited > time.Second {
				t.Errorf("%q, requests: %s, a minute and %s", notes, hub.requests(), waited)
			}
		}
	})
}

// TestFetchFromCache takes what the Hugging Face cache has under the right sum: as a blob, through
// a link into the store that repositories share, or under the commit where there are no links.
func TestFetchFromCache(t *testing.T) {
	blob := "blobs/" + testModel.sum
	at := "snapshots/" + testModel.revision + "/model.safetensors"
	for name, test := range map[string]struct{ path, content, before, requests string }{
		"a blob":          {blob, string(testFile), "spoilt", ""},
		"a link":          {blob, "-> ../../blobs/63/63d2", "spoilt", ""},
		"a plain file":    {at, string(testFile), "spoilt", ""},
		"a spoilt blob":   {blob, "x" + string(testFile[1:]), "", "GET"},
		"a short file":    {at, string(testFile[1:]), "", "GET"},
		"a dangling link": {blob, "-> nowhere", "", "GET"},
	} {
		t.Run(name, func(t *testing.T) {
			hub := scripted(t, whole)
			d := testDownloader(t, hub.URL, "")
			put(t, hubCache(), map[string]string{"blobs/63/63d2": string(testFile),
				"models--openai-community--gpt2/" + test.path: test.content})
			dest := filepath.Join(t.TempDir(), "x")
			write(t, partialOf(dest), test.before)
			_, err := d.fetch("gpt2", dest)
			if checkFetched(t, dest, err); hub.requests() != test.requests {
				t.Errorf("requests: %s", hub.requests())
			}
		})
	}
}

// TestFetchProcesses has a process killed in the middle of a fetch and another go on from there,
// through a proxy that only the environment names. Both are this test program.
func TestFetchProcesses(t *testing.T) {
	killed := make(chan bool)
	half := reply{content: testFile, pieces: 1, size: 300_000, end: func(r *http.Request) {
		if <-killed; r.Host != "hub.invalid" { // it is a proxy
			t.Errorf("asked for host %s", r.Host)
		}
	}}
	hub := scripted(t, half, whole)
	dest := filepath.Join(t.TempDir(), "gpt2.safetensors")
	run := func() *exec.Cmd {
		return child(t, "TestFetchChild", "MECHPATCH_TEST_DEST="+dest, "http_proxy=", "no_proxy=",
			"HF_ENDPOINT=http://hub.invalid", "HTTP_PROXY="+hub.URL, "NO_PROXY=",
			"HF_HUB_OFFLINE=", "TRANSFORMERS_OFFLINE=")
	}
	first := run()
	if err := first.Start(); err != nil {
		t.Skipf("this program cannot be started here: %v", err)
	}
	for info, _ := os.Stat(partialOf(dest)); info == nil || info.Size() != 300_000; {
		time.Sleep(time.Millisecond)
		info, _ = os.Stat(partialOf(dest))
	}
	first.Process.Kill()
	first.Wait()
	close(killed)
	if out, err := run().CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	checkFetched(t, dest, nil)
	if got := hub.requests(); got != "GET, GET 300000" {
		t.Error(got)
	}
}

// TestFetchChild is what TestFetchProcesses starts.
func TestFetchChild(t *testing.T) {
	dest := os.Getenv("MECHPATCH_TEST_DEST")
	if dest == "" {
		t.Skip("runs as a child of TestFetchProcesses")
	}
	set(t, &published, []Repository{testModel})
	must(newDownloader(false, true).fetch("gpt2", dest))
}

func TestPublished(t *testing.T) {
	for _, p := range published {
		_, err := parseRepository(p.id + "@" + p.revision)
		if err != nil || !isCommit(p.revision) || p.sum != "" && (len(p.sum) != 64 || p.size == 0) {
			t.Errorf("%s is not pinned: %v", p.name, err)
		}
	}
}

// TestHubToken looks at where the user's token is from.
func TestHubToken(t *testing.T) {
	for _, test := range []struct{ variables, token, from string }{
		{"", "of_home", "ROOT/home/.cache/huggingface/token"},
		{"HF_HOME=ROOT/hf", "of_hf", "ROOT/hf/token"},
		{"HF_HOME=ROOT/hf HF_TOKEN_PATH=ROOT/t/x", "of_path", "ROOT/t/x"},
		{"HF_TOKEN_PATH=ROOT/none", "", "ROOT/none"},
		{"HF_TOKEN_PATH=ROOT/t/x HF_TOKEN=said", "said", "HF_TOKEN"},
		{"HF_TOKEN= HUGGING_FACE_HUB_TOKEN=old", "old", "HUGGING_FACE_HUB_TOKEN"},
		{"HF_TOKEN=\u00a0 HUGGING_FACE_HUB_TOKEN=old HF_HOME=ROOT/hf", "of_hf", "ROOT/hf/token"},
		{"HF_TOKEN_PATH=", "", "."},
		{"HF_HOME=", "of_work", "token"},
		{"HF_TOKEN=said HF_HUB_DISABLE_IMPLICIT_TOKEN=1", "", ""},
	} {
		root := bareMachine(t, test.variables)
		put(t, root, map[string]string{"home/.cache/huggingface/token": "of_home\n",
			"work/token": "of_work", "hf/token": "of_hf", "t/x": "of_path\r\n"})
		token, from := hubToken()
		from = filepath.ToSlash(strings.ReplaceAll(from, root, "ROOT"))
		if token != test.token || from != test.from {
			t.Errorf("%s: %q from %q", test.variables, token, from)
		}
	}
}

// answered is a server's answer, as it arrives.
func answered(code int, header string) *http.Response {
	request, answer := httptest.NewRequest("GET", "http://hub/x", nil), httptest.NewRecorder()
	reply{code: code, header: header}.ServeHTTP(answer, request)
	response := answer.Result()
	response.Request = request
	return response
}

// TestRefusal looks at what a server's answers are called, and at what becomes of them: whether
// another try makes sense, and how long the server wants to be left alone before.
func TestRefusal(t *testing.T) {
	const kind, limit = "X-Error-Code: ", "RateLimit: "
	for _, test := range []struct {
		code          int
		header, token string
		want, becomes string
	}{
		{404, kind + "EntryNotFound", "", "answers 404 Not Found: the file is not there", "absent"},
		{404, kind + "RevisionNotFound", "", "the repository has no such revision", ""},
		{401, kind + "RepoNotFound", "", "repository, or it wants a token in HF_TOKEN", ""},
		{404, kind + "RepoNotFound", "hf_x", "or it does not accept the token in HF_TOKEN", ""},
		{403, kind + "GatedRepo", "", "terms that must be agreed to", ""},
		{401, "", "", "401 Unauthorized: perhaps there is no such repository, or it wants", ""},
		{403, "", "hf_x", "repository, or it does not accept the token in HF_TOKEN", ""},
		{408, "", "", "408 Request Timeout", "again"},
		{503, "", "", "503 Service Unavailable", "again"},
		{503, "Retry-After: 7", "", "503", "again in 7s"},
		{503, "Retry-After: -7", "", "503", "again"},
		{503, "Retry-After: soon", "", "503", "again"},
		{503, "Retry-After: 9223372036854775807", "", "503", "again in 291h16m16s"},
		{503, limit + `"api";r=0;t=55`, "", "503", "again"},
		{429, limit + `"resolvers";r=0;t=55`, "", "429", "again in 56s"},
		{429, "Retry-After: 7\n" + limit + `"api" ; r=0 ; t = 280`, "", "429", "again in 4m41s"},
		// it is about something else
		{429, "Retry-After: 1\n" + limit + `"api";r=450;t=120`, "", "429", "again in 1s"},
		{429, limit + `;r=0;t=9223372036854775808`, "", "429", "again"},
	} {
		d := &Downloader{token: test.token, tokenFrom: "HF_TOKEN"}
		f := d.refusal(answered(test.code, test.header))
		becomes := map[[2]bool]string{{true, false}: "again", {false, true}: "absent"}
		got := becomes[[2]bool{f.again, f.absent}]
		if f.after != 0 {
			got += " in " + f.after.String()
		}
		if !says(f, test.want) || got != test.becomes {
			t.Errorf("%d %s: %v, %s", test.code, test.header, f, got)
		}
	}
}

func TestCheckRedirect(t *testing.T) {
	for _, test := range []struct {
		from, to string
		keeps    bool // the token
		err      string
	}{
		{"https://huggingface.co/a", "https://HuggingFace.co/b", true, ""},
		{"https://huggingface.co/a", "https://cdn.huggingface.co/b", false, ""},
		{"https://huggingface.co/a", "https://huggingface.co:8443/b", false, ""},
		{"http://127.0.0.1/a", "https://127.0.0.1/a", false, ""},
		{"https://huggingface.co/a", "http://huggingface.co/b", false, "an address without HTTPS"},
	} {
		from := httptest.NewRequest("GET", test.from, nil)
		to := httptest.NewRequest("GET", test.to, nil)
		to.Header.Set("Authorization", "Bearer hf_secret")
		err := checkRedirect(to, []*http.Request{from})
		keeps := to.Header.Get("Authorization") != ""
		if !says(err, test.err) || err == nil && keeps != test.keeps {
			t.Errorf("%s to %s: keeps the token: %v, %v", test.from, test.to, keeps, err)
		}
	}
}

// announced is what a redirect to a file's bytes says of them.
func announced(etag, size string) (int64, string, error) {
	return parseAnnouncement(answered(302, "X-Linked-Etag: "+etag+"\nX-Linked-Size: "+size))
}

func TestParseAnnouncement(t *testing.T) {
	const unchecked = "0  does not announce the file's size and checksum (in X-Linked-Size and " +
		"X-Linked-Etag, or Content-Length and ETag), so that it could not be checked"
	holds(t, func(headers [2]string) string {
		return strings.TrimSpace(fmt.Sprintln(announced(headers[0], headers[1])))
	}, map[[2]string]string{
		{`"` + commit + `"`, "7"}: "7 " + commit + " <nil>", {commit, ""}: unchecked,
		{`W/"` + commit + `"`, " 7 "}: "7 " + commit + " <nil>", {commit, "-5"}: unchecked,
		{strings.ToUpper(commit), "7"}: "7 " + commit + " <nil>", {commit, "x"}: unchecked,
		{commit, "99999999999999"}: unchecked, {commit + "0", "7"}: unchecked,
	})
}

func FuzzParseAnnouncement(f *testing.F) {
	f.Add(`"`+testModel.sum+`"`, "700001")
	f.Add(`W/"`+commit+`"`, "0")
	f.Fuzz(func(t *testing.T, etag, size string) {
		n, sum, err := announced(etag, size)
		raw, hexErr := hex.DecodeString(sum)
		if err == nil &&
			(n < 0 || hexErr != nil || len(raw) != sha256.Size && len(raw) != sha1.Size) {
			t.Errorf("%q, %q: %d, %q", etag, size, n, sum)
		}
	})
}
