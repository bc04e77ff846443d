package child_test

import (
	"bufio"
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/countersign-dev/countersign/localpg/child"
)

// start runs a shell script and returns when it has printed a line.
func start(t *testing.T, script string) *child.Process {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestStop(t *testing.T) {
	for _, c := range []struct {
		name, script string
		want         syscall.Signal
	}{
		{"in order", `echo ready; sleep 60`, syscall.SIGTERM},
		{"when it does not listen", `trap '' TERM; echo ready; sleep 60 & wait; while :; do sleep 1; done`, syscall.SIGKILL},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := start(t, c.script)
			began := time.Now()
			p.Stop(child.Step{Signal: syscall.SIGTERM, Limit: 200 * time.Millisecond})
			p.Stop() // once more does nothing
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("it took %s", took)
			}
			var exit *exec.ExitError
			if err := p.Wait(); !errors.As(err, &exit) {
				t.Fatalf("Wait: %v", err)
			}
			if got := exit.Sys().(syscall.WaitStatus).Signal(); got != c.want {
				t.Errorf("it ended by %v; want %v", got, c.want)
			}
		})
	}
}

func TestGroupOfItsOwn(t *testing.T) {
	p := start(t, `echo ready; sleep 60`)
	if group, err := syscall.Getpgid(p.PID); err != nil || group != p.PID || group == syscall.Getpgrp() {
		t.Errorf("process group %d, %v; want its own, so that a Ctrl-C does not reach it", group, err)
	}
}

func TestStartFails(t *testing.T) {
	if _, err := child.Start(exec.Command("/nonexistent"), syscall.SIGKILL); err == nil {
		t.Error("no error for a program that does not exist")
	}
}
