package main

import (
	"os"
	"syscall"
	"unsafe"
)

// populate has the pages of mapped memory brought in, if they are not yet there. Touching them does the same, but is
// interrupted every few pages, and every thread that gets to a new page waits for it.
func populate(data []byte) {
	const madvPopulateRead = 22 // since Linux 5.14; syscall does not name it. Older kernels refuse it, and nothing is lost.
	if len(data) == 0 {
		return
	}
	before := uintptr(unsafe.Pointer(&data[0])) % uintptr(os.Getpagesize()) // the advice is for whole pages
	start := (*byte)(unsafe.Add(unsafe.Pointer(&data[0]), -int(before)))
	syscall.Madvise(unsafe.Slice(start, len(data)+int(before)), madvPopulateRead)
}
