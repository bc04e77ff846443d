package postgres

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign-dev/countersign/approval"
)

// A refusal inside a transaction must fail the server's transaction: else half of it would be committed.
func TestRefusalFailsTheTransaction(t *testing.T) {
	const denied = "DROP TABLE items"
	for name, script := range map[string][]string{
		"simple":                   {"Q|BEGIN", "Q|INSERT INTO log VALUES ('half')", "Q|" + denied, "Q|SELECT 1", "Q|COMMIT"},
		"extended parse":           {"Q|BEGIN", "Q|INSERT INTO log VALUES ('half')", "P||" + denied + " ; B|| ; E||0 ; S", "Q|COMMIT"},
		"one pipeline":             {"P||INSERT INTO log VALUES ('half') ; B|| ; E||0 ; P||" + denied + " ; B|| ; E||0 ; S"},
		"one pipeline, with block": {"P||BEGIN ; B|| ; E||0 ; P||INSERT INTO log VALUES ('half') ; B|| ; E||0 ; P||" + denied + " ; B|| ; E||0 ; P||COMMIT ; B|| ; E||0 ; S", "P||COMMIT ; B|| ; E||0 ; S"},
		"query amid a pipeline":    {"P||INSERT INTO log VALUES ('half') ; B|| ; E||0 ; Q|" + denied},
		"one string":               {"Q|BEGIN; INSERT INTO log VALUES ('half'); " + denied, "Q|COMMIT"},
		"malformed":                {"Q|BEGIN", "Q|INSERT INTO log VALUES ('half')", "raw|B|x ; S", "Q|COMMIT"},
		"held, the wait over":      {"Q|SET countersign.hold = '1s'", "Q|BEGIN", "Q|INSERT INTO log VALUES ('half')", "Q|DELETE FROM items WHERE id = 1", "Q|COMMIT"},
		"no such portal":           {"Q|BEGIN", "Q|INSERT INTO log VALUES ('half')", "E|nowhere|0 ; S", "Q|COMMIT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{})
			c := dialRaw(t, r.url(""))
			said := c.play(script)
			if got := r.outside("SELECT line FROM log"); got != "" {
				t.Errorf("the table holds %q\n%s", got, said)
			}
			if got := r.outside("SELECT count(*) FROM items"); got != "1000" {
				t.Errorf("the table holds %s rows", got)
			}
			if n := strings.Count(said, "E ERROR"); n == 0 {
				t.Errorf("no error was reported:\n%s", said)
			}
			// The session lives on.
			if said := c.play([]string{"Q|SELECT 42"}); !strings.Contains(said, `"\x00\x01\x00\x00\x00\x0242"`) || !strings.Contains(said, `Z "I"`) {
				t.Errorf("afterwards: %s", said)
			}
			if strings.Contains(said, string(failing)) {
				t.Errorf("the client was shown the gateway's own statement:\n%s", said)
			}
		})
	}
}

func TestRefusalSaysWhatToDo(t *testing.T) {
	r := newRig(t, rigOptions{})
	out, _ := r.psql("DROP TABLE items;\nSELECT 'still here';\n", "-At", "-v", "VERBOSITY=verbose")
	for _, want := range []string{"42501", "destroys", "nothing is destroyed through here", "HINT:", "still here"} {
		if !strings.Contains(out, want) {
			t.Errorf("psql's output lacks %q:\n%s", want, out)
		}
	}
}

