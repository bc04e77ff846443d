package postgres

import (
	"bytes"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A Sync that the client hides among the data of a COPY which the server has failed already must not earn an
// answer that the gateway does not count: every later statement would take the one before it for its own.
func TestSyncAmongTheDataOfACopy(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D100ms"))
	c.play([]string{"P|p|DELETE FROM items WHERE id = $1|23 ; S"})
	var b []byte
	for _, s := range []string{"P||COPY items FROM STDIN", "B||", "E||0", "H"} {
		b = append(b, encodeStep(t, s)...)
	}
	c.send(b)
	c.quiet()
	// The server has failed while the gateway still writes the long error to a client that does not read.
	c.send(appendFrame(nil, msgCopyData, append(bytes.Repeat([]byte("x"), 8<<20), '\n')...))
	time.Sleep(300 * time.Millisecond)
	s := encodeStep(t, "S")
	c.send(append(append([]byte{}, s...), s[:3]...)) // a whole Sync for the server, and the beginning of another
	time.Sleep(100 * time.Millisecond)
	rest := s[3:]
	for _, q := range []string{"Q|SELECT 1", "Q|PREPARE p(int) AS SELECT $1", "Q|EXECUTE p(5)", "Q|EXECUTE p(6)", "Q|SELECT 2"} {
		rest = append(rest, encodeStep(t, q)...)
	}
	if _, err := c.read(10 * time.Second); err != nil { // the long error
		t.Fatal(err)
	}
	c.send(rest)
	said := transcript(c.quiet())
	if got := r.outside("SELECT count(*) FROM items"); got != "1000" {
		t.Errorf("%s rows are left; said: %s", got, said)
	}
	if n := len(r.Pending(2)); n != 2 || !strings.Contains(said, codePending) {
		t.Errorf("%d requests; said: %s", n, said)
	}
}

// copyConversations hold what a client may send while it copies. Each must be answered as the server itself
// answers it, message for message, and so must what follows.
var copyConversations = map[string][]string{
	"sync and flush amid data":                {"P||COPY log FROM STDIN ; B|| ; E||0 ; H", "d|one ; S ; H ; d|two ; S ; c ; H", "S", "Q|SELECT * FROM log"},
	"sync before data":                        {"P||COPY log FROM STDIN ; B|| ; E||0 ; H", "H ; S ; d|one ; c ; S", "Q|SELECT * FROM log"},
	"fails, done and sync":                    {"P||COPY items FROM STDIN ; B|| ; E||0 ; H", "d|bad	x ; c ; S", "Q|SELECT 42", "P||SELECT 43 ; B|| ; E||0 ; S"},
	"fails, sync without done":                {"P||COPY items FROM STDIN ; B|| ; E||0 ; H", "d|bad	x ; H", "S", "Q|SELECT 42"},
	"fails, sync at once without done":        {"P||COPY items FROM STDIN ; B|| ; E||0 ; H", "d|bad	x ; S", "Q|SELECT 42"},
	"fails, given up, sync":                   {"P||COPY items FROM STDIN ; B|| ; E||0 ; H", "d|bad	x ; f|no ; S", "Q|SELECT 42"},
	"fails, the pipeline is skipped":          {"P||COPY items FROM STDIN ; B|| ; E||0 ; H", "d|bad	x ; c ; P||SELECT 41 ; B|| ; E||0 ; H", "S", "Q|SELECT 42"},
	"fails, data goes on":                     {"P||COPY items FROM STDIN ; B|| ; E||0 ; H", "d|bad	x ; H", "d|bad	y ; d|bad	z ; c ; S", "Q|SELECT 42"},
	"given up":                                {"P||COPY log FROM STDIN ; B|| ; E||0 ; H", "d|one ; f|no ; S", "Q|SELECT 42"},
	"done twice":                              {"P||COPY log FROM STDIN ; B|| ; E||0 ; H", "d|one ; c ; c ; f|late ; S", "Q|SELECT 42"},
	"a pipeline after it":                     {"P||COPY log FROM STDIN ; B|| ; E||0 ; H", "d|one ; c ; P||SELECT 42 ; B|| ; E||0 ; S", "Q|SELECT * FROM log"},
	"a trigger fails before data":             {"Q|CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'; CREATE TRIGGER no BEFORE INSERT ON log EXECUTE FUNCTION no()", "P||COPY log FROM STDIN ; B|| ; E||0 ; H", "S", "Q|DROP TRIGGER no ON log; DROP FUNCTION no()"},
	"simple, sync and flush amid data":        {"Q|COPY log FROM STDIN", "d|one ; S ; d|two ; H ; c ; Q|SELECT * FROM log"},
	"simple, fails, then sync":                {"Q|COPY items FROM STDIN", "d|bad	x ; c ; H", "S", "Q|SELECT 42"},
	"simple, in a block, fails":               {"Q|BEGIN", "Q|COPY items FROM STDIN", "d|bad	x ; c ; H", "S", "Q|SELECT 42", "Q|ROLLBACK"},
	"simple, two in a string":                 {"Q|COPY log FROM STDIN; COPY log FROM STDIN; SELECT 42", "d|one ; S ; c ; H", "d|two ; S ; c ; H", "Q|SELECT * FROM log"},
	"simple, two in a string, one fails":      {"Q|COPY items FROM STDIN; COPY log FROM STDIN; SELECT 42", "d|bad	x ; c ; H", "d|two ; c ; S", "Q|SELECT * FROM log"},
	"an error of Describe":                    {"P||SELECT 1 ; D|P|nowhere ; B|| ; E||0 ; S", "Q|SELECT 42"},
	"an error of Bind, then close":            {"P|s|SELECT $1::int|23 ; B||s|x ; C|S|s ; D|S|s ; S", "B||s|42 ; E||0 ; S"},
	"two syncs":                               {"S ; S ; P||SELECT 1/0 ; B|| ; E||0 ; S ; S ; Q|SELECT 42"},
	"a query while the pipeline is skipped":   {"P||SELECT 1/$1 ; B|||0 ; E||0 ; H", "raw|Q|SELECT 5\x00 ; S", "Q|SELECT 42"},
	"a query before the sync":                 {"P||SELECT 1 ; B|| ; E||0 ; Q|SELECT 2 ; S", "Q|SELECT 42"},
	"a function call before the sync":         {"P||SELECT 1 ; B|| ; raw|F|\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00 ; S", "Q|SELECT 42"},
	"a deferred constraint fails at sync":     {"Q|CREATE TEMP TABLE d (x int UNIQUE DEFERRABLE INITIALLY DEFERRED)", "P||INSERT INTO d VALUES (1), (1) ; B|| ; E||0 ; S", "Q|SELECT 42"},
	"copy out, then more of the pipeline":     {"P||COPY (SELECT 7) TO STDOUT ; B|| ; E||0 ; P||SELECT 8 ; B|| ; E||0 ; S", "Q|SELECT 42"},
	"copy out fails, the pipeline is skipped": {"P||COPY (SELECT 1/0) TO STDOUT ; B|| ; E||0 ; P||SELECT 8 ; B|| ; E||0 ; S", "Q|SELECT 42"},
}

func TestAnswersAreCountedAsTheServerGivesThem(t *testing.T) {
	t.Parallel()
	for name, script := range copyConversations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{policy: allPolicy})
			run := func(url string) string {
				r.outside("TRUNCATE log")
				c := dialRaw(t, url)
				defer c.conn.Close()
				var all []message
				for _, line := range script {
					var out []byte
					for _, step := range strings.Split(line, " ; ") {
						out = append(out, encodeStep(t, step)...)
					}
					c.send(out)
					for {
						m, err := c.read(80 * time.Millisecond)
						if err != nil {
							break
						}
						all = append(all, m)
					}
				}
				return columns.ReplaceAllString(transcript(append(all, c.quiet()...)), "G")
			}
			want, got := run(r.direct), run(r.url(""))
			if strings.Contains(name, "function call") {
				want, got = callError.ReplaceAllString(want, "E"), callError.ReplaceAllString(got, "E")
			}
			if want != got {
				t.Errorf("through the front:\n%s\ndirect:\n%s", got, want)
			}
		})
	}
}

