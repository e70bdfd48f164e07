package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Downloader fetches published models from the Hugging Face hub, or from a mirror that answers as the hub does.
//
// A file is identified by its SHA-256, which is known before the first byte is asked for. So what an earlier run left can be continued
// from any server without a validator such as If-Range: a wrong piece shows in the sum, and then the file is fetched anew.
type Downloader struct {
	env      Env
	table    []Published
	client   *http.Client
	progress func(done, total int64) // is told how many bytes are there, also of an earlier run; done falls when a fetch starts anew
	note     func(line string)       // is told what begins, and why something is tried again

	// quick is for a run that has the circuit to fall back on: whether the file can be had must show within startWithin.
	quick       bool
	startWithin time.Duration
	stall       time.Duration // a connection on which nothing arrives for so long is broken

	sleep func(context.Context, time.Duration) error
	write func(*os.File, []byte) (int, error)
}

// newDownloader returns a Downloader that works in the surroundings of env, with the proxies that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name.
func newDownloader(env Env, quick bool) *Downloader {
	d := &Downloader{
		env: env, table: published, progress: func(int64, int64) {}, note: func(string) {},
		quick: quick, startWithin: 8 * time.Second, stall: 30 * time.Second,
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

// errNoStart is what a fetch's error is, by errors.Is, if the network did not yield even one byte of the file: no route, no such host,
// refused, too slow to begin, an error of the server or of a proxy, a login page in place of the file.
var errNoStart = errors.New("the download could not begin")

// fetch downloads the published model of that name into the file dest and returns dest's path. Where dest is "", that is the program's cache;
// where it is a folder, NAME.safetensors in it. A file that is there already and has the right sum is not fetched again.
//
// Until it is whole and its sum is right, the file is dest.SUM.partial (SUM is the beginning of its SHA-256); that is kept when a fetch
// fails, and the next one goes on from it. It is not kept when it turns out to be wrong or when the disk is full.
//
// Only one process at a time fetches into dest; another waits for it, and then uses its file.
func (d *Downloader) fetch(ctx context.Context, name, dest string) (path string, err error) {
	p, ok := lookup(d.table, name)
	switch {
	case name == "circuit":
		return "", errors.New("fetching circuit: it is built into the program")
	case !ok:
		return "", fmt.Errorf("fetching %s: no model of that name: known are %s", name, names(d.table))
	}
	path, err = d.fetchPublished(ctx, p, dest)
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", p.name, err)
	}
	return path, nil
}

func (d *Downloader) fetchPublished(ctx context.Context, p Published, dest string) (string, error) {
	if by := d.env.offlineBy(); by != "" {
		return "", fmt.Errorf("%s forbids the network", by)
	}
	dest, err := d.destination(p.name, dest)
	if err != nil {
		return "", err
	}
	hub, err := endpoint(d.env)
	if err != nil {
		return "", err
	}
	if p.sum == "" {
		if p, err = d.announced(ctx, hub, p); err != nil {
			return "", err
		}
	}

	partial := dest + "." + p.sum[:16] + ".partial"
	release, err := d.claim(ctx, dest, partial, p.size)
	if errors.Is(err, errNoLocks) {
		release, partial = func() {}, fmt.Sprintf("%s.%d-%08x.tmp", dest, os.Getpid(), rand.Uint32())
	} else if err != nil {
		return "", err
	}
	defer release()
	if isComplete(dest, p) {
		d.note(fmt.Sprintf("%s is there, and its checksum is right", dest))
		return dest, nil
	}
	return dest, d.transfer(ctx, hub, p, partial, dest)
}

// destination settles which file is written, and makes the cache's folder.
func (d *Downloader) destination(name, dest string) (string, error) {
	if dest == "" {
		dest = cacheFile(name, d.env)
		if dest == "" {
			return "", errors.New("this system names no cache folder; say with \"mechpatch fetch -o FILE\" where the file is to go")
		}
		if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
			return "", unwritable(dest, err)
		}
		return dest, nil
	}
	info, err := os.Stat(dest)
	if err == nil && info.IsDir() {
		return filepath.Join(dest, name+".safetensors"), nil
	}
	if err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", dest)
	}
	return dest, nil
}

// unwritable explains a failure to write beside dest.
func unwritable(dest string, err error) error {
	return fmt.Errorf("cannot write into %s: %w; \"mechpatch fetch -o FILE\" puts the file elsewhere, and -model FILE uses it from there",
		filepath.Dir(dest), reason(err))
}

// isComplete tells whether path is the published file, byte for byte.
func isComplete(path string, p Published) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != p.size {
		return false
	}
	h := sha256.New()
	_, err = io.Copy(h, file)
	return err == nil && hex.EncodeToString(h.Sum(nil)) == p.sum
}

