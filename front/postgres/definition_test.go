package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign-dev/countersign/approval"
)

// P3: what EXECUTE runs is part of what is signed, though its text stays the same.
func TestExecuteIsBoundToWhatWasPrepared(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	ctx := context.Background()
	c := r.connect("&default_query_exec_mode=simple_protocol&options=-c%20countersign.hold%3D10s")
	run := func(text string) {
		t.Helper()
		r.sign(1)
		if _, err := c.Exec(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
	run("PREPARE p AS DELETE FROM items WHERE id = 1")

	if _, err := c.Exec(ctx, "SET countersign.hold = '200ms'"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(ctx, "EXECUTE p"); err == nil {
		t.Fatal("a delete ran unsigned")
	}
	rec := r.Pending(1)[0]
	if shown := rec.View.Text.String(); !strings.Contains(shown, "DELETE FROM items WHERE id = 1") {
		t.Errorf("reviewers of EXECUTE are shown: %s", shown)
	}
	if err := r.Sign("ben", rec.Request.ID, approval.Approve); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"DEALLOCATE p", "SET countersign.hold = '10s'"} {
		if _, err := c.Exec(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
	run("PREPARE p AS DELETE FROM items WHERE id = 2")
	if _, err := c.Exec(ctx, "SET countersign.hold = '200ms'"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(ctx, "EXECUTE p"); err == nil {
		t.Error("the signature for one prepared statement ran another")
	}
	if got := r.outside("SELECT count(*) FROM items"); got != "1000" {
		t.Errorf("%s rows remain of 1000", got)
	}
}

// A text that was read when it was parsed is read anew when it is bound, and what is bound must not change
// before it runs.
func TestNameCannotChangeUnderAStatement(t *testing.T) {
	t.Parallel()
	denyWrites := strings.Replace(openPolicy, "effects: [read, session, write, schema]", "effects: [read, session]", 1) +
		"  - name: writes\n    match: {resource: {env: prod}, any_effect: [write]}\n    then: {deny: true, reason: no writes}\n"
	for name, script := range map[string][]string{
		"between Parse and Bind": {
			"Q|PREPARE p AS SELECT id FROM items WHERE id = 1", "P|s|EXECUTE p ; S",
			"Q|DEALLOCATE p", "Q|PREPARE p AS SELECT name FROM items WHERE id = 5", "B||s ; E||0 ; S",
		},
		"between Bind and Execute": {
			"Q|BEGIN", "Q|PREPARE p AS SELECT id FROM items WHERE id = 1", "P|s|EXECUTE p ; B|po|s ; S",
			"Q|DEALLOCATE p", "Q|PREPARE p AS SELECT name FROM items WHERE id = 5", "E|po|0 ; S",
		},
		"between Bind and Execute, one pipeline": {
			"Q|BEGIN", "Q|PREPARE p AS SELECT id FROM items WHERE id = 1",
			"P|s|EXECUTE p ; B|po|s ; P||DEALLOCATE p ; B|d| ; E|d|0 ; P||PREPARE p AS SELECT name FROM items WHERE id = 5 ; B|e| ; E|e|0 ; E|po|0 ; S",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{policy: denyWrites})
			said := dialRaw(t, r.url("")).play(script)
			ran := strings.Contains(said, "item 5")
			if name == "between Parse and Bind" && !ran {
				t.Errorf("bound anew, it did not run:\n%s", said)
			}
			if name != "between Parse and Bind" && (ran || !strings.Contains(said, "between Bind and Execute")) {
				t.Errorf("what was judged at Bind was replaced before Execute:\n%s", said)
			}
		})
	}
}

// A PREPARE that was signed once does not make an EXECUTE run that was parsed when the name meant a read.
func TestParsedExecuteIsJudgedAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D10s"))
	c.play([]string{"Q|PREPARE p AS SELECT 1", "P|s|EXECUTE p ; S", "Q|DEALLOCATE p"})
	r.sign(1)
	c.play([]string{"Q|PREPARE p AS DELETE FROM items WHERE id = 3", "Q|SET countersign.hold = '200ms'"})
	said := c.play([]string{"B||s ; E||0 ; S"})
	if !strings.Contains(said, "E ERROR") || r.outside("SELECT count(*) FROM items") != "1000" {
		t.Errorf("the delete ran unsigned:\n%s", said)
	}
}

// FETCH counts with its cursor however it is written, and a cursor that nobody saw declared is not read.
func TestCursorsAreKnown(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{policy: limitPolicy})
	for _, script := range [][]string{
		{"Q|BEGIN", "Q|DECLARE c CURSOR FOR SELECT * FROM items", "Q|FETCH 60 FROM c; SELECT 1", "Q|SELECT 2; FETCH 60 FROM c"},
		{"Q|DECLARE \"C d\" CURSOR WITH HOLD FOR SELECT * FROM items", "Q|FETCH 60 FROM \"C d\"", "Q|/* c */ FETCH FORWARD 60 FROM U&\"C\\0020d\""},
	} {
		said := dialRaw(t, r.url("")).play(script)
		if n := strings.Count(said, "\nD "); n > 102 {
			t.Errorf("%d rows were sent of %q", n, script)
		}
		if !strings.Contains(said, "E ERROR "+codeResultLimit) {
			t.Errorf("no limit was met:\n%.2000s", said)
		}
	}
	c := r.connect("")
	_, err := c.Exec(context.Background(), "FETCH ALL FROM made_elsewhere", pgx.QueryExecModeSimpleProtocol)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "42501" {
		t.Errorf("a cursor that was not seen being declared: %v", err)
	}
}
