package postgres

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// headerLen is the size of a frame's header: type, and the length of what follows the type.
const headerLen = 5

var (
	errFrameLength = errors.New("a frame's length is impossible")
	errLent        = errors.New("reading would overwrite a frame that is still looked at")
)

// reader walks the frames that arrive on one connection. It is owned by one goroutine at a time.
type reader struct {
	conn  net.Conn
	buf   []byte
	r, w  int  // buf[r:w] has arrived and is not consumed
	small int  // size to begin with, and to return to when idle
	large int  // size up to which it grows by itself when reads fill it
	lent  bool // a frame in buf is in use: nothing may be read over it
}

func newReader(conn net.Conn, small, large int) reader {
	return reader{conn: conn, buf: make([]byte, small), small: small, large: large}
}

// pending returns what has arrived and is not consumed.
func (f *reader) pending() []byte { return f.buf[f.r:f.w] }

// header returns the type and total size of the next frame, header included, if its header has arrived.
func (f *reader) header() (typ byte, size int, ok bool, err error) {
	if f.w-f.r < headerLen {
		return 0, 0, false, nil
	}
	n := binary.BigEndian.Uint32(f.buf[f.r+1:])
	if n < 4 || n > maxWireLen {
		return 0, 0, false, errFrameLength
	}
	return f.buf[f.r], int(n) + 1, true, nil
}

// own consumes the next frame and returns a copy of it: in buf where that is large enough.
func (f *reader) own(size int, buf []byte) []byte {
	frame := append(buf[:0], f.buf[f.r:f.r+size]...)
	f.r += size
	return frame
}

// lend consumes the next frame and returns it as it lies in the buffer, until giveBack. What is judged and what
// is forwarded must be the same bytes (P3), so meanwhile nothing is read that could take their place.
func (f *reader) lend(size int) []byte {
	frame := f.buf[f.r : f.r+size : f.r+size]
	f.r += size
	f.lent = true
	return frame
}

func (f *reader) giveBack() { f.lent = false }

// maxWireLen is the largest length a frame may announce; it is PostgreSQL's own.
const maxWireLen = 1 << 30

// fill reads once. It makes room first, and grows the buffer only when it is full of one frame's bytes,
// so memory follows what has arrived, never what was announced.
func (f *reader) fill() error {
	if f.lent {
		return errLent
	}
	f.room()
	n, err := f.conn.Read(f.buf[f.w:])
	f.w += n
	if n > 0 {
		if f.w == len(f.buf) && len(f.buf) < f.large {
			f.grow(min(4*len(f.buf), f.large))
		}
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (f *reader) room() {
	if f.r == f.w {
		f.r, f.w = 0, 0
	}
	if f.w < len(f.buf) {
		return
	}
	if f.r > 0 {
		copy(f.buf, f.buf[f.r:f.w])
		f.w -= f.r
		f.r = 0
		return
	}
	f.grow(2 * len(f.buf))
}

func (f *reader) grow(size int) {
	buf := make([]byte, size)
	f.w = copy(buf, f.buf[f.r:f.w])
	f.r = 0
	f.buf = buf
}

// rest gives the memory of a large buffer back once nothing is pending.
func (f *reader) rest() {
	if f.r == f.w && len(f.buf) > f.small {
		f.buf, f.r, f.w = make([]byte, f.small), 0, 0
	}
}

// skip consumes n bytes, reading what has not arrived.
func (f *reader) skip(n int) error {
	for n > 0 {
		if f.r == f.w {
			if err := f.fill(); err != nil {
				return err
			}
		}
		k := min(n, f.w-f.r)
		f.r += k
		n -= k
	}
	return nil
}
