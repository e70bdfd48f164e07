package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"math/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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
func testModel() Repository {
	return Repository{
		name: "gpt2", id: "openai-community/gpt2", revision: strings.Repeat("a", 40),
		size: int64(len(testFile)), sum: fmt.Sprintf("%x", sha256.Sum256(testFile)),
	}
}

// An answer is how a server replies to a request, and a script is its answers one after the other,
// the last one again and again.
type (
	answer func(w http.ResponseWriter, r *http.Request)
	script []answer
)

// whole is the file, or the range of it that is asked for.
func whole(w http.ResponseWriter, r *http.Request) { serve(testFile)(w, r) }

// serve is the same with other data.
func serve(data []byte) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
}

// cut breaks the connection off after n bytes of another answer.
func cut(n int, a answer) answer {
	return func(w http.ResponseWriter, r *http.Request) { a(&cutWriter{w, n}, r) }
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(b []byte) (int, error) {
	if len(b) <= c.left {
		c.left -= len(b)
		return c.ResponseWriter.Write(b)
	}
	c.ResponseWriter.Write(b[:c.left])
	c.Flush()
	panic(http.ErrAbortHandler)
}

func (c *cutWriter) Flush() { c.ResponseWriter.(http.Flusher).Flush() }

// rangeCut is n bytes from first on, whatever range is asked for; header is the Content-Range.
func rangeCut(header string, first, n int) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		if header != "" {
			w.Header().Set("Content-Range", header)
		}
		w.WriteHeader(http.StatusPartialContent)
		w.Write(testFile[first : first+n])
	}
}

// page is a page for people to read.
func page(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, "<!DOCTYPE html><title>Welcome to the guest network</title>")
}

// status is an answer without the file. Its headers are given as NAME: VALUE.
func status(code int, headers ...string) answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(code)
	}
}

// unsized is another answer without a Content-Length, and whole though a range is asked for.
func unsized(a answer) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		recorder := httptest.NewRecorder()
		a(recorder, r)
		w.Header().Set("Content-Type", recorder.Header().Get("Content-Type"))
		w.(http.Flusher).Flush()
		w.Write(recorder.Body.Bytes())
	}
}

// inBubble runs a test in a time and on a network of its own. Where everybody waits, time passes at
// once; whether they do can be told of pipes, but not of a machine's network.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	set(t, &network, map[string]*pipes{})
	synctest.Test(t, f)
}

// network is what the tests' servers listen on, by address; nil is the machine's own.
var network map[string]*pipes

// pipes is one server's end of it.
type pipes struct {
	dialled chan net.Conn
	address net.TCPAddr
	close   func()
}

func (p *pipes) Addr() net.Addr { return &p.address }

func (p *pipes) Close() error {
	p.close()
	return nil
}

func (p *pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p.dialled; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func dial(_ context.Context, _, address string) (net.Conn, error) {
	p, ok := network[address]
	if !ok {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	mine, theirs := net.Pipe()
	p.dialled <- theirs
	return mine, nil
}

// testHub is a server that keeps a list of the requests it got: "GET 5" asks for byte 5 and on.
type testHub struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

// scripted is a server with a script.
func scripted(t testing.TB, answers ...answer) *testHub {
	hub := &testHub{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hub.mu.Lock()
		n := len(hub.seen)
		from := strings.Trim(r.Header.Get("Range"), "bytes=-")
		hub.seen = append(hub.seen, strings.TrimSpace(r.Method+" "+from))
		hub.mu.Unlock()
		answers[min(n, len(answers)-1)](w, r)
	})
	if network == nil {
		hub.Server = httptest.NewServer(handler)
	} else {
		address := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1000 + len(network)}
		dialled := make(chan net.Conn)
		p := &pipes{dialled, address, sync.OnceFunc(func() { close(dialled) })}
		network[address.String()] = p
		hub.Server = &httptest.Server{Listener: p, Config: &http.Server{Handler: handler}}
		hub.Start()
	}
	t.Cleanup(hub.Close)
	return hub
}

func (hub *testHub) requests() string {
	hub.mu.Lock()
	defer hub.mu.Unlock()
	return strings.Join(hub.seen, ", ")
}

