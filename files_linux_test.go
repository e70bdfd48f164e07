package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestTouch counts the page faults of reading a mapped file, as it is, after touch, and when its
// pages have been let go again.
func TestTouch(t *testing.T) {
	const size = 32 << 20
	path := file(t, "x", make([]byte, size))
	faults := func(prepare func(data []byte)) int {
		data, release, err := readRange(path, 0, -1)
		if err != nil || release == nil {
			t.Skipf("the file cannot be mapped here: %v", err)
		}
		defer release()
		prepare(data)
		var before, after syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &before)
		sum := byte(0)
		for i := 0; i < len(data); i += 4096 {
			sum += data[i]
		}
		syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		return int(after.Minflt-before.Minflt) + int(sum)
	}
	untouched := faults(func([]byte) {})
	if untouched < 100 {
		t.Skipf("this system maps so much at a time that it makes no difference: %d faults",
			untouched)
	}
	touched, forgotten := untouched, 0
	for try := 0; try < 5; try++ { // the rest of the program has page faults too
		touched = min(touched, faults(func(data []byte) { // an odd stretch, as a tensor is
			touch(data[12345 : size/2])
			touch(data[size/2:])
		}))
		forgotten = max(forgotten, faults(func(data []byte) {
			touch(data)
			forgetMappings()
		}))
	}
	if touched > untouched/4 || forgotten < untouched/2 {
		t.Errorf("%d page faults, %d after touch, %d after forgetMappings", untouched, touched,
			forgotten)
	}
}

// TestMappingRefused has no room for a mapping: the file is not read into memory instead. The limit
// is on a child, which runs TestMappingRefusedChild.
func TestMappingRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	f := must(os.Create(path))
	defer f.Close()
	if err := f.Truncate(maxRead / 2); err != nil {
		t.Skip(err) // a file system without sparse files
	}
	run := child(t, "TestMappingRefusedChild", "MECHPATCH_TEST_MAPS="+path)
	if out, err := run.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestMappingRefusedChild(t *testing.T) {
	path := os.Getenv("MECHPATCH_TEST_MAPS")
	if path == "" {
		t.Skip("runs as a child of TestMappingRefused")
	}
	// The program's own memory, which the race detector makes vast, and 1 GB more.
	status, err := os.ReadFile("/proc/self/statm")
	var pages uint64
	if fmt.Sscan(string(status), &pages); err != nil || pages == 0 {
		t.Skip(err)
	}
	most := pages*uint64(os.Getpagesize()) + 1<<30
	if err := syscall.Setrlimit(syscall.RLIMIT_AS,
		&syscall.Rlimit{Cur: most, Max: most}); err != nil {
		t.Skip(err)
	}
	_, _, err = readRange(path, 0, -1)
	wantWhole(t, "a mapping", err,
		"mapping its 8589934592 bytes into memory: cannot allocate memory")
}
