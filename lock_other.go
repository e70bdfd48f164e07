//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package main

// lockFile says that files cannot be locked here.
func lockFile(string) (unlock func(), err error) { return nil, errNoLocks }

// diskFull does not know this system's errors.
func diskFull(error) bool { return false }