// callError is what a FunctionCall is answered with: the gateway denies what the server does not know.
var callError = regexp.MustCompile(`E ERROR .*`)

// talker stands between the front and the server, and says more than the server does.
type talker struct {
	addr string
	say  chan []byte // said to the client of the next connection that asks for it
}

func newTalker(t *testing.T, server string) *talker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	k := &talker{addr: l.Addr().String(), say: make(chan []byte)}
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
			t.Cleanup(func() { down.Close(); up.Close() })
			go func() { _, _ = copyAll(up, down); up.Close() }()
			fromServer := make(chan []byte)
			go func() {
				defer close(fromServer)
				for {
					buf := make([]byte, 1<<16)
					n, err := up.Read(buf)
					if n > 0 {
						fromServer <- buf[:n]
					}
					if err != nil {
						return
					}
				}
			}()
			go func() {
				defer down.Close()
				for {
					select {
					case b, ok := <-fromServer:
						if !ok {
							return
						}
						_, _ = down.Write(b)
					case b := <-k.say:
						_, _ = down.Write(b)
					}
				}
			}()
		}
	}()
	return k
}

func copyAll(dst net.Conn, src net.Conn) (int64, error) {
	var n int64
	buf := make([]byte, 1<<16)
	for {
		k, err := src.Read(buf)
		n += int64(k)
		if _, werr := dst.Write(buf[:k]); err != nil || werr != nil {
			return n, err
		}
	}
}

