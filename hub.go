package main

// The Hugging Face hub over HTTP: a published model, or the files of a repository, each checked
// before it gets its name.
//
// A file's checksum is known before the first byte is asked for. So what an earlier run left can be
// continued from any server without a validator such as If-Range: a wrong piece shows in the sum,
// and then the file is fetched anew.

import (
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Downloader fetches models from the hub, or from a mirror that answers as the hub does.
type Downloader struct {
	offline bool
	client  *http.Client
	hub     *url.URL

	token, tokenFrom string // the user's, and where it is from

	progress func(done, total int64) // is told how many bytes are there, also of an earlier run
	note     func(line string)       // is told what begins, and why something is tried again

	quick bool // the run has the circuit to fall back on: nothing is tried twice before
	begun bool // something worth it has arrived
}

// worth is how many bytes a connection has to bring in the time stall, again and again, and a try
// in all: a server that sends a byte now and then would hold a run for ever. 3 kB a second bring
// GPT-2 in two days. A quick run waits for the first of them no longer than the time start.
const (
	worth = 100_000
	stall = 30 * time.Second
	start = 8 * time.Second
)

// newDownloader returns a Downloader that uses the proxies that HTTPS_PROXY, HTTP_PROXY and
// NO_PROXY name.
func newDownloader(offline, quick bool) *Downloader {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableCompression: true, Protocols: &http.Protocols{},
	}
	transport.Protocols.SetHTTP1(true) // a broken HTTP/2 connection would be used again
	return &Downloader{
		offline: offline, quick: quick,
		client:   &http.Client{Transport: transport, CheckRedirect: checkRedirect},
		progress: func(int64, int64) {}, note: func(string) {},
	}
}

// fetch brings a model onto this machine and returns where it is; name is a published model's, or
// ORGANISATION/NAME[@REVISION] on the hub.
//
// A published model is the file dest, or NAME.safetensors in the folder dest. One of the hub's
// other models is several files in the folder dest. Where dest is "", it is in the program's cache.
//
// A file that is there already and has the right sum is not fetched again. Until it is whole and
// its sum is right, it is FILE.SUM.partial (SUM is the beginning of its sum); that is kept when a
// fetch fails or is ended, and the next one goes on from it, unless it is wrong or cannot be
// written. Only one process at a time fetches a file; another waits for it, and then uses its file.
func (d *Downloader) fetch(name, dest string) (path string, err error) {
	defer catchFault(&err)
	within("fetching "+name, func() {
		repo := get(parseRepository(name))
		d.goOnline()
		require(dest != "" || cacheFolder() != "", "this system names no cache folder; "+
			"\"mechpatch fetch -o FILE\" puts the file elsewhere")
		if repo.name != "" {
			path = d.fetchPublished(repo, dest)
		} else {
			path = d.fetchRepository(repo, dest)
		}
	})
	return path, nil
}

// goOnline finds out the hub's address, $HF_ENDPOINT or the hub itself, and whether the network may
// be used and the user's token can be sent.
func (d *Downloader) goOnline() {
	by := offlineBy(d.offline)
	require(by == "", "%s", by)
	d.token, d.tokenFrom = hubToken()
	if strings.ContainsFunc(d.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		try(failed(false, "the token in %s holds a space, a line break or another character that "+
			"no token has", d.tokenFrom))
	}
	hub, err := url.Parse(cmp.Or(os.Getenv("HF_ENDPOINT"), "https://huggingface.co"))
	require(err == nil && (hub.Scheme == "https" || hub.Scheme == "http") && hub.Host != "",
		"HF_ENDPOINT is not an address such as https://huggingface.co")
	d.hub = hub
}

// hubToken is the user's token and where it is from, by the rules of huggingface_hub: HF_TOKEN,
// else the file that "hf auth login" writes. White space around it is no part of it.
func hubToken() (token, from string) {
	if isTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		return "", ""
	}
	from = "HF_TOKEN"
	if os.Getenv(from) == "" {
		from = "HUGGING_FACE_HUB_TOKEN"
	}
	if token = strings.TrimSpace(os.Getenv(from)); token != "" {
		return token, from
	}
	from = expand(variable("HF_TOKEN_PATH", filepath.Join(hubHome(), "token")))
	data, _ := readBounded(from, 1<<16)
	return strings.TrimSpace(string(data)), from
}

