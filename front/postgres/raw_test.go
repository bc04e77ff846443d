package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// raw is a client that speaks frames.
type raw struct {
	t    testing.TB
	conn net.Conn
	pid  uint32
	key  []byte
	buf  []byte
}

func dialRaw(t testing.TB, url string) *raw {
	t.Helper()
	pc, err := pgconn.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	// On a busy machine the driver may still be reading in the background; its pings may be refused.
	for range 10 {
		if pc.SyncConn(context.Background()) == nil {
			break
		}
	}
	h, err := pc.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Conn.Close() })
	return &raw{t: t, conn: h.Conn, pid: h.PID, key: h.SecretKey}
}

type message struct {
	typ  byte
	body []byte
}

// text is a message as a transcript has it: what two servers may differ in is left out.
func (m message) text() string {
	switch m.typ {
	case msgError, msgNotice:
		r := decodeReport(m.body)
		if r.code == codeProtocol && r.severity == "ERROR" {
			r.message = "" // the server words each mistake of form in its own way
		}
		return fmt.Sprintf("%c %s %s %s", m.typ, r.severity, r.code, r.message)
	default:
		return fmt.Sprintf("%c %q", m.typ, m.body)
	}
}

func (r *raw) send(b []byte) {
	r.t.Helper()
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// read returns the next message, or an error.
func (r *raw) read(wait time.Duration) (message, error) {
	_ = r.conn.SetReadDeadline(time.Now().Add(wait))
	for {
		if len(r.buf) >= 5 {
			size := int(binary.BigEndian.Uint32(r.buf[1:])) + 1
			if len(r.buf) >= size {
				m := message{r.buf[0], append([]byte(nil), r.buf[5:size]...)}
				r.buf = r.buf[size:]
				return m, nil
			}
		}
		chunk := make([]byte, 64<<10)
		n, err := r.conn.Read(chunk)
		r.buf = append(r.buf, chunk[:n]...)
		if n == 0 && err != nil {
			return message{}, err
		}
	}
}

// until reads up to and with the first message of a type.
func (r *raw) until(typ byte) []message {
	r.t.Helper()
	var list []message
	for {
		m, err := r.read(10 * time.Second)
		if err != nil {
			r.t.Fatalf("waiting for %c after %s: %v", typ, transcript(list), err)
		}
		list = append(list, m)
		if m.typ == typ {
			return list
		}
	}
}

// quiet reads until nothing has come for a moment.
func (r *raw) quiet() []message {
	var list []message
	for {
		m, err := r.read(400 * time.Millisecond)
		if err != nil {
			if err == io.EOF {
				list = append(list, message{'!', []byte("closed")})
			} else if !os.IsTimeout(err) {
				list = append(list, message{'!', []byte("closed")})
			}
			return list
		}
		list = append(list, m)
	}
}

func transcript(list []message) string {
	var b strings.Builder
	for _, m := range list {
		b.WriteString(m.text())
		b.WriteByte('\n')
	}
	return b.String()
}

// encodeStep turns a step of a script into bytes. Parts are separated by '|'.
func encodeStep(t testing.TB, step string) []byte {
	t.Helper()
	part := strings.Split(step, "|")
	var b []byte
	switch part[0] {
	case "Q":
		return appendQuery(nil, strings.Join(part[1:], "|"))
	case "P":
		var types []uint32
		for _, p := range part[3:] {
			n, _ := strconv.Atoi(p)
			types = append(types, uint32(n))
		}
		return appendParse(nil, []byte(part[1]), []byte(part[2]), types)
	case "B":
		b, at := begin(nil, msgBind)
		b = append(append(b, part[1]...), 0)
		b = append(append(b, part[2]...), 0)
		b = binary.BigEndian.AppendUint16(b, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(len(part)-3))
		for _, p := range part[3:] {
			if p == "NULL" {
				b = binary.BigEndian.AppendUint32(b, 0xffffffff)
				continue
			}
			b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
			b = append(b, p...)
		}
		return finish(binary.BigEndian.AppendUint16(b, 0), at)
	case "D", "C":
		return appendTarget(nil, part[0][0], part[1][0], []byte(part[2]))
	case "E":
		n, _ := strconv.Atoi(part[2])
		b, at := begin(nil, msgExecute)
		b = append(append(b, part[1]...), 0)
		return finish(binary.BigEndian.AppendUint32(b, uint32(n)), at)
	case "S", "H", "c", "X":
		return appendFrame(nil, part[0][0])
	case "d":
		return appendFrame(nil, msgCopyData, []byte(part[1]+"\n")...)
	case "f":
		return appendFrame(nil, msgCopyFail, append([]byte(part[1]), 0)...)
	case "raw": // type, body
		return appendFrame(b, part[1][0], []byte(part[2])...)
	default:
		t.Fatalf("no step %q", step)
		return nil
	}
}

// play runs a script and returns what the server said. A script is steps separated by spaces on lines;
// the steps of one line go out in one write; then the answers are read: a line with S or Q up to
// ReadyForQuery, each of them; others until it is quiet.
func (r *raw) play(script []string) string {
	r.t.Helper()
	var all []message
	for _, line := range script {
		var out []byte
		ready := 0
		for _, step := range strings.Split(line, " ; ") {
			out = append(out, encodeStep(r.t, step)...)
			if step == "S" || strings.HasPrefix(step, "Q|") || strings.HasPrefix(step, "raw|F") {
				ready++
			}
		}
		r.send(out)
		if strings.Contains(line, "Q|COPY") && strings.Contains(line, "STDIN") || ready == 0 {
			all = append(all, r.quiet()...)
		} else {
			for range ready {
				all = append(all, r.until(msgReady)...)
			}
			if strings.Contains(line, "raw|") {
				all = append(all, r.quiet()...)
			}
		}
		all = append(all, message{'-', nil})
	}
	return transcript(all)
}
