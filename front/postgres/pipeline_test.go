package postgres

import (
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign-dev/countersign/approval"
)

// A long pipeline with large answers must not stop both sides, each waiting to be read.
func TestLongPipeline(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{policy: allPolicy})
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	c := r.connect("")
	b := &pgx.Batch{}
	const n = 3000
	for i := range n {
		b.Queue("SELECT $1::int, repeat('x', 5000), $2::text", i, strings.Repeat("p", 200))
	}
	res := c.SendBatch(ctx, b)
	for i := range n {
		var got int
		var x, p string
		if err := res.QueryRow().Scan(&got, &x, &p); err != nil || got != i || len(x) != 5000 {
			t.Fatalf("%d: %d %v", i, got, err)
		}
	}
	if err := res.Close(); err != nil {
		t.Fatal(err)
	}
	b = &pgx.Batch{}
	for range 50 {
		b.Queue("SELECT length($1::text)", strings.Repeat("y", 100_000))
	}
	if err := c.SendBatch(ctx, b).Close(); err != nil {
		t.Fatal(err)
	}
}

// A statement is judged under the search path it will run with, not the one it was prepared under.
func TestPreparedUnderAnotherPath(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{setup: []string{
		"CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE sql AS $$SELECT 'shadow'$$",
	}, policy: strings.Replace(openPolicy, "session, write, schema", "session, write, schema, privilege", 1)})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D100ms"))
	said := c.play([]string{
		"Q|SET search_path = pg_catalog",
		"P|s|SELECT lower('A'::varchar) ; S", "B||s ; E||0 ; S",
		"Q|PREPARE q AS SELECT lower('A'::varchar)", "Q|EXECUTE q",
	})
	if strings.Contains(said, "E ERROR") {
		t.Fatalf("under pg_catalog: %s", said)
	}
	said = c.play([]string{"Q|SET search_path = " + r.role + ", pg_catalog", "B||s ; E||0 ; S", "Q|EXECUTE q"})
	if strings.Contains(said, "shadow") || strings.Count(said, codePending) != 2 {
		t.Errorf("under another path: %s", said)
	}
}

// Code that cannot be seen may have put another statement under a name.
func TestStatementsInDoubt(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{setup: []string{
		"CREATE FUNCTION swap(name text) RETURNS int LANGUAGE plpgsql AS $$BEGIN EXECUTE 'DEALLOCATE ' || name; EXECUTE 'PREPARE ' || name || ' AS DELETE FROM items WHERE id = 1'; RETURN 1; END$$",
	}})
	r.sign(1)
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D5s"))
	said := c.play([]string{
		"P|p|SELECT 'mine' ; S", "Q|PREPARE q AS SELECT 'mine'",
		"Q|SELECT swap('p'), swap('q')",
		"B||p ; E||0 ; S",
		"Q|SET countersign.hold = '100ms'",
		"Q|EXECUTE q",
	})
	if strings.Count(said, "mine") != 1 || !strings.Contains(said, codePending) {
		t.Errorf("%s", said)
	}
	if got := r.outside("SELECT count(*) FROM items"); got != "1000" {
		t.Errorf("the swapped statement ran: %s rows", got)
	}
}

