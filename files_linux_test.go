package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestPopulate counts the page faults of reading a mapped file, as it is and after populate.
func TestPopulate(t *testing.T) {
	const size = 32 << 20
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
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
	supported := true
	untouched := faults(func(data []byte) {
		const nonsense = 9999 // an emulator may take any advice and follow none
		supported = syscall.Madvise(data[:4096], madvPopulateRead) == nil && syscall.Madvise(data[:4096], nonsense) != nil
	})
	if !supported || untouched < 8 {
		t.Skipf("this system has no such advice, or maps so much at a time that it makes no difference (%d faults)", untouched)
	}
	// An odd stretch, as a tensor is, and the rest.
	least := untouched
	for try := 0; try < 5; try++ { // the rest of the program has page faults too
		least = min(least, faults(func(data []byte) { populate(data[12345 : size/2]); populate(data[size/2:]); populate(nil) }))
	}
	if least > untouched/4 {
		t.Errorf("%d page faults after populate, %d without", least, untouched)
	}
}