// testEnv is an Env with folders of its own and these variables, given as NAME=VALUE.
func testEnv(t testing.TB, variables ...string) Env {
	root := t.TempDir()
	env := Env{
		home: filepath.Join(root, "home"), dir: filepath.Join(root, "work"),
		cache: filepath.Join(root, "cache", "mechpatch"),
		exe:   filepath.Join(root, "bin", "mechpatch"),
	}
	for _, folder := range []string{env.home, env.dir, env.cache, filepath.Dir(env.exe)} {
		check(t, os.MkdirAll(folder, 0o755))
	}
	env.lookup = func(name string) (string, bool) {
		for _, v := range variables {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
	return env
}

// testDownloader fetches testModel from the server at address.
func testDownloader(t testing.TB, address string, variables ...string) *Downloader {
	d := newDownloader(testEnv(t, append(variables, "HF_ENDPOINT="+address)...), false)
	if network != nil {
		d.client.Transport.(*http.Transport).DialContext = dial
	}
	set(t, &published, []Repository{testModel()})
	t.Cleanup(d.client.CloseIdleConnections)
	return d
}

// leftovers lists what lies beside dest, except dest itself.
func leftovers(t testing.TB, dest string) []string {
	entries, err := os.ReadDir(filepath.Dir(dest))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != filepath.Base(dest) {
			names = append(names, e.Name())
		}
	}
	return names
}

func cacheFile(env Env) string { return filepath.Join(env.cache, "gpt2.safetensors") }

func partialOf(dest string) string { return dest + "." + testModel().sum[:16] + ".partial" }

// checkFetched makes sure that dest is testFile and that nothing lies beside it.
func checkFetched(t testing.TB, dest string, err error) {
	t.Helper()
	if data, _ := os.ReadFile(dest); err != nil || !bytes.Equal(data, testFile) {
		t.Errorf("%s: %d bytes, %v", dest, len(data), err)
	}
	if left := leftovers(t, dest); left != nil {
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

// fetchTest is a fetch of testFile.
type fetchTest struct {
	name     string
	script   script
	before   []byte // of the partial file
	requests string // what the server is asked
	kept     int    // bytes of the partial file that are left after a failure
	err      string // "" for success
}

const wrongSum, tooLong = "wrong checksum", "wrong size: more arrives than the 700001 bytes"

func (test fetchTest) run(t *testing.T) {
	hub := scripted(t, test.script...)
	d := testDownloader(t, hub.URL)
	dest := cacheFile(d.env)
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

	path, err := d.fetch("gpt2", "")
	if got := hub.requests(); got != test.requests {
		t.Errorf("requests: %s\n    want: %s", got, test.requests)
	}
	if test.err == "" {
		if checkFetched(t, dest, err); path != dest || last != int64(len(testFile)) {
			t.Errorf("%s; progress ended at %d", path, last)
		}
		return
	}
	begun := test.kept >= worth || test.err == tooLong || strings.HasPrefix(test.err, wrongSum)
	checkFailed(t, err, test.err, !begun)
	wantError(t, "what failed", err, "fetching gpt2: ")
	kept, _ := os.ReadFile(partialOf(dest))
	if !bytes.Equal(kept, testFile[:test.kept]) || isFile(dest) {
		t.Errorf("%d bytes are kept, want %d", len(kept), test.kept)
	}
	if left := leftovers(t, dest); len(left) > 1 || len(left) == 1 && test.kept == 0 {
		t.Errorf("left over: %q", left)
	}
}

func TestFetch(t *testing.T) {
	wrong := bytes.Repeat([]byte("x"), len(testFile))
	wrongSums := fmt.Sprintf("%s: that of what arrived is %x, not %s", wrongSum,
		sha256.Sum256(wrong), testModel().sum)
	longer, part := append(bytes.Clone(testFile), 'x'), testFile[:1000]
	const login = "of text/html; charset=utf-8: does this network ask for a login?"
	const k = 100_000 // bytes, enough to be worth a try
	otherRange := rangeCut("bytes 17-700000/700001", 17, 100)
	for _, test := range []fetchTest{
		{"at once", script{whole}, nil, "GET", 0, ""},
		{"broken off again and again, but always further",
			script{cut(1, whole), cut(1, whole), cut(k, whole), cut(1, whole), cut(1, whole),
				cut(1, whole), cut(1, whole), cut(1, whole), cut(k, whole), cut(1, whole), whole},
			nil, "GET, GET 1, GET 2, GET 100002, GET 100003, GET 100004, GET 100005, " +
				"GET 100006, GET 100007, GET 200007, GET 200008", 0, ""},

		{"resumed", script{whole}, testFile[:123_456], "GET 123456", 0, ""},
		{"whole, but not yet renamed", script{whole}, testFile, "", 0, ""},
		{"longer than the file", script{whole}, longer, "GET", 0, ""},
		{"spoilt", script{whole}, wrong[:1000], "GET 1000, GET", 0, ""},
		{"spoilt to the end", script{whole}, wrong, "GET", 0, ""},

		{"no Content-Length", script{unsized(whole)}, nil, "GET", 0, ""},
		{"no Content-Length, broken off", script{cut(k, unsized(whole)), whole}, nil,
			"GET, GET 100000", 0, ""},
		{"no Content-Length, and longer", script{unsized(serve(longer))}, nil, "GET", 0,
			tooLong},
		{"no Content-Length, and empty", script{unsized(serve(nil))}, nil,
			"GET, GET, GET, GET", 0, "the connection broke off"},
		{"range ignored", script{cut(1000, whole), unsized(whole)}, nil, "GET, GET 1000", 0, ""},
		{"range refused", script{status(416), whole}, part, "GET 1000, GET", 0, ""},
		{"another range than asked for", script{otherRange, whole}, part, "GET 1000, GET", 0, ""},
		{"a range without Content-Range", script{rangeCut("", 1000, 100), whole}, part,
			"GET 1000, GET", 0, ""},
		{"never the range that was asked for", script{otherRange}, part,
			"GET 1000, GET, GET, GET", 0, "the server's answers do not fit together"},
		{"a range of a file of another length",
			script{rangeCut("bytes 1000-1999/2000", 1000, 1000)}, part, "GET 1000", 1000,
			"another file than that of 700001 bytes: 2000 bytes of"},

		{"another file behind the break", script{cut(1000, whole), serve(wrong), whole}, nil,
			"GET, GET 1000, GET", 0, ""},
		{"wrong checksum", script{serve(wrong)}, nil, "GET", 0, wrongSums},
		{"wrong checksum of what goes on an earlier run", script{serve(wrong)}, wrong[:10],
			"GET 10, GET", 0, wrongSums},
		{"wrong length", script{serve(part)}, nil, "GET", 0,
			"sends another file than that of 700001 bytes: 1000 bytes of application/"},
		{"no bytes", script{serve(nil)}, nil, "GET", 0, "of 700001 bytes: 0 bytes of"},
		{"a login page", script{page}, nil, "GET", 0, login},
		{"a login page without a length, over an earlier part", script{unsized(page)}, part,
			"GET 1000", 1000, login},

		{"500, 503, 429, then the file", script{status(500), status(503), status(429), whole},
			nil, "GET, GET, GET, GET", 0, ""},
		{"500 in the middle",
			script{cut(k, whole), status(500), status(500), status(500), status(500), whole},
			nil, "GET" + strings.Repeat(", GET 100000", 5), 0, ""},
		{"the middle is as far as it goes", script{cut(k, whole), status(502)}, nil,
			"GET" + strings.Repeat(", GET 100000", 7), k,
			"502 Bad Gateway; 100.0 kB of 700.0 kB are kept"},
		{"404 in the middle", script{cut(k, whole), status(404)}, nil, "GET, GET 100000", k,
			"404 Not Found"},
		{"500", script{status(500)}, nil, "GET, GET, GET, GET", 0, "500 Internal Server Error"},
		{"404", script{status(404)}, nil, "GET", 0,
			"404 Not Found: the file is not there; is HF_ENDPOINT right?"},
		{"asked to come back later than one wants to wait",
			script{status(429, "Retry-After: 3600")}, nil, "GET", 0, "429 Too Many"},
		{"redirects without end", script{status(302, "Location: /again")}, nil,
			"GET" + strings.Repeat(", GET", 9), 0, "more than 10 redirects"},
		{"a byte a connection", script{cut(1, whole)}, nil, "GET, GET 1, GET 2, GET 3", 4,
			"the connection broke off"},
	} {
		t.Run(test.name, func(t *testing.T) { inBubble(t, test.run) })
	}
}

// drip sends n bytes, so many times, and waits after each; then all the rest, or nothing any more.
func drip(n int, every time.Duration, times int, hangs bool) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		first := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &first)
		w.Header().Set("Content-Length", strconv.Itoa(len(testFile)-first))
		if first > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-700000/700001", first))
			w.WriteHeader(http.StatusPartialContent)
		}
		for i := 0; i < times && first+n < len(testFile); i++ {
			w.Write(testFile[first : first+n])
			w.(http.Flusher).Flush()
			first += n
			if time.Sleep(every); i == times-1 && hangs {
				<-r.Context().Done()
				return
			}
		}
		w.Write(testFile[first:])
	}
}

