package postgres

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzMessages decodes what a client may send. Whatever it is, decoding neither panics nor reads outside,
// and what is accepted encodes to the same bytes.
func FuzzMessages(f *testing.F) {
	for _, s := range []string{"P|s|SELECT $1|23|25", "B|p|s|1|NULL|three", "D|S|x", "C|P|", "E|p|5", "E||0"} {
		f.Add(encodeStep(f, s)[headerLen:])
	}
	f.Add([]byte("a\x00b\x00\x00\x02\x00\x01\x00\x00\x00\x02\xff\xff\xff\xff\x00\x00\x00\x01x\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if m, err := decodeParse(body); err == nil {
			if again := appendParse(nil, m.name, m.text, m.types); !bytes.Equal(again[headerLen:], body) {
				t.Errorf("Parse %q became %q", body, again[headerLen:])
			}
		}
		if kind, name, err := decodeTarget(body); err == nil {
			if again := appendTarget(nil, msgClose, kind, name); !bytes.Equal(again[headerLen:], body) {
				t.Errorf("Close %q became %q", body, again[headerLen:])
			}
		}
		if name, rows, err := decodeExecute(body); err == nil {
			again := binary.BigEndian.AppendUint32(append(bytes.Clone(name), 0), rows)
			if !bytes.Equal(again, body) {
				t.Errorf("Execute %q became %q", body, again)
			}
		}
		if m, err := decodeBind(body, nil); err == nil {
			total := len(m.portal) + len(m.statement) + 2
			for _, p := range m.params {
				total += 4 + len(p.Value)
				if p.Null && p.Value != nil {
					t.Error("NULL with a value")
				}
			}
			if total > len(body) {
				t.Errorf("a Bind of %d bytes holds %d", len(body), total)
			}
		}
		decodeReport(body)
		(&statement{}).learn(body)
	})
}

// FuzzStartup decodes startup messages: nothing outside the closed list comes out.
func FuzzStartup(f *testing.F) {
	f.Add(startup("user", "u", "database", "d", "options", "-c a=b --c\\ d=e")[8:])
	f.Add(startup("user", "u", "replication", "true")[8:])
	f.Add(startup("user", "u", "_pq_.x", "1", "DateStyle", "ISO")[8:])
	f.Fuzz(func(t *testing.T, body []byte) {
		var o opening
		if o.decode(body) != nil {
			return
		}
		if o.params.user == "" || o.params.database == "" {
			t.Error("let through without a user or database")
		}
		for name := range o.params.settings {
			known := false
			for _, spelling := range settable {
				known = known || spelling == name
			}
			if !known {
				t.Errorf("the setting %q would go upstream", name)
			}
		}
		for name := range o.params.own {
			switch name {
			case ownHold, ownReason, ownTicket, ownRun:
			default:
				t.Errorf("a setting of our own: %q", name)
			}
		}
	})
}
