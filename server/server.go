// Package server makes a gateway from a configuration: it reads the file, opens keys and store, and wires
// gate, fronts and API by hand.
//
// It promises that a configuration with any mistake starts nothing, that nothing listens in the clear off
// loopback, and that a reload takes effect whole or, for each part that is wrong, not at all and says so.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/credential"
	"github.com/countersign-dev/countersign/front/postgres"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/identity/token"
	"github.com/countersign-dev/countersign/policy"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/store/sqlite"
)

// Limits of the web listener and of the classifier's cache.
const (
	maxWebConns     = 1024
	maxHeaderBytes  = 16 << 10
	headerTimeout   = 5 * time.Second
	readTimeout     = 15 * time.Second
	writeTimeout    = 90 * time.Second // a long poll takes up to a minute
	idleTimeout     = 60 * time.Second
	classifierCache = 64 << 20
)

// features is what this build can do; a policy that needs more is refused.
var features = policy.Features{}

// Features returns what this build's policies can use.
func Features() policy.Features { return features }

// Options are what a server has besides its configuration.
type Options struct {
	Log     io.Writer // text lines
	Version string
	// Started is when the process began.
	Started time.Time
}

// Server is a running gateway.
type Server struct {
	o      Options
	log    *slog.Logger
	redact *redactor
	public string // public_url with its port
	cert   atomic.Pointer[tls.Certificate]
	fatal  chan error

	store  *sqlite.Store
	gate   *gate.Gate
	tokens *token.Authenticator
	front  *postgres.Front
	web    *http.Server
	webLn  net.Listener
	pgLn   net.Listener
	served sync.WaitGroup
	stop   context.CancelFunc

	reloading sync.Mutex // one reload at a time
	config    atomic.Pointer[Config]

	mu       sync.Mutex // guards problems
	problems map[string]api.HealthProblem
}

// Start starts a gateway. It serves when Start has returned.
func Start(ctx context.Context, c *Config, o Options) (*Server, error) {
	s := &Server{
		o: o, redact: &redactor{}, fatal: make(chan error, 4),
		problems: map[string]api.HealthProblem{},
	}
	if s.o.Started.IsZero() {
		s.o.Started = time.Now()
	}
	s.redact.use(sanitize.New(sanitize.Options{}))
	s.log = newLogger(o.Log, s.redact)
	s.config.Store(c)
	if err := s.start(ctx, c); err != nil {
		s.abandon()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, c *Config) error {
	if err := s.loadCertificate(c); err != nil {
		return err
	}
	if err := s.listen(ctx, c); err != nil {
		return err
	}
	table, err := c.Tokens()
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	s.tokens = token.NewAuthenticator(table, time.Now)
	if err := s.openGate(ctx, c); err != nil {
		return err
	}
	if err := s.gate.LoadDirectory(ctx, c.Directory()); err != nil {
		return fmt.Errorf("people and agents: %w", err)
	}
	if err := s.loadPolicy(ctx, c); err != nil {
		if set, _ := s.gate.Active(); set == nil {
			return err // nothing would ever be allowed
		}
		s.log.Error("the policy is not loaded; the version that was active before stays", "error", err)
	}
	a, err := api.New(api.Options{
		Gate: s.gate, Trail: s.store, Authenticate: s.authenticate, Sanitizer: s.redact.sanitizer(),
		Health: s.health, PublicURL: s.public, ReviewByToken: c.ReviewAuth == ReviewAuthToken,
		Version: s.o.Version, Logger: s.log,
	})
	if err != nil {
		return err
	}
	s.front = s.newFront(c)
	s.serve(a)
	s.tellReady(c)
	return nil
}

// openGate opens the store with its keys, and the gate on it.
func (s *Server) openGate(ctx context.Context, c *Config) error {
	store, err := sqlite.Open(sqlite.Options{
		Dir: c.DataDir, KeysDir: c.KeysDir, CheckpointsDir: c.Checkpoints,
		Notices: func() []string { return notices(s.config.Load()) },
		Fatal:   s.fail,
		Logger:  s.log,
	})
	if err != nil {
		return err
	}
	s.store = store
	sanitizer := sanitize.New(sanitize.Options{Key: store.Keys().Pseudonym()})
	s.redact.use(sanitizer)
	s.gate, err = gate.New(ctx, gate.Options{
		Store: store, Sanitizer: sanitizer, Features: features, Resources: c.resources(),
		PendingPerAgent: c.Pending.PerAgent, PendingPerOwner: c.Pending.PerOwner,
		ReviewByToken: c.ReviewAuth == ReviewAuthToken,
		Started:       s.o.Started, Logger: s.log,
	})
	return err
}

func (s *Server) newFront(c *Config) *postgres.Front {
	o := postgres.Options{
		Gate: s.gate, Classifier: sql.NewClassifier(nil, classifierCache), Sanitizer: s.redact.sanitizer(),
		Authenticate: s.connect, Resource: s.gate.Resource, Secret: s.secret, Logger: s.log,
		Limits: postgres.Limits{Connections: c.Listen.Connections},
	}
	if c.Listen.TLS.Cert != "" {
		o.TLS = s.tlsConfig()
	}
	return postgres.New(o)
}

// connect says who presents a token for connecting.
func (s *Server) connect(_ context.Context, text string, remote netip.AddrPort) (countersign.Principal, error) {
	e, err := s.tokens.Authenticate(remote.Addr(), text, token.Connect)
	return e.Holder, err
}

// authenticate says who presents a token to the API, whatever its use.
func (s *Server) authenticate(remote netip.Addr, text string) (api.Caller, error) {
	e, err := s.tokens.Authenticate(remote, text, token.Connect, token.Review)
	return api.Caller{Holder: e.Holder, Login: e.Login, Review: e.Use == token.Review}, err
}

// secret fetches what a role's credential refers to.
func (s *Server) secret(ctx context.Context, reference string) (string, error) {
	ref, err := credential.Parse(reference, s.config.Load().dir())
	if err != nil {
		return "", err
	}
	v, err := ref.Fetch(ctx)
	return v.Reveal(), err
}

func (s *Server) listen(ctx context.Context, c *Config) error {
	for _, l := range []struct {
		key, addr string
		into      *net.Listener
	}{{"listen.web", c.Listen.Web, &s.webLn}, {"listen.postgres", c.Listen.Postgres, &s.pgLn}} {
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", l.addr)
		if err != nil {
			return c.mistakeAt(l.key, "cannot listen there: %v", err)
		}
		*l.into = ln
		// The check of the configuration looked at a text; this looks at what is listened on.
		if ap, err := netip.ParseAddrPort(ln.Addr().String()); c.Listen.TLS.Cert == "" && (err != nil || !ap.Addr().Unmap().IsLoopback()) {
			return c.mistakeAt(l.key, "is not on loopback and needs TLS")
		}
	}
	s.public = withPort(c.PublicURL, s.webLn.Addr())
	return nil
}

// withPort puts the port that was taken in place of port 0.
func withPort(public string, web net.Addr) string {
	u, err := url.Parse(public)
	if err != nil || u.Port() != "0" {
		return public
	}
	_, port, err := net.SplitHostPort(web.String())
	if err != nil {
		return public
	}
	u.Host = net.JoinHostPort(u.Hostname(), port)
	return u.String()
}

func (s *Server) serve(handler http.Handler) {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.web = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:    func(net.Listener) context.Context { return ctx },
	}
	var web net.Listener = &boundedListener{Listener: s.webLn, places: make(chan struct{}, maxWebConns)}
	if s.config.Load().Listen.TLS.Cert != "" {
		cfg := s.tlsConfig()
		cfg.NextProtos = []string{"http/1.1"}
		web = tls.NewListener(web, cfg)
	}
	s.served.Go(func() {
		if err := s.web.Serve(web); !errors.Is(err, http.ErrServerClosed) {
			s.fail(fmt.Errorf("web: %w", err))
		}
	})
	s.served.Go(func() {
		if err := s.front.Serve(ctx, s.pgLn); err != nil && !errors.Is(err, net.ErrClosed) {
			s.fail(err)
		}
	})
}

