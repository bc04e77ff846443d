package localpg

import "syscall"

// dieWithParent makes the kernel end the server at once when we die without stopping it.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
