package main

import (
	"errors"
	"os"
	"syscall"
	"unsafe"
)

// Error numbers of Windows (winerror.h) and a flag of CreateFile (winbase.h).
const (
	errorAccessDenied     = syscall.Errno(5)
	errorSharingViolation = syscall.Errno(32)
	errorHandleDiskFull   = syscall.Errno(39)
	errorDiskFull         = syscall.Errno(112)
	errorDiskQuota        = syscall.Errno(1295)
	fileFlagDeleteOnClose = 0x04000000
)

// lockFile makes the file path and takes it for this process, or for one of its goroutines, alone: it is opened without sharing. Its error
// is errLocked while another has it. unlock closes the file, as the system does for a process that dies, and with that it is removed.
func lockFile(path string) (unlock func(), err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	handle, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS,
		syscall.FILE_ATTRIBUTE_NORMAL|fileFlagDeleteOnClose, 0)
	if err == errorSharingViolation {
		return nil, errLocked
	}
	if err == errorAccessDenied { // also what is said of a file that is just being removed
		if _, statErr := os.Lstat(path); statErr == nil {
			return nil, errLocked
		}
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return func() { syscall.CloseHandle(handle) }, nil
}

// diskFull tells whether a file could not be written for want of space, on the disk or in the user's share of it.
func diskFull(err error) bool {
	return errors.Is(err, errorDiskFull) || errors.Is(err, errorHandleDiskFull) || errors.Is(err, errorDiskQuota)
}

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

var setConsoleMode = syscall.NewLazyDLL("kernel32.dll").NewProc("SetConsoleMode")

// errPipeClosed is the error of a write to a pipe that nobody reads any more.
const errPipeClosed = syscall.Errno(232) // ERROR_NO_DATA, "The pipe is being closed"

func ignoreClosedPipes() {}
