package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPublished(t *testing.T) {
	for _, p := range published {
		if !isCommit(p.revision) || !repositoryID().MatchString(p.repo) {
			t.Errorf("%s is not pinned", p.name)
		}
		if p.sum != "" && (len(p.sum) != 64 || !isHex(p.sum) || p.size == 0) {
			t.Errorf("%s: the sum needs a size", p.name)
		}
	}
}

func TestFileURL(t *testing.T) {
	for _, test := range []struct {
		endpoint string
		file     hubFile
		want     string
	}{
		{"", hubFile{repo: "o/r", revision: "main", name: "x.json"},
			"https://huggingface.co/o/r/resolve/main/x.json"},
		{"https://mirror.example/hub/", hubFile{repo: "o/r", revision: commit, name: "x.json"},
			"https://mirror.example/hub/o/r/resolve/" + commit + "/x.json"},
		{"", hubFile{repo: "o/r", revision: "feature/x", name: "x.json"},
			"https://huggingface.co/o/r/resolve/feature%2Fx/x.json"},
		{"", hubFile{repo: "o/r", revision: "50%", name: "a b#?.bin"},
			"https://huggingface.co/o/r/resolve/50%25/a%20b%23%3F.bin"},
	} {
		hub := must(endpoint(testEnv(t, "HF_ENDPOINT="+test.endpoint)))
		if got := test.file.url(hub); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
}

// TestHubToken looks at where the user's token is from.
func TestHubToken(t *testing.T) {
	root := t.TempDir()
	put(t, root, map[string]string{
		"home/.cache/huggingface/token": "of_home\n", "hf/token": "of_hf", "t/x": "of_path\r\n",
	})
	for _, test := range []struct{ variables, token, from string }{
		{"", "of_home", "home/.cache/huggingface/token"},
		{"HF_HOME=ROOT/hf", "of_hf", "hf/token"},
		{"HF_HOME=ROOT/hf HF_TOKEN_PATH=ROOT/t/x", "of_path", "t/x"},
		{"HF_TOKEN_PATH=ROOT/none", "", ""},
		{"HF_TOKEN_PATH=ROOT/t/x HF_TOKEN=said", "said", "HF_TOKEN"},
		{"HUGGING_FACE_HUB_TOKEN=old", "old", "HUGGING_FACE_HUB_TOKEN"},
		{"HF_TOKEN=said HF_HUB_DISABLE_IMPLICIT_TOKEN=1", "", ""},
	} {
		env := testEnv(t, strings.Fields(strings.ReplaceAll(test.variables, "ROOT", root))...)
		env.home = filepath.Join(root, "home")
		token, from := newDownloader(env, false).token()
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
		{404, "RepoNotFound", "hf_x", "no such repository, or not for the token in HF_TOKEN", false,
			false},
		{403, "GatedRepo", "", "terms that must be agreed to", false, false},
		{401, "", "", "401 Unauthorized: it may want a token in HF_TOKEN", false, false},
		{403, "", "hf_x", "403 Forbidden: it may not accept the token in HF_TOKEN", false, false},
		{503, "", "", "503 Service Unavailable", true, false},
	} {
		d, _ := testDownloader(t, "", "HF_TOKEN="+test.token)
		header := http.Header{"X-Error-Code": {test.kind}}
		f := d.refusal(&http.Response{StatusCode: test.status, Header: header})
		if !strings.Contains(f.Error(), test.want) || f.again != test.again ||
			f.absent != test.missing {
			t.Errorf("%d %s: %v, %v, %v", test.status, test.kind, f, f.again, f.absent)
		}
	}
}

func TestPause(t *testing.T) {
	for tries := 1; tries < 100; tries++ {
		mean := min(float64(int(1)<<min(tries-1, 10)), 32)
		if got := pause(tries).Seconds(); got < 0.75*mean || got > 1.25*mean {
			t.Errorf("after %d tries %g s", tries, got)
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
		{"https://huggingface.co/a", "https://HuggingFace.co:443/b", true, ""},
		{"https://huggingface.co/a", "https://cdn.huggingface.co/b", false, ""},
		{"https://huggingface.co/a", "https://huggingface.co:8443/b", false, ""},
		{"http://127.0.0.1:80/a", "http://127.0.0.1:81/a", false, ""},
		{"http://127.0.0.1/a", "https://127.0.0.1/a", false, ""},
		{"https://huggingface.co/a", "http://huggingface.co/b", false, "an address without HTTPS"},
		{"http://huggingface.co/a", "ftp://huggingface.co/b", false, "an address without HTTP"},
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
	inAMinute := time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)
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
		{503, inAMinute, "", 50 * time.Second, time.Minute},
		{429, "", `"resolvers";r=0;t=55`, 56 * time.Second, 56 * time.Second},
		{429, "7", `"api" ; r=0 ; t = 280`, 281 * time.Second, 281 * time.Second},
		{429, "7", `"api";q=3`, 7 * time.Second, 7 * time.Second},
		{429, "", `;t=9223372036854775808`, 0, 0},
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
	for _, test := range []struct {
		s            string
		first, total int64
		ok           bool
	}{
		{"bytes 0-9/10", 0, 10, true},
		{"bytes 5-9/*", 5, -1, true},
		{"bytes 5-9/9", 0, 0, false},
		{"bytes 9-5/10", 0, 0, false},
		{"bytes */10", 0, 0, false},
		{"bytes 5-9", 0, 0, false},
		{"bytes -9/10", 0, 0, false},
		{"bytes 5-/10", 0, 0, false},
		{"bytes +5-9/10", 0, 0, false},
		{"bytes 5-9/99999999999999999999", 0, 0, false},
		{"items 5-9/10", 0, 0, false},
		{"", 0, 0, false},
	} {
		first, total, ok := parseContentRange(test.s)
		if ok != test.ok || ok && (first != test.first || total != test.total) {
			t.Errorf("%q: %d, %d, %v", test.s, first, total, ok)
		}
	}
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 5-9/*", "bytes */10", "bytes 9-5/10", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, total, ok := parseContentRange(s)
		if ok && (first < 0 || total != -1 && total <= first) {
			t.Errorf("%q: %d of %d", s, first, total)
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