// fetchPublished brings the weights of a published model, which need nothing else, and returns
// where they are.
func (d *Downloader) fetchPublished(repo Repository, dest string) string {
	if dest == "" {
		dest = cacheFolder()
		tryWriting(dest, os.MkdirAll(dest, 0o755))
	}
	if info, err := os.Stat(dest); err == nil && info.IsDir() {
		dest = filepath.Join(dest, repo.name+".safetensors")
	} else if end, err := throughLinks(dest); err == nil {
		dest = end
	}
	f := hubFile{repo.id, repo.revision, weightsFile, repo.size, repo.sum}
	if f.sum == "" {
		f = d.announced(f)
	}
	d.fetchFile(f, dest)
	return dest
}

// tryWriting ends the fetch if there is an error of writing into a folder.
func tryWriting(folder string, err error) {
	if err != nil {
		fail("cannot write into %s: %w; \"mechpatch fetch -o FILE\" puts the file elsewhere, and "+
			"-model FILE uses it from there", folder, reason(err))
	}
}

// repositoryFetch is the fetch of a repository's files into a folder.
type repositoryFetch struct {
	*Downloader
	repo   Repository
	folder string   // where the files go; "" for the program's cache until the commit is known
	cache  *os.Root // nil if the files go elsewhere
	commit string   // "" until the first answer tells it: all files are of one commit
}

// fetchRepository brings a model of the hub and returns its folder. Its config.json is the first
// file, so that a model which cannot be computed is refused before its weights are fetched, and the
// weights are the last: where they are, the vocabulary is too. Where that is no byte-level BPE, the
// files by which other kinds are known come along, so that a run can name the kind.
func (d *Downloader) fetchRepository(repo Repository, folder string) string {
	require(!isFile(folder) && filepath.Ext(folder) != ".safetensors",
		"%s cannot be a folder, and this model is several files", folder)
	f := &repositoryFetch{Downloader: d, repo: repo, folder: folder}
	if path := f.bring("config.json"); path != "" {
		try(parseConfig(get(readBounded(path, 1<<20))).fault)
	}
	f.bring("tokenizer_config.json")
	f.bring("special_tokens_map.json")
	f.bring("added_tokens.json")
	if f.bring("tokenizer.json") == "" &&
		(f.bring("vocab.json") == "" || f.bring("merges.txt") == "") {
		f.bring("spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "spm.model",
			"vocab.txt")
	}
	path := f.bring(weightsNames...)
	require(path != "", "the repository has none of %s", strings.Join(weightsNames, ", "))
	if isIndex(path) {
		_, parts, err := readIndex(path)
		try(err)
		for _, part := range parts {
			require(f.bring(part) != "", "%s names %s, which the repository does not have", path,
				quote(part))
		}
	}
	if f.cache != nil && !isCommit(repo.revision) {
		f.remember(cmp.Or(repo.revision, "main"))
	}
	return f.folder
}

// bring brings the first of these files that the repository has, and returns where it is, or "".
func (f *repositoryFetch) bring(names ...string) (path string) {
	for _, name := range names {
		within(name, func() {
			file := hubFile{repo: f.repo.id, name: name,
				revision: cmp.Or(f.commit, f.repo.revision, "main")}
			err := caught(func() { file = f.announced(file) })
			if refused, ok := errors.AsType[*failure](err); ok && refused.absent {
				return
			}
			try(err)
			path = f.place(file)
		})
		if path != "" {
			break
		}
	}
	return path
}

