package child

import "syscall"

// dieWithParent makes the kernel send the child a signal when we end without having stopped it.
func dieWithParent(attr *syscall.SysProcAttr, signal syscall.Signal) { attr.Pdeathsig = signal }
