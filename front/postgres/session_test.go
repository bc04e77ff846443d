package postgres

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gatetest"
)

// P5: what is not understood is held before the server parses it.
func TestUnknownIsHeldAtParse(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D200ms"))
	said := c.play([]string{"P|s|GIBBERISH ; H", "S"})
	if !strings.Contains(said, codePending) || strings.Contains(said, "42601") {
		t.Errorf("the server parsed it: %s", said)
	}
	if err := r.Sign("ben", r.Pending(1)[0].Request.ID, approval.Approve); err != nil {
		t.Fatal(err)
	}
	// Signed as unknown, it goes to the server, whose words it gets.
	if said := c.play([]string{"P|s|GIBBERISH ; S"}); !strings.Contains(said, "42601") {
		t.Errorf("%s", said)
	}
	// A FunctionCall is unknown.
	said = c.play([]string{"raw|F|\x00\x00\x05\x3e\x00\x00\x00\x00\x00\x00"})
	if !strings.Contains(said, codePending) {
		t.Errorf("FunctionCall: %s", said)
	}
	for _, rec := range r.Pending(1) {
		if err := r.Sign("ben", rec.Request.ID, approval.Approve); err != nil {
			t.Fatal(err)
		}
	}
	if said = c.play([]string{"raw|F|\x00\x00\x05\x3e\x00\x00\x00\x00\x00\x00"}); !strings.Contains(said, "V ") && !strings.Contains(said, "E ERROR") || strings.Contains(said, codePending) {
		t.Errorf("FunctionCall, signed: %s", said)
	}
}

func TestUnreadableSettingsMakeAllUnknown(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{policy: allPolicy})
	for _, set := range []string{"SET standard_conforming_strings = off", "SET client_encoding = 'SQL_ASCII'"} {
		c := dialRaw(t, r.url(""))
		if said := c.play([]string{"Q|" + set, "Q|SELECT 1"}); !strings.Contains(said, "SET") || !strings.Contains(said, codeDenied) {
			t.Errorf("%s: %s", set, said)
		}
		// In a pipeline the later text is judged under the earlier setting too.
		c = dialRaw(t, r.url(""))
		if said := c.play([]string{"P||" + set + " ; B|| ; E||0 ; P||SELECT 1 ; B|| ; E||0 ; S"}); !strings.Contains(said, codeDenied) {
			t.Errorf("%s in a pipeline: %s", set, said)
		}
	}
}

// The context is part of what is signed: the same text under another setting is another request.
func TestContextIsBound(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D100ms"))
	const text = "Q|DELETE FROM items WHERE name = current_setting('DateStyle')"
	c.play([]string{text})
	if n := len(r.Pending(1)); n != 1 {
		t.Fatal(n)
	}
	c.play([]string{text})
	c.play([]string{"Q|SET application_name = 'x'", text})
	time.Sleep(50 * time.Millisecond)
	if n := len(r.Pending(1)); n != 1 {
		t.Errorf("the same made %d requests", n)
	}
	for i, set := range []string{"SET DateStyle = 'German'", "SET bytea_output = 'escape'", "SET search_path = pg_catalog"} {
		c.play([]string{"Q|" + set, text})
		if n := len(r.Pending(i + 2)); n != i+2 {
			t.Errorf("after %s: %d requests", set, n)
		}
	}
	// What is rolled back is as it was.
	c = dialRaw(t, r.url("&options=-c%20countersign.hold%3D100ms"))
	c.play([]string{"Q|BEGIN", "Q|SET bytea_output = 'escape'", "Q|ROLLBACK", "Q|BEGIN", "Q|SET LOCAL bytea_output = 'escape'", "Q|COMMIT", text})
	if n := len(r.Pending(4)); n != 4 {
		t.Errorf("after a rollback: %d requests", n)
	}
}

func TestNotificationsReachAnIdleClient(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := r.connect("")
	if _, err := c.Exec(context.Background(), "LISTEN here"); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		time.Sleep(time.Duration(i) * 15 * time.Millisecond) // before and after another goroutine listens
		go r.outside("SELECT pg_notify('here', 'hello')")
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		n, err := c.WaitForNotification(ctx)
		stop()
		if err != nil || n.Payload != "hello" {
			t.Fatalf("%v %v", n, err)
		}
		if _, err := c.Exec(context.Background(), "SELECT 1"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServerEndsTheSession(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url(""))
	time.Sleep(50 * time.Millisecond)
	r.outside("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()")
	if said := transcript(c.quiet()); !strings.Contains(said, "57P01") || !strings.Contains(said, "closed") {
		t.Errorf("the idle client was told %s", said)
	}
	c = dialRaw(t, r.url(""))
	c.send(encodeStep(t, "Q|SELECT pg_sleep(30)"))
	time.Sleep(100 * time.Millisecond)
	r.outside("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()")
	if said := transcript(c.quiet()); !strings.Contains(said, "57P01") || strings.Contains(said, codeConnectionLost) {
		t.Errorf("the busy client was told %s", said)
	}
}

func TestDeactivatedPrincipal(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	idle, held := dialRaw(t, r.url("")), dialRaw(t, r.url(""))
	held.send(encodeStep(t, "Q|DELETE FROM items WHERE id = 1"))
	r.Pending(1)
	d := gatetest.Directory()
	d.Agents[0].Active = false
	r.SetDirectory(d)
	for _, c := range []*raw{idle, held} {
		if said := transcript(c.quiet()); !strings.Contains(said, "FATAL") || !strings.Contains(said, "closed") {
			t.Errorf("told: %s", said)
		}
	}
	if _, err := pgconn.Connect(context.Background(), r.url("")); err == nil {
		t.Error("let in again")
	}
}

func TestShutdownEndsEverything(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	idle, busy, held := dialRaw(t, r.url("")), dialRaw(t, r.url("")), dialRaw(t, r.url(""))
	busy.send(encodeStep(t, "Q|SELECT pg_sleep(30)"))
	held.send(encodeStep(t, "Q|DELETE FROM items WHERE id = 1"))
	r.Pending(1)
	time.Sleep(100 * time.Millisecond)
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	began := time.Now()
	if err := r.front.Shutdown(ctx); err != nil || time.Since(began) > 3*time.Second {
		t.Fatalf("%v after %s", err, time.Since(began))
	}
	for name, c := range map[string]*raw{"idle": idle, "busy": busy, "held": held} {
		if said := transcript(c.quiet()); !strings.Contains(said, codeShutdown) {
			t.Errorf("%s was told %s", name, said)
		}
	}
}

// The client never sees what the gateway logs in with, and its cancel key is not the server's.
func TestUpstreamSecretsStayInside(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url(""))
	pid := r.outside("SELECT pid FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid() AND backend_type = 'client backend'")
	if pid != strings.TrimSpace(pid) || pid == "" {
		t.Fatal(pid)
	}
	said := c.play([]string{"Q|SELECT pg_backend_pid()"})
	if !strings.Contains(said, pid) {
		t.Errorf("process id: %s", said)
	}
	r.front.mu.Lock()
	defer r.front.mu.Unlock()
	for _, known := range r.front.clients {
		if string(known.up.key) == string(c.key) {
			t.Error("the client has the server's cancel key")
		}
	}
}
