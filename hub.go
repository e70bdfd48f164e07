package main

// The hub over HTTP: whom to ask, with which token, what an answer means, and asking again.

import (
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Downloader fetches published models from the Hugging Face hub, or from a mirror that answers as
// the hub does.
type Downloader struct {
	env      Env
	table    []Published
	client   *http.Client
	progress func(done, total int64) // is told how many bytes are there, also of an earlier run
	note     func(line string)       // is told what begins, and why something is tried again

	quick       bool          // the run has the circuit to fall back on:
	startWithin time.Duration // something worth it has to arrive within this time
	begun       bool          // it has
	stall       time.Duration // and again and again within this one

	// What tests put their own in place of: time, and the disk.
	after func(time.Duration, func()) timer
	sleep func(context.Context, time.Duration) error
	write func(*os.File, []byte) (int, error)
}

type timer interface {
	Reset(time.Duration) bool
	Stop() bool
}

// worth is how many bytes a connection has to bring in the time stall, and a try in all: a server
// that sends a byte now and then would hold a run for ever. 3 kB a second bring GPT-2 in two days.
const worth = 100_000

// newDownloader returns a Downloader that works in the surroundings of env, with the proxies that
// HTTPS_PROXY, HTTP_PROXY and NO_PROXY name.
func newDownloader(env Env, quick bool) *Downloader {
	log.SetOutput(io.Discard) // net/http logs an answer that nobody asked for
	d := &Downloader{
		env: env, table: published, progress: func(int64, int64) {}, note: func(string) {},
		quick: quick, startWithin: 8 * time.Second, stall: 30 * time.Second,
		after: func(wait time.Duration, f func()) timer { return time.AfterFunc(wait, f) },
		sleep: sleepContext, write: (*os.File).Write,
	}
	d.client = &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			OnProxyConnectResponse: d.proxyAnswer,
			DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout:    10 * time.Second,
			DisableCompression:     true,
			// HTTP/1.1 alone: a broken HTTP/2 connection would be used again by the next try.
			TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
		},
		CheckRedirect: checkRedirect,
	}
	return d
}