// TestFetchSlow has servers that take their time.
func TestFetchSlow(t *testing.T) {
	const tooSlow, tooLate = "less than 100.0 kB within 30s", "less than 100.0 kB within 8s"
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, test := range []struct {
		name     string
		quick    bool
		sum      string
		answer   answer
		requests string
		err      string
	}{
		{"a byte every two seconds", false, testModel().sum, drip(1, 2*time.Second, 15, true),
			"GET, GET 15, GET 30, GET 45", tooSlow},
		{"a byte every two seconds, plain run", true, testModel().sum,
			drip(1, 2*time.Second, 4, true), "GET", tooLate},
		{"a late start, plain run", true, testModel().sum, drip(40_000, 7*time.Second, 1, true),
			"GET", tooLate},
		{"fast enough, plain run", true, testModel().sum, drip(50_000, 3*time.Second, 13, false),
			"GET", ""},
		{"fast enough", false, testModel().sum, drip(50_000, 14*time.Second, 13, false), "GET", ""},
		{"slow after a good start, plain run", true, testModel().sum,
			drip(600_000, 29*time.Second, 1, false), "GET", ""},
		{"nothing any more after a good start", false, testModel().sum,
			drip(600_000, 0, 1, true), "GET, GET 600000", ""},
		{"no answer, plain run", true, testModel().sum, silent, "GET", tooLate},
		{"no announcement", false, "", silent, "HEAD, HEAD, HEAD, HEAD", tooSlow},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				hub := scripted(t, test.answer)
				d := testDownloader(t, hub.URL)
				d.quick, published[0].sum = test.quick, test.sum
				path, err := d.fetch("gpt2", "")
				if hub.requests() != test.requests {
					t.Errorf("requests: %s", hub.requests())
				}
				if test.err == "" {
					checkFetched(t, path, err)
				} else {
					checkFailed(t, err, test.err, true)
				}
			})
		})
	}
}

// TestFetchNotes looks at what a fetch says while it goes on.
func TestFetchNotes(t *testing.T) { inBubble(t, testFetchNotes) }

func testFetchNotes(t *testing.T) {
	hub := scripted(t, cut(200_000, whole), whole)
	d := testDownloader(t, hub.URL)
	var notes []string
	d.note = func(line string) { notes = append(notes, line) }
	d.fetch("gpt2", "")
	d.fetch("gpt2", "")
	dest := cacheFile(d.env)
	for i, want := range []string{
		"model.safetensors, 700.0 kB, from " + hub.URL + "/openai-community/gpt2 into " + dest,
		"the connection broke off; trying again in ",
		dest + " is there, and its checksum is right",
	} {
		if len(notes) != 3 || !strings.HasPrefix(notes[i], want) {
			t.Fatalf("%q", notes)
		}
	}
}

