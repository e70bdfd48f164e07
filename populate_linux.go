package main

import (
	"os"
	"syscall"
	"unsafe"
)

// madvPopulateRead is advice that syscall has no name for, since Linux 5.14. Older kernels refuse it, and nothing is lost.
const madvPopulateRead = 22

// populate has the pages of mapped memory brought in, if they are not yet there. Touching them does the same, but is
// interrupted every few pages, and every thread that gets to a new page waits for it.
func populate(data []byte) {
	if len(data) == 0 {
		return
	}
	before := uintptr(unsafe.Pointer(&data[0])) % uintptr(os.Getpagesize()) // the advice is for whole pages
	start := (*byte)(unsafe.Add(unsafe.Pointer(&data[0]), -int(before)))
	syscall.Madvise(unsafe.Slice(start, len(data)+int(before)), madvPopulateRead)
}
