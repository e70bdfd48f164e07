package main

import (
	"io/fs"
	"os"
	"syscall"
	"unsafe"
)

// hasTwoNames does not know a file's other names (hard links) here.
func hasTwoNames(fs.FileInfo) bool { return false }

// mapView does what it does on Unix. While the mapping lasts, Windows lets nobody shorten or
// replace the file.
func mapView(f *os.File, offset int64, length int) ([]byte, func() error, error) {
	handle := syscall.Handle(f.Fd())
	section, err := syscall.CreateFileMapping(handle, nil, syscall.PAGE_READONLY, 0, 0, nil)
	if err != nil {
		return nil, nil, os.NewSyscallError("CreateFileMapping", err)
	}
	defer syscall.CloseHandle(section) // the view keeps the section alive
	address, err := syscall.MapViewOfFile(section, syscall.FILE_MAP_READ,
		uint32(offset>>32), uint32(offset), uintptr(length))
	if err != nil {
		return nil, nil, os.NewSyscallError("MapViewOfFile", err)
	}
	// The address is not one of Go's heap, so that turning the number into a pointer is sound;
	// written through &address because vet, which cannot know that, objects to the direct
	// conversion.
	data := unsafe.Slice(*(**byte)(unsafe.Pointer(&address)), length)
	return data, func() error { return syscall.UnmapViewOfFile(address) }, nil
}

const errNoMemory = syscall.Errno(8) // ERROR_NOT_ENOUGH_MEMORY

// lockFile does what it does on Unix. What is locked is a byte far behind the end, so that others
// can read the file.
func lockFile(f *os.File) bool {
	const failImmediately, exclusive, lockViolation = 1, 2, syscall.Errno(33)
	place := syscall.Overlapped{OffsetHigh: 1 << 30}
	ok, _, err := lockFileEx.Call(f.Fd(), failImmediately|exclusive, 0, 1, 0,
		uintptr(unsafe.Pointer(&place)))
	return ok != 0 || err != lockViolation
}

// useHugePages does nothing: here the system chooses the size of pages.
func useHugePages([]byte) {}

// forget does nothing: here the pages of a mapping leave with it.
func forget([]byte) {}

// obeysEscapes makes a console obey escape sequences, which it prints as they are until it is told
// (since Windows 10; see SetConsoleMode). A terminal that is no console, such as Cygwin's, fails.
func obeysEscapes(f *os.File) bool {
	const virtualTerminalProcessing = 4
	var mode uint32
	if err := syscall.GetConsoleMode(syscall.Handle(f.Fd()), &mode); err != nil {
		return false
	}
	ok, _, _ := setConsoleMode.Call(f.Fd(), uintptr(mode|virtualTerminalProcessing))
	return ok != 0
}

var (
	kernel32       = syscall.NewLazyDLL("kernel32.dll")
	setConsoleMode = kernel32.NewProc("SetConsoleMode")
	lockFileEx     = kernel32.NewProc("LockFileEx")
)
