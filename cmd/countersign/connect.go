package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/countersign-dev/countersign/api"
)

type connectCmd struct {
	Resource string   `arg:"" help:"The resource, or RESOURCE/DATABASE."`
	Command  []string `arg:"" optional:"" passthrough:"" help:"With --exec: the command and its arguments."`
	Exec     bool     `help:"Run a command that finds the port in PGHOST, PGPORT and the like; end with it."`
	Port     uint16   `help:"The port to open on 127.0.0.1; by default a free one."`
	User     string   `default:"countersign" help:"With --exec: the user name, which picks the upstream role."`
	Gateway  string   `help:"Where the gateway serves PostgreSQL, HOST:PORT; by default as the gateway says." placeholder:"HOST:PORT"`
	CA       string   `help:"A file with the certificates to trust instead of the system's." placeholder:"FILE" type:"path"`
}

// Run opens the port and serves it until Ctrl-C, or until the command ends.
func (c *connectCmd) Run(s *sys) error {
	if c.Exec == (len(c.Command) == 0) {
		return usage("--exec and a command belong together", "countersign connect shop --exec psql")
	}
	p, err := c.proxy(s)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(s.ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(c.Port))))
	if err != nil {
		return usage("opening the port: "+err.Error(), "choose another with --port, or none")
	}
	port := ln.Addr().(*net.TCPAddr).Port
	if c.Exec {
		p.password = rand.Text()
		return c.exec(s, p, ln, port)
	}
	fmt.Fprintf(s.out, "%s is at 127.0.0.1 port %d, for any PostgreSQL client, without password or TLS:\n\n  psql 'host=127.0.0.1 port=%d dbname=%s sslmode=disable'\n\n",
		p.database, port, port, p.database)
	fmt.Fprintln(s.err, "While this runs, whoever can reach that port on this machine acts as you. Ctrl-C closes it.")
	return p.serve(s.ctx, ln)
}

// exec runs the command with a password of its own for the port, so that nobody else can use it.
func (c *connectCmd) exec(s *sys, p *proxy, ln net.Listener, port int) error {
	// Ctrl-C belongs to the command: psql cancels a query with it.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	defer signal.Stop(term)

	ctx, stop := context.WithCancel(context.WithoutCancel(s.ctx))
	defer stop()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := p.serve(ctx, ln); err != nil {
			tell(s, err)
		}
	}()

	cmd := exec.Command(c.Command[0], c.Command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.in, s.out, s.err
	cmd.Env = append(childEnv(os.Environ()),
		"PGHOST=127.0.0.1", "PGPORT="+strconv.Itoa(port), "PGDATABASE="+p.database, "PGUSER="+c.User,
		"PGPASSWORD="+p.password, "PGSSLMODE=disable", "PGGSSENCMODE=disable")
	if err := cmd.Start(); err != nil {
		return usage("running "+c.Command[0]+": "+err.Error(), "")
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case <-term:
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
		case err := <-ended:
			stop()
			<-served
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				if code := exit.ExitCode(); code > 0 {
					return silent(code)
				}
				return silent(exitNo) // a signal ended it
			}
			return err
		}
	}
}

// childEnv drops the token, which the command does not need, and what libpq would prefer to the port.
func childEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "COUNTERSIGN_TOKEN" || name == "PGSERVICE" || name == "PGHOSTADDR" || name == "PGPASSFILE"
	})
}

// proxy finds the gateway and makes what serves the port.
func (c *connectCmd) proxy(s *sys) (*proxy, error) {
	tok, err := s.token()
	if err != nil {
		return nil, err
	}
	p := &proxy{gateway: c.Gateway, database: c.Resource, token: tok}
	if p.gateway == "" {
		client, err := s.client()
		if err != nil {
			return nil, err
		}
		h, err := client.Health(s.ctx)
		if err != nil {
			return nil, err
		}
		if p.gateway, err = postgresOf(client.URL(), h); err != nil {
			return nil, err
		}
		if h.Detail.You.Use != "connect" {
			return nil, usage("this token does not connect", "it is for reviewing, and a token is never for both; use one for connecting")
		}
	}
	host, _, err := net.SplitHostPort(p.gateway)
	if err != nil {
		return nil, usage("a gateway is HOST:PORT", "")
	}
	// Off this machine the token travels encrypted or not at all.
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.Unmap().IsLoopback()) || c.CA != "" {
		p.tls = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, usage(err.Error(), "")
		}
		p.tls.RootCAs = x509.NewCertPool()
		if !p.tls.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usage(c.CA+" holds no certificate", "")
		}
	}
	return p, nil
}

// postgresOf is where the gateway at base serves PostgreSQL.
func postgresOf(base string, h api.Health) (string, error) {
	if h.Detail == nil {
		return "", &failure{code: exitUnavailable, what: "the gateway does not say where it serves PostgreSQL", next: "name it with --gateway HOST:PORT"}
	}
	host, port, err := net.SplitHostPort(h.Detail.Listen.Postgres)
	if err != nil {
		return "", fmt.Errorf("the gateway's PostgreSQL address: %w", err)
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		u, err := url.Parse(base)
		if err != nil {
			return "", fmt.Errorf("the gateway's address: %w", err)
		}
		host = u.Hostname()
	}
	return net.JoinHostPort(host, port), nil
}