// errLocked and errNoLocks are why lockFile has no lock to give: another process holds it; the file system has none.
var (
	errLocked  = errors.New("locked")
	errNoLocks = errors.New("no locks here")
)

// claim waits until this process alone may write dest and its partial file, and returns the function that gives them free. The system
// takes the lock from a process that ends in whatever way. errNoLocks is the answer also if the other process has written nothing for
// twice the time after which it should have given up: it was suspended, perhaps.
func (d *Downloader) claim(ctx context.Context, dest, partial string, size int64) (release func(), err error) {
	lastSize, lastChange := int64(-1), time.Now()
	for said := false; ; said = true {
		release, err := lockFile(dest + ".lock")
		switch {
		case err == nil, errors.Is(err, errNoLocks):
			return release, err
		case !errors.Is(err, errLocked):
			return nil, unwritable(dest, err)
		}

		if !said {
			d.note(fmt.Sprintf("another mechpatch is fetching %s: waiting for it", dest))
		}
		if info, err := os.Stat(partial); err == nil && info.Size() != lastSize {
			lastSize, lastChange = info.Size(), time.Now()
			d.progress(lastSize, size)
		}
		if time.Since(lastChange) > 2*d.stall {
			return nil, errNoLocks
		}
		if err := d.sleep(ctx, 200*time.Millisecond); err != nil {
			return nil, errInterrupted
		}
	}
}

// partialFile is a download under way.
type partialFile struct {
	*os.File
	size    int64     // of the whole
	done    int64     // bytes that are there
	hash    hash.Hash // SHA-256 of those
	spliced bool      // they came over more than one connection
	dropped int       // how often what was there had to be given up
}

// transfer downloads p into partial, continuing what is there, checks it, and renames it to dest.
func (d *Downloader) transfer(ctx context.Context, hub *url.URL, p Published, partial, dest string) error {
	line := fmt.Sprintf("fetching %s (%s) from %s into %s", p.name, bytesText(p.size), hub.JoinPath(p.repo).Redacted(), dest)
	if info, err := os.Stat(partial); err == nil && info.Size() > 0 {
		line += fmt.Sprintf(", of which %s are there", bytesText(info.Size()))
	}
	if d.quick {
		line += "; -model circuit does without it"
	}
	d.note(line)

	part, err := openPartial(partial, p.size)
	if err != nil {
		return unwritable(dest, err)
	}
	d.progress(part.done, p.size)
	begun, err := d.fill(ctx, fileURL(hub, p), part, p.sum)
	if err == nil {
		err = d.keep(part, dest, p)
	}
	if err != nil {
		return abandon(part, dest, begun, err)
	}
	return nil
}

// fill downloads what part lacks and makes sure of its checksum. begun tells whether anything arrived.
func (d *Downloader) fill(ctx context.Context, address string, part *partialFile, sum string) (begun bool, err error) {
	for {
		err := d.persist(ctx, &begun, func(ctx context.Context, arrived func()) error { return d.get(ctx, address, part, arrived) })
		if err != nil {
			return begun, err
		}
		got := hex.EncodeToString(part.hash.Sum(nil))
		if got == sum {
			return begun, nil
		}
		if !part.spliced {
			return begun, wrongFile{fmt.Errorf("wrong checksum: the SHA-256 of what arrived is %s, not %s; it was deleted", got, sum)}
		}
		d.note("what was put together has a wrong checksum; starting anew")
		if err := part.drop(); err != nil {
			return begun, err
		}
	}
}

// abandon closes a partial file that cannot be finished, removes it unless another run can go on from it, and explains err.
func abandon(part *partialFile, dest string, begun bool, err error) error {
	part.Close()
	network := err == errInterrupted || errors.As(err, new(*failure))
	if network && part.done > 0 && filepath.Ext(part.Name()) == ".partial" {
		if begun {
			err = fmt.Errorf("%w; %s of %s are kept, and the same command goes on from there", err, bytesText(part.done), bytesText(part.size))
		}
		return err
	}
	os.Remove(part.Name())
	switch {
	case network || errors.As(err, new(wrongFile)):
		return err
	case diskFull(err):
		return fmt.Errorf("no space for %s in %s: %w; make room there, or put the file elsewhere with \"mechpatch fetch -o FILE\"",
			bytesText(part.size), filepath.Dir(dest), reason(err))
	}
	return unwritable(dest, err)
}

// wrongFile is the error of a file that is not the one that was asked for, so that nothing of it is worth keeping.
type wrongFile struct{ error }

