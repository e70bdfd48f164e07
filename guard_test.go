//go:build linux || darwin

package main

import (
	"syscall"
	"testing"
	"unsafe"
)

// guarded returns n values that end where a page ends, with an unmapped page behind: reading past
// the slice is a fault.
func guarded(t testing.TB, n int) []float32 {
	page := syscall.Getpagesize()
	size := (4*n+page-1)/page*page + page
	mem := must(syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE))
	t.Cleanup(func() { syscall.Munmap(mem) })
	check(t, syscall.Mprotect(mem[size-page:], syscall.PROT_NONE))
	return unsafe.Slice((*float32)(unsafe.Pointer(&mem[size-page-4*n])), n)
}
