package postgres

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

// How long a client waits for signatures unless it says otherwise with countersign.hold.
const (
	holdPsql        = 15 * time.Minute // a person sits in front of it and is told
	holdDriver      = 20 * time.Second // shorter than the timeouts of most drivers
	holdTransaction = 10 * time.Second // others may wait on its locks
	noticeEvery     = time.Minute
	locksEvery      = time.Second
)

// hold is how long this connection waits now.
func (c *conn) hold() time.Duration {
	d := holdDriver
	if c.psql {
		d = holdPsql
	}
	if text, ok := c.own[ownHold]; ok {
		if asked, err := parseHold(text); err == nil {
			d = min(asked, c.front.limits.HoldMax)
		}
	}
	if c.block.dirty {
		d = min(d, holdTransaction)
	}
	return d
}

// admit asks the gate for a permit. While the action is held, the client's side is watched: one that goes
// away or cancels ends the wait, and nothing is claimed for it.
func (c *conn) admit(ctx context.Context, a *countersign.Action, s *statement) (*gate.Permit, error) {
	verdict := c.sess.Judge(a).Verdict
	if c.owed() != nil && (a.Effects.Privileged() || verdict != countersign.Allow) {
		// What was sent before must have succeeded before this is claimed or waits.
		if err := c.settle(ctx); err != nil {
			return nil, err
		}
		if c.discarding {
			return nil, errDiscarded
		}
		a.Context, a.Facts.InTransaction = c.bound(s), c.block.open
	}
	if verdict == countersign.Review || verdict == countersign.Confirm {
		// What people sign is bound to what is in force now, whatever the session has run.
		if err := c.freshSettings(ctx); err != nil {
			return nil, err
		}
		a.Context = c.bound(s)
	}
	wait := c.cancelling.beginWait(ctx)
	h := &c.holding
	h.begin(c, wait)
	p, err := c.sess.Admit(wait, a, gate.Hold{Max: c.hold(), Every: noticeEvery, Notify: h.tell, Stop: h.stop()})
	cancelled := c.cancelling.finishWait()
	h.end()
	if err == nil {
		if s.commits() {
			// The intent of a COMMIT is durable before it is sent, also where what it commits is of the same pipeline.
			if err := p.Durable(ctx); err != nil {
				return nil, err
			}
		}
		return p, nil
	}
	switch {
	case h.gone:
		return nil, errClientGone
	case c.ended.Load() != nil:
		return nil, errEnded
	case cancelled:
		var e *countersign.Error
		if errors.As(err, &e) {
			return nil, &refusal{report{
				severity: "ERROR", code: codeCancelled, message: "canceling statement due to user request",
				detail: e.Message.String(), hint: e.Hint.String(),
			}}
		}
	}
	return nil, h.withLink(err)
}

// errDiscarded says that an earlier message of the pipeline failed, so that this one is ignored.
var errDiscarded = errors.New("an earlier message of the pipeline failed")

// gone returns the errors that end the connection rather than the statement.
func (c *conn) gone(err error) error {
	for _, end := range []error{errClientGone, errEnded, errUpstreamLost} {
		if errors.Is(err, end) {
			return err
		}
	}
	return nil
}

// holding is one wait for signatures. A connection has one, for one wait after the other.
type holding struct {
	c       *conn
	ctx     context.Context
	tell    func(gate.Held) error // notify
	link    string
	gone    bool          // the client went away while it waited
	watched chan struct{} // closed when the watching goroutine has returned the client's side
	stopped chan struct{}
	locks   context.CancelFunc
}

func (h *holding) begin(c *conn, ctx context.Context) {
	tell := h.tell
	if tell == nil {
		tell = h.notify
	}
	*h = holding{c: c, ctx: ctx, tell: tell}
}

// stop is a channel that says that others wait on this session's locks.
func (h *holding) stop() <-chan struct{} {
	if h.c.block.open {
		h.stopped = make(chan struct{}, 1)
	}
	return h.stopped
}

// notify tells the client that it waits. The first call begins to watch it.
func (h *holding) notify(held gate.Held) error {
	if h.watched == nil {
		h.watched = make(chan struct{})
		h.c.clientDeadline(time.Time{})
		go h.watch()
		if h.stopped != nil {
			ctx, stop := context.WithCancel(h.ctx)
			h.locks = stop
			go h.c.watchLocks(ctx, h.stopped)
		}
	}
	h.link = held.Link
	r := report{
		severity: "NOTICE", code: "00000",
		message: "countersign: held: request " + string(held.Request) + " waits for " + held.Needs.String(),
		detail:  "Waited " + held.Waited.Round(time.Second).String() + "; the request is open until " + held.Until.UTC().Format("15:04:05") + " UTC.",
		hint:    "It is signed with: countersign approve " + string(held.Request),
	}
	if held.Link != "" {
		r.hint = "It is signed at " + held.Link
	}
	_ = h.c.client.SetWriteDeadline(time.Now().Add(10 * time.Second))
	err := h.c.write(appendReport(nil, msgNotice, r))
	_ = h.c.client.SetWriteDeadline(time.Time{})
	return err
}

