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
	// The advice is for whole pages, so that it begins before data: a number, for there is no object that a pointer would point to.
	address := uintptr(unsafe.Pointer(&data[0]))
	before := address % uintptr(os.Getpagesize())
	syscall.Syscall(syscall.SYS_MADVISE, address-before, uintptr(len(data))+before, madvPopulateRead)
}
