package postgres

import (
	"context"
	"time"
)

// idleAfter is how long a client may think before another goroutine reads what the server says meanwhile
// (notifications, notices, its own end). Shorter pauses cost nothing.
const idleAfter = 20 * time.Millisecond

// past is a deadline that ends whatever waits.
var past = time.Unix(1, 0)

// clientDeadline bounds reading from the client; the zero time is no bound. A connection that was told to
// end keeps its deadline in the past.
func (c *conn) clientDeadline(t time.Time) {
	_ = c.client.SetReadDeadline(t)
	if c.ended.Load() != nil {
		_ = c.client.SetReadDeadline(past)
	}
}

func (c *conn) serverDeadline(t time.Time) {
	_ = c.up.conn.SetReadDeadline(t)
	if c.ended.Load() != nil {
		_ = c.up.conn.SetReadDeadline(past)
	}
}

// awaitClient reads from the client once. While nothing comes, what the server says is passed on.
func (c *conn) awaitClient(ctx context.Context) error {
	if err := c.flushUp(); err != nil {
		return err
	}
	if len(c.out) > 0 {
		if err := c.flush(ctx); err != nil {
			return err
		}
	}
	if len(c.back.pending()) > 0 {
		if err := c.overhear(ctx); err != nil {
			return err
		}
	}
	c.clientDeadline(time.Now().Add(idleAfter))
	err := c.in.fill()
	if !timedOut(err) || c.ended.Load() != nil {
		if err != nil {
			return c.clientRead(err)
		}
		return nil
	}
	heard := make(chan error, 1)
	c.serverDeadline(time.Time{})
	c.clientDeadline(time.Time{})
	go func() {
		err := c.listen(ctx)
		if err != nil {
			_ = c.client.SetReadDeadline(past)
		}
		heard <- err
	}()
	err = c.in.fill()
	_ = c.up.conn.SetReadDeadline(past)
	lost := <-heard
	c.serverDeadline(time.Time{})
	if lost != nil {
		return lost
	}
	if err != nil {
		return c.clientRead(err)
	}
	return nil
}

// listen passes on what the server says until its deadline is put into the past.
func (c *conn) listen(ctx context.Context) error {
	for {
		err := c.back.fill()
		if timedOut(err) {
			return nil
		}
		if err != nil {
			return upstreamError(err)
		}
		if err := c.overhear(ctx); err != nil {
			return err
		}
	}
}

// overhear takes what the server says by itself: no statement is under way, or only parts of a pipeline
// that the client has not asked an answer for yet.
func (c *conn) overhear(ctx context.Context) error {
	if c.owed() != nil {
		if err := c.walk(ctx); err != nil {
			return err
		}
	}
	b := &c.back
	for c.owed() == nil {
		typ, size, ok, err := b.header()
		if err != nil {
			return upstreamError(errUpstreamWords)
		}
		if size > maxServerMessage {
			return upstreamError(errUpstreamWords)
		}
		if !ok || len(b.pending()) < size {
			break
		}
		frame := b.buf[b.r : b.r+size]
		b.r += size
		keep, err := c.answer(typ, frame[headerLen:])
		if err != nil {
			return err
		}
		if keep {
			if typ == msgError || typ == msgNotice {
				if instead := clip(frame); instead != nil {
					frame = instead
				}
			}
			c.out = append(c.out, frame...)
		}
	}
	return c.flush(ctx)
}
