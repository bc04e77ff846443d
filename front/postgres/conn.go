package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

// conn is one authenticated client and its connection upstream. Its fields belong to the goroutine that
// runs serve, which lends some of them out as doc.go says.
type conn struct {
	front  *Front
	log    *slog.Logger
	sess   *gate.Session
	psql   bool // the client says it is psql, whose user sits in front of it
	minor  uint16
	client net.Conn
	in     reader // from the client
	taken  int    // of the front's memory, for the message being read
	kept   int    // of the front's memory, for prepared statements and portals
	small  []byte // the small message that is being handled
	up     *upstream
	back   reader // from the server
	toUp   []byte // for the server; door.go
	unread int    // bytes sent to the server since its answers were last read
	out    []byte // for the client, not yet written

	status byte // of the server's last ReadyForQuery: I, T or E
	// unsynced: extended messages have gone upstream since that ReadyForQuery.
	unsynced bool
	// discarding: after an error the client's messages are ignored up to its Sync.
	discarding bool
	// changing: something forwarded and not yet answered changes what later text means.
	changing bool
	// generation grows with each forwarded statement that may change what another one means.
	generation int
	// names grows with each message that gives a name to another statement or portal, or takes it away.
	names int
	seq   int // of the cursor or portal opened last

	queue []expected // what the server still has to answer, from queue[head]
	head  int
	relay relayState

	statements map[string]*statement
	portals    map[string]*portal
	cursors    map[string]cursor

	state  sessionState
	block  blockState
	own    map[string]string // countersign.*
	recent recentTexts

	cancelling cancelState
	holding    holding
	key        cancelKey
	ended      atomic.Pointer[refuseStartup] // that and why the connection must end; set from any goroutine
}

var errShutdown = &refuseStartup{report{
	severity: "FATAL", code: codeShutdown, message: "countersign: the gateway is shutting down",
	hint: "Connect again; what was not committed has been rolled back.",
}}

// The ways in which a connection ends that are nobody's mistake.
var (
	errClientGone    = errors.New("the client has gone")
	errUpstreamLost  = errors.New("the connection to the server was lost")
	errUpstreamWords = errors.New("the server sent what it was not asked for")
	errEnded         = errors.New("the connection was told to end")
)

func upstreamError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errUpstreamLost, err)
}

func clientError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errClientGone, err)
}

const (
	clientBuffer     = 4 << 10
	serverBuffer     = 8 << 10
	clientBufferHigh = 64 << 10
	serverBufferHigh = 256 << 10
)

func newConn(f *Front, o *opening, sess *gate.Session, up *upstream) *conn {
	c := &conn{
		front: f, sess: sess, client: o.conn, up: up, minor: o.minor, status: 'I',
		log:        f.log.With("session", sess.ID()),
		psql:       o.params.settings["application_name"] == "psql",
		in:         newReader(o.conn, clientBuffer, clientBufferHigh),
		back:       newReader(up.conn, serverBuffer, serverBufferHigh),
		statements: map[string]*statement{},
		portals:    map[string]*portal{},
		cursors:    map[string]cursor{},
		own:        o.params.own,
	}
	c.state.begin(up.params)
	c.cancelling.init()
	return c
}

// welcome lets the client in: the server's parameters, a cancel key of ours, ready.
func (c *conn) welcome() error {
	out := appendFrame(nil, msgAuthentication, 0, 0, 0, 0)
	for _, name := range sortedKeys(c.up.params) {
		out = appendParameterStatus(out, name, c.up.params[name])
	}
	c.key = c.front.cancels.add(c.up.pid, c)
	key := append([]byte{byte(c.key.pid >> 24), byte(c.key.pid >> 16), byte(c.key.pid >> 8), byte(c.key.pid)}, c.key.secret[:]...)
	out = appendReady(appendFrame(out, msgBackendKeyData, key...), c.status)
	_, err := c.client.Write(out)
	if err != nil {
		c.front.cancels.remove(c.key)
	}
	return clientError(err)
}

// end tells the connection to end, from any goroutine. What it waits for returns at once.
func (c *conn) end(why *refuseStartup) {
	c.ended.CompareAndSwap(nil, why)
	_ = c.client.SetReadDeadline(past)
	_ = c.up.conn.SetDeadline(past)
	c.cancelling.endWait()
}