// openPartial opens or makes a partial file and takes the sum of what is there.
func openPartial(path string, size int64) (*partialFile, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	part := &partialFile{File: file, size: size, hash: sha256.New()}
	part.done, err = io.Copy(part.hash, io.LimitReader(file, size+1))
	part.spliced = part.done > 0
	if err == nil && part.done > size {
		err = part.drop()
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return part, nil
}

// drop gives up what is there. A server that makes it necessary again and again is given up on.
func (part *partialFile) drop() error {
	if err := part.Truncate(0); err != nil {
		return err
	}
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return err
	}
	part.done, part.spliced = 0, false
	part.hash.Reset()
	if part.dropped++; part.dropped > 3 {
		return &failure{error: errors.New("the server's answers do not fit together")}
	}
	return nil
}

// keep makes a whole and checked partial file the file dest.
func (d *Downloader) keep(part *partialFile, dest string, p Published) error {
	// Without Sync a power cut could leave a file of the right name whose bytes never reached the disk.
	err := part.Sync()
	if closeErr := part.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(part.Name(), dest)
	}
	if err != nil && isComplete(dest, p) { // Windows does not replace a file that is in use; here by a process that was sooner
		os.Remove(part.Name())
		return nil
	}
	return err
}

// failure is an error that the network is to blame for.
type failure struct {
	error
	again   bool          // another try may succeed,
	after   time.Duration // but not sooner
	noStart bool          // and no byte of the file had arrived yet
}

func (f *failure) Unwrap() error        { return f.error }
func (f *failure) Is(target error) bool { return target == errNoStart && f.noStart }

var (
	errInterrupted = errors.New("interrupted")
	errStalled     = errors.New("nothing arrives any more")
	errSlow        = errors.New("too slow")
)

// persist calls try until it succeeds, or fails for good, or fails several times in a row without getting further; the pauses between the
// tries grow. try calls arrived whenever something of the file has arrived, and the first such call sets begun.
func (d *Downloader) persist(ctx context.Context, begun *bool, try func(ctx context.Context, arrived func()) error) error {
	const longestWait = 2 * time.Minute
	tries := 0 // without getting further
	startCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tooLate := time.AfterFunc(d.startWithin, func() { cancel(errSlow) })
	defer tooLate.Stop()
	if !d.quick || *begun {
		tooLate.Stop()
	}
	arrived := func() {
		tries = 0
		if !*begun {
			tooLate.Stop()
			*begun = true
		}
	}

	for {
		err := try(startCtx, arrived)
		var f *failure
		if err == nil || !errors.As(err, &f) {
			return err
		}
		if ctx.Err() != nil {
			return errInterrupted
		}
		f.noStart = !*begun
		if context.Cause(startCtx) == errSlow {
			f.error = fmt.Errorf("nothing of the file within %s", d.startWithin)
			return f
		}
		tries++
		most := 7
		if !*begun {
			most = 4
			if d.quick {
				most = 2
			}
		}
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" && d.quick && !*begun {
			return f // no network: a plain run has something better to do than wait for one
		}
		wait := max(pause(tries), f.after)
		if !f.again || tries == most || wait > longestWait || d.quick && !*begun && wait > d.startWithin {
			return f
		}
		d.note(fmt.Sprintf("%v; trying again in %s", f, wait.Round(100*time.Millisecond)))
		if err := d.sleep(startCtx, wait); err != nil && ctx.Err() != nil {
			return errInterrupted
		}
	}
}

// pause is how long to wait after so many tries: 1, 2, 4 … 32 s, each more or less by up to a quarter, lest the machines of a lab that were
// switched on together come back together too.
func pause(tries int) time.Duration {
	base := time.Second << min(tries-1, 5)
	return base*3/4 + time.Duration(rand.Int63n(int64(base/2)))
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

// get asks for what part still lacks and appends what arrives. Failures of the network are of type *failure, a file of a wrong length is a
// wrongFile, anything else is a failure to write.
func (d *Downloader) get(ctx context.Context, address string, part *partialFile, arrived func()) error {
	if part.done == part.size {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(d.stall, func() { cancel(errStalled) })
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
	for part.done < part.size {
		n, err := response.Body.Read(buffer[:min(int64(len(buffer)), part.size-part.done)])
		if n > 0 {
			arrived()
			written, writeErr := d.write(part.File, buffer[:n])
			part.hash.Write(buffer[:written])
			part.done += int64(written)
			if writeErr != nil {
				return writeErr
			}
			watchdog.Reset(d.stall)
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
		return wrongFile{fmt.Errorf("wrong size: more arrives than the %d bytes of the file; what arrived was deleted", part.size)}
	}
	return nil
}