// sleepContext waits, or returns the context's error as soon as that ends.
func sleepContext(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// failure is an error that the network is to blame for.
type failure struct {
	error
	again   bool          // another try may succeed,
	after   time.Duration // but not sooner
	noStart bool          // nothing worth it had arrived yet
	absent  bool          // the server is well, but has no such file
}

func (f *failure) Unwrap() error        { return f.error }
func (f *failure) Is(target error) bool { return target == errNoStart && f.noStart }

var (
	// errNoStart is what a fetch's error is, by errors.Is, if nothing worth it arrived: no route,
	// no such host, refused, too slow, an error of the server or of a proxy, a login page.
	errNoStart     = errors.New("the download could not begin")
	errInterrupted = errors.New("interrupted")
	errSlow        = errors.New("too slow")
)

// persist calls try until it succeeds, or fails for good, or fails several times in a row without
// bringing anything worth it; the pauses between the tries grow. try tells arrived of the bytes of
// the file that have come.
func (d *Downloader) persist(ctx context.Context,
	try func(ctx context.Context, arrived func(n int)) error) error {
	const longestWait = 310 * time.Second // the hub counts requests by 300 s
	startCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	started := func() {}
	if d.quick && !d.begun {
		tooLate := d.after(d.startWithin, func() { cancel(errSlow) })
		started = func() { tooLate.Stop() }
		defer started()
	}

	for tries := 1; ; tries++ { // in a row without getting further
		brought := 0
		err := try(startCtx, func(n int) {
			if brought += n; brought >= worth {
				started()
				d.begun = true
				tries = 0
			}
		})
		var f *failure
		if err == nil || !errors.As(err, &f) {
			return err
		}
		if ctx.Err() != nil {
			return errInterrupted
		}
		if context.Cause(startCtx) == errSlow {
			f.error = fmt.Errorf("less than %s of the file within %s", bytesText(worth),
				d.startWithin)
			f.noStart = true
			return f
		}
		f.noStart = !d.begun
		wait := max(pause(max(tries, 1)), f.after)
		if !f.again || wait > longestWait || tries == d.mostTries(err) ||
			d.quick && !d.begun && wait > d.startWithin {
			return f
		}
		d.note(fmt.Sprintf("%v; trying again in %s", f, wait.Round(100*time.Millisecond)))
		if err := d.sleep(startCtx, wait); err != nil && ctx.Err() != nil {
			return errInterrupted
		}
	}
}

// mostTries is how many tries in a row may fail, the last one with err.
func (d *Downloader) mostTries(err error) int {
	var dial *net.OpError
	switch {
	case d.begun:
		return 7
	case !d.quick:
		return 4
	case errors.As(err, &dial) && dial.Op == "dial":
		return 1 // no network: a plain run has something better to do than wait for one
	}
	return 2
}

// pause is how long to wait after so many tries: 1, 2, 4 … 32 s, each more or less by up to a
// quarter, lest the machines of a lab that were switched on together come back together too.
func pause(tries int) time.Duration {
	base := time.Second << min(tries-1, 5)
	return base*3/4 + time.Duration(rand.Int63n(int64(base/2)))
}

// endpoint is the hub's address: $HF_ENDPOINT, or the hub itself.
func endpoint(env Env) (*url.URL, error) {
	hub, err := url.Parse(cmp.Or(env.getenv("HF_ENDPOINT"), "https://huggingface.co"))
	if err != nil || hub.Scheme != "https" && hub.Scheme != "http" || hub.Host == "" {
		return nil, errors.New("HF_ENDPOINT is not an address such as https://huggingface.co")
	}
	if port := hub.Port(); port != "" && (parseLength(port) < 1 || parseLength(port) > 65535) {
		return nil, fmt.Errorf("HF_ENDPOINT has the port %.20s, and ports end at 65535", port)
	}
	return hub, nil
}

type hubFile struct {
	repo, revision, name string
	size                 int64
	sum                  string // its SHA-256, or the SHA-1 that git gives it, in hexadecimal
}

// url is the file's address. The slash of a branch such as feature/x must not look like a folder's.
func (f hubFile) url(hub *url.URL) string {
	return hub.JoinPath(f.repo, "resolve", url.PathEscape(f.revision),
		url.PathEscape(f.name)).String()
}

// request makes a request, with the user's token if it goes to the hub's scheme, host and port.
func (d *Downloader) request(ctx context.Context, method, address string) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, &failure{error: err}
	}
	request.Header.Set("User-Agent", "mechpatch")
	request.Header.Set("Accept-Encoding", "identity")
	if hub, err := endpoint(d.env); err == nil && sameOrigin(request.URL, hub) {
		if token, _ := d.token(); token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
	}
	return request, nil
}

// token is the user's token and where it is from, by the rules of huggingface_hub: HF_TOKEN, else
// the file that "hf auth login" writes. White space around it is no part of it.
func (d *Downloader) token() (token, from string) {
	if d.env.isTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		return "", ""
	}
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if token := strings.TrimSpace(d.env.getenv(name)); token != "" {
			return token, name
		}
	}
	path := d.env.expand(d.env.getenv("HF_TOKEN_PATH"))
	if home := hubHome(d.env); path == "" && home != "" {
		path = filepath.Join(home, "token")
	}
	data, err := readBounded(path, 1<<16)
	if err != nil {
		return "", ""
	}
	return strings.TrimSpace(string(data)), path
}

