package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign-dev/countersign/approval"
)

const limitPolicy = `version: 1
rules:
  - name: readers
    match: {principal: {anyone: true}, resource: {env: prod}, effects: [read, session, write]}
    then: {allow: true, limit: {rows: 100}}
  - name: exports
    match: {resource: {env: prod}, any_effect: [export]}
    then: {review: [{count: 1, groups: [dba]}]}
`

func TestResultEndsAtItsLimit(t *testing.T) {
	for name, script := range map[string][]string{
		"simple":            {"Q|SELECT * FROM items"},
		"extended":          {"P||SELECT * FROM items ; B|| ; E||0 ; S"},
		"flushed":           {"P||SELECT * FROM items ; B|| ; E||0 ; H", "S"},
		"portal in parts":   {"Q|BEGIN", "P||SELECT * FROM items ; B|p| ; E|p|60 ; S", "E|p|60 ; S", "Q|ROLLBACK"},
		"cursor":            {"Q|BEGIN", "Q|DECLARE c CURSOR FOR SELECT * FROM items", "Q|FETCH 60 FROM c", "Q|FETCH 60 FROM c", "Q|ROLLBACK"},
		"cursor, odd":       {"Q|BEGIN", "Q|DECLARE c CURSOR FOR SELECT * FROM items", "Q|FETCH 60 FROM c", "Q|FETCH 60 FROM c /* from d */", "Q|ROLLBACK"},
		"in a block":        {"Q|BEGIN", "Q|INSERT INTO log VALUES ('half')", "Q|SELECT * FROM items", "Q|COMMIT"},
		"with a write":      {"Q|BEGIN", "P||INSERT INTO log VALUES ('half') ; B|| ; E||0 ; P||SELECT * FROM items ; B|| ; E||0 ; S", "Q|COMMIT"},
		"one string":        {"Q|INSERT INTO log VALUES ('half'); SELECT i, repeat('x', 1000) FROM generate_series(1, 100000) i; INSERT INTO log VALUES ('more')"},
		"large rows":        {"Q|SELECT repeat('x', 100000) FROM generate_series(1, 500)"},
		"pipeline after it": {"P||SELECT * FROM items ; B|| ; E||0 ; P||SELECT 7777 ; B|| ; E||0 ; S"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{policy: limitPolicy})
			c := dialRaw(t, r.url(""))
			said := c.play(script)
			if n := strings.Count(said, "\nD "); n > 100 {
				t.Errorf("%d rows were sent", n)
			}
			if name == "simple" || name == "extended" || name == "flushed" {
				if n := strings.Count(said, "\nD ") + strings.Count(said[:1], "D"); n != 100 {
					t.Errorf("%d rows were sent, not those up to the limit", n)
				}
			}
			if !strings.Contains(said, "E ERROR "+codeResultLimit) {
				t.Errorf("no error says so:\n%.2000s", said)
			}
			if strings.Contains(said, "7777") {
				t.Errorf("the pipeline went on:\n%.2000s", said)
			}
			if strings.Contains(strings.Join(script, ""), "BEGIN") && strings.Contains(strings.Join(script, ""), "half") && r.outside("SELECT count(*) FROM log") != "0" {
				t.Error("half of it was committed")
			}
			if said := c.play([]string{"Q|SELECT 42"}); !strings.Contains(said, "SELECT 1") || !strings.Contains(said, `Z "I"`) {
				t.Errorf("afterwards: %s", said)
			}
		})
	}
}

func TestLimitNamesTheWayOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{policy: limitPolicy})
	ctx := context.Background()
	c := r.connect("&options=-c%20countersign.hold%3D200ms")
	_, err := c.PgConn().Exec(ctx, "SELECT * FROM items").ReadAll()
	var pe *pgconn.PgError
	if e, ok := err.(*pgconn.PgError); ok {
		pe = e
	}
	if pe == nil || pe.Code != codeResultLimit || !strings.Contains(pe.Detail, "100 rows") || !strings.Contains(pe.Hint, "LIMIT") || !strings.Contains(pe.Hint, "export") {
		t.Fatalf("the limit says %+v", pe)
	}
	if _, err := c.PgConn().Exec(ctx, "SELECT * FROM items").ReadAll(); sqlState(err) != codePending {
		t.Fatalf("running it again: %v", err)
	}
	rec := r.Pending(1)[0]
	if err := r.Sign("ben", rec.Request.ID, approval.Approve); err != nil {
		t.Fatal(err)
	}
	res, err := c.PgConn().Exec(ctx, "SELECT * FROM items").ReadAll()
	if err != nil || len(res[0].Rows) != 1000 {
		t.Errorf("the signed export: %v", err)
	}
}

func TestOversizedMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{limits: Limits{Message: 1 << 20}})
	big := strings.Repeat("x", 2<<20)
	c := dialRaw(t, r.url(""))
	for _, script := range [][]string{
		{"Q|SELECT '" + big + "'"},
		{"P||SELECT '" + big + "' ; B|| ; E||0 ; S"},
		{"P||SELECT $1::text|25 ; B|||" + big + " ; E||0 ; S"},
		{"Q|BEGIN", "Q|INSERT INTO log VALUES ('half')", "Q|INSERT INTO log VALUES ('" + big + "')", "Q|COMMIT"},
	} {
		if said := c.play(script); !strings.Contains(said, "E ERROR "+codeResultLimit) {
			t.Errorf("%.40s: %.500s", script[0], said)
		}
	}
	if got := r.outside("SELECT count(*) FROM log"); got != "0" {
		t.Errorf("%s rows", got)
	}
	// Large and allowed.
	if said := c.play([]string{"P||SELECT length($1::text)|25 ; B|||" + big[:1<<19] + " ; E||0 ; S"}); !strings.Contains(said, "524288") {
		t.Errorf("%.500s", said)
	}
	c.play([]string{"Q|SELECT 1"}) // a query string drops the unnamed statement, which takes some
	eventually(t, "the memory is given back", func() bool { return r.front.memory.used.Load() == 0 })
}
