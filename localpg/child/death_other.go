//go:build unix && !linux

package child

import "syscall"

// dieWithParent does nothing where the kernel has no such signal: a child survives a kill -9 of its parent.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}
