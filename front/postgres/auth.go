package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

// errNobody is the one answer to a wrong token, an unknown resource and a resource of another kind, so
// that whoever has no token learns nothing about what exists.
var errNobody = &refuseStartup{report{
	severity: "FATAL", code: codeBadPassword,
	message: "countersign: authentication failed",
	detail:  "The token is not valid here, or the database does not name a resource.",
	hint:    "Give a Countersign token as the password, and the resource (or resource/dbname) as the database.",
}}

// handle serves one client from its first byte to its last.
func (f *Front) handle(ctx context.Context, nc net.Conn) {
	defer f.leave(nc)
	defer func() {
		if r := recover(); r != nil { // a bug here ends this client, not the gateway
			f.log.Error("panic", "cause", f.sanitizer.Text(fmt.Sprint(r)), "stack", f.sanitizer.Text(string(debug.Stack())))
		}
	}()
	deadline := time.Now().Add(f.limits.Handshake)
	if nc.SetDeadline(deadline) != nil {
		return
	}
	hctx, stop := context.WithDeadline(ctx, deadline)
	o, err := f.greet(hctx, nc)
	stop()
	if o != nil && o.cancel != nil && err == nil {
		f.cancels.cancel(ctx, *o.cancel)
		return
	}
	client := nc
	if o != nil {
		client = o.conn
	}
	var c *conn
	if err == nil {
		if f.crowded() {
			err = startupError(codeTooMany, "too many clients are connected", "Try again later.")
		} else {
			c, err = f.open(ctx, o)
		}
	}
	if err != nil {
		f.turnAway(nc, client, err)
		return
	}
	defer c.up.conn.Close()
	f.mu.Lock()
	if f.closing {
		c.end(errShutdown)
	}
	f.clients[nc] = c
	f.mu.Unlock()
	c.serve(ctx)
}

// turnAway tells a client why it may not come in, where that is for it to know, and counts the failure.
func (f *Front) turnAway(nc, client net.Conn, err error) {
	var r *refuseStartup
	if errors.As(err, &r) {
		if r == errNobody {
			f.failures.add(addrOf(nc.RemoteAddr()).Addr())
		}
		_ = client.SetWriteDeadline(time.Now().Add(time.Second)) // a client that does not read loses the message
		_, _ = client.Write(appendReport(nil, msgError, r.report))
		return
	}
	if !errors.Is(err, io.EOF) { // a port probe that says nothing is no failure
		f.failures.add(addrOf(nc.RemoteAddr()).Addr())
	}
}

// open authenticates a client, opens its session and logs in upstream.
func (f *Front) open(ctx context.Context, o *opening) (*conn, error) {
	if o.minor > 0 || len(o.extra) > 0 {
		if _, err := o.conn.Write(appendNegotiate(nil, o.extra)); err != nil {
			return nil, err
		}
	}
	token, err := askPassword(o.conn)
	if err != nil {
		return nil, err
	}
	// The rest is the gateway's and the server's work, bounded by itself.
	if err := o.conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	remote := addrOf(o.conn.RemoteAddr())
	principal, err := f.authenticate(ctx, token, remote)
	if err != nil {
		f.log.Warn("authentication failed", "remote", sanitize.Name(remote.Addr().String()))
		return nil, errNobody
	}
	name, database, _ := strings.Cut(o.params.database, "/")
	res, ok := f.resource(countersign.ResourceName(name))
	if !ok || res.Kind != Name {
		f.log.Warn("no such resource", "remote", sanitize.Name(remote.Addr().String()), "resource", sanitize.Name(name))
		return nil, errNobody
	}
	role, ok := roleOf(res, o.params.user)
	if !ok {
		return nil, startupError(codeBadAuth, "the resource has no role for this user and no default role",
			"Connect as one of the resource's roles.")
	}
	if database, err = databaseOf(res, database); err != nil {
		return nil, err
	}
	sess, err := f.gate.Open(ctx, principal, res.Name, gate.Opening{
		Front: Name, Database: sanitize.Name(database), Role: sanitize.Name(role), Remote: sanitize.Name(remote.Addr().String()),
		Client: f.sanitizer.Text(o.params.settings["application_name"]),
	})
	if err != nil {
		return nil, refusedSession(err)
	}
	up, err := f.dial(ctx, sess.Resource(), role, database, o.params.settings)
	if err == nil {
		c := newConn(f, o, sess, up)
		if err = c.welcome(); err == nil {
			return c, nil
		}
		up.conn.Close()
	}
	sess.Close(gate.RolledBack, sanitize.Const("the upstream could not be reached"))
	return nil, err
}

// refusedSession says why the gate opened no session.
func refusedSession(err error) error {
	var e *countersign.Error
	if !errors.As(err, &e) {
		return startupError(codeInternal, "internal error", "The gateway's log has the details.")
	}
	r := report{
		severity: "FATAL", code: codeOf(e.Kind), message: "countersign: " + e.Message.String(),
		detail: e.Detail.String(), hint: e.Hint.String(),
	}
	if e.Kind == countersign.ErrUnavailable {
		r.code = codeNotNow
	}
	return &refuseStartup{r}
}

// databaseOf picks the database on the server: that of the upstream, or another that the resource lists. Policy and
// reviewers judge by the resource, so a client does not choose freely among what else is on its server.
func databaseOf(res countersign.Resource, wish string) (string, error) {
	t, err := parseTarget(res.Upstream)
	if err != nil {
		return "", startupError(codeInternal, "internal error", "The gateway's log has the details.")
	}
	if wish == "" || wish == t.database {
		return t.database, nil
	}
	if !slices.Contains(res.Databases, wish) {
		return "", startupError(codeBadAuth, "the resource does not offer this database",
			"Connect to the resource's own database, or have the other listed under `databases` of the resource.")
	}
	return wish, nil
}

// roleOf picks the upstream role: the user name where it is one of the resource's roles, else the default.
func roleOf(res countersign.Resource, user string) (string, bool) {
	if _, ok := res.Roles[user]; ok {
		return user, true
	}
	_, ok := res.Roles[res.DefaultRole]
	return res.DefaultRole, ok
}

// askPassword has the client send its token.
func askPassword(nc net.Conn) (string, error) {
	const cleartext = 3
	if _, err := nc.Write(appendFrame(nil, msgAuthentication, 0, 0, 0, cleartext)); err != nil {
		return "", err
	}
	var head [headerLen]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		if errors.Is(err, io.EOF) { // psql asks its user meanwhile, and connects again
			return "", io.EOF
		}
		return "", err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if head[0] != msgPassword || size < 4 || size > maxPassword {
		return "", errMalformed
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(nc, body); err != nil {
		return "", err
	}
	f := fields{b: body}
	token := string(f.text())
	return token, f.end()
}
