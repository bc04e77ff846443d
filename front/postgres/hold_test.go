package postgres

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign-dev/countersign/approval"
)

// sign approves the next n requests as ben, from another goroutine.
func (r *rig) sign(n int) {
	go func() {
		seen := map[string]bool{}
		for len(seen) < n {
			for _, rec := range r.Pending(1) {
				if !seen[string(rec.Request.ID)] {
					seen[string(rec.Request.ID)] = true
					if err := r.Sign("ben", rec.Request.ID, approval.Approve); err != nil {
						r.t.Error(err)
					}
				}
			}
		}
	}()
}

// buffer is a buffer that a process writes to while the test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func TestPsqlWaitsIsToldAndGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	cmd := r.psqlCommand("-At")
	var out buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Stdin = strings.NewReader("COPY (SELECT name FROM items WHERE id = 7) TO STDOUT;\nSELECT 'after';\n")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	rec := r.Pending(1)[0]
	eventually(t, "the NOTICE", func() bool { return strings.Contains(out.String(), string(rec.Request.ID)) })
	if got := out.String(); !strings.Contains(got, "NOTICE") || !strings.Contains(got, "1 of dba") || strings.Contains(got, "item 7") {
		t.Errorf("while held psql shows:\n%s", got)
	}
	if err := r.Sign("ana", rec.Request.ID, approval.Approve); err == nil {
		t.Error("the person the agent acts for could sign")
	}
	if err := r.Sign("ben", rec.Request.ID, approval.Approve); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "item 7\nafter\n") {
		t.Errorf("psql shows:\n%s", got)
	}
}

func TestDenialByAReviewer(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	go func() { _ = r.Sign("ben", r.Pending(1)[0].Request.ID, approval.Deny) }()
	out, _ := r.psql("DELETE FROM items WHERE id = 1;\nSELECT 'alive';\n", "-At")
	if !strings.Contains(out, "is denied") || !strings.Contains(out, "alive") {
		t.Errorf("psql shows:\n%s", out)
	}
	if got := r.outside("SELECT count(*) FROM items"); got != "1000" {
		t.Errorf("%s rows", got)
	}
}

func TestWaitEndsAndTheRequestLivesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	ctx := context.Background()
	c := r.connect("&options=-c%20countersign.hold%3D300ms")
	_, err := c.Exec(ctx, "DELETE FROM items WHERE id = 1")
	if sqlState(err) != codePending {
		t.Fatalf("the end of the wait: %v", err)
	}
	rec := r.Pending(1)[0]
	var pe *pgconn.PgError
	if e, ok := err.(*pgconn.PgError); ok {
		pe = e
	}
	if pe == nil || !strings.Contains(pe.Message, string(rec.Request.ID)) || !strings.Contains(pe.Hint, "after approval") {
		t.Errorf("the error does not name the request and the way on: %+v", pe)
	}
	if err := r.Sign("ben", rec.Request.ID, approval.Approve); err != nil {
		t.Fatal(err)
	}
	// Another parameter is another request.
	if _, err := c.Exec(ctx, "DELETE FROM items WHERE id = 2"); sqlState(err) != codePending {
		t.Errorf("another statement used the grant: %v", err)
	}
	if tag, err := c.Exec(ctx, "DELETE FROM items WHERE id = 1"); err != nil || tag.RowsAffected() != 1 {
		t.Errorf("approve, then retry: %v %v", tag, err)
	}
	// Once is once (P4).
	if _, err := c.Exec(ctx, "DELETE FROM items WHERE id = 1"); sqlState(err) != codePending {
		t.Errorf("the grant was used twice: %v", err)
	}
}

func TestParametersAreBound(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	ctx := context.Background()
	c := r.connect("&options=-c%20countersign.hold%3D200ms")
	if _, err := c.Prepare(ctx, "del", "DELETE FROM items WHERE id = $1"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(ctx, "del", 1); sqlState(err) != codePending {
		t.Fatal(err)
	}
	rec := r.Pending(1)[0]
	if !strings.Contains(rec.View.Text.String(), "$1 = 1") {
		t.Errorf("the reviewer sees %q", rec.View.Text)
	}
	if err := r.Sign("ben", rec.Request.ID, approval.Approve); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(ctx, "del", 2); sqlState(err) != codePending {
		t.Errorf("another parameter used the grant: %v", err)
	}
	if tag, err := c.Exec(ctx, "del", 1); err != nil || tag.RowsAffected() != 1 {
		t.Errorf("%v %v", tag, err)
	}
	if got := r.outside("SELECT count(*) FROM items"); got != "999" {
		t.Errorf("%s rows", got)
	}
}

func TestNothingIsClaimedForAClientThatHasGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url(""))
	c.send(encodeStep(t, "Q|DELETE FROM items WHERE id = 1"))
	rec := r.Pending(1)[0]
	c.conn.Close()
	eventually(t, "the session's end", func() bool { r.front.mu.Lock(); defer r.front.mu.Unlock(); return len(r.front.clients) == 0 })
	if err := r.Sign("ben", rec.Request.ID, approval.Approve); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if got := r.outside("SELECT count(*) FROM items"); got != "1000" {
		t.Errorf("%s rows", got)
	}
	if u := r.onlyUse(); u.Action != "" {
		t.Errorf("the grant was claimed: %+v", u)
	}
	// The same request, run again, uses it.
	c = dialRaw(t, r.url(""))
	if said := c.play([]string{"Q|DELETE FROM items WHERE id = 1"}); !strings.Contains(said, "DELETE 1") {
		t.Errorf("afterwards: %s", said)
	}
}

func TestTerminateWhileHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url(""))
	c.send(encodeStep(t, "Q|DELETE FROM items WHERE id = 1"))
	r.Pending(1)
	c.send(encodeStep(t, "X"))
	for {
		if _, err := c.read(5 * time.Second); err != nil {
			if err != io.EOF {
				t.Errorf("the connection was not closed: %v", err)
			}
			break
		}
	}
}

func TestCancelEndsTheWait(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	cmd := r.psqlCommand("-At")
	var out buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	stdin, _ := cmd.StdinPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stdin.Close(); _ = cmd.Wait() }()
	io.WriteString(stdin, "DELETE FROM items WHERE id = 1;\n")
	rec := r.Pending(1)[0]
	eventually(t, "the NOTICE", func() bool { return strings.Contains(out.String(), "NOTICE") })
	_ = cmd.Process.Signal(syscall.SIGINT)
	eventually(t, "the wait's end", func() bool { return strings.Contains(out.String(), "canceling statement") })
	if got, err := r.Store.Request(t.Context(), rec.Request.ID); err != nil || got.Request.State != approval.Pending {
		t.Errorf("the request is %s, %v", got.Request.State, err)
	}
}

func TestSessionLivesAfterACancelledWait(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url(""))
	c.send(encodeStep(t, "Q|DELETE FROM items WHERE id = 1"))
	r.Pending(1)
	var key [4]byte
	copy(key[:], c.key)
	eventually(t, "the wait's end", func() bool {
		r.front.cancels.cancel(t.Context(), cancelKey{pid: c.pid, secret: key})
		m, err := c.read(50 * time.Millisecond)
		return err == nil && m.typ == msgReady
	})
	if said := c.play([]string{"Q|SELECT 1"}); !strings.Contains(said, "SELECT 1") {
		t.Errorf("afterwards: %s", said)
	}
}

func TestCancelGoesUpstream(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := r.connect("")
	ctx := context.Background()
	done := make(chan error, 1)
	go func() {
		_, err := c.Exec(ctx, "SELECT pg_sleep(30)")
		done <- err
	}()
	eventually(t, "the statement runs", func() bool {
		return r.outside("SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND query LIKE 'SELECT pg_sleep%' AND state = 'active'") == "1"
	})
	if err := c.PgConn().CancelRequest(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; sqlState(err) != codeCancelled {
		t.Errorf("the cancelled statement: %v", err)
	}
	// What follows is not hit.
	for range 20 {
		if _, err := c.Exec(ctx, "SELECT 1"); err != nil {
			t.Fatal(err)
		}
	}
	// A wrong key does nothing, the server's own key neither.
	go func() {
		_, err := c.Exec(ctx, "SELECT pg_sleep(1)")
		done <- err
	}()
	time.Sleep(200 * time.Millisecond)
	r.front.cancels.cancel(ctx, cancelKey{pid: c.PgConn().PID(), secret: [4]byte{1, 2, 3, 4}})
	if err := <-done; err != nil {
		t.Errorf("a wrong key cancelled: %v", err)
	}
}

// A hold inside a transaction ends when another session waits for its locks.
func TestHoldYieldsToWaitingSessions(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	ctx := context.Background()
	c := r.connect("")
	tx, err := c.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "UPDATE items SET name = 'x' WHERE id = 5"); err != nil {
		t.Fatal(err)
	}
	other, err := pgx.Connect(ctx, r.direct)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(ctx)
	done := make(chan error, 1)
	go func() {
		_, err := other.Exec(ctx, "UPDATE items SET name = 'y' WHERE id = 5")
		done <- err
	}()
	began := time.Now()
	_, err = tx.Exec(ctx, "DELETE FROM items WHERE id = 5")
	if sqlState(err) != codePending || !strings.Contains(err.Error(), "held") {
		t.Errorf("the held statement: %v", err)
	}
	if waited := time.Since(began); waited > 6*time.Second {
		t.Errorf("it held the lock for %s", waited)
	}
	_ = tx.Rollback(ctx)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestJustification(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D100ms%20-c%20countersign.ticket%3DOPS-1"))
	c.play([]string{"Q|SET countersign.reason = 'cleaning up'", "Q|DELETE FROM items WHERE id = 1"})
	j := r.Pending(1)[0].View.Justification
	if j.Reason.String() != "cleaning up" || j.Ticket.String() != "OPS-1" {
		t.Errorf("the reviewer sees %+v", j)
	}
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	c.play([]string{"Q|DELETE FROM items WHERE id = 2 /*traceparent='00-" + trace + "-00f067aa0ba902b7-01'*/"})
	if got := r.Pending(2)[0].View.Justification.Run.String(); got != trace {
		t.Errorf("the run is %q", got)
	}
}
