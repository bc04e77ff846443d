package trail

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

var errMalformed = errors.New("malformed entry")

// head is the first part of a stored entry, which is also the first part of its leaf.
type head struct {
	raw    []byte // the bytes that the leaf begins with
	rest   []byte // the fields
	fields int
}

func parseHead(raw []byte) (head, error) {
	if len(raw) > MaxEntry {
		return head{}, fmt.Errorf("%w: %d bytes", errMalformed, len(raw))
	}
	if len(raw) < fixedSize+1 {
		return head{}, fmt.Errorf("%w: it ends early", errMalformed)
	}
	if raw[0] != entryVersion {
		return head{}, fmt.Errorf("%w: version %d, this build reads %d", errMalformed, raw[0], entryVersion)
	}
	if ID(raw[1:1+idSize]).check() != nil {
		return head{}, fmt.Errorf("%w: its id is not a UUID of version 7", errMalformed)
	}
	if raw[1+idSize]&0x80 != 0 {
		return head{}, fmt.Errorf("%w: its time is before 1970", errMalformed)
	}
	n := int(raw[fixedSize])
	end := fixedSize + 1 + n
	if len(raw) < end+1 {
		return head{}, fmt.Errorf("%w: it ends early", errMalformed)
	}
	if !validTypeBytes(raw[fixedSize+1 : end]) {
		return head{}, fmt.Errorf("%w: its type", errMalformed)
	}
	fields := int(raw[end])
	if fields > MaxFields {
		return head{}, fmt.Errorf("%w: %d fields", errMalformed, fields)
	}
	return head{raw: raw[:end+1], rest: raw[end+1:], fields: fields}, nil
}

func validTypeBytes(b []byte) bool {
	if len(b) > MaxType {
		return false
	}
	return validType(string(b))
}

// stored is one field as it lies in a stored entry; the slices point into it.
type stored struct {
	erased     bool
	commitment []byte
	salt       []byte
	name       []byte
	value      []byte
}

// cutField cuts the first field off b.
func cutField(b []byte) (f stored, rest []byte, err error) {
	if len(b) < 1+32 {
		return f, nil, fmt.Errorf("%w: it ends early", errMalformed)
	}
	switch b[0] {
	case stateErased:
		return stored{erased: true, commitment: b[1:33]}, b[33:], nil
	case statePresent:
	default:
		return f, nil, fmt.Errorf("%w: field state %d", errMalformed, b[0])
	}
	f.salt, b = b[1:33], b[33:]
	if len(b) < 1 || len(b) < 1+int(b[0])+4 {
		return f, nil, fmt.Errorf("%w: it ends early", errMalformed)
	}
	f.name, b = b[1:1+int(b[0])], b[1+int(b[0]):]
	if !validName(string(f.name)) {
		return f, nil, fmt.Errorf("%w: a field's name", errMalformed)
	}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	if n > MaxValue || uint64(n) > uint64(len(b)) {
		return f, nil, fmt.Errorf("%w: it ends early", errMalformed)
	}
	f.value, b = b[:n], b[n:]
	return f, b, nil
}

// ParseEntry reads the stored form of an entry. It accepts exactly what AppendBinary writes.
func ParseEntry(raw []byte) (Entry, error) {
	h, err := parseHead(raw)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Envelope: h.envelope(), Fields: make([]Field, 0, h.fields)}
	rest := h.rest
	for range h.fields {
		var s stored
		if s, rest, err = cutField(rest); err != nil {
			return Entry{}, err
		}
		f := Field{Erased: s.erased}
		if s.erased {
			copy(f.Commitment[:], s.commitment)
		} else {
			f.Name = string(s.name)
			f.Value = stringClean(s.value)
			copy(f.Salt[:], s.salt)
			for _, g := range e.Fields {
				if !g.Erased && g.Name == f.Name {
					return Entry{}, fmt.Errorf("%w: field %s twice", errMalformed, f.Name)
				}
			}
		}
		e.Fields = append(e.Fields, f)
	}
	if len(rest) != 0 {
		return Entry{}, fmt.Errorf("%w: %d bytes after its end", errMalformed, len(rest))
	}
	return e, nil
}

// ParseEnvelope reads the envelope of a stored entry or of a leaf, which begin alike. It looks at nothing else.
func ParseEnvelope(raw []byte) (Envelope, error) {
	h, err := parseHead(raw)
	if err != nil {
		return Envelope{}, err
	}
	return h.envelope(), nil
}

func (h head) envelope() Envelope {
	return Envelope{
		ID:   ID(h.raw[1 : 1+idSize]),
		Time: time.UnixMicro(int64(binary.BigEndian.Uint64(h.raw[1+idSize:]))).UTC(),
		Type: countersign.EventType(h.raw[fixedSize+1 : len(h.raw)-1]),
	}
}

// stringClean gives back the Clean whose text was stored; nothing but the trail's own records comes here.
func stringClean(text []byte) sanitize.Clean {
	var c sanitize.Clean
	if err := c.UnmarshalText(text); err != nil {
		panic("trail: Clean does not read what it wrote: " + err.Error())
	}
	return c
}

// ParseLeaf checks that leaf is a canonical envelope with commitments, and returns the envelope.
func ParseLeaf(leaf []byte) (Envelope, error) {
	h, err := parseHead(leaf)
	if err != nil {
		return Envelope{}, err
	}
	if len(h.rest) != 32*h.fields {
		return Envelope{}, fmt.Errorf("%w: %d bytes of commitments for %d fields", errMalformed, len(h.rest), h.fields)
	}
	return h.envelope(), nil
}

// LeafHash is the hash of a leaf in the tree.
func LeafHash(leaf []byte) tlog.Hash { return tlog.RecordHash(leaf) }
