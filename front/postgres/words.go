package postgres

import "unicode/utf8"

// What the server says beside rows can carry stored data: an error quotes the value it is about, code of the
// database raises what it likes. So the bytes of an error, a notice, or a function's result count as those of
// the statement they belong to; past its limit the words are left out. Words that belong to no statement
// which is under a permit, such as those at a Sync, are cut field by field.
const (
	maxField         = 1 << 10
	maxServerMessage = 16 << 20 // of a message that is no row and is therefore read whole
)

// told returns what the client is told instead of an error or notice of the server: nil when it passes as it
// is, empty when it is dropped.
func (c *conn) told(e *expected, typ byte, frame []byte) []byte {
	if e == nil || e.permit == nil {
		return clip(frame)
	}
	if c.counter(e).Count(0, int64(len(frame))) == nil {
		return nil
	}
	if typ == msgNotice {
		return []byte{}
	}
	r := decodeReport(frame[headerLen:])
	return appendReport(nil, msgError, report{
		severity: r.severity, code: r.code,
		message: "countersign: the server reported an error whose words are past the limit of bytes",
		hint:    "Run it again unchanged to ask for an export of the whole result.",
	})
}

// clip cuts the long fields of an error or a notice; nil when there is none.
func clip(frame []byte) []byte {
	if len(frame) <= maxField {
		return nil
	}
	out, at := begin(nil, frame[0])
	f := fields{b: frame[headerLen:]}
	for {
		tag := f.byte()
		if tag == 0 || f.bad {
			return finish(append(out, 0), at)
		}
		v := f.text()
		if len(v) > maxField {
			n := maxField
			for n > maxField-utf8.UTFMax && !utf8.RuneStart(v[n]) {
				n--
			}
			v = append(v[:n:n], " [cut by countersign]"...)
		}
		out = append(append(append(out, tag), v...), 0)
	}
}

// fate says what became of the changes of a statement whose result was cut off.
type fate uint8

const (
	fateUnknown fate = iota
	fateCommitted
	fateRolledBack
	fatePartly // a COMMIT within the string came before an error
)

func (f fate) String() string {
	switch f {
	case fateCommitted:
		return "What it changed has been COMMITTED."
	case fateRolledBack:
		return "What it changed is rolled back."
	case fatePartly:
		return "What it changed before its COMMIT has been committed, the rest is rolled back."
	default:
		return ""
	}
}

// changed reports whether an answer is that of a statement which does more than read.
func changed(e *expected) bool {
	switch {
	case e.portal != nil && e.portal.action != nil:
		return e.portal.action.Effects.Privileged()
	case e.stmt != nil && e.stmt.result != nil:
		return e.stmt.result.Effects.Privileged()
	default:
		return true
	}
}