// TestFetchDestination covers the ways to say where the file goes, and a file that is there.
func TestFetchDestination(t *testing.T) {
	hub := scripted(t, whole)
	d := testDownloader(t, hub.URL)
	folder := t.TempDir()
	file := filepath.Join(folder, "x.bin")
	put(t, folder, map[string]string{"x.bin": "something else"})
	for _, test := range []struct{ dest, want string }{
		{folder, filepath.Join(folder, "gpt2.safetensors")},
		{file, file},
		{file, file}, // nothing is asked for the second time
	} {
		path, err := d.fetch("openai-community/gpt2", test.dest)
		got, _ := os.ReadFile(test.want)
		if err != nil || path != test.want || !bytes.Equal(got, testFile) {
			t.Errorf("%s: %s, %d bytes, %v", test.dest, path, len(got), err)
		}
	}
	if got := hub.requests(); got != "GET, GET" {
		t.Errorf("requests: %s", got)
	}
	put(t, folder, map[string]string{"link": "-> there"}) // which is not there yet
	path, err := d.fetch("gpt2", filepath.Join(folder, "link"))
	if info, _ := os.Lstat(path); err != nil || filepath.Base(path) != "there" || info == nil ||
		!info.Mode().IsRegular() {
		t.Errorf("through a link: %s, %v", path, err)
	}

	failing := func(name, dest, want string) {
		t.Helper()
		_, err := d.fetch(name, dest)
		checkFailed(t, err, want, false)
	}
	d.env.cache = ""
	failing("gpt2", filepath.Join(folder, "no", "x"),
		"cannot write into "+filepath.Join(folder, "no"))
	failing("gpt2", "", `this system names no cache folder; "mechpatch fetch -o FILE"`)
	failing("gpt3", file, "fetching gpt3: no model of that name: known are gpt2")
	failing("o/r", file, "x.bin cannot be a folder, and this model is several files")
	failing("o/r", filepath.Join(folder, "new.safetensors"), "cannot be a folder")
	failing("circuit", file, "it is built into the program")
	d.env.cache = file
	failing("gpt2", "", "mechpatch fetch -o FILE") // a cache that is no folder
	for variables, want := range map[string]string{
		"HF_ENDPOINT=huggingface.co":       "HF_ENDPOINT is not an address",
		"HF_ENDPOINT=ftp://huggingface.co": "HF_ENDPOINT is not an address",
		"HF_HUB_OFFLINE=1":                 "HF_HUB_OFFLINE=1 forbids the network",
	} {
		d.env.lookup = testEnv(t, variables).lookup
		failing("gpt2", filepath.Join(folder, "y"), want)
	}
}

// TestFetchAnnounced fetches a model whose sum only the hub knows.
func TestFetchAnnounced(t *testing.T) {
	commit, etag, size := strings.Repeat("b", 40), `"`+testModel().sum+`"`, "700001"
	atCommit := "/o/r/resolve/" + commit + "/model.safetensors"
	atMain := "/o/r/resolve/main/model.safetensors"
	const noSum, noSize = "does not announce the file's checksum",
		"does not announce the file's size"
	git := gitSum(testFile)
	elsewhere := scripted(t, whole)
	for _, test := range []struct {
		name               string
		etag, size, commit string
		want               string // the path of the GET, or the error
	}{
		{"as the hub does", etag, size, commit, atCommit},
		{"a weak tag", "W/" + etag, size, commit, atCommit},
		{"capitals, no quotes", strings.ToUpper(testModel().sum), size, commit, atCommit},
		{"no commit", etag, size, "", atMain},
		{"a commit that leads elsewhere", etag, size, "../../../../x", atMain},
		{"no tag", "", size, commit, noSum},
		{"git's sum", `"` + git + `"`, size, commit, atCommit},
		{"another sum", `"` + commit + `"`, size, commit, "wrong checksum"},
		{"no size", etag, "", commit, noSum}, // and where the redirect leads is no hub
		{"a bad size", etag, "-5", commit, noSize},
		{"a vast size", etag, "99999999999999", commit, noSize},
		{"another size", etag, "700002", commit, "of 700002 bytes: 700001 bytes of"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got string
			hub := scripted(t, func(w http.ResponseWriter, r *http.Request) {
				if renamed, ok := strings.CutPrefix(r.URL.Path, "/old/"); ok {
					http.Redirect(w, r, "/o/"+renamed, http.StatusTemporaryRedirect)
					return
				}
				if r.Method == http.MethodGet {
					got = r.URL.Path
				}
				w.Header().Set("ETag", `"not this one"`)
				status(302, "X-Linked-Etag: "+test.etag, "X-Linked-Size: "+test.size,
					"X-Repo-Commit: "+test.commit, "Location: "+elsewhere.URL)(w, r)
			})
			d := testDownloader(t, hub.URL)
			set(t, &published, []Repository{{name: "r", id: "old/r", revision: "main"}})
			path, err := d.fetch("r", "")
			if !strings.HasPrefix(test.want, "/") {
				checkFailed(t, err, test.want, test.want != "wrong checksum")
				return
			}
			if checkFetched(t, path, err); got != test.want {
				t.Errorf("GET %s, want %s", got, test.want)
			}
		})
	}
}

// gitSum is the SHA-1 that git gives a file.
func gitSum(data []byte) string {
	return fmt.Sprintf("%x", sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...)))
}

// repositoryHub serves repositories as the hub does: at PATH, a revision and a file's name, are its
// bytes. Files of more than a kilobyte are large: their bytes are elsewhere. It lists what it gave.
type repositoryHub struct {
	*testHub
	commits map[string]string // of revisions
	files   map[string]string // content by name
	gave    []string
}