// place fetches a file of the repository into the folder. The first one's commit is that of all. In
// the cache, which several people may share, no link that somebody has put there leads out of it.
func (f *repositoryFetch) place(file hubFile) string {
	const largestSmall = 100 << 20 // of a file that is not weights; large vocabularies have 10 MB
	if f.commit == "" {
		f.commit = file.revision
		require(isCommit(f.commit), "%s does not name the commit (in X-Repo-Commit), so that the "+
			"files might not belong together", f.hub.Host)
		if cache := cacheFolder(); f.folder == "" {
			inside := path.Join(hubFolder(f.repo.id), "snapshots", f.commit)
			f.folder = filepath.Join(cache, inside)
			tryWriting(cache, os.MkdirAll(cache, 0o755))
			f.cache = get(os.OpenRoot(cache))
			tryWriting(f.folder, f.cache.MkdirAll(inside, 0o755))
		}
		tryWriting(f.folder, os.MkdirAll(f.folder, 0o755))
	}
	path, ext := filepath.Join(f.folder, file.name), filepath.Ext(file.name)
	require(ext == ".safetensors" || ext == ".bin" || file.size <= largestSmall,
		"%s are too much", bytesText(file.size))
	require(f.cache != nil || !isFile(path) || isComplete(path, file),
		"%s differs from the repository's: name an empty folder", path)
	f.fetchFile(file, path)
	return path
}

// remember notes which commit a branch or a tag is, in a new file that takes the old one's place.
func (f *repositoryFetch) remember(revision string) {
	ref := path.Join(hubFolder(f.repo.id), "refs", revision)
	f.cache.Remove(ref + ".new")
	tryWriting(filepath.Join(f.cache.Name(), path.Dir(ref)), caught(func() {
		try(f.cache.MkdirAll(path.Dir(ref), 0o755))
		try(f.cache.WriteFile(ref+".new", []byte(f.commit), 0o644))
		try(f.cache.Rename(ref+".new", ref))
	}))
}

type hubFile struct {
	repo, revision, name string
	size                 int64
	sum                  string // its SHA-256, or the SHA-1 that git gives it, in hexadecimal
}