// A statement in doubt stays so until it has been put back: not when the server skipped that, or could not do it.
func TestStatementsStayInDoubt(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{setup: []string{
		"CREATE FUNCTION swap(name text) RETURNS int LANGUAGE plpgsql AS $$BEGIN EXECUTE 'DEALLOCATE ' || name; EXECUTE 'PREPARE ' || name || ' AS DELETE FROM items WHERE id = 1'; RETURN 1; END$$",
		"CREATE TABLE gone AS SELECT 'mine'",
	}})
	r.sign(1)
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D5s"))
	said := c.play([]string{
		"P|p|SELECT 'mine' ; P|q|SELECT * FROM gone ; S", "Q|SELECT swap('p'), swap('q')",
		"P||SELECT 1/$1::int|23 ; B|||0 ; E||0 ; B||p ; E||0 ; S", // the first fails, the rest is skipped
	})
	if !strings.Contains(said, "22012") || strings.Contains(said, "mine") {
		t.Fatalf("said: %s", said)
	}
	said = c.play([]string{"B||p ; E||0 ; S"})
	if got := r.outside("SELECT count(*) FROM items"); got != "1000" || !strings.Contains(said, "mine") {
		t.Errorf("%s rows are left; said: %s", got, said)
	}
	// Where it cannot be put back, the client is told why, in the place of its Bind.
	r.outside("ALTER TABLE gone RENAME TO gone_now")
	for range 2 {
		if said := c.play([]string{"B||q ; E||0 ; S"}); !strings.HasPrefix(said, `E ERROR 42P01 relation "gone" does not exist`) || strings.Count(said, "E ERROR") != 1 {
			t.Errorf("said: %s", said)
		}
	}
	r.outside("ALTER TABLE gone_now RENAME TO gone")
	if said := c.play([]string{"B||q ; E||0 ; S"}); !strings.Contains(said, "mine") {
		t.Errorf("afterwards: %s", said)
	}
	// Its types are asked of the statement that was put back.
	r.sign(1)
	c = dialRaw(t, r.url("&options=-c%20countersign.hold%3D5s"))
	c.play([]string{"P|d|DELETE FROM items WHERE id = $1 ; S", "Q|SELECT swap('d')"})
	if said := c.play([]string{"Q|SET countersign.hold = '100ms'", "B||d|7 ; E||0 ; S"}); !strings.Contains(said, codePending) {
		t.Errorf("said: %s", said)
	}
	if got := r.outside("SELECT count(*) FROM items"); got != "1000" {
		t.Errorf("%s rows are left", got)
	}
}

// cutter passes bytes between the front and the server, and can cut the line after the server was sent something.
type cutter struct {
	addr string
	word atomic.Pointer[string]
}

func newCutter(t *testing.T, server string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := &cutter{addr: l.Addr().String()}
	go func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", server)
			if err != nil {
				down.Close()
				return
			}
			var mute atomic.Bool
			go func() {
				buf := make([]byte, 1<<16)
				for {
					n, err := down.Read(buf)
					word := c.word.Load()
					hit := word != nil && strings.Contains(string(buf[:n]), *word)
					mute.Store(hit)
					if _, werr := up.Write(buf[:n]); err != nil || werr != nil {
						up.Close()
						return
					}
					if hit {
						time.Sleep(100 * time.Millisecond) // the server has done it; its answer is lost
						down.Close()
						up.Close()
						return
					}
				}
			}()
			go func() {
				buf := make([]byte, 1<<16)
				for {
					n, err := up.Read(buf)
					if !mute.Load() {
						if _, werr := down.Write(buf[:n]); werr != nil {
							err = werr
						}
					}
					if err == io.EOF || err != nil {
						down.Close()
						return
					}
				}
			}()
		}
	}()
	return c
}

// A COMMIT that was sent and not answered leaves what ran in doubt; before it was sent, nothing is.
func TestLostConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		word   string
		script []string
		want   approval.State
	}{
		"after COMMIT was sent":       {"COMMIT", []string{"Q|BEGIN", "Q|DELETE FROM items WHERE id = 1", "Q|COMMIT"}, approval.Unknown},
		"before COMMIT":               {"SELECT 5", []string{"Q|BEGIN", "Q|DELETE FROM items WHERE id = 1", "Q|SELECT 5"}, approval.RolledBack},
		"while it ran, alone":         {"DELETE", []string{"Q|DELETE FROM items WHERE id = 1"}, approval.Unknown},
		"after COMMIT, in a pipeline": {"COMMIT", []string{"Q|BEGIN", "Q|DELETE FROM items WHERE id = 1", "P||COMMIT ; B|| ; E||0 ; S"}, approval.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var cut *cutter
			r := newRig(t, rigOptions{upstream: func(addr, database string) string {
				cut = newCutter(t, addr)
				return cut.addr + "/" + database
			}})
			r.sign(1)
			c := dialRaw(t, r.url(""))
			last := len(tc.script) - 1
			c.play(tc.script[:last])
			cut.word.Store(&tc.word)
			for _, step := range strings.Split(tc.script[last], " ; ") {
				c.send(encodeStep(t, step))
			}
			var said []message
			for {
				m, err := c.read(5 * time.Second)
				if err != nil {
					break
				}
				said = append(said, m)
			}
			if !strings.Contains(transcript(said), codeConnectionLost) {
				t.Errorf("the client was told %s", transcript(said))
			}
			eventually(t, "the outcome "+string(tc.want), func() bool { return r.onlyUse().Outcome == tc.want })
		})
	}
}
