package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// P3: a message that is being handled cannot become another one by what the client sends meanwhile.
func TestAFrameInUseIsNotOverwritten(t *testing.T) {
	for _, step := range []string{"P|s|SELECT 1", "B|p|s|one", "D|S|s", "C|S|s", "E|p|0", "Q|SELECT 1", "raw|F|\x00\x00\x05\x3e\x00\x00\x00\x00\x00\x00"} {
		near, far := net.Pipe()
		c := &conn{in: newReader(near, 64, 64)}
		want := encodeStep(t, step)
		copy(c.in.buf, want)
		c.in.w = len(want)
		frame := c.take(want[0], len(want))
		_ = near.SetReadDeadline(time.Now().Add(time.Second))
		go func() { _, _ = far.Write(bytes.Repeat([]byte{'!'}, 64)) }()
		err := c.in.fill()
		if !bytes.Equal(frame, want) {
			t.Errorf("%s: %q became %q", step, want, frame)
		}
		if borrowed := &frame[0] == &c.in.buf[0]; borrowed != errors.Is(err, errLent) {
			t.Errorf("%s: borrowed %t, reading on: %v", step, borrowed, err)
		}
		c.in.giveBack()
		if err := c.in.fill(); errors.Is(err, errLent) {
			t.Errorf("%s: given back, and still %v", step, err)
		}
		far.Close()
		near.Close()
	}
}

// The data of a COPY that was signed as unknown is read into the memory in which later messages of the pipeline
// lie. None of them may run as something else than what it was when it was judged.
func TestDataOfACopyDoesNotBecomeABind(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D5s"))
	c.play([]string{"P|aaaabc|DELETE FROM items WHERE id <= 10 ; S"})
	r.sign(1) // only the COPY, as unknown
	var b []byte
	for _, s := range []string{"P|u|COPY log FROM STDIN (FORMAT binary) /* " + strings.Repeat("+", 300) + " */", "B|cp|u", "P||SELECT 1", "E|cp|0"} {
		b = append(b, encodeStep(t, s)...)
	}
	place := len(b)
	b = append(b, 'B', 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0)
	other := []byte{'B', 0, 0, 0, 18, 0, 'a', 'a', 'a', 'a', 'b', 'c', 0, 0, 0, 0, 0, 0, 0}
	c.send(b)
	time.Sleep(700 * time.Millisecond)
	// The header extension of binary data, which the server skips, holds the other Bind at the place of the first.
	const signature = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00"
	extension := bytes.Repeat([]byte{'z'}, place+len(other)+50)
	copy(extension[place-headerLen-len(signature)-4:], other)
	data := binary.BigEndian.AppendUint32([]byte(signature), uint32(len(extension)))
	data = append(append(data, extension...), 0xff, 0xff)
	_, _ = c.conn.Write(append(appendFrame(nil, msgCopyData, data...), encodeStep(t, "c")...))
	time.Sleep(100 * time.Millisecond)
	_, _ = c.conn.Write(append(encodeStep(t, "E||0"), encodeStep(t, "S")...))
	said := transcript(c.quiet())
	if got := r.outside("SELECT count(*) FROM items"); got != "1000" {
		t.Errorf("%s rows are left; said: %s", got, said)
	}
}
