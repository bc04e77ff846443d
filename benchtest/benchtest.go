// Package benchtest has what the benchmarks of several packages need.
package benchtest

import (
	"syscall"
	"testing"
	"time"
)

// ProcessorTime is what this process has used, in user and system mode, which other processes on the machine do
// not change much.
func ProcessorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