// serve runs the connection to its end.
func (c *conn) serve(ctx context.Context) {
	closed := make(chan struct{})
	go func() {
		select {
		case <-c.sess.Done():
			var e *countersign.Error
			r := report{severity: "FATAL", code: codeShutdown, message: "countersign: the session has ended"}
			if errors.As(c.sess.Err(), &e) {
				r.message, r.detail, r.hint = "countersign: "+e.Message.String(), e.Detail.String(), e.Hint.String()
			}
			c.end(&refuseStartup{r})
		case <-ctx.Done():
			c.end(errShutdown)
		case <-closed:
		}
	}()
	err := c.run(ctx)
	c.front.memory.give(c.taken)
	close(closed)
	defer func() { c.front.memory.give(c.kept) }() // once finish has dropped what there was
	c.front.cancels.remove(c.key)
	c.finish(err)
}

// run answers the client's messages until one side has gone.
func (c *conn) run(ctx context.Context) error {
	for {
		if c.ended.Load() != nil {
			return errEnded
		}
		_, size, known, err := c.in.header()
		switch {
		case err != nil:
			return c.dismiss("invalid message length")
		case known && !c.room(size):
			if err := c.oversized(ctx, size); err != nil {
				return err
			}
		case !known || len(c.in.pending()) < size:
			c.in.rest()
			if err := c.awaitClient(ctx); err != nil {
				return err
			}
		default:
			done, err := c.message(ctx)
			c.in.giveBack()
			c.front.memory.give(c.taken)
			c.taken = 0
			if done || err != nil {
				return err
			}
		}
	}
}

// room reports whether a message of the client may be read whole.
func (c *conn) room(size int) bool {
	if size <= clientBufferHigh || c.taken > 0 {
		return true
	}
	need := 2 * size // the buffer grows by doubling
	if size > c.front.limits.Message || !c.front.memory.take(need) {
		return false
	}
	c.taken = need
	return true
}

// oversized reads past a message that is too large to be looked at, and refuses it: what is not inspected
// is not forwarded (P5).
func (c *conn) oversized(ctx context.Context, size int) error {
	typ := c.in.pending()[0]
	if err := c.flushUp(); err != nil {
		return err
	}
	c.clientDeadline(time.Time{})
	if err := c.in.skip(size); err != nil {
		return c.clientRead(err)
	}
	if c.discarding {
		return nil
	}
	refused := own(codeResultLimit, sanitize.Const("the message is too large"),
		sanitize.Format("it has %s bytes; the gateway takes %s at most, and less when it is short of memory",
			sanitize.Int(int64(size)), sanitize.Int(int64(c.front.limits.Message))),
		sanitize.Const("send it in smaller parts"))
	c.sess.Refuse(&countersign.Action{
		Resource: c.sess.Resource().Name, Front: Name, Effects: countersign.Unknown,
		Shown: sanitize.Format("[a message of %s bytes]", sanitize.Int(int64(size))),
	}, &countersign.Error{Kind: countersign.ErrInvalid, Message: sanitize.Const("the message is too large")})
	switch typ {
	case msgQuery, msgFunctionCall:
		return c.refuseSimple(ctx, refused)
	case msgCopyData, msgCopyDone, msgCopyFail:
		return nil
	case msgParse, msgBind, msgDescribe, msgExecute, msgClose:
		return c.refuse(ctx, refused)
	default:
		return c.dismiss("invalid message length")
	}
}

// maxUnread is how much of a pipeline goes to the server before its answers are read.
const maxUnread = 2 * sendHighWater

