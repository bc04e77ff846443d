package main

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Limits of the port that connect opens.
const (
	maxProxied       = 100
	maxStartup       = 10_000
	maxHandshake     = 64 << 10 // bytes of one message before the client is let in
	handshakeTimeout = 15 * time.Second
)

// The codes that stand where a startup message has its version.
const (
	codeCancel = 80877102
	codeSSL    = 80877103
	codeGSS    = 80877104
	majorThree = 3
)

// proxy passes PostgreSQL connections on to a gateway. It names the resource as the database and answers
// the gateway's password request with the token; everything after that it passes on unseen.
type proxy struct {
	gateway  string
	database string
	token    string
	tls      *tls.Config // nil: in the clear, on this machine
	password string      // asked of clients; "" asks none
}

func (p *proxy) serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	places := make(chan struct{}, maxProxied)
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting a client: %w", err)
		}
		select {
		case places <- struct{}{}:
		default:
			c.Close()
			continue
		}
		all.Go(func() {
			defer func() { <-places }()
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			if err := p.handle(ctx, c); err != nil && ctx.Err() == nil {
				refuse(c, err)
			}
		})
	}
}

// handle serves one client until either side ends.
func (p *proxy) handle(ctx context.Context, c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	startup, err := readStartup(c)
	if err != nil || startup == nil {
		return err
	}
	cancel := binary.BigEndian.Uint32(startup) == codeCancel
	if !cancel && p.password != "" {
		if err := p.askPassword(c); err != nil {
			return err
		}
	}
	g, err := p.dial(ctx)
	if err != nil {
		return fmt.Errorf("reaching the gateway: %w", err)
	}
	defer g.Close()
	stop := context.AfterFunc(ctx, func() { g.Close() })
	defer stop()
	if err := g.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	if cancel {
		_, err := g.Write(frame(startup))
		return err
	}
	if startup, err = withDatabase(startup, p.database); err != nil {
		return err
	}
	if _, err := g.Write(frame(startup)); err != nil {
		return fmt.Errorf("reaching the gateway: %w", err)
	}
	if err := p.present(c, g); err != nil {
		return err
	}
	if err := errors.Join(c.SetDeadline(time.Time{}), g.SetDeadline(time.Time{})); err != nil {
		return err
	}
	splice(c, g)
	return nil
}

// dial connects to the gateway, by TLS where the token would leave this machine.
func (p *proxy) dial(ctx context.Context) (net.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, handshakeTimeout)
	defer stop()
	var d net.Dialer
	g, err := d.DialContext(ctx, "tcp", p.gateway)
	if err != nil || p.tls == nil {
		return g, err
	}
	answer := make([]byte, 1)
	if err = g.SetDeadline(time.Now().Add(handshakeTimeout)); err == nil {
		_, err = g.Write(frame(binary.BigEndian.AppendUint32(nil, codeSSL)))
	}
	if err == nil {
		_, err = io.ReadFull(g, answer)
	}
	if err != nil || answer[0] != 'S' {
		g.Close()
		return nil, errors.Join(errors.New("it does not speak TLS"), err)
	}
	t := tls.Client(g, p.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		g.Close()
		return nil, err
	}
	return t, nil
}

// present passes the gateway's messages on until it asks for the password, which is answered with the
// token, or says anything else of its answer to the startup.
func (p *proxy) present(c, g net.Conn) error {
	for {
		kind, body, err := readMessage(g, maxHandshake)
		if err != nil {
			return fmt.Errorf("reading from the gateway: %w", err)
		}
		if kind == 'R' && len(body) == 4 && binary.BigEndian.Uint32(body) == 3 {
			_, err := g.Write(message('p', append([]byte(p.token), 0)))
			return err
		}
		if _, err := c.Write(message(kind, body)); err != nil {
			return err
		}
		if kind != 'v' { // a negotiation of the version comes before the request
			return nil
		}
	}
}

// askPassword lets in who knows the port's own password.
func (p *proxy) askPassword(c net.Conn) error {
	if _, err := c.Write(message('R', binary.BigEndian.AppendUint32(nil, 3))); err != nil {
		return err
	}
	kind, body, err := readMessage(c, 1024)
	if err != nil {
		return err
	}
	given := strings.TrimSuffix(string(body), "\x00")
	if kind != 'p' || subtle.ConstantTimeCompare([]byte(given), []byte(p.password)) != 1 {
		return errors.New("this port belongs to the command that was started with it")
	}
	return nil
}

// readStartup reads up to the client's startup or cancel message, without its length. It is nil when the
// client has gone.
func readStartup(c net.Conn) ([]byte, error) {
	for range 3 {
		head := make([]byte, 4)
		if _, err := io.ReadFull(c, head); err != nil {
			return nil, nil //nolint:nilerr // a client that goes away needs no answer
		}
		n := binary.BigEndian.Uint32(head)
		if n < 8 || n > maxStartup {
			return nil, errors.New("this is not a PostgreSQL client, or it speaks TLS: set sslmode=disable")
		}
		body := make([]byte, n-4)
		if _, err := io.ReadFull(c, body); err != nil {
			return nil, nil //nolint:nilerr // as above
		}
		switch code := binary.BigEndian.Uint32(body); {
		case code == codeSSL || code == codeGSS:
			if _, err := c.Write([]byte{'N'}); err != nil {
				return nil, err
			}
		case code == codeCancel || code>>16 == majorThree:
			return body, nil
		default:
			return nil, errors.New("only version 3 of the protocol is spoken here")
		}
	}
	return nil, errors.New("too many requests for encryption")
}

// withDatabase replaces the database in a startup message.
func withDatabase(startup []byte, database string) ([]byte, error) {
	out := append([]byte(nil), startup[:4]...)
	fields := strings.Split(string(startup[4:]), "\x00")
	for i := 0; i+1 < len(fields) && fields[i] != ""; i += 2 {
		if fields[i] != "database" {
			out = append(out, fields[i]+"\x00"+fields[i+1]+"\x00"...)
		}
	}
	out = append(out, "database\x00"+database+"\x00\x00"...)
	if len(out) > maxStartup {
		return nil, errors.New("the startup message is too long")
	}
	return out, nil
}

func frame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)
}

func message(kind byte, body []byte) []byte { return append([]byte{kind}, frame(body)...) }

func readMessage(r io.Reader, most uint32) (kind byte, body []byte, err error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n < 4 || n > most {
		return 0, nil, fmt.Errorf("a message of %d bytes", n)
	}
	body = make([]byte, n-4)
	_, err = io.ReadFull(r, body)
	return head[0], body, err
}

// splice passes bytes both ways until one side ends.
func splice(a, b net.Conn) {
	done := make(chan error, 2)
	pass := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		done <- err
		to.Close()
		from.Close()
	}
	go pass(a, b)
	go pass(b, a)
	_, _ = <-done, <-done // an end is an end; each side has been told by the other's own words
}

// refuse tells a client why, as a server would.
func refuse(c net.Conn, err error) {
	body := "SFATAL\x00VFATAL\x00C08004\x00Mcountersign: " + strings.ReplaceAll(err.Error(), "\x00", "") + "\x00\x00"
	_, _ = c.Write(message('E', []byte(body))) // a client that has gone needs no answer
}
