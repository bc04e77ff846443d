package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign-dev/countersign/approval"
)

const copyPolicy = `version: 1
rules:
  - name: readers
    match: {principal: {anyone: true}, resource: {env: prod}, effects: [read, session]}
    then: {allow: true}
  - name: writes
    match: {resource: {env: prod}, any_effect: [write, export, unknown]}
    then: {review: [{count: 1, groups: [dba]}]}
  - name: none
    match: {any_effect: [delete, destroy]}
    then: {deny: true}
`

// The data of a COPY is read before the hold, and another data is another request (P3).
func TestCopyDataIsSigned(t *testing.T) {
	for _, extended := range []bool{false, true} {
		t.Run(fmt.Sprintf("extended %t", extended), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{policy: copyPolicy})
			play := func(data string) string {
				c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D200ms"))
				defer c.conn.Close()
				if extended {
					return c.play([]string{"P||COPY log FROM STDIN ; B|| ; D|P| ; E||0 ; H", "d|" + data + " ; c ; S"})
				}
				return c.play([]string{"Q|COPY log FROM STDIN", "d|" + data + " ; c ; Q|SELECT 1"})
			}
			if said := play("one"); !strings.Contains(said, codePending) || !strings.Contains(said, "G ") {
				t.Fatalf("the held COPY: %s", said)
			}
			rec := r.Pending(1)[0]
			if rec.View.Facts.DataUnseen {
				t.Error("the data counts as unseen")
			}
			if err := r.Sign("ben", rec.Request.ID, approval.Approve); err != nil {
				t.Fatal(err)
			}
			if said := play("two"); !strings.Contains(said, codePending) {
				t.Errorf("other data used the grant: %s", said)
			}
			if got := r.outside("SELECT count(*) FROM log"); got != "0" {
				t.Errorf("%s rows before", got)
			}
			if said := play("one"); !strings.Contains(said, "COPY 1") {
				t.Errorf("the signed data: %s", said)
			}
			if got := r.outside("SELECT line FROM log"); got != "one" {
				t.Errorf("the table holds %q", got)
			}
		})
	}
}

func TestCopyBeyondTheSpoolIsUnseen(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{policy: copyPolicy, limits: Limits{CopySpool: 100_000}})
	go func() {
		rec := r.Pending(1)[0]
		if !rec.View.Facts.DataUnseen {
			t.Error("the fact data_unseen is missing")
		}
		if err := r.Sign("ben", rec.Request.ID, approval.Approve); err != nil {
			t.Error(err)
		}
	}()
	c := r.connect("")
	line := strings.Repeat("x", 99) + "\n"
	data := strings.Repeat(line, 20_000)
	tag, err := c.PgConn().CopyFrom(context.Background(), strings.NewReader(data), "COPY log FROM STDIN")
	if err != nil || tag.RowsAffected() != 20_000 {
		t.Errorf("%v %v", tag, err)
	}
	eventually(t, "the memory is given back", func() bool { return r.front.memory.used.Load() == 0 })
	if got := r.outside("SELECT count(*) FROM log"); got != "20000" {
		t.Errorf("%s rows", got)
	}
}

func TestCopyRefusedBeforeData(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{policy: strings.Replace(copyPolicy, "delete, destroy", "delete, destroy, write", 1)})
	c := dialRaw(t, r.url(""))
	said := c.play([]string{"Q|COPY log FROM STDIN"})
	if strings.Contains(said, "G ") || !strings.Contains(said, codeDenied) {
		t.Errorf("%s", said)
	}
	if said := c.play([]string{"d|x ; c ; Q|SELECT 1"}); !strings.Contains(said, "SELECT 1") {
		t.Errorf("afterwards: %s", said)
	}
}

func TestCopyDeniedBeyondTheSpool(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{policy: copyPolicy, limits: Limits{CopySpool: 1000}})
	c := r.connect("&options=-c%20countersign.hold%3D100ms")
	data := strings.Repeat(strings.Repeat("x", 99)+"\n", 50_000)
	_, err := c.PgConn().CopyFrom(context.Background(), strings.NewReader(data), "COPY log FROM STDIN")
	if sqlState(err) != codePending {
		t.Errorf("%v", err)
	}
	if _, err := c.Exec(context.Background(), "SELECT 1"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if got := r.outside("SELECT count(*) FROM log"); got != "0" {
		t.Errorf("%s rows", got)
	}
}

func TestCopyStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{setup: []string{
		"CREATE FUNCTION noisy() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE '%', repeat('n', 1000); RETURN NEW; END$$",
		"CREATE TABLE loud (line text)", "CREATE TRIGGER t BEFORE INSERT ON loud FOR EACH ROW EXECUTE FUNCTION noisy()",
	}})
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	c := r.connect("")
	// The server speaks while it reads: neither side may stop the other.
	data := strings.Repeat(strings.Repeat("x", 999)+"\n", 20_000)
	if tag, err := c.PgConn().CopyFrom(ctx, strings.NewReader(data), "COPY loud FROM STDIN"); err != nil || tag.RowsAffected() != 20_000 {
		t.Fatalf("%v %v", tag, err)
	}
	// The server fails in the middle.
	bad := "1\tx\nnonsense\ty\n" + strings.Repeat("5\tz\n", 500_000)
	if _, err := c.PgConn().CopyFrom(ctx, strings.NewReader(bad), "COPY items FROM STDIN"); sqlState(err) != "22P02" && sqlState(err) != "23505" {
		t.Errorf("%v", err)
	}
	n, err := c.CopyFrom(ctx, pgx.Identifier{"items"}, []string{"id", "name"}, pgx.CopyFromSlice(5, func(i int) ([]any, error) {
		return []any{5000 + i, "binary"}, nil
	}))
	if err != nil || n != 5 {
		t.Errorf("binary COPY: %d %v", n, err)
	}
}

func TestCopyOutIsWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{policy: allPolicy, setup: []string{
		"CREATE TABLE big AS SELECT i, repeat(md5(i::text), 1 + i % 40) AS t FROM generate_series(1, 30000) i",
	}})
	sum := func(url string) (string, int64) {
		c, err := pgx.Connect(context.Background(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(context.Background())
		h := sha256.New()
		tag, err := c.PgConn().CopyTo(context.Background(), h, "COPY big TO STDOUT")
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%x", h.Sum(nil)), tag.RowsAffected()
	}
	want, rows := sum(r.direct)
	got, n := sum(r.url(""))
	if got != want || n != rows {
		t.Errorf("%d rows, %s; direct %d, %s", n, got, rows, want)
	}
	out := r.mustPsql("SELECT * FROM big ORDER BY i;\n", "-At")
	if lines := bytes.Count([]byte(out), []byte("\n")); lines != 30000 {
		t.Errorf("psql shows %d lines", lines)
	}
}

// The Bind of a COPY is kept back; the statement under its name cannot be exchanged meanwhile.
func TestStatementOfACopyCannotBeExchanged(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"another table": "P|x|COPY log FROM STDIN ; B|p|x ; C|S|x ; P|x|COPY items FROM STDIN ; E|p|0 ; H",
		"a delete":      "P|x|COPY log FROM STDIN ; B|p|x ; C|S|x ; P|x|DELETE FROM items ; E|p|0 ; H",
		"unnamed":       "P||COPY log FROM STDIN ; B|p| ; P||COPY items FROM STDIN ; E|p|0 ; H",
		"closed":        "P|x|COPY log FROM STDIN ; B|p|x ; C|S|x ; E|p|0 ; H",
		"another path":  "P||SET search_path = pg_temp ; B|s| ; P|x|COPY log FROM STDIN ; B|p|x ; E|s|0 ; E|p|0 ; H",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{})
			c := dialRaw(t, r.url(""))
			said := c.play([]string{script, "d|4711\tx ; c ; S"})
			if !strings.Contains(said, "E ERROR "+codeUnsupported) {
				t.Errorf("said: %s", said)
			}
			if got := r.outside("SELECT count(*) FROM items") + " " + r.outside("SELECT count(*) FROM log"); got != "1000 0" {
				t.Errorf("the tables hold %s rows\n%s", got, said)
			}
			if said := c.play([]string{"Q|SELECT 42"}); !strings.Contains(said, `\x0242"`) {
				t.Errorf("afterwards: %s", said)
			}
		})
	}
}

// The Bind of a COPY is the gateway's own message when it goes; its error is the client's all the same.
func TestCopyWhoseBindFailsIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url(""))
	said := c.play([]string{"P||COPY log FROM STDIN ; B|||x ; E||0 ; H", "S", "Q|SELECT 42"})
	if !strings.Contains(said, "E ERROR 08P01") || !strings.Contains(said, `\x0242"`) {
		t.Errorf("said: %s", said)
	}
}

// An error of the Bind or the Execute of a COPY reaches the client without a Sync.
func TestCopyThatFailsAtOnceDoesNotHang(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url(""))
	said := c.play([]string{"P|x|COPY log FROM STDIN ; S", "P||DROP TABLE IF EXISTS nothing ; S"})
	r.outside("DROP TABLE log")
	said += c.play([]string{"B|p|x ; E|p|0 ; H", "S", "Q|SELECT 42"})
	if !strings.Contains(said, "E ERROR 42P01") || !strings.Contains(said, `\x0242"`) {
		t.Errorf("said: %s", said)
	}
}
