package main

// Files from the hub: which ones, where they go, the part of one that is there, checked and then
// renamed.
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
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// fetch brings a model onto this machine and returns where it is; name is a published model's, or
// ORGANISATION/NAME[@REVISION] on the hub.
//
// A published model is the file dest, or NAME.safetensors in the folder dest. One of the hub's
// other models is several files in the folder dest. Where dest is "", it is in the program's cache.
//
// A file that is there already and has the right sum is not fetched again. Until it is whole and
// its sum is right, it is FILE.SUM.partial (SUM is the beginning of its sum); that is kept when a
// fetch fails, and the next one goes on from it, unless it is wrong or cannot be written. Only one
// process at a time fetches a file; another waits for it, and then uses its file.
func (d *Downloader) fetch(ctx context.Context, name, dest string) (path string, err error) {
	p, ok := lookup(d.table, name)
	if ok {
		name = p.name
		path, err = d.fetchPublished(ctx, p, dest)
	} else {
		path, err = d.fetchRepository(ctx, name, dest)
	}
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", name, err)
	}
	return path, nil
}

// online is the hub's address, if the network may be used and the user's token can be sent.
func (d *Downloader) online() (*url.URL, error) {
	if by := d.env.offlineBy(); by != "" {
		return nil, errors.New(by)
	}
	token, from := d.token()
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, &failure{noStart: true, error: fmt.Errorf("the token in %s holds a space, "+
			"a line break or another character that no token has", from)}
	}
	return endpoint(d.env)
}

func (d *Downloader) fetchPublished(ctx context.Context, p Published, dest string) (string, error) {
	hub, err := d.online()
	if err != nil {
		return "", err
	}
	if dest == "" {
		if dest = cacheFile(p.name, d.env); dest == "" {
			return "", errNoCache
		}
		if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
			return "", unwritable(dest, err)
		}
	} else if info, err := os.Stat(dest); err == nil && info.IsDir() {
		dest = filepath.Join(dest, p.name+".safetensors")
	} else if target, err := throughLinks(dest); err == nil {
		dest = target
	}
	f := hubFile{p.repo, p.revision, weightsFile, p.size, p.sum}
	if f.sum == "" {
		if f, err = d.announced(ctx, hub, f); err != nil {
			return "", err
		}
	}
	return dest, d.fetchFile(ctx, hub, f, p.name, dest)
}

var errNoCache = errors.New("this system names no cache folder; " +
	"\"mechpatch fetch -o FILE\" puts the file elsewhere")

// repositoryFetch is the fetch of a repository's files into a folder.
type repositoryFetch struct {
	*Downloader
	hub    *url.URL
	repo   Repository
	commit string // "" until the first answer tells it: all files are of one commit
	folder string // where the files go; "" until then, for the program's cache
	cache  string // the repository's folder there; "" if the files go elsewhere
}

// fetchRepository brings a model of the hub and returns its folder. Its config.json is the first
// file, so that a model which cannot be computed is refused before its weights are fetched, and the
// weights are the last: where they are, the vocabulary is too.
func (d *Downloader) fetchRepository(ctx context.Context, name, dest string) (string, error) {
	repo, err := parseRepository(name)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(dest); dest != "" && (err == nil && !info.IsDir() ||
		strings.HasSuffix(dest, ".safetensors")) {
		return "", fmt.Errorf("%s cannot be a folder, and this model is several files", dest)
	}
	f := &repositoryFetch{Downloader: d, repo: repo, folder: dest}
	if f.hub, err = d.online(); err != nil {
		return "", err
	}
	for _, part := range []func(context.Context) error{f.config, f.vocabulary, f.weights} {
		if err := part(ctx); err != nil {
			return "", err
		}
	}
	return f.folder, f.remember(cmp.Or(repo.revision, "main"))
}

