package main

import (
	"syscall"
	"testing"
	"unsafe"
)

// Rows that end where readable memory ends, and rows that begin where it begins: a load or store
// outside the row ends the test with a fault, even one that would put back what it found.
func TestVectorKernelsStayInsideTheRow(t *testing.T) {
	page := syscall.Getpagesize()
	memory, err := syscall.Mmap(-1, 0, 3*page, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Skipf("no guard pages: %v", err)
	}
	defer syscall.Munmap(memory)
	for _, guard := range [][]byte{memory[:page], memory[2*page:]} {
		if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
			t.Skipf("no guard pages: %v", err)
		}
	}
	middle := unsafe.Slice((*float32)(unsafe.Pointer(&memory[page])), page/4)
	for _, k := range rowKernels() {
		for length := 0; length <= 200; length++ {
			for _, x := range [][]float32{middle[:length], middle[len(middle)-length:]} {
				// The row stands in each of the four places in turn; the other slices are ordinary
				// ones.
				other := func() []float32 { return make([]float32, length) }
				for _, f := range k.activate {
					f(x)
				}
				k.softmax(x)
				k.layerNorm(x, other(), Norm{other(), other()}, layerNormEpsilon)
				k.layerNorm(other(), x, Norm{other(), other()}, layerNormEpsilon)
				k.layerNorm(other(), other(), Norm{x, other()}, layerNormEpsilon)
				k.layerNorm(other(), other(), Norm{other(), x}, layerNormEpsilon)
			}
		}
	}
}