// What a server says that it was not asked ends the session at once: no later statement takes it for its answer.
func TestAnAnswerTooManyEndsTheSession(t *testing.T) {
	for name, extra := range map[string][]byte{
		"ReadyForQuery":       appendReady(nil, 'I'),
		"CommandComplete":     appendFrame(nil, msgCommandComplete, []byte("PREPARE\x00")...),
		"a whole answer":      appendReady(appendFrame(nil, msgCommandComplete, []byte("PREPARE\x00")...), 'I'),
		"an error":            appendReport(nil, msgError, report{severity: "ERROR", code: "22012", message: "an error"}),
		"an error with ready": appendReady(appendReport(nil, msgError, report{severity: "ERROR", code: "22012", message: "an error"}), 'I'),
		"ParseComplete":       appendFrame(nil, msgParseComplete),
		"CopyBothResponse":    appendFrame(nil, 'W', 0, 0, 0),
		"CopyInResponse":      appendFrame(nil, msgCopyInResponse, 0, 0, 0),
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, late %t", name, late), func(t *testing.T) {
				t.Parallel()
				var k *talker
				r := newRig(t, rigOptions{policy: allPolicy, upstream: func(addr, database string) string {
					k = newTalker(t, addr)
					return k.addr + "/" + database
				}})
				c := dialRaw(t, r.url(""))
				c.play([]string{"Q|SELECT 1"})
				var said string
				if late { // with the next statement's answers
					c.play([]string{"P||SELECT pg_catalog.pg_sleep(0.3) ; H"})
					c.send(append(encodeStep(t, "B||"), encodeStep(t, "E||0")...))
					c.send(encodeStep(t, "S"))
					time.Sleep(50 * time.Millisecond)
					k.say <- extra
				} else {
					k.say <- extra
					time.Sleep(20 * time.Millisecond)
				}
				_, _ = c.conn.Write(encodeStep(t, "Q|PREPARE x AS SELECT 1"))
				_, _ = c.conn.Write(encodeStep(t, "Q|SELECT 'later'"))
				said += transcript(c.quiet())
				if strings.Contains(said, "later") || !strings.Contains(said, "E FATAL "+codeConnectionLost) {
					t.Errorf("said: %s", said)
				}
			})
		}
	}
}
