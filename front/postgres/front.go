package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

// Name is what actions and sessions of this front are recorded under.
const Name = "postgres"

// Options configure a Front. All but TLS, Limits and Logger are needed.
type Options struct {
	Gate       *gate.Gate
	Classifier *sql.Classifier
	Sanitizer  *sanitize.Sanitizer
	// Authenticate returns who presents token from remote. Its errors all look alike to the client. It
	// compares in constant time.
	Authenticate func(ctx context.Context, token string, remote netip.AddrPort) (countersign.Principal, error)
	// Resource returns the resource of that name, of whatever kind.
	Resource func(countersign.ResourceName) (countersign.Resource, bool)
	// Secret returns the secret that a role's credential refers to. It is used to log in upstream and
	// kept for as long as the connection, never shown.
	Secret func(ctx context.Context, reference string) (string, error)
	// TLS is for clients. Without it only clients on a loopback address are served, by a loopback listener.
	TLS    *tls.Config
	Limits Limits
	Logger *slog.Logger
}

// Front serves PostgreSQL clients.
type Front struct {
	gate         *gate.Gate
	classifier   *sql.Classifier
	sanitizer    *sanitize.Sanitizer
	authenticate func(ctx context.Context, token string, remote netip.AddrPort) (countersign.Principal, error)
	resource     func(countersign.ResourceName) (countersign.Resource, bool)
	secret       func(ctx context.Context, reference string) (string, error)
	tls          *tls.Config
	limits       Limits
	log          *slog.Logger
	memory       budget
	failures     *failures
	cancels      registry

	mu        sync.Mutex // guards what follows
	listeners map[net.Listener]struct{}
	clients   map[net.Conn]*conn // nil until authenticated
	closing   bool
	served    sync.WaitGroup
}

// New returns a Front.
func New(o Options) *Front {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := o.Limits.withDefaults()
	f := &Front{
		gate: o.Gate, classifier: o.Classifier, sanitizer: o.Sanitizer,
		authenticate: o.Authenticate, resource: o.Resource, secret: o.Secret,
		limits: l, log: log,
		memory:    budget{max: l.Memory},
		failures:  newFailures(l.FailedHandshakes, time.Now),
		listeners: map[net.Listener]struct{}{},
		clients:   map[net.Conn]*conn{},
	}
	if o.TLS != nil {
		f.tls = o.TLS.Clone()
		f.tls.NextProtos = []string{alpn}
		f.tls.MinVersion = max(f.tls.MinVersion, tls.VersionTLS12)
	}
	return f
}

// Serve answers the clients of l until ctx ends, l fails or Shutdown is called. It closes l.
func (f *Front) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	if f.tls == nil && !loopback(l.Addr()) {
		return fmt.Errorf("postgres front on %s: without TLS it listens on a loopback address only", l.Addr())
	}
	f.mu.Lock()
	if f.closing {
		f.mu.Unlock()
		return net.ErrClosed
	}
	f.listeners[l] = struct{}{}
	f.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			var t interface{ Temporary() bool }
			if errors.As(err, &t) && t.Temporary() { // too many open files: wait for clients to go
				select {
				case <-time.After(50 * time.Millisecond):
					continue
				case <-ctx.Done():
					return nil
				}
			}
			return fmt.Errorf("postgres front on %s: %w", l.Addr(), err)
		}
		if !f.enter(nc) {
			nc.Close()
			continue
		}
		go f.handle(ctx, nc)
	}
}

// enter counts a client, or says that there is no place for it.
func (f *Front) enter(nc net.Conn) bool {
	if f.failures.exhausted(addrOf(nc.RemoteAddr()).Addr()) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// A cancel request comes on a connection of its own, so a few places are kept for these; the handshake
	// refuses the others with a message.
	if f.closing || len(f.clients) >= f.limits.Connections+spareConnections {
		return false
	}
	f.clients[nc] = nil
	f.served.Add(1)
	return true
}

// spareConnections are beyond Limits.Connections, for cancel requests and for saying that all are taken.
const spareConnections = 16

func (f *Front) crowded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.clients) > f.limits.Connections
}

func (f *Front) leave(nc net.Conn) {
	nc.Close()
	f.mu.Lock()
	delete(f.clients, nc)
	f.mu.Unlock()
	f.served.Done()
}

// Shutdown stops listening, tells every client that the gateway goes, and waits until all are gone or
// ctx ends; then it cuts the rest.
func (f *Front) Shutdown(ctx context.Context) error {
	f.mu.Lock()
	f.closing = true
	for l := range f.listeners {
		l.Close()
	}
	for nc, c := range f.clients {
		if c == nil {
			nc.Close()
		} else {
			c.end(errShutdown)
		}
	}
	f.mu.Unlock()
	done := make(chan struct{})
	go func() { f.served.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	for nc, c := range f.clients {
		nc.Close()
		if c != nil {
			c.up.conn.Close()
		}
	}
	f.mu.Unlock()
	<-done
	return ctx.Err()
}

func loopback(a net.Addr) bool { return addrOf(a).Addr().Unmap().IsLoopback() }

func addrOf(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort()
	}
	return netip.AddrPort{}
}