func newRepositoryHub(t testing.TB, files map[string]string) *repositoryHub {
	hub := &repositoryHub{files: files, commits: map[string]string{"main": commit, commit: commit}}
	hub.testHub = scripted(t, func(w http.ResponseWriter, r *http.Request) {
		if name, ok := strings.CutPrefix(r.URL.Path, "/elsewhere/"); ok {
			serve([]byte(hub.files[name]))(w, r)
			return
		}
		parts := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
		if len(parts) != 5 || parts[2] != "resolve" {
			t.Errorf("asked for %s", r.URL)
			return
		}
		if parts[0] == "old" {
			http.Redirect(w, r, "/o/"+strings.Join(parts[1:], "/"), http.StatusTemporaryRedirect)
			return
		}
		revision, _ := url.PathUnescape(parts[3])
		at, ok := hub.commits[revision]
		if !ok {
			status(404, "X-Error-Code: RevisionNotFound")(w, r)
			return
		}
		content, ok := hub.files[parts[4]]
		if !ok {
			status(404, "X-Error-Code: EntryNotFound")(w, r)
			return
		}
		if r.Method == http.MethodGet {
			hub.gave = append(hub.gave, revision+" "+parts[4])
		}
		w.Header().Set("X-Repo-Commit", at)
		if content == "VAST" {
			status(302, "X-Linked-Etag: "+testModel().sum, "X-Linked-Size: 1100000000")(w, r)
			return
		}
		if len(content) < 1000 {
			w.Header().Set("ETag", `W/"`+gitSum([]byte(content))+`"`)
			serve([]byte(content))(w, r)
			return
		}
		w.Header().Set("X-Linked-Etag", fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(content))))
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(content)))
		http.Redirect(w, r, "/elsewhere/"+parts[4], http.StatusFound)
	})
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
	const index, missing = "model.safetensors.index.json", `{"weight_map": {"x": "c.safetensors"}}`
	for _, test := range []struct {
		name, spec string
		files      string            // of the repository
		special    map[string]string // what some of them hold
		gave       string            // what was fetched, in order
		err        string
	}{
		{"a repository", "o/r", "config.json model.safetensors tokenizer.json vocab.json " +
			"merges.txt README.md pytorch_model.bin tokenizer_config.json", nil,
			"config.json tokenizer_config.json tokenizer.json model.safetensors", ""},
		{"an old one, under its old name", "old/r",
			"config.json pytorch_model.bin vocab.json merges.txt added_tokens.json", nil,
			"config.json added_tokens.json vocab.json merges.txt pytorch_model.bin", ""},
		{"in parts", "o/r@main", "config.json a.safetensors b.safetensors c.safetensors",
			map[string]string{index: `{"weight_map": {"x": "b.safetensors",
				"y": "a.safetensors", "z": "b.safetensors"}}`, "b.safetensors": "b"},
			"config.json model.safetensors.index.json a.safetensors b.safetensors", ""},
		{"PyTorch in parts", "o/r@" + commit, "a.bin",
			map[string]string{"pytorch_model.bin.index.json": `{"weight_map": {"x": "a.bin"}}`},
			"pytorch_model.bin.index.json a.bin", ""},
		{"a branch", "o/r@feature/x", "config.json model.safetensors", nil,
			"config.json model.safetensors", ""},
		{"another kind of vocabulary", "o/r", "config.json spiece.model model.safetensors", nil,
			"config.json spiece.model model.safetensors", ""},
		{"a model that cannot be computed", "o/r", "model.safetensors",
			map[string]string{"config.json": `{"model_type": "llama"}`}, "config.json",
			`fetching o/r: config.json: model_type is "llama", not gpt2`},
		{"no weights", "o/r", "config.json flax.msgpack", nil, "config.json",
			"the repository has none of model.safetensors, "},
		{"a part missing", "o/r", "config.json", map[string]string{index: missing},
			"config.json " + index, `names "c.safetensors", which the repository does not have`},
		{"a part that lies elsewhere", "o/r", "config.json",
			map[string]string{index: `{"weight_map": {"x": "../b.safetensors"}}`},
			"config.json " + index,
			`it names "../b.safetensors": the parts lie beside the index`},
		{"a vast vocabulary", "o/r", "config.json", map[string]string{"tokenizer.json": "VAST"},
			"config.json", "tokenizer.json: 1.1 GB are too much"},
		{"no such revision", "o/r@v2", "config.json", nil, "", "fetching o/r@v2: config.json: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{}
			for _, name := range strings.Fields(test.files) {
				files[name] = "{}"
				if ext := filepath.Ext(name); ext == ".safetensors" || ext == ".bin" {
					files[name] = string(testFile)
				}
			}
			maps.Copy(files, test.special)
			hub := newRepositoryHub(t, files)
			hub.commits["feature/x"] = commit
			d := testDownloader(t, hub.URL)
			folder, err := d.fetch(test.spec, "")
			repo := must(parseRepository(test.spec))
			again, _ := findHere(repo, d.env)
			var want []string
			for _, name := range strings.Fields(test.gave) {
				want = append(want, commit+" "+name)
			}
			if !slices.Equal(hub.gave, want) {
				t.Errorf("fetched: %q", hub.gave)
			}
			if test.err != "" {
				wantError(t, "the fetch", err, test.err)
				if !again.download {
					t.Errorf("found all the same: %+v", again)
				}
				return
			}
			check(t, err)
			there := inFolder(t, folder)
			for _, name := range strings.Fields(test.gave) {
				if there[name] != files[name] {
					t.Errorf("%s has %d bytes", name, len(there[name]))
				}
			}
			if len(there) != len(want) || filepath.Base(folder) != commit {
				t.Errorf("%s has %d files", folder, len(there))
			}
			if filepath.Dir(again.path) != folder {
				t.Errorf("not found again: %+v", again)
			}
		})
	}
}