// fail ends the server for a reason that it cannot live with.
func (s *Server) fail(err error) {
	select {
	case s.fatal <- err:
	default: // another reason is being acted on
	}
}

// Fatal returns a channel that tells why the server cannot go on.
func (s *Server) Fatal() <-chan error { return s.fatal }

// Web and Postgres return the addresses that are listened on.
func (s *Server) Web() net.Addr { return s.webLn.Addr() }

// Postgres returns the address that PostgreSQL clients connect to.
func (s *Server) Postgres() net.Addr { return s.pgLn.Addr() }

// PublicURL returns the address that people type.
func (s *Server) PublicURL() string { return s.public }

// Close ends the server in order: no new clients, then waits and sessions end, then the store closes with
// a last checkpoint. What is still running when ctx ends is cut off.
func (s *Server) Close(ctx context.Context) error {
	s.log.Info("stopping")
	s.webLn.Close()
	s.pgLn.Close()
	err := s.gate.Close() // ends every wait, so that clients are told and the rest is quick
	s.stop()
	if e := s.front.Shutdown(ctx); e != nil {
		err = errors.Join(err, fmt.Errorf("postgres: %w", e))
	}
	if e := s.web.Shutdown(ctx); e != nil {
		err = errors.Join(err, s.web.Close())
	}
	s.served.Wait()
	if e := s.store.Close(); e != nil && !errors.Is(e, gate.ErrClosed) {
		err = errors.Join(err, fmt.Errorf("store: %w", e))
	}
	s.log.Info("stopped")
	return err
}

// abandon closes what a failed start had opened.
func (s *Server) abandon() {
	if s.webLn != nil {
		s.webLn.Close()
	}
	if s.pgLn != nil {
		s.pgLn.Close()
	}
	// Why the start failed is what is told.
	if s.gate != nil {
		_ = s.gate.Close()
	}
	if s.store != nil {
		_ = s.store.Close()
	}
}

// boundedListener accepts only so many connections at a time.
type boundedListener struct {
	net.Listener
	places chan struct{}
}

func (l *boundedListener) Accept() (net.Conn, error) {
	l.places <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &boundedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

type boundedConn struct {
	net.Conn
	leave func()
}

func (c *boundedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
