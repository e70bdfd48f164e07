package main

import (
	"syscall"
	"testing"
)

// TestTouch counts the page faults of reading a mapped file, as it is, after touch, and when its
// pages have been let go again.
func TestTouch(t *testing.T) {
	const size = 16 << 20
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
		t.Skipf("this system maps so much at a time that it makes no difference: %d", untouched)
	}
	touched, forgotten := untouched, 0
	for range 5 { // the rest of the program has page faults too
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
		t.Errorf("%d page faults, %d after touch, %d when forgotten", untouched, touched, forgotten)
	}
}
