// Package child starts processes that do not outlive this one, and stops them more and more strictly.
//
// A child has a process group of its own, so that a Ctrl-C on the terminal reaches only us, who then stop
// it in order. On Linux the kernel ends it when we end without having done so.
package child

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Process is a started child.
type Process struct {
	PID  int
	done chan struct{}
	err  error      // set before done is closed
	stop sync.Mutex // held by Stop
}

// Step is a signal and how long to wait for the child's end after it.
type Step struct {
	Signal syscall.Signal
	Limit  time.Duration
}

// Start starts cmd. The kernel sends it death when this process ends first.
func Start(cmd *exec.Cmd, death syscall.Signal) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr, death)
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = time.Second // a grandchild may hold the output open
	}
	p := &Process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the signal when the thread that started the child ends, not the process. A
		// locked goroutine keeps its thread until it returns, which is when the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		if err == nil {
			p.PID = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Done is closed when the child has ended and its output has been read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the child's end and returns what exec.Cmd.Wait says of it.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Stop takes the steps in order until the child has ended, the last being SIGKILL whatever they are. It
// may be called more than once and by several goroutines.
func (p *Process) Stop(steps ...Step) {
	p.stop.Lock()
	defer p.stop.Unlock()
	for _, step := range append(steps, Step{syscall.SIGKILL, 10 * time.Second}) {
		select {
		case <-p.done:
			return
		default:
		}
		// The child is reaped just before done is closed; until then the number is its own, or a zombie's.
		_ = syscall.Kill(p.PID, step.Signal)
		select {
		case <-p.done:
			return
		case <-time.After(step.Limit):
		}
	}
}
