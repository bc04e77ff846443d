package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/countersign-dev/countersign/localpg"
)

// held measures the memory of sessions that wait. The upstream is a listener of ours that lets everyone
// in and answers no query, so that what is measured is what stands between.
func (b *bench) held(ctx context.Context) (err error) {
	sessions := pick(b, 5000, 500)
	upstream, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fake := &fakeUpstream{listener: upstream}
	go fake.serve()
	defer fake.close()
	own, g, err := b.startGateway(ctx, "held", gatewayConfig{upstream: upstream.Addr().String(), password: "fake", waiting: sessions + 100}, readPolicy)
	if err != nil {
		return err
	}
	defer g.Stop()
	ownRow, err := b.hold(ctx, own, sessions, "held for review")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, g.Log())
	}
	server, err := localpg.Start(ctx, localpg.Options{}) // for its user and folder alone
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	bouncer, stop, err := startBouncer(ctx, server, &target{addr: upstream.Addr().String(), user: role, password: "fake"})
	if err != nil {
		return err
	}
	defer stop()
	bouncerRow, err := b.hold(ctx, bouncer, sessions, "waiting for an answer")
	if err != nil {
		return err
	}
	b.table("Held sessions", "Resident memory with a fake upstream. A session of Countersign holds one DELETE that waits for a signature; one of PgBouncer waits for an answer.",
		[]string{"what", "sessions", "before MB", "with them MB", "most MB", "KB a session", "seconds to open"}, [][]string{bouncerRow, ownRow})
	return nil
}

// hold opens sessions that all wait, and measures the process between.
func (b *bench) hold(ctx context.Context, t *target, sessions int, what string) ([]string, error) {
	before, _, err := residentBytes(t.pid)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	conns, err := openAll(ctx, t, sessions)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close() // the process on the other side is stopped next
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	opened := time.Since(start)
	time.Sleep(2 * time.Second) // what was only needed for opening may be given back
	with, most, err := residentBytes(t.pid)
	if err != nil {
		return nil, err
	}
	const mb = 1 << 20
	return []string{
		t.name + ", " + what, fmt.Sprint(sessions), number(float64(before)/mb, 0), number(float64(with)/mb, 0), number(float64(most)/mb, 0),
		number(float64(with-before)/1024/float64(sessions), 1), number(opened.Seconds(), 1),
	}, nil
}

const openers = 32

// openAll opens sessions, several at a time, and returns those that were opened, with the first error.
func openAll(ctx context.Context, t *target, sessions int) ([]net.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns := make([]net.Conn, sessions)
	next := make(chan int)
	var wg sync.WaitGroup
	for range openers {
		wg.Go(func() {
			for i := range next {
				conn, err := openHeld(ctx, t, i)
				conns[i] = conn
				if err != nil {
					cancel(fmt.Errorf("session %d: %w", i, err))
				}
			}
		})
	}
	for i := range sessions {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	return conns, context.Cause(ctx)
}

// openHeld opens a session whose statement waits. Countersign says so with a NOTICE; PgBouncer says nothing.
func openHeld(ctx context.Context, t *target, i int) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return conn, err
	}
	f := pgproto3.NewFrontend(conn, conn)
	f.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{
		"user": t.user, "database": database, "application_name": "psql", "client_encoding": "UTF8",
	}})
	if err := f.Flush(); err != nil {
		return conn, err
	}
	if err := login(f, t.password); err != nil {
		return conn, err
	}
	f.Send(&pgproto3.Query{String: fmt.Sprintf("DELETE FROM orders WHERE id = %d", i)})
	if err := f.Flush(); err != nil {
		return conn, err
	}
	if t.name == "PgBouncer" {
		return conn, nil
	}
	m, err := f.Receive()
	if err != nil {
		return conn, err
	}
	if _, ok := m.(*pgproto3.NoticeResponse); !ok {
		return conn, fmt.Errorf("got %T (%+v) instead of the notice that it is held", m, m)
	}
	return conn, conn.SetDeadline(time.Time{})
}
