//go:build unix && !linux

package localpg

import "syscall"

// dieWithParent does nothing where the kernel has no such signal: a server survives a kill -9 of its parent.
func dieWithParent(*syscall.SysProcAttr) {}