func (f *repositoryFetch) config(ctx context.Context) error {
	path, err := f.bring(ctx, "config.json")
	if path == "" || err != nil {
		return err
	}
	data, err := readBounded(path, 1<<20)
	if err == nil {
		_, err = parseConfig(data, "config.json")
	}
	if err != nil && f.cache != "" {
		os.Remove(path)
		os.Remove(f.folder)
	}
	return err
}

// vocabulary brings what tells how the model cuts a text. Where that is no byte-level BPE, the
// files by which other kinds are known come along, so that a run can name the kind.
func (f *repositoryFetch) vocabulary(ctx context.Context) error {
	for _, name := range []string{
		"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	} {
		if _, err := f.bring(ctx, name); err != nil {
			return err
		}
	}
	for _, files := range [][]string{
		{"tokenizer.json"}, {"vocab.json", "merges.txt"}, {"spiece.model"}, {"tokenizer.model"},
		{"sentencepiece.bpe.model"}, {"spm.model"}, {"vocab.txt"},
	} {
		all := true
		for _, name := range files {
			path, err := f.bring(ctx, name)
			if err != nil {
				return err
			}
			all = all && path != ""
		}
		if all {
			break
		}
	}
	return nil
}

func (f *repositoryFetch) weights(ctx context.Context) error {
	path, err := f.bring(ctx, weightsNames...)
	if err != nil {
		return err
	}
	if path == "" {
		return fmt.Errorf("the repository has none of %s", strings.Join(weightsNames, ", "))
	}
	if !isIndex(path) {
		return nil
	}
	_, parts, err := readIndex(path)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if found, err := f.bring(ctx, part); err != nil {
			return err
		} else if found == "" {
			return fmt.Errorf("%s names %s, which the repository does not have", path, quote(part))
		}
	}
	return nil
}

// bring brings the first of these files that the repository has, and returns where it is, or "".
func (f *repositoryFetch) bring(ctx context.Context, names ...string) (path string, err error) {
	for _, name := range names {
		revision := cmp.Or(f.commit, f.repo.revision, "main")
		file, err := f.announced(ctx, f.hub,
			hubFile{repo: f.repo.id, revision: revision, name: name})
		if absent := (*failure)(nil); errors.As(err, &absent) && absent.absent {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if err := f.settle(file.revision); err != nil {
			return "", err
		}
		ext := filepath.Ext(name)
		if ext != ".safetensors" && ext != ".bin" && file.size > largestSmall {
			return "", fmt.Errorf("%s has %s, which is too much", name, bytesText(file.size))
		}
		path := filepath.Join(f.folder, name)
		if f.cache == "" && isFile(path) && !isComplete(path, file) {
			return "", fmt.Errorf("%s is there, but differs from the repository's: "+
				"name an empty folder", path)
		}
		if err := f.fetchFile(ctx, f.hub, file, f.repo.String()+" "+name, path); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		return path, nil
	}
	return "", nil
}

// largestSmall bounds the files that are not weights. Large vocabularies have 10 MB.
const largestSmall = 100 << 20

// settle takes the first file's commit for that of all files, and makes the folder.
func (f *repositoryFetch) settle(commit string) error {
	if f.commit != "" {
		return nil
	}
	if !isCommit(commit) {
		return fmt.Errorf("%s does not name the commit (in X-Repo-Commit), so that the files "+
			"might not belong together", f.hub.Host)
	}
	f.commit = commit
	if f.folder == "" {
		if f.cache = f.env.inCache(hubFolder(f.repo.id)); f.cache == "" {
			return errNoCache
		}
		f.folder = filepath.Join(f.cache, "snapshots", commit)
	}
	if err := os.MkdirAll(f.folder, 0o755); err != nil {
		return unwritable(filepath.Join(f.folder, weightsFile), err)
	}
	return nil
}

func (f *repositoryFetch) remember(revision string) error {
	if f.cache == "" || isCommit(revision) {
		return nil
	}
	ref := filepath.Join(f.cache, "refs", filepath.FromSlash(revision))
	if err := os.MkdirAll(filepath.Dir(ref), 0o755); err != nil {
		return unwritable(ref, err)
	}
	return replaceFile(ref, 0o644, 0, func(w io.Writer) error {
		_, err := io.WriteString(w, f.commit)
		return err
	})
}

// fetchFile makes dest the file f, which messages call title.
func (d *Downloader) fetchFile(ctx context.Context, hub *url.URL, f hubFile,
	title, dest string) error {
	if info, err := os.Stat(dest); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file: remove it, or name a model with -model", dest)
	}
	partial := beside(dest, "."+f.sum[:16]+".partial")
	release, err := d.claim(ctx, dest, partial, f.size)
	if err != nil {
		return err
	}
	defer release()
	large := f.size >= worth // else it is there before anybody has read of it
	if isComplete(dest, f) {
		if large {
			d.note(fmt.Sprintf("%s is there, and its checksum is right", dest))
		}
		return nil
	}

	part, err := openPartial(partial, f.size)
	if err != nil {
		return unwritable(dest, err)
	}
	if large {
		line := fmt.Sprintf("fetching %s (%s) from %s into %s", title, bytesText(f.size),
			hub.JoinPath(f.repo).Redacted(), dest)
		if part.done > 0 {
			line += fmt.Sprintf(", of which %s are there", bytesText(part.done))
		}
		if d.quick {
			line += "; -model circuit does without it"
		}
		d.note(line)
		d.progress(part.done, f.size)
	}
	err = d.fill(ctx, f, f.url(hub), part)
	if err == nil {
		err = keep(part, dest, f)
	}
	if err != nil {
		return abandon(part, dest, err)
	}
	return nil
}