// checkRedirect judges a redirect. The standard library takes the token along to subdomains of the
// host; here only to the very same scheme, host and port.
func checkRedirect(request *http.Request, via []*http.Request) error {
	from, to := via[len(via)-1].URL, request.URL
	switch {
	case len(via) >= 10:
		return &failure{error: errors.New("more than 10 redirects")}
	case from.Scheme == "https" && to.Scheme != "https":
		return &failure{error: fmt.Errorf("%s redirects to an address without HTTPS", from.Host)}
	case to.Scheme != "https" && to.Scheme != "http":
		return &failure{error: fmt.Errorf("%s redirects to an address without HTTP", from.Host)}
	}
	if !sameOrigin(to, via[0].URL) {
		request.Header.Del("Authorization")
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	port := func(u *url.URL) string {
		return cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) &&
		port(a) == port(b)
}

// announced asks the hub for the size, the sum and the commit of a file; the commit, if the hub
// names it, becomes the revision. The hub answers for a large file with a redirect to its bytes,
// and tells of them in the redirect's X-Linked-Size, X-Linked-Etag and X-Repo-Commit. So the first
// answer that has these is the last one; one that has not (a repository that was renamed, a mirror)
// is followed.
func (d *Downloader) announced(ctx context.Context, hub *url.URL, f hubFile) (hubFile, error) {
	client := *d.client
	client.CheckRedirect = func(request *http.Request, via []*http.Request) error {
		if answer := request.Response; answer != nil && answer.Header.Get("X-Linked-Etag") != "" &&
			answer.Header.Get("X-Linked-Size") != "" {
			return http.ErrUseLastResponse
		}
		return checkRedirect(request, via)
	}
	err := d.persist(ctx, func(ctx context.Context, _ func(int)) error {
		ctx, watchdog := d.watched(ctx, fmt.Errorf("no answer within %s", d.stall))
		defer watchdog.Stop()
		request, err := d.request(ctx, http.MethodHead, f.url(hub))
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return broken(ctx, err)
		}
		response.Body.Close()
		if response.StatusCode >= 400 {
			return d.refusal(response)
		}
		f.size, f.sum, err = parseAnnouncement(response)
		if err != nil {
			return &failure{error: fmt.Errorf("%s %w", response.Request.URL.Host, err)}
		}
		if commit := response.Header.Get("X-Repo-Commit"); isCommit(commit) {
			f.revision = commit // and the file is of the announced version even if main moves on
		}
		return nil
	})
	return f, err
}

// watched is a context that ends with the failure slow unless the timer is reset within the time
// stall, again and again. It is freed with ctx.
func (d *Downloader) watched(ctx context.Context, slow error) (context.Context, timer) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, d.after(d.stall, func() { cancel(&failure{error: slow, again: true}) })
}

// parseAnnouncement reads a file's size and sum from the hub's answer: X-Linked-Size, and the
// SHA-256 in X-Linked-Etag, of a large file; Content-Length, and git's SHA-1 in ETag, of a small
// one.
func parseAnnouncement(response *http.Response) (size int64, sum string, err error) {
	header := response.Header
	etag := strings.TrimSpace(cmp.Or(header.Get("X-Linked-Etag"), header.Get("ETag")))
	sum = strings.ToLower(strings.Trim(strings.TrimPrefix(etag, "W/"), `"`))
	if len(sum) != 2*sha256.Size && len(sum) != 2*sha1.Size || !isHex(sum) {
		return 0, "", errors.New("does not announce the file's checksum (in X-Linked-Etag " +
			"or ETag), so that it could not be checked")
	}
	size = parseLength(strings.TrimSpace(header.Get("X-Linked-Size")))
	if header.Get("X-Linked-Size") == "" && response.StatusCode == http.StatusOK {
		size = response.ContentLength
	}
	if size < 0 || size > 1<<40 {
		return 0, "", errors.New("does not announce the file's size (in X-Linked-Size or " +
			"Content-Length), so that it could not be checked")
	}
	return size, sum, nil
}

// parseContentRange reads a Content-Range, "bytes FIRST-LAST/TOTAL", where TOTAL may be "*" and is
// then -1 (RFC 9110, section 14.4).
func parseContentRange(s string) (first, total int64, ok bool) {
	s, isBytes := strings.CutPrefix(s, "bytes ")
	span, whole, hasTotal := strings.Cut(s, "/")
	from, to, hasTo := strings.Cut(span, "-")
	first, last := parseLength(from), parseLength(to)
	total = parseLength(whole)
	ok = isBytes && hasTotal && hasTo && first >= 0 && last >= first &&
		(whole == "*" || total > last)
	return first, total, ok
}

