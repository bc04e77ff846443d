package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/countersign-dev/countersign"
)

// The messages that a client sends.
const (
	msgQuery        = 'Q'
	msgParse        = 'P'
	msgBind         = 'B'
	msgDescribe     = 'D'
	msgExecute      = 'E'
	msgClose        = 'C'
	msgSync         = 'S'
	msgFlush        = 'H'
	msgFunctionCall = 'F'
	msgCopyData     = 'd' // both ways
	msgCopyDone     = 'c' // both ways
	msgCopyFail     = 'f'
	msgPassword     = 'p'
	msgTerminate    = 'X'
)

// The messages that a server sends.
const (
	msgAuthentication      = 'R'
	msgBackendKeyData      = 'K'
	msgBindComplete        = '2'
	msgCloseComplete       = '3'
	msgCommandComplete     = 'C'
	msgCopyInResponse      = 'G'
	msgCopyOutResponse     = 'H'
	msgDataRow             = 'D'
	msgEmptyQuery          = 'I'
	msgError               = 'E'
	msgFunctionResult      = 'V'
	msgNegotiate           = 'v'
	msgNoData              = 'n'
	msgNotice              = 'N'
	msgNotification        = 'A'
	msgParameterDescripton = 't'
	msgParameterStatus     = 'S'
	msgParseComplete       = '1'
	msgPortalSuspended     = 's'
	msgReady               = 'Z'
	msgRowDescription      = 'T'
)

var errMalformed = errors.New("a message does not have the form the protocol gives it")

