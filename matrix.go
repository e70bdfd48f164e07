package main

import "unsafe"

// Matrix is a weight matrix, row-major [rows, cols], in the number format in which the checkpoint
// stores it: F32 data is used where it lies (memory-mapped); 16-bit data is widened to float32 on
// its way into the kernel. With neither slice set the matrix is all zeros and costs nothing.
type Matrix struct {
	rows, cols int
	f32        []float32
	half       []uint16 // F16 or BF16 bit patterns, by format
	format     Format
}

// Format is the number format of a Matrix.
type Format uint8

const (
	f32  Format = iota // IEEE 754 binary32
	f16                // IEEE 754 binary16: 1 sign, 5 exponent and 10 fraction bits
	bf16               // bfloat16: the upper half of a binary32
)

// String returns the format's name as safetensors spells it.
func (f Format) String() string {
	switch f {
	case f16:
		return "F16"
	case bf16:
		return "BF16"
	}
	return "F32"
}

// newMatrix is a matrix to be filled in.
func newMatrix(rows, cols int) Matrix {
	return Matrix{rows: rows, cols: cols, f32: make([]float32, rows*cols)}
}

// zero reports whether the matrix holds no data and so stands for all zeros.
func (w *Matrix) zero() bool { return w.f32 == nil && w.half == nil }

// bytes is the matrix's data as it lies in memory.
func (w *Matrix) bytes() []byte {
	switch {
	case w.zero():
		return nil
	case w.half == nil:
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(w.f32))), 4*len(w.f32))
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(w.half))), 2*len(w.half))
}

// row writes row i as float32 into dst [cols].
func (w *Matrix) row(dst []float32, i int) {
	w.widen(dst[:w.cols], i*w.cols)
}

// widen writes the len(dst) values that begin at index at of the matrix's data as float32.
func (w *Matrix) widen(dst []float32, at int) {
	switch {
	case w.zero():
		clear(dst)
	case w.half == nil:
		copy(dst, w.f32[at:])
	case w.format == bf16:
		chosen.widenBF16(dst, w.half[at:at+len(dst)])
	default:
		chosen.widenF16(dst, w.half[at:at+len(dst)])
	}
}