// message takes the client's next message, which has arrived whole, and answers it.
func (c *conn) message(ctx context.Context) (done bool, err error) {
	typ, size, _, err := c.in.header()
	if err != nil {
		return false, c.dismiss("invalid message length")
	}
	if c.discarding && typ != msgSync && typ != msgTerminate {
		c.in.r += size
		return false, nil
	}
	frame := c.take(typ, size)
	if c.owed() != nil && c.unread+size > maxUnread {
		// The server may be waiting to be read before it reads on.
		if err := c.settle(ctx); err != nil || c.discarding && typ != msgSync && typ != msgTerminate {
			return false, err
		}
	}
	switch typ {
	case msgQuery:
		return false, c.simple(ctx, frame)
	case msgParse:
		return false, c.parse(ctx, frame)
	case msgBind:
		return false, c.bind(ctx, frame)
	case msgDescribe:
		return false, c.describe(ctx, frame)
	case msgExecute:
		return false, c.execute(ctx, frame)
	case msgClose:
		return false, c.close(ctx, frame)
	case msgSync:
		return false, c.sync(ctx)
	case msgFlush:
		return false, c.settle(ctx)
	case msgFunctionCall:
		return false, c.call(ctx, frame)
	case msgCopyData, msgCopyDone, msgCopyFail:
		return false, nil // of a COPY that has ended; the server ignores these too
	case msgTerminate:
		_ = c.forwardTerminate()
		return true, c.flushUp()
	default:
		return false, c.dismiss(fmt.Sprintf("invalid frontend message type %d", typ))
	}
}

// take consumes the client's next message. What handles it may wait, and may read more from the client while it
// does, so it gets bytes of its own; only of what can be large and is forwarded at once it borrows them.
func (c *conn) take(typ byte, size int) []byte {
	switch typ {
	case msgParse, msgBind:
		return c.in.own(size, nil) // kept with the statement or portal
	case msgDescribe, msgExecute, msgClose:
		if size > maxSmall {
			return c.in.own(size, nil)
		}
		c.small = c.in.own(size, c.small)
		return c.small
	case msgQuery, msgFunctionCall:
		return c.in.lend(size)
	default: // of which nothing but the type is looked at
		c.in.r += size
		return nil
	}
}

// maxSmall is the largest message for which the same memory is used again.
const maxSmall = 1 << 10

// dismiss ends the connection of a client that does not speak the protocol.
func (c *conn) dismiss(message string) error {
	return &refuseStartup{report{severity: "FATAL", code: codeProtocol, message: message}}
}

// finish tells the client why its connection ends, where it can still hear it, and closes the session.
func (c *conn) finish(err error) {
	end := gate.RolledBack
	if c.block.commitSent {
		end = gate.InDoubt
	}
	why := sanitize.Const("the client ended it")
	var told *refuseStartup
	r := c.ended.Load()
	switch {
	case err == nil:
	case r != nil:
		told, why = r, sanitize.Const("the gateway ended it")
	case errors.As(err, &told):
		why = sanitize.Const("the client broke the protocol")
	case errors.Is(err, errUpstreamLost):
		why = sanitize.Const("the connection to the server was lost")
		if errors.Is(err, errUpstreamWords) {
			c.log.Error("the server's answers are out of step", "error", c.front.sanitizer.Text(err.Error()))
			why = sanitize.Const("the server sent what it was not asked for")
			told = &refuseStartup{report{
				severity: "FATAL", code: codeConnectionLost, message: "countersign: the server sent what it was not asked for, so the connection ends",
				hint: "Connect again, and look whether what ran last took place.",
			}}
		} else if !c.relay.fatal {
			told = &refuseStartup{report{
				severity: "FATAL", code: codeConnectionLost, message: "countersign: the connection to the resource was lost",
				hint: "Connect again; if a COMMIT was under way, look whether it took place.",
			}}
		}
	case errors.Is(err, errClientGone):
		why = sanitize.Const("the client has gone")
	default:
		c.log.Error("connection ended", "error", c.front.sanitizer.Text(err.Error()))
		why = sanitize.Const("an internal error")
		told = &refuseStartup{report{severity: "FATAL", code: codeInternal, message: "countersign: internal error"}}
	}
	if told != nil && !errors.Is(err, errClientGone) {
		_ = c.client.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.client.Write(appendReport(nil, msgError, told.report))
	}
	c.abandon()
	c.sess.Close(end, why)
}

// write sends to the client at once, past what is buffered.
func (c *conn) write(b []byte) error {
	_, err := c.client.Write(b)
	return clientError(err)
}

// timedOut reports whether err is that of a deadline.
func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// clientRead turns the error of reading from the client into the reason why the connection ends.
func (c *conn) clientRead(err error) error {
	if timedOut(err) && c.ended.Load() != nil {
		return errEnded
	}
	if errors.Is(err, io.EOF) {
		return errClientGone
	}
	return clientError(err)
}