// fields reads a message's body from its beginning. After the first failure everything reads as zero,
// and end reports it.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n int) []byte {
	if f.bad || n < 0 || n > len(f.b) {
		f.bad = true
		return nil
	}
	v := f.b[:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) byte() byte {
	if v := f.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (f *fields) uint16() uint16 {
	if v := f.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (f *fields) uint32() uint32 {
	if v := f.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// text reads up to a NUL, which it consumes.
func (f *fields) text() []byte {
	if f.bad {
		return nil
	}
	i := bytes.IndexByte(f.b, 0)
	if i < 0 {
		f.bad = true
		return nil
	}
	v := f.b[:i]
	f.b = f.b[i+1:]
	return v
}

// end reports whether the body was read whole and without failure.
func (f *fields) end() error {
	if f.bad || len(f.b) != 0 {
		return errMalformed
	}
	return nil
}

// parseMessage is a decoded Parse. Its slices lie in the body it was decoded from.
type parseMessage struct {
	name  []byte
	text  []byte
	types []uint32
}

func decodeParse(body []byte) (parseMessage, error) {
	f := fields{b: body}
	m := parseMessage{name: f.text(), text: f.text()}
	n := int(f.uint16())
	if len(f.b) != 4*n {
		return m, errMalformed
	}
	for range n {
		m.types = append(m.types, f.uint32())
	}
	return m, f.end()
}

func appendParse(dst []byte, name, text []byte, types []uint32) []byte {
	dst, at := begin(dst, msgParse)
	dst = append(append(dst, name...), 0)
	dst = append(append(dst, text...), 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(types)))
	for _, t := range types {
		dst = binary.BigEndian.AppendUint32(dst, t)
	}
	return finish(dst, at)
}

// bindMessage is a decoded Bind.
type bindMessage struct {
	portal    []byte
	statement []byte
	params    []countersign.Param // without types, which belong to the statement
}

// decodeBind decodes a Bind. The parameters take the place of those in used, where there are as many.
func decodeBind(body []byte, used []countersign.Param) (bindMessage, error) {
	f := fields{b: body}
	m := bindMessage{portal: f.text(), statement: f.text()}
	formats := f.take(2 * int(f.uint16()))
	n := int(f.uint16())
	if f.bad || 4*n > len(f.b) {
		return m, errMalformed
	}
	if k := len(formats) / 2; k > 1 && k != n {
		return m, errMalformed
	}
	if n > 0 {
		m.params = used
		if len(used) != n {
			m.params = make([]countersign.Param, n)
		}
		clear(m.params)
	}
	for i := range m.params {
		p := &m.params[i]
		switch {
		case len(formats) == 2:
			p.Format = binary.BigEndian.Uint16(formats)
		case len(formats) > 2:
			p.Format = binary.BigEndian.Uint16(formats[2*i:])
		}
		size := int32(f.uint32())
		if size == -1 {
			p.Null = true
			continue
		}
		p.Value = f.take(int(size))
	}
	f.take(2 * int(f.uint16()))
	return m, f.end()
}

// decodeRow returns the columns of a DataRow, nil for NULL.
func decodeRow(body []byte) ([]*string, error) {
	f := fields{b: body}
	n := int(f.uint16())
	if f.bad || 4*n > len(f.b) {
		return nil, errMalformed
	}
	row := make([]*string, n)
	for i := range row {
		if size := int32(f.uint32()); size >= 0 {
			v := string(f.take(int(size)))
			row[i] = &v
		}
	}
	return row, f.end()
}

// decodeTarget decodes Describe and Close: what kind of thing ('S' or 'P'), and its name.
func decodeTarget(body []byte) (kind byte, name []byte, err error) {
	f := fields{b: body}
	kind, name = f.byte(), f.text()
	if kind != 'S' && kind != 'P' {
		return 0, nil, errMalformed
	}
	return kind, name, f.end()
}

func appendTarget(dst []byte, typ, kind byte, name []byte) []byte {
	dst, at := begin(dst, typ)
	dst = append(dst, kind)
	dst = append(append(dst, name...), 0)
	return finish(dst, at)
}

// decodeExecute returns the portal and the largest number of rows, 0 meaning all.
func decodeExecute(body []byte) (portal []byte, rows uint32, err error) {
	f := fields{b: body}
	portal, rows = f.text(), f.uint32()
	return portal, rows, f.end()
}

// begin starts a message; finish writes its length.
func begin(dst []byte, typ byte) ([]byte, int) {
	return append(dst, typ, 0, 0, 0, 0), len(dst)
}

func finish(dst []byte, at int) []byte {
	binary.BigEndian.PutUint32(dst[at+1:], uint32(len(dst)-at-1))
	return dst
}

func appendFrame(dst []byte, typ byte, body ...byte) []byte {
	dst, at := begin(dst, typ)
	return finish(append(dst, body...), at)
}

func appendReady(dst []byte, status byte) []byte { return appendFrame(dst, msgReady, status) }

func appendParameterStatus(dst []byte, name, value string) []byte {
	dst, at := begin(dst, msgParameterStatus)
	dst = append(append(dst, name...), 0)
	dst = append(append(dst, value...), 0)
	return finish(dst, at)
}

// appendQuery appends a simple query. Only door.go and the questions of our own use it.
func appendQuery(dst []byte, text string) []byte {
	dst, at := begin(dst, msgQuery)
	dst = append(append(dst, text...), 0)
	return finish(dst, at)
}

// report is an ErrorResponse or a NoticeResponse.
type report struct {
	severity string // ERROR, FATAL, NOTICE, WARNING
	code     string
	message  string
	detail   string
	hint     string
	routine  string // of the server's source; read, never written
}

func appendReport(dst []byte, typ byte, r report) []byte {
	dst, at := begin(dst, typ)
	field := func(tag byte, v string) {
		if v == "" {
			return
		}
		dst = append(dst, tag)
		for i := range len(v) { // a NUL would end the field and begin another
			if v[i] != 0 {
				dst = append(dst, v[i])
			}
		}
		dst = append(dst, 0)
	}
	field('S', r.severity)
	field('V', r.severity)
	field('C', r.code)
	field('M', r.message)
	field('D', r.detail)
	field('H', r.hint)
	return finish(append(dst, 0), at)
}

// decodeReport reads what the server reports.
func decodeReport(body []byte) report {
	var r report
	f := fields{b: body}
	for {
		tag := f.byte()
		if tag == 0 || f.bad {
			return r
		}
		v := string(f.text())
		switch tag {
		case 'V':
			r.severity = v
		case 'C':
			r.code = v
		case 'M':
			r.message = v
		case 'D':
			r.detail = v
		case 'H':
			r.hint = v
		case 'R':
			r.routine = v
		}
	}
}

// rowsOfTag returns the number that ends a command tag, or -1.
func rowsOfTag(tag []byte) int64 {
	i := bytes.LastIndexByte(tag, ' ')
	if i < 0 || i == len(tag)-1 {
		return -1
	}
	var n int64
	for _, d := range tag[i+1:] {
		if d < '0' || d > '9' || n > (1<<62)/10 {
			return -1
		}
		n = 10*n + int64(d-'0')
	}
	return n
}