// TestFetchRepositoryAgain fetches what is there, what a killed run has begun, and a newer commit.
func TestFetchRepositoryAgain(t *testing.T) {
	hub := newRepositoryHub(t, map[string]string{
		"config.json": "{}", "vocab.json": "{}", "merges.txt": "a",
		"model.safetensors": string(testFile),
	})
	d := testDownloader(t, hub.URL)
	fetch := func(dest, want string) string {
		t.Helper()
		hub.gave = nil
		folder, err := d.fetch("o/r", dest)
		if got := strings.Join(hub.gave, ", "); err != nil || got != want {
			t.Errorf("%v, fetched: %s", err, got)
		}
		return folder
	}
	all := func(c string) string {
		names := []string{"config.json", "vocab.json", "merges.txt", "model.safetensors"}
		return c + " " + strings.Join(names, ", "+c+" ")
	}
	folder := fetch("", all(commit))
	fetch("", "")
	os.Remove(filepath.Join(folder, "model.safetensors"))
	put(t, folder,
		map[string]string{filepath.Base(partialOf("model.safetensors")): string(testFile[:9])})
	fetch("", commit+" model.safetensors")
	if got := hub.requests(); !strings.HasSuffix(got, "GET 9, GET 9") {
		t.Error(got) // the second is elsewhere
	}

	hub.commits["main"], hub.commits[another] = another, another
	hub.files["merges.txt"] = "b"
	if fetch("", all(another)) == folder {
		t.Error("another commit lies in the same folder")
	}
	own := fetch(t.TempDir(), all(another))
	hub.files["vocab.json"] = "other"
	_, err := d.fetch("o/r", own)
	checkFailed(t, err, "vocab.json differs from the repository's", false)

	hub.commits["main"], hub.commits[another] = another, third
	_, err = d.fetch("o/r", "")
	checkFailed(t, err, "answers with commit "+third+" in place of "+another, false)

	hub.commits["main"] = "no commit"
	_, err = d.fetch("o/r", "")
	checkFailed(t, err, "does not name the commit (in X-Repo-Commit)", false)
}

