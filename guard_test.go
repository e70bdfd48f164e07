//go:build linux || darwin

package main

import (
	"syscall"
	"testing"
	"unsafe"
)

// guardedEnds returns n values that begin where a page begins, and n that end where one ends, with
// an unmapped page before the former and behind the latter: reading beside them there is a fault.
func guardedEnds(t testing.TB, n int) (first, last []float32) {
	page := syscall.Getpagesize()
	size := (4*n+page-1)/page*page + 2*page
	mem := must(syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE))
	t.Cleanup(func() { syscall.Munmap(mem) })
	check(t, syscall.Mprotect(mem[:page], syscall.PROT_NONE))
	check(t, syscall.Mprotect(mem[size-page:], syscall.PROT_NONE))
	values := func(at int) []float32 {
		return unsafe.Slice((*float32)(unsafe.Pointer(&mem[at])), n)
	}
	return values(page), values(size - page - 4*n)
}