func unwritable(dest string, err error) error {
	return fmt.Errorf("cannot write into %s: %w; \"mechpatch fetch -o FILE\" puts the file "+
		"elsewhere, and -model FILE uses it from there", filepath.Dir(dest), reason(err))
}

// isComplete tells whether path is the file f, byte for byte.
func isComplete(path string, f hubFile) bool {
	file, err := openRegular(path)
	if err != nil {
		return false
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() != f.size {
		return false
	}
	sum, err := f.sumOf(file)
	return err == nil && sum == f.sum
}

// sumOf is the sum, of the kind of f's, of what lies on the disk.
func (f hubFile) sumOf(file *os.File) (string, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	h := sha256.New()
	if len(f.sum) == 2*sha1.Size { // git's sum of a file
		h = sha1.New()
		fmt.Fprintf(h, "blob %d\x00", f.size)
	}
	_, err := io.Copy(h, file)
	return hex.EncodeToString(h.Sum(nil)), err
}

// The lock is a file that its owner touches every lockBeat. One that has not been touched for
// lockStale is of a run that was killed or suspended, and is taken over. Should its owner go on all
// the same, both write the same bytes into the partial file, and its sum tells whether they did.
const (
	lockBeat  = 10 * time.Second
	lockStale = 45 * time.Second
)

// claim waits until this process alone may write dest and its partial file, and returns the
// function that gives them free.
func (d *Downloader) claim(ctx context.Context, dest, partial string, size int64) (
	release func(), err error) {
	const look = 200 * time.Millisecond
	lock := beside(dest, ".lock")
	var last time.Time
	for waited, unchanged := false, time.Duration(0); ; unchanged += look {
		file, err := os.OpenFile(lock, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil {
			file.Close()
			return d.holdLock(lock), nil
		}
		info, statErr := os.Lstat(lock)
		switch {
		case errors.Is(statErr, fs.ErrNotExist) && errors.Is(err, fs.ErrExist):
			continue // just given free
		case statErr != nil:
			return nil, unwritable(dest, err)
		case !info.ModTime().Equal(last):
			last, unchanged = info.ModTime(), 0
		case unchanged >= lockStale:
			if err := os.Remove(lock); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, unwritable(dest, err)
			}
		}

		if !waited {
			d.note(fmt.Sprintf("another mechpatch is fetching %s: waiting for it", dest))
			waited = true
		}
		if info, err := os.Stat(partial); err == nil {
			d.progress(min(info.Size(), size), size)
		}
		if d.sleep(ctx, look) != nil {
			return nil, errInterrupted
		}
	}
}

// holdLock touches a lock from time to time until it is released.
func (d *Downloader) holdLock(lock string) (release func()) {
	held := make(chan struct{})
	mine, _ := os.Lstat(lock)
	isMine := func() bool {
		info, err := os.Lstat(lock)
		return err == nil && mine != nil && os.SameFile(info, mine)
	}
	var beat func()
	beat = func() {
		select {
		case <-held:
			return
		default:
		}
		if isMine() {
			os.Chtimes(lock, time.Now(), time.Now())
			d.after(lockBeat, beat)
		}
	}
	d.after(lockBeat, beat)
	return func() {
		close(held)
		if isMine() {
			os.Remove(lock)
		}
	}
}

// partialFile is a download under way.
type partialFile struct {
	*os.File
	size    int64 // of the whole
	done    int64 // bytes that are there
	spliced bool  // they came over more than one connection
	dropped int   // how often what was there had to be given up
}

// openPartial opens or makes a partial file. What is there but cannot be this program's, such as a
// link that somebody else has put there, is not followed but replaced.
func openPartial(path string, size int64) (*partialFile, error) {
	part := &partialFile{size: size}
	if there, err := os.Lstat(path); err == nil && there.Mode().IsRegular() &&
		there.Size() <= size {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		if info, err := file.Stat(); err == nil && os.SameFile(info, there) && !hasTwoNames(info) {
			part.File, part.spliced = file, there.Size() > 0
			part.done, err = file.Seek(0, io.SeekEnd)
			return part, err
		}
		file.Close()
	}
	return part, part.create(path)
}

func (part *partialFile) create(path string) error {
	os.Remove(path)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err == nil {
		part.File = file
	}
	return err
}

// drop gives up what is there: the file is made anew, since another process may have it open under
// its final name. A server that makes this necessary again and again is given up on.
func (part *partialFile) drop() error {
	part.Close()
	if err := part.create(part.Name()); err != nil {
		return err
	}
	part.done, part.spliced = 0, false
	if part.dropped++; part.dropped > 3 {
		return &failure{error: errors.New("the server's answers do not fit together")}
	}
	return nil
}

// fill downloads what part lacks and makes sure of the checksum of what lies on the disk.
func (d *Downloader) fill(ctx context.Context, f hubFile, address string, part *partialFile) error {
	for {
		err := d.persist(ctx, func(ctx context.Context, arrived func(n int)) error {
			return d.get(ctx, address, part, arrived)
		})
		if err != nil {
			return err
		}
		got, err := f.sumOf(part.File)
		if err != nil || got == f.sum {
			return err
		}
		if !part.spliced {
			return wrongFile{fmt.Errorf("wrong checksum: that of what arrived is %s, not %s; "+
				"it was deleted", got, f.sum)}
		}
		d.note("what was put together has a wrong checksum; starting anew")
		if err := part.drop(); err != nil {
			return err
		}
	}
}

// wrongFile is the error of a file of which nothing is worth keeping: it is not what was asked for.
type wrongFile struct{ error }

// get asks for what part still lacks and appends what arrives. The error is a *failure, for the
// network's, a wrongFile, for a wrong length, or a failure to write.
func (d *Downloader) get(ctx context.Context, address string, part *partialFile,
	arrived func(n int)) error {
	if part.done == part.size {
		return nil
	}
	ctx, watchdog := d.watched(ctx, fmt.Errorf("less than %s within %s", bytesText(worth), d.stall))
	defer watchdog.Stop()

	request, err := d.request(ctx, http.MethodGet, address)
	if err != nil {
		return err
	}
	if part.done > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", part.done))
	}
	response, err := d.client.Do(request)
	if err != nil {
		return broken(ctx, err)
	}
	defer response.Body.Close()
	if err := d.position(response, part); err != nil {
		return err
	}

	buffer := make([]byte, 256<<10)
	for sinceReset := 0; part.done < part.size; {
		n, err := response.Body.Read(buffer[:min(int64(len(buffer)), part.size-part.done)])
		if n > 0 {
			arrived(n)
			written, writeErr := d.write(part.File, buffer[:n])
			part.done += int64(written)
			if writeErr != nil {
				return writeErr
			}
			if sinceReset += n; sinceReset >= worth {
				watchdog.Reset(d.stall)
				sinceReset = 0
			}
			d.progress(part.done, part.size)
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && part.done < part.size {
			part.spliced = part.done > 0
			return broken(ctx, err)
		}
	}
	if n, _ := io.ReadFull(response.Body, buffer[:1]); n > 0 {
		return wrongFile{fmt.Errorf("wrong size: more arrives than the %d bytes of the file; "+
			"what arrived was deleted", part.size)}
	}
	return nil
}

// position makes sure that the answer is the file, or its rest, and that it begins where part ends.
func (d *Downloader) position(response *http.Response, part *partialFile) error {
	host := response.Request.URL.Host
	if code := response.Header.Get("Content-Encoding"); code != "" && code != "identity" {
		return &failure{error: fmt.Errorf("%s sends the file encoded as %.20q, which was not "+
			"asked for", host, code)}
	}
	wrongSize := func(size int64, offers, page string) error {
		return &failure{error: fmt.Errorf("wrong size: %s %s %d bytes%s, not %d",
			host, offers, size, page, part.size)}
	}
	startAnew := func(why string) error {
		if err := part.drop(); err != nil {
			return err
		}
		return &failure{error: fmt.Errorf("%s %s", host, why), again: true}
	}
	page := "" // a remark on an answer that is to be read by people
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
		page = " (a web page: does this network ask for a login?)"
	}
	switch response.StatusCode {
	case http.StatusOK:
		n := response.ContentLength
		if n >= 0 && n != part.size {
			return wrongSize(n, "offers", page)
		}
		if n < 0 && page != "" {
			return &failure{error: fmt.Errorf("%s answers with something other than the file%s",
				host, page)}
		}
		if part.done > 0 { // the server does not do ranges
			return part.drop()
		}
		return nil

	case http.StatusPartialContent:
		first, total, ok := parseContentRange(response.Header.Get("Content-Range"))
		if ok && total >= 0 && total != part.size {
			return wrongSize(total, "has", "")
		}
		if ok && first == part.done {
			return nil
		}
		return startAnew("sends a part other than the one asked for")

	case http.StatusRequestedRangeNotSatisfiable:
		if part.done > 0 {
			return startAnew("refuses to continue from the middle")
		}
	}
	return d.refusal(response)
}

// keep makes a whole and checked partial file the file dest.
func keep(part *partialFile, dest string, f hubFile) error {
	if info, err := os.Stat(dest); err == nil {
		part.Chmod(info.Mode().Perm()) // as all that replaces a file; it is no fault where it fails
	}
	// Without Sync a power cut could leave a file of the right name without its bytes.
	err := part.Sync()
	if closeErr := part.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(part.Name(), dest)
	}
	// Another process may have been sooner, and Windows does not replace a file that is in use.
	if err != nil && isComplete(dest, f) {
		os.Remove(part.Name())
		return nil
	}
	return err
}

// abandon closes a partial file, removes it unless another run can go on from it, and explains err.
func abandon(part *partialFile, dest string, err error) error {
	part.Close()
	network := err == errInterrupted || errors.As(err, new(*failure))
	if network && part.done > 0 {
		return fmt.Errorf("%w; %s of %s are kept, and the same command continues from there", err,
			bytesText(part.done), bytesText(part.size))
	}
	os.Remove(part.Name())
	if network || errors.As(err, new(wrongFile)) {
		return err
	}
	return unwritable(dest, err)
}