// TestFetchToken looks at who gets to see the token.
func TestFetchToken(t *testing.T) {
	var hub, cdn *testHub // the same host, another port
	var saw []string
	hub = scripted(t, func(w http.ResponseWriter, r *http.Request) {
		saw = append(saw, r.URL.Path+" "+r.Header.Get("Authorization"))
		if r.URL.Path == "/back" {
			whole(w, r)
			return
		}
		status(302, "X-Linked-Etag: "+testModel().sum, "X-Linked-Size: 700001",
			"Location: "+cdn.URL+"/x")(w, r)
	})
	cdn = scripted(t, func(w http.ResponseWriter, r *http.Request) {
		saw = append(saw, "cdn "+r.Header.Get("Authorization"))
		http.Redirect(w, r, hub.URL+"/back", http.StatusFound)
	})
	d := testDownloader(t, hub.URL, "HF_TOKEN= hf_secret\r\n")
	set(t, &published, []Repository{{name: "gpt2", id: "o/gpt2", revision: "main"}})
	path, err := d.fetch("gpt2", "")
	checkFetched(t, path, err)
	const file = "/o/gpt2/resolve/main/model.safetensors Bearer hf_secret"
	want := []string{file, file, "cdn ", "/back Bearer hf_secret"}
	// Whether the token comes back with the way back is the standard library's affair.
	if len(saw) != 4 || strings.Join(saw[:3], "|") != strings.Join(want[:3], "|") {
		t.Errorf("%q", saw)
	}

	const broken = "the token in HF_TOKEN holds a space, a line break or another character that"
	for _, token := range []string{"hf_\x01secret", "hf_ö secret", "hf_\nsecret"} {
		d := testDownloader(t, hub.URL, "HF_TOKEN="+token)
		_, err := d.fetch("gpt2", "")
		checkFailed(t, err, broken, true)
		if len(saw) != 4 || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, %q", err, saw)
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
		whole(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it notes the refused handshake
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	d := testDownloader(t, server.URL)
	d.quick = true
	_, err := d.fetch("gpt2", "")
	if checkFailed(t, err, "certificate", true); asked != 0 {
		t.Error("the file is asked for all the same")
	}
	d = testDownloader(t, server.URL)
	trusting := server.Client().Transport.(*http.Transport).TLSClientConfig
	d.client.Transport.(*http.Transport).TLSClientConfig = trusting
	if _, err := d.fetch("gpt2", ""); err != nil || asked != 1 {
		t.Error(err)
	}
}

// TestFetchProxy has a proxy between itself and the hub: the address of the latter does not exist.
func TestFetchProxy(t *testing.T) {
	const login = "Proxy Authentication Required"
	for _, test := range []struct {
		scheme string
		answer answer // the proxy's
		err    string
	}{
		{"http", whole, ""},
		{"http", status(407), login},
		{"https", status(407), login + ": the proxy wants a name and a password, as in"},
		{"https", status(502), "Bad Gateway"},
	} {
		proxy := scripted(t, test.answer)
		d := testDownloader(t, test.scheme+"://hub.invalid")
		d.quick = true
		d.client.Transport.(*http.Transport).Proxy = http.ProxyURL(must(url.Parse(proxy.URL)))
		path, err := d.fetch("gpt2", "")
		if test.err == "" {
			checkFetched(t, path, err)
		} else {
			checkFailed(t, err, test.err, true)
		}
	}
}

// TestFetchNobody asks where nobody listens.
func TestFetchNobody(t *testing.T) { inBubble(t, testFetchNobody) }

func testFetchNobody(t *testing.T) {
	for quick, want := range map[bool]int{false: 3, true: 0} {
		d := testDownloader(t, "http://127.0.0.1:9")
		d.quick = quick
		again := 0
		d.note = func(string) { again++ }
		_, err := d.fetch("gpt2", "")
		if checkFailed(t, err, "dial", true); again != want+1 {
			t.Errorf("quick %v: tried again %d times", quick, again-1)
		}
	}
}

// TestFetchNoSpace runs out of space in the middle.
func TestFetchNoSpace(t *testing.T) {
	d := testDownloader(t, scripted(t, whole).URL)
	dest := filepath.Join(smallDisk(t), "x")
	_, err := d.fetch("gpt2", dest)
	checkFailed(t, err, "cannot write into "+filepath.Dir(dest)+": no space left on device", false)
	if left := leftovers(t, dest); left != nil {
		t.Errorf("left over: %q", left)
	}
}

// TestFetchWaits waits for whoever fetches the file already, and takes what that leaves.
func TestFetchWaits(t *testing.T) { inBubble(t, testFetchWaits) }

func testFetchWaits(t *testing.T) {
	for name, ending := range map[string]func(dest string) error{
		"":    func(dest string) error { return os.WriteFile(dest, testFile, 0o644) },
		"GET": func(string) error { return nil },
	} {
		hub := scripted(t, whole)
		d := testDownloader(t, hub.URL)
		dest := filepath.Join(t.TempDir(), "x")
		holder := must(openLocked(partialOf(dest), 0o644))
		var notes []string
		d.note = func(line string) { notes = append(notes, line) }
		began := time.Now()
		time.AfterFunc(time.Hour, func() {
			check(t, ending(dest))
			holder.Close()
		})
		_, err := d.fetch("gpt2", dest)
		checkFetched(t, dest, err)
		want := "another mechpatch is fetching " + dest + ": waiting for it"
		waited := time.Since(began) - time.Hour
		if notes[0] != want || hub.requests() != name || waited < 0 || waited > time.Second {
			t.Errorf("%q, requests: %s, waited an hour and %s", notes, hub.requests(), waited)
		}
	}
}

// TestFetchFromCache takes what the Hugging Face cache has under the right sum: as a blob, through
// a link into the store that repositories share, or under the commit where there are no links.
func TestFetchFromCache(t *testing.T) {
	sum, at := testModel().sum, "snapshots/"+testModel().revision+"/model.safetensors"
	for name, test := range map[string]struct {
		files    map[string]string
		requests string
	}{
		"a blob": {map[string]string{"blobs/" + sum: string(testFile)}, ""},
		"a link": {map[string]string{"blobs/" + sum: "-> ../../blobs/63/63d2",
			"../blobs/63/63d2": string(testFile)}, ""},
		"a plain file":    {map[string]string{at: string(testFile)}, ""},
		"a spoilt blob":   {map[string]string{"blobs/" + sum: "x" + string(testFile[1:])}, "GET"},
		"a short file":    {map[string]string{at: string(testFile[1:])}, "GET"},
		"a dangling link": {map[string]string{"blobs/" + sum: "-> nowhere"}, "GET"},
	} {
		t.Run(name, func(t *testing.T) {
			hub := scripted(t, whole)
			d := testDownloader(t, hub.URL)
			folder := filepath.Join(hubCache(d.env), "models--openai-community--gpt2")
			put(t, folder, test.files)
			dest := filepath.Join(t.TempDir(), "x")
			put(t, filepath.Dir(dest), map[string]string{filepath.Base(partialOf(dest)): "spoilt"})
			if test.requests != "" {
				os.Remove(partialOf(dest))
			}
			_, err := d.fetch("gpt2", dest)
			if checkFetched(t, dest, err); hub.requests() != test.requests {
				t.Errorf("requests: %s", hub.requests())
			}
		})
	}
}

// TestFetchProcesses fetches by several processes, the first of which is killed in the middle, and
// through a proxy that only the environment names. Its children are this test program, running
// TestFetchChild.
func TestFetchProcesses(t *testing.T) {
	killed := make(chan bool)
	hub := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(testFile)))
		w.Write(testFile[:300_000])
		w.(http.Flusher).Flush()
		<-killed
	}, func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "hub.invalid" { // it is a proxy
			t.Errorf("asked for host %s", r.Host)
		}
		whole(w, r)
	})
	dest := filepath.Join(t.TempDir(), "gpt2.safetensors")
	run := func() *exec.Cmd {
		return child(t, "TestFetchChild", "MECHPATCH_TEST_DEST="+dest, "http_proxy=", "no_proxy=",
			"HF_ENDPOINT=http://hub.invalid", "HTTP_PROXY="+hub.URL, "NO_PROXY=",
			"HF_HUB_OFFLINE=", "TRANSFORMERS_OFFLINE=")
	}

	first := run()
	if err := first.Start(); errors.Is(err, syscall.ENOEXEC) {
		t.Skipf("this program runs in an emulator and cannot start itself: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	for {
		if info, err := os.Stat(partialOf(dest)); err == nil && info.Size() == 300_000 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	first.Process.Kill()
	first.Wait()
	close(killed)

	var group sync.WaitGroup
	for range 3 {
		group.Add(1)
		go func() {
			defer group.Done()
			if out, err := run().CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}()
	}
	group.Wait()
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
	d := newDownloader(systemEnv(false), true)
	set(t, &published, []Repository{testModel()})
	must(d.fetch("gpt2", dest))
	if data, _ := os.ReadFile(dest); !bytes.Equal(data, testFile) {
		t.Errorf("%d bytes", len(data))
	}
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
	root := t.TempDir()
	put(t, root, map[string]string{
		"home/.cache/huggingface/token": "of_home\n", "work/token": "of_work",
		"hf/token": "of_hf", "t/x": "of_path\r\n",
	})
	for _, test := range []struct{ variables, token, from string }{
		{"", "of_home", "home/.cache/huggingface/token"},
		{"HF_HOME=ROOT/hf", "of_hf", "hf/token"},
		{"HF_HOME=ROOT/hf HF_TOKEN_PATH=ROOT/t/x", "of_path", "t/x"},
		{"HF_TOKEN_PATH=ROOT/none", "", "none"},
		{"HF_TOKEN_PATH=ROOT/t/x HF_TOKEN=said", "said", "HF_TOKEN"},
		{"HUGGING_FACE_HUB_TOKEN=old", "old", "HUGGING_FACE_HUB_TOKEN"},
		{"HF_TOKEN= HUGGING_FACE_HUB_TOKEN=old", "old", "HUGGING_FACE_HUB_TOKEN"},
		{"HF_TOKEN=\u00a0 HUGGING_FACE_HUB_TOKEN=old HF_HOME=ROOT/hf", "of_hf", "hf/token"},
		{"HF_TOKEN_PATH=", "", "work"},
		{"HF_HOME=", "of_work", "work/token"},
		{"HF_TOKEN=said HF_HUB_DISABLE_IMPLICIT_TOKEN=1", "", ""},
	} {
		env := testEnv(t, strings.Split(strings.ReplaceAll(test.variables, "ROOT", root), " ")...)
		env.home, env.dir = filepath.Join(root, "home"), filepath.Join(root, "work")
		token, from := hubToken(env)
		if inRoot, err := filepath.Rel(root, from); err == nil && filepath.IsAbs(from) {
			from = filepath.ToSlash(inRoot)
		}
		if token != test.token || from != test.from {
			t.Errorf("%s: %q from %q", test.variables, token, from)
		}
	}
}

// TestRefusal looks at what a server's answers are called.
func TestRefusal(t *testing.T) {
	for _, test := range []struct {
		status         int
		kind, token    string
		want           string
		again, missing bool
	}{
		{404, "EntryNotFound", "", "answers 404 Not Found: the file is not there", false, true},
		{404, "", "", "answers 404 Not Found: the file is not there", false, true},
		{404, "RevisionNotFound", "", "the repository has no such revision", false, false},
		{401, "RepoNotFound", "", "no such repository, or it wants a token in HF_TOKEN", false,
			false},
		{404, "RepoNotFound", "hf_x", "or it does not accept the token in HF_TOKEN", false, false},
		{403, "GatedRepo", "", "terms that must be agreed to", false, false},
		{401, "", "", "401 Unauthorized: perhaps it wants a token in HF_TOKEN", false, false},
		{403, "", "hf_x", "403 Forbidden: perhaps it does not accept the token", false, false},
		{503, "", "", "503 Service Unavailable", true, false},
	} {
		d := testDownloader(t, "", "HF_TOKEN="+test.token)
		response := &http.Response{StatusCode: test.status,
			Header:  http.Header{"X-Error-Code": {test.kind}},
			Request: httptest.NewRequest("GET", "http://hub/x", nil)}
		check(t, d.online())
		f := d.refusal(response)
		if !strings.Contains(f.Error(), test.want) || f.again != test.again ||
			f.absent != test.missing {
			t.Errorf("%d %s: %v, %v, %v", test.status, test.kind, f, f.again, f.absent)
		}
	}
}

func TestCheckRedirect(t *testing.T) {
	for _, test := range []struct {
		from, to string
		keeps    bool // the token
		err      string
	}{
		{"https://huggingface.co/a", "https://huggingface.co/b", true, ""},
		{"https://huggingface.co/a", "https://HuggingFace.co/b", true, ""},
		{"https://huggingface.co/a", "https://cdn.huggingface.co/b", false, ""},
		{"https://huggingface.co/a", "https://huggingface.co:8443/b", false, ""},
		{"http://127.0.0.1:80/a", "http://127.0.0.1:81/a", false, ""},
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

// TestRetryAfter looks at how long a server makes one wait.
func TestRetryAfter(t *testing.T) {
	for _, test := range []struct {
		status       int
		after, limit string
		least, until time.Duration
	}{
		{503, "", "", 0, 0},
		{503, "7", "", 7 * time.Second, 7 * time.Second},
		{503, "-7", "", 0, 0},
		{503, "soon", "", 0, 0},
		{503, "9223372036854775807", "", time.Hour, 1 << 62},
		{429, "", `"resolvers";r=0;t=55`, 56 * time.Second, 56 * time.Second},
		{429, "7", `"api" ; r=0 ; t = 280`, 281 * time.Second, 281 * time.Second},
		{429, "7", `"api";q=3`, 7 * time.Second, 7 * time.Second},
		{429, "1", `"api";r=450;t=120`, time.Second, time.Second}, // it is about something else
		{429, "", `"api";r=450;t=120`, 0, 0},
		{429, "", `;r=0;t=9223372036854775808`, 0, 0},
		{503, "", `"api";r=0;t=55`, 0, 0},
	} {
		response := &http.Response{StatusCode: test.status,
			Header: http.Header{"Retry-After": {test.after}, "Ratelimit": {test.limit}}}
		if got := retryAfter(response); got < test.least || got > test.until {
			t.Errorf("%q, %q: %s", test.after, test.limit, got)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	holds(t, func(s string) string { return fmt.Sprint(parseContentRange(s)) }, map[string]string{
		"bytes 0-9/10": "0 true", "bytes 5-9/*": "5 true", "bytes */10": "0 false",
		"bytes 5": "5 false", "items 5-9/10": "0 false", "": "0 false", "bytes -5-9/10": "-5 false",
	})
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 5-9/*", "bytes */10", "bytes 9-5/10", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if first, ok := parseContentRange(s); ok && first < 0 {
			t.Errorf("%q: %d", s, first)
		}
	})
}

func FuzzParseAnnouncement(f *testing.F) {
	f.Add(`"`+testModel().sum+`"`, "700001")
	f.Add(`W/"`+commit+`"`, "0")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, etag, size string) {
		header := http.Header{"X-Linked-Etag": {etag}, "X-Linked-Size": {size}}
		n, sum, err := parseAnnouncement(&http.Response{StatusCode: 302, Header: header})
		raw, hexErr := hex.DecodeString(sum)
		if err == nil &&
			(n < 0 || hexErr != nil || len(raw) != sha256.Size && len(raw) != sha1.Size) {
			t.Errorf("%q, %q: %d, %q", etag, size, n, sum)
		}
	})
}
