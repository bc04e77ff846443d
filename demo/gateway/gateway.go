// Package gateway runs the countersign program as a child process, for the demo and the benchmarks, which
// see it only as a user would: its configuration, its ports, its command line.
package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/countersign-dev/countersign/localpg/child"
)

const (
	startLimit = 30 * time.Second
	stopLimit  = 10 * time.Second
	keptLog    = 64 << 10
)

// Gateway is a running `countersign serve`.
type Gateway struct {
	URL     string // of the API
	PID     int
	process *child.Process
	log     *log
}

// FreeAddr returns an address of this machine on which nothing listens at the moment.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Start runs program with a configuration whose API listens on web, and returns when it is ready. What
// it logs goes to out too, which may be nil.
func Start(ctx context.Context, program, config, web string, out io.Writer) (*Gateway, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	g := &Gateway{URL: "http://" + web, log: &log{to: out}}
	cmd := exec.Command(program, "serve", "--config", config)
	cmd.Stdout, cmd.Stderr = g.log, g.log
	process, err := child.Start(cmd, syscall.SIGTERM)
	if err != nil {
		return nil, err
	}
	g.process, g.PID = process, process.PID
	if err := g.await(ctx); err != nil {
		g.Stop()
		return nil, fmt.Errorf("the gateway did not start: %w\n%s", err, g.Log())
	}
	return g, nil
}

func (g *Gateway) await(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx, g.URL+"/readyz") {
			return nil
		}
		select {
		case <-g.process.Done():
			return fmt.Errorf("it ended: %w", g.process.Wait())
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	client := http.Client{Timeout: time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Done is closed when the gateway has ended.
func (g *Gateway) Done() <-chan struct{} { return g.process.Done() }

// Stop ends the gateway in order, or after some seconds without.
func (g *Gateway) Stop() { g.process.Stop(child.Step{Signal: syscall.SIGTERM, Limit: stopLimit}) }

// Log returns the end of what the gateway wrote.
func (g *Gateway) Log() string { return g.log.String() }

// log passes on what is written and keeps the end of it.
type log struct {
	mu   sync.Mutex
	to   io.Writer
	kept []byte
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, p...)
	if extra := len(l.kept) - keptLog; extra > 0 {
		l.kept = append(l.kept[:0], l.kept[extra:]...)
	}
	if l.to != nil {
		return l.to.Write(p)
	}
	return len(p), nil
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.TrimSpace(l.kept))
}