// parseLength reads a number of bytes, digits alone; -1 if it is none.
func parseLength(s string) int64 {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return -1
	}
	return int64(n)
}

// broken explains why a request got no answer, or not all of it.
func broken(ctx context.Context, err error) error {
	for _, cause := range []error{err, context.Cause(ctx)} {
		if known := (*failure)(nil); errors.As(cause, &known) {
			return known
		}
	}
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err // without the address, which behind a redirect is long and signed
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = errors.New("the connection broke off")
	}
	var certificate *tls.CertificateVerificationError
	var address *net.AddrError
	return &failure{error: err, again: !errors.As(err, &certificate) && !errors.As(err, &address)}
}

// proxyAnswer sees what a proxy answers to the wish for a connection to an HTTPS host.
func (d *Downloader) proxyAnswer(_ context.Context, proxy *url.URL, _ *http.Request,
	response *http.Response) error {
	if response.StatusCode == http.StatusOK {
		return nil
	}
	f := d.refusal(response)
	f.error = fmt.Errorf("the proxy %s: %w", proxy.Host, f.error)
	return f
}

// refusal explains an answer that is not the file.
func (d *Downloader) refusal(response *http.Response) *failure {
	code, kind := response.StatusCode, response.Header.Get("X-Error-Code")
	f := &failure{
		again: code >= 500 || code == http.StatusTooManyRequests ||
			code == http.StatusRequestTimeout,
		after: retryAfter(response),
	}
	advice := ""
	switch token, from := d.token(); {
	case kind == "RevisionNotFound":
		advice = ": the repository has no such revision"
	case kind == "RepoNotFound" && token == "":
		advice = ": there is no such repository, or it wants a token in HF_TOKEN"
	case kind == "RepoNotFound":
		advice = ": there is no such repository, or not for the token in " + from
	case kind == "GatedRepo":
		advice = ": its page on the hub has terms that must be agreed to, and the request needs " +
			"the token of who did, in HF_TOKEN or by \"hf auth login\""
	case code == http.StatusNotFound:
		f.absent = true
		advice = ": the file is not there"
		if d.env.getenv("HF_ENDPOINT") != "" {
			advice += "; is HF_ENDPOINT right?"
		}
	case (code == http.StatusUnauthorized || code == http.StatusForbidden) && token == "":
		advice = ": it may want a token in HF_TOKEN"
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		advice = ": it may not accept the token in " + from
	case code == http.StatusProxyAuthRequired:
		advice = ": it wants a name and a password, as in " +
			"HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"
	}
	host := "" // the answer of a proxy has no request
	if response.Request != nil && response.Request.Method != http.MethodConnect {
		host = response.Request.URL.Host + " "
	}
	f.error = fmt.Errorf("%sanswers %d %s%s", host, code, http.StatusText(code), advice)
	return f
}

// rateLimit is the hub's own word on when it counts requests anew: RateLimit: "api";r=0;t=55
var rateLimit = lazyRegexp(`;\s*t\s*=\s*(\d+)`)

// retryAfter is how long a server wants to be left alone: its RateLimit, or the seconds or the date
// in Retry-After.
func retryAfter(response *http.Response) time.Duration {
	after := response.Header.Get("Retry-After")
	limit := rateLimit().FindStringSubmatch(response.Header.Get("RateLimit"))
	if limit != nil && response.StatusCode == http.StatusTooManyRequests {
		return time.Duration(min(parseLength(limit[1]), 1<<20)+1) * time.Second
	}
	if seconds := parseLength(after); seconds >= 0 {
		return time.Duration(min(seconds, 1<<20)) * time.Second
	}
	if date, err := http.ParseTime(after); err == nil {
		return time.Until(date)
	}
	return 0
}