// sumOf is the sum, of the kind of f's, of what lies on the disk.
func (f hubFile) sumOf(path string) (string, error) {
	file, err := openRegular(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := sha256.New()
	if len(f.sum) == 2*sha1.Size { // git's sum of a file
		h = sha1.New()
		fmt.Fprintf(h, "blob %d\x00", f.size)
	}
	_, err = io.Copy(h, file)
	return hex.EncodeToString(h.Sum(nil)), err
}

// isComplete tells whether path is the file f, byte for byte.
func isComplete(path string, f hubFile) bool {
	sum, err := f.sumOf(path)
	return err == nil && sum == f.sum
}

// fetchFile makes dest the file f.
func (d *Downloader) fetchFile(f hubFile, dest string) {
	if info, err := os.Stat(dest); err == nil && !info.Mode().IsRegular() {
		fail("%s is not a regular file: remove it, or name a model with -model", dest)
	}
	if isComplete(dest, f) {
		if f.size >= worth { // else it is there before anybody has read of it
			d.note(dest + " is there, and its checksum is right")
		}
		return
	}
	part := d.claim(f, dest)
	defer part.Close()
	if isComplete(dest, f) { // by now
		os.Remove(part.Name())
		return
	}
	err := caught(func() {
		part.begin(dest)
		d.persist(part.fill)
		try(part.Sync()) // lest a power cut leave a file of the right name without its bytes
	})
	_, network := errors.AsType[*failure](err)
	switch {
	case err == nil:
		err = os.Rename(part.Name(), dest)
	case network && part.done > 0:
		fail("%w; %s of %s are kept, and the same command continues from there", err,
			bytesText(part.done), bytesText(f.size))
	default:
		os.Remove(part.Name())
	}
	if !network {
		tryWriting(filepath.Dir(dest), err)
	}
	try(err)
}

// partialFile is the download of a file under way.
type partialFile struct {
	*os.File
	*Downloader
	hubFile
	done    int64 // bytes that are there
	dropped int   // how often what was there had to be given up
}

// claim opens the partial file of dest as soon as no other process writes it.
func (d *Downloader) claim(f hubFile, dest string) *partialFile {
	name := dest + "." + f.sum[:16] + ".partial"
	file, err := openLocked(name, 0o644)
	if err == errInUse {
		d.note(fmt.Sprintf("another mechpatch is fetching %s: waiting for it", dest))
	}
	for err == errInUse {
		if info, err := os.Stat(name); err == nil {
			d.progress(min(info.Size(), f.size), f.size)
		}
		time.Sleep(200 * time.Millisecond)
		file, err = openLocked(name, 0o644)
	}
	tryWriting(filepath.Dir(dest), err)
	return &partialFile{File: file, Downloader: d, hubFile: f}
}

// begin says what is to be fetched and from where. The Hugging Face cache may have the file, under
// its sum, or under its commit where there are no links: that counts as what has arrived.
func (part *partialFile) begin(dest string) {
	part.done = get(part.Seek(0, io.SeekEnd))
	if part.done > part.size {
		part.drop()
	}
	cache := filepath.Join(hubCache(), hubFolder(part.repo))
	source, more := filepath.Join(cache, "blobs", part.sum), ""
	if !isFile(source) {
		source = filepath.Join(cache, "snapshots", part.revision, part.name)
	}
	if isComplete(source, part.hubFile) {
		part.drop()
		file := get(os.Open(source))
		defer file.Close()
		part.done = get(io.Copy(part.File, file))
	} else {
		source = part.hub.JoinPath(part.repo).Redacted()
		if part.done > 0 {
			more = fmt.Sprintf(", of which %s are there", bytesText(part.done))
		}
		if part.quick {
			more += "; -model circuit does without it"
		}
	}
	if part.size >= worth {
		part.note(fmt.Sprintf("%s, %s, from %s into %s%s", part.name, bytesText(part.size), source,
			dest, more))
	}
	part.progress(part.done, part.size)
}

// drop gives up what is there. A server that makes it necessary again and again is given up on.
func (part *partialFile) drop() {
	part.done = get(part.Seek(0, io.SeekStart))
	try(part.Truncate(0))
	if part.dropped++; part.dropped > 3 {
		try(failed(false, "the server's answers do not fit together"))
	}
}

// fill asks for what still lacks, appends what arrives, and makes sure of the checksum of what lies
// on the disk then. It fails with a *failure, or an error of writing.
func (part *partialFile) fill(ctx context.Context, arrived func(n int)) {
	spliced := part.done > 0 // it will not be of one answer
	if part.done < part.size {
		response := part.ask(ctx, http.MethodGet, part.hubFile, part.done)
		defer response.Body.Close()
		part.position(response)
		spliced = part.done > 0
		buffer := make([]byte, 256<<10)
		for part.done < part.size {
			n, err := response.Body.Read(buffer[:min(int64(len(buffer)), part.size-part.done)])
			part.done += int64(get(part.Write(buffer[:n])))
			arrived(n)
			part.progress(part.done, part.size)
			if err != nil && part.done < part.size {
				try(broken(err))
			}
		}
	}
	if sum := get(part.sumOf(part.Name())); sum != part.sum {
		part.drop()
		try(failed(spliced, "wrong checksum: that of what arrived is %s, not %s; it was deleted",
			sum, part.sum))
	}
}

// position makes sure that the answer is the file, or its rest, and that it begins where part ends.
// A Content-Range is "bytes FIRST-LAST/TOTAL" (RFC 9110, section 14.4).
func (part *partialFile) position(response *http.Response) {
	host, header, from := response.Request.URL.Host, response.Header, int64(-1)
	switch response.StatusCode {
	case http.StatusOK:
		from = 0
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		fmt.Sscanf(header.Get("Content-Range"), "bytes %d-", &from)
		if from != part.done {
			part.drop()
			try(failed(true, "%s sends a part other than the one asked for", host))
		}
	default:
		try(part.refusal(response))
	}
	size, kind, hint := from+response.ContentLength, header.Get("Content-Type"), ""
	if strings.HasPrefix(kind, "text/html") {
		hint = ": does this network ask for a login?"
	}
	if size != part.size && (response.ContentLength >= 0 || hint != "") {
		try(failed(false, "%s sends another file than that of %d bytes: %d bytes of %.40s%s", host,
			part.size, size, kind, hint))
	}
	if from < part.done { // the server does not do ranges
		part.drop()
	}
}

// failure is an error that the network, the server or a proxy is to blame for.
type failure struct {
	error
	again  bool          // another try may succeed,
	after  time.Duration // but not sooner
	begun  bool          // something worth it had arrived
	absent bool          // the server is well, but has no such file
}

func (f *failure) Unwrap() error { return f.error }

func failed(again bool, format string, args ...any) *failure {
	return &failure{error: fmt.Errorf(format, args...), again: again}
}

// persist runs attempt until it succeeds, fails for good, or fails several times in a row without
// bringing anything worth it; the pauses between the tries grow. It tells arrived of the bytes of
// the file that have come; where they come too slowly its context ends.
func (d *Downloader) persist(attempt func(ctx context.Context, arrived func(n int))) {
	const longestWait = 310 * time.Second // the hub counts requests by 300 s
	for tries := 1; ; tries++ {           // in a row without getting further
		within, most := stall, 4
		if d.begun {
			most = 7
		} else if d.quick {
			within, most = start, 1
		}
		ctx, cancel := context.WithCancel(context.Background())
		watchdog := time.AfterFunc(within, cancel)
		brought := 0
		err := caught(func() {
			attempt(ctx, func(n int) {
				if brought += n; brought >= worth {
					watchdog.Reset(stall)
					brought, within, tries, most, d.begun = 0, stall, 0, 7, true
				}
			})
		})
		watchdog.Stop()
		tooSlow := ctx.Err() != nil
		cancel()
		f, ok := errors.AsType[*failure](err)
		if !ok {
			try(err)
			return
		}
		if tooSlow {
			f = failed(true, "too slow: less than %s within %s", bytesText(worth), within)
		}
		f.begun = d.begun
		// 1, 2, 4 … 32 s, each more or less by up to a quarter, lest the machines of a lab that
		// were switched on together come back together too
		wait := time.Second << min(max(tries-1, 0), 5)
		wait = max(wait*3/4+rand.N(wait/2), f.after)
		if !f.again || wait > longestWait || tries >= most {
			try(f)
		}
		d.note(fmt.Sprintf("%v; trying again in %s", f, wait.Round(100*time.Millisecond)))
		time.Sleep(wait)
	}
}

// ask asks the hub for a file from a byte on, with the user's token. In the address the slash of a
// branch such as feature/x must not look like a folder's.
func (d *Downloader) ask(ctx context.Context, method string, f hubFile, from int64) *http.Response {
	address := d.hub.JoinPath(f.repo, "resolve", url.PathEscape(f.revision), url.PathEscape(f.name))
	request := get(http.NewRequestWithContext(ctx, method, address.String(), nil))
	request.Header.Set("User-Agent", "mechpatch")
	request.Header.Set("Accept-Encoding", "identity")
	if from > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	if d.token != "" {
		request.Header.Set("Authorization", "Bearer "+d.token)
	}
	response, err := d.client.Do(request)
	if err != nil {
		try(broken(err))
	}
	return response
}

// checkRedirect judges a redirect. The standard library takes the token along to subdomains and
// other ports of the host; here only to the very same scheme, host and port. The hub answers for a
// large file with a redirect to its bytes, and tells of them in the redirect itself: who only asks
// about the file does not follow that, but follows others, as of a repository that was renamed.
func checkRedirect(request *http.Request, via []*http.Request) error {
	first, from, to := via[0].URL, via[len(via)-1].URL, request.URL
	switch answer := request.Response; {
	case request.Method == http.MethodHead && answer != nil &&
		answer.Header.Get("X-Linked-Etag") != "" && answer.Header.Get("X-Linked-Size") != "":
		return http.ErrUseLastResponse
	case len(via) >= 10:
		return failed(false, "more than 10 redirects")
	case from.Scheme == "https" && to.Scheme != "https":
		return failed(false, "%s redirects to an address without HTTPS", from.Host)
	case to.Scheme != first.Scheme || !strings.EqualFold(to.Host, first.Host):
		request.Header.Del("Authorization")
	}
	return nil
}

// announced asks the hub for the size, the sum and the commit of a file; the commit, if the hub
// names it, becomes the revision, so that the file is of the announced version even if main moves
// on.
func (d *Downloader) announced(f hubFile) hubFile {
	d.persist(func(ctx context.Context, _ func(int)) {
		response := d.ask(ctx, http.MethodHead, f, 0)
		response.Body.Close()
		if response.StatusCode >= 400 {
			try(d.refusal(response))
		}
		size, sum, err := parseAnnouncement(response)
		commit := response.Header.Get("X-Repo-Commit")
		if err == nil && isCommit(commit) && isCommit(f.revision) &&
			!strings.EqualFold(commit, f.revision) {
			err = fmt.Errorf("answers with commit %s in place of %s", commit, f.revision)
		}
		if err != nil {
			try(failed(false, "%s %w", response.Request.URL.Host, err))
		}
		if f.size, f.sum = size, sum; isCommit(commit) {
			f.revision = commit
		}
	})
	return f
}

// parseAnnouncement reads a file's size and sum from the hub's answer: X-Linked-Size, and the
// SHA-256 in X-Linked-Etag, of a large file; Content-Length, and git's SHA-1 in ETag, of a small
// one.
func parseAnnouncement(response *http.Response) (size int64, sum string, err error) {
	header := response.Header
	etag := strings.TrimSpace(cmp.Or(header.Get("X-Linked-Etag"), header.Get("ETag")))
	sum = strings.ToLower(strings.Trim(strings.TrimPrefix(etag, "W/"), `"`))
	size = response.ContentLength
	if linked := header.Get("X-Linked-Size"); linked != "" || response.StatusCode != http.StatusOK {
		size, err = strconv.ParseInt(strings.TrimSpace(linked), 10, 64)
	}
	isSum := isHex(sum) && (len(sum) == 2*sha256.Size || len(sum) == 2*sha1.Size)
	if err != nil || size < 0 || size > 1<<40 || !isSum {
		return 0, "", errors.New("does not announce the file's size and checksum (in " +
			"X-Linked-Size and X-Linked-Etag, or Content-Length and ETag), so that it could not " +
			"be checked")
	}
	return size, sum, nil
}

// broken explains why a request got no answer, or not all of it.
func broken(err error) *failure {
	if known, ok := errors.AsType[*failure](err); ok {
		return known
	}
	if inURL, ok := errors.AsType[*url.Error](err); ok {
		err = inURL.Err // without the address, which behind a redirect is long and signed
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = errors.New("the connection broke off")
	}
	if err.Error() == http.StatusText(http.StatusProxyAuthRequired) {
		return failed(false, "%w: the proxy wants a name and a password, as in "+
			"HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT", err)
	}
	return &failure{error: err, again: true}
}

// refusal explains an answer that is not the file.
func (d *Downloader) refusal(response *http.Response) *failure {
	code, kind := response.StatusCode, response.Header.Get("X-Error-Code")
	absent, who := false, "it wants a token in HF_TOKEN"
	if d.token != "" {
		who = "it does not accept the token in " + d.tokenFrom
	}
	advice := ""
	switch {
	case kind == "RevisionNotFound":
		advice = ": the repository has no such revision"
	case kind == "GatedRepo":
		advice = ": its page on the hub has terms that must be agreed to, and the request needs " +
			"the token of who did, in HF_TOKEN or by \"hf auth login\""
	case kind == "RepoNotFound", code == http.StatusUnauthorized, code == http.StatusForbidden:
		advice = ": perhaps there is no such repository, or " + who
	case code == http.StatusNotFound:
		absent, advice = true, ": the file is not there"
		if os.Getenv("HF_ENDPOINT") != "" {
			advice += "; is HF_ENDPOINT right?"
		}
	}
	again := code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout
	return &failure{again: again, after: retryAfter(response), absent: absent,
		error: fmt.Errorf("%s answers %d %s%s", response.Request.URL.Host, code,
			http.StatusText(code), advice)}
}

// retryAfter is how long a server wants to be left alone. The hub's RateLimit tells when requests
// are counted anew, in seconds, where none is left: "api";r=0;t=55. It comes with every answer, and
// may not be what a 429 is about.
func retryAfter(response *http.Response) time.Duration {
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	noneLeft := regexp.MustCompile(`;\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d{1,6})\b`)
	limit := noneLeft.FindStringSubmatch(response.Header.Get("RateLimit"))
	if response.StatusCode == http.StatusTooManyRequests && limit != nil {
		seconds, _ = strconv.Atoi(limit[1])
		seconds++
	}
	return time.Duration(max(0, min(seconds, 1<<20))) * time.Second
}