// What ran inside a block is settled when the server says how the block ended.
func TestOutcomesFollowTheBlock(t *testing.T) {
	for name, tc := range map[string]struct {
		script []string
		want   approval.State
	}{
		"committed":                 {[]string{"Q|BEGIN", "Q|DELETE FROM items WHERE id = 1", "Q|COMMIT"}, approval.Done},
		"rolled back":               {[]string{"Q|BEGIN", "Q|DELETE FROM items WHERE id = 1", "Q|ROLLBACK"}, approval.RolledBack},
		"commit says rollback":      {[]string{"Q|BEGIN", "Q|DELETE FROM items WHERE id = 1", "Q|SELECT 1/0", "Q|COMMIT"}, approval.RolledBack},
		"rolled back to":            {[]string{"Q|BEGIN", "Q|SAVEPOINT s", "Q|DELETE FROM items WHERE id = 1", "Q|ROLLBACK TO s", "Q|COMMIT"}, approval.RolledBack},
		"connection lost":           {[]string{"Q|BEGIN", "Q|DELETE FROM items WHERE id = 1", "X"}, approval.RolledBack},
		"not in a block":            {[]string{"Q|DELETE FROM items WHERE id = 1"}, approval.Done},
		"fails":                     {[]string{"Q|DELETE FROM items WHERE id = 1/0"}, approval.Failed},
		"pipeline":                  {[]string{"P||DELETE FROM items WHERE id = $1|23 ; B|||1 ; E||0 ; S"}, approval.Done},
		"pipeline fails later":      {[]string{"P||DELETE FROM items WHERE id = $1|23 ; B|||1 ; E||0 ; P||SELECT 1/0 ; B|| ; E||0 ; S"}, approval.Failed},
		"pipeline, extended commit": {[]string{"P||BEGIN ; B|| ; E||0 ; P||DELETE FROM items WHERE id = $1|23 ; B|||1 ; E||0 ; P||COMMIT ; B|| ; E||0 ; S"}, approval.Done},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{})
			go func() {
				for _, rec := range r.Pending(1) {
					if err := r.Sign("ben", rec.Request.ID, approval.Approve); err != nil {
						t.Error(err)
					}
				}
			}()
			c := dialRaw(t, r.url(""))
			said := c.play(tc.script)
			c.conn.Close()
			var got approval.State
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && got != tc.want; time.Sleep(10 * time.Millisecond) {
				got = r.onlyUse().Outcome
			}
			if got != tc.want {
				t.Errorf("the outcome is %s, want %s\n%s", got, tc.want, said)
			}
		})
	}
}

// A deferred constraint makes COMMIT fail: what ran is rolled back.
func TestCommitThatFails(t *testing.T) {
	r := newRig(t, rigOptions{setup: []string{
		"CREATE TABLE p (id int PRIMARY KEY)",
		"CREATE TABLE c (id int REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
		"INSERT INTO p VALUES (1)", "INSERT INTO c VALUES (1)",
	}})
	go func() {
		for _, rec := range r.Pending(1) {
			_ = r.Sign("ben", rec.Request.ID, approval.Approve)
		}
	}()
	c := dialRaw(t, r.url(""))
	said := c.play([]string{"Q|BEGIN", "Q|DELETE FROM p", "Q|COMMIT"})
	if !strings.Contains(said, "23503") {
		t.Errorf("COMMIT did not fail:\n%s", said)
	}
	if got := r.onlyUse().Outcome; got != approval.RolledBack {
		t.Errorf("the outcome is %s", got)
	}
}

func TestPgxTransactions(t *testing.T) {
	r := newRig(t, rigOptions{})
	ctx := context.Background()
	c := r.connect("")
	err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO log VALUES ($1)", "kept")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO log VALUES ($1)", "lost"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "DROP TABLE log")
		return err
	})
	if sqlState(err) != codeDenied {
		t.Errorf("the denied statement: %v", err)
	}
	if got := r.outside("SELECT line FROM log"); got != "kept" {
		t.Errorf("the table holds %q", got)
	}
	b := &pgx.Batch{}
	b.Queue("INSERT INTO log VALUES ($1)", "batch")
	b.Queue("SELECT count(*) FROM log")
	b.Queue("DROP TABLE log")
	if err := c.SendBatch(ctx, b).Close(); sqlState(err) != codeDenied {
		t.Errorf("the denied batch: %v", err)
	}
	if got := r.outside("SELECT line FROM log"); got != "kept" {
		t.Errorf("after the denied batch the table holds %q", got)
	}
}