// watch reads what the client sends while it waits, as far as there is room, so that it notices when
// the client goes. It alone uses the client's reader meanwhile.
func (h *holding) watch() {
	defer close(h.watched)
	in := &h.c.in
	for {
		if in.w == len(in.buf) {
			if len(in.buf) >= clientBufferHigh {
				return // a client that sends so much has not gone; writes will tell
			}
			in.grow(clientBufferHigh)
		}
		n, err := in.conn.Read(in.buf[in.w:])
		in.w += n
		if err != nil {
			if !timedOut(err) {
				h.gone = true
				h.c.cancelling.endWait()
			}
			return
		}
		if typ, _, ok, err := in.header(); err == nil && ok && typ == msgTerminate {
			h.gone = true
			h.c.cancelling.endWait()
			return
		}
	}
}

// end takes the client's side back.
func (h *holding) end() {
	if h.locks != nil {
		h.locks()
	}
	if h.watched == nil {
		return
	}
	_ = h.c.client.SetReadDeadline(past)
	<-h.watched
	h.c.clientDeadline(time.Time{})
}

// withLink adds where to sign to the hint of a held action.
func (h *holding) withLink(err error) error {
	var e *countersign.Error
	if h.link == "" || !errors.As(err, &e) || e.Kind != countersign.ErrPending {
		return err
	}
	told := *e
	told.Hint = sanitize.Join("; sign at ", e.Hint, sanitize.Name(h.link))
	return &told
}

// watchLocks looks every second whether another session waits on a lock of this one, over a connection of
// its own with the same role, and ends the wait if so (a hold must not stop others).
func (c *conn) watchLocks(ctx context.Context, stop chan<- struct{}) {
	cfg := c.up.config.Copy()
	cfg.RuntimeParams = map[string]string{"application_name": "countersign"}
	pc, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		if ctx.Err() == nil {
			c.log.Warn("cannot look for waiting sessions", "error", c.front.sanitizer.Text(err.Error()))
		}
		return
	}
	defer pc.Close(context.WithoutCancel(ctx))
	tick := time.NewTicker(locksEvery)
	defer tick.Stop()
	pid := []byte(strconv.FormatUint(uint64(c.up.pid), 10))
	for {
		// pg_locks shows every session's locks to every role, and no statement's text.
		res := pc.ExecParams(ctx, "SELECT 1 FROM pg_catalog.pg_locks WHERE NOT granted AND pid <> $1::int4 "+
			"AND $1::int4 = ANY (pg_catalog.pg_blocking_pids(pid)) LIMIT 1", [][]byte{pid}, nil, nil, nil).Read()
		if res.Err != nil {
			return
		}
		if len(res.Rows) > 0 {
			stop <- struct{}{}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// unsent settles a permit whose action did not go upstream.
func (c *conn) unsent(p *gate.Permit, _ error) {
	p.Finish(gate.Outcome{State: approval.Failed, Rows: -1, Error: sanitize.Const("not run: the server could not be reached")})
}

// cutReport words why a result ended before its end.
type cutReport struct {
	error
	fate fate // of what it changed; unknown when it changed nothing
}

func (c *conn) cutReport(why error) cutReport {
	if !c.relay.cutChange {
		return cutReport{error: why}
	}
	return cutReport{why, c.relay.fate}
}

func (e cutReport) Unwrap() error { return e.error }

func isLimit(err error) bool {
	var e *countersign.Error
	return errors.As(err, &e) && e.Kind == countersign.ErrLimit
}

// abandon settles what is still open when the connection ends.
func (c *conn) abandon() {
	lost := sanitize.Const("the connection was lost before its end")
	for c.owed() != nil {
		e := c.owed()
		if e.permit != nil {
			o := gate.Outcome{State: approval.Unknown, Rows: -1, Error: lost}
			if c.block.open && !c.block.commitSent {
				o.State = approval.Failed // its transaction was never committed
			}
			e.permit.Finish(o)
			if e.portal != nil {
				e.portal.settled = true
			}
		}
		c.pop()
	}
	end := gate.RolledBack
	if c.block.commitSent {
		end = gate.InDoubt
	}
	c.endBlock(end)
	for _, s := range c.statements {
		s.finishUnused()
	}
}
