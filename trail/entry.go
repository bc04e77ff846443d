package trail

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// The limits of an entry. An event past them is refused before anything is written. They keep a leaf
// far below the 64 KiB that an entry bundle can hold.
const (
	MaxType   = 64      // bytes in an event's type
	MaxFields = 64      // fields in an event
	MaxName   = 64      // bytes in a field's name
	MaxValue  = 8 << 20 // bytes in a field's value
	MaxEntry  = 9 << 20 // bytes in a stored entry
)

// SaltSize is the length of a field's salt.
const SaltSize = 32

const (
	entryVersion = 1
	fixedSize    = 1 + idSize + 8 // version, id, time
	statePresent = 0
	stateErased  = 1
)

const fieldLabel = "countersign/field/v1"

// ErrLimit is wrapped by errors about an event that is over a limit or malformed.
var ErrLimit = errors.New("event cannot be recorded")

const idSize = 16

// ID names an event: a UUID of version 7 (RFC 9562), whose first 48 bits are the time in milliseconds.
type ID [idSize]byte

// NewID makes an ID from a time and eight random bytes; the time's microseconds go into the twelve bits after the
// version, so that IDs sort by time.
func NewID(at time.Time, random [8]byte) ID {
	var id ID
	micros := at.UnixMicro()
	binary.BigEndian.PutUint64(id[:8], uint64(micros/1000)<<16)
	fraction := uint16(micros % 1000 * 4096 / 1000)
	binary.BigEndian.PutUint16(id[6:8], 7<<12|fraction)
	copy(id[8:], random[:])
	id[8] = id[8]&0x3f | 0x80
	return id
}

// String returns the usual text form with hyphens.
func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// MarshalText writes the text form.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the text form.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// ParseID reads the text form.
func ParseID(text string) (ID, error) {
	var id ID
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return ID{}, fmt.Errorf("event id %q is not a UUID", text)
	}
	digits := text[0:8] + text[9:13] + text[14:18] + text[19:23] + text[24:36]
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return ID{}, fmt.Errorf("event id %q is not a UUID", text)
	}
	if err := id.check(); err != nil {
		return ID{}, err
	}
	return id, nil
}

func (id ID) check() error {
	if id[6]>>4 != 7 || id[8]>>6 != 2 {
		return errors.New("event id is not a UUID of version 7")
	}
	return nil
}

// Envelope is the part of an event that every proof shows.
type Envelope struct {
	ID   ID
	Time time.Time // UTC, whole microseconds
	Type countersign.EventType
}

// Field is one field of an event as it is kept: the value with the salt that its commitment needs, or,
// once erased, the commitment alone.
type Field struct {
	Name       string
	Value      sanitize.Clean
	Salt       [SaltSize]byte
	Erased     bool
	Commitment [32]byte // set when Erased; else computed
}

// Commit returns the field's commitment:
// SHA-256(label ‖ salt ‖ length ‖ name ‖ length ‖ value).
func (f Field) Commit() [32]byte {
	if f.Erased {
		return f.Commitment
	}
	sum, _ := commit(nil, f.Salt[:], f.Name, f.Value.String())
	return sum
}

// Entry is an event in the trail: the envelope and the body beside it.
type Entry struct {
	Envelope
	Fields []Field
}

// NewEntry makes the entry of an event, with a fresh salt a field from rand.
func NewEntry(ev countersign.Event, id ID, at time.Time, rand io.Reader) (Entry, error) {
	salts := make([]byte, SaltSize*len(ev.Fields))
	if _, err := io.ReadFull(rand, salts); err != nil {
		return Entry{}, fmt.Errorf("read salts: %w", err)
	}
	var body Body
	if err := body.Make(ev, salts); err != nil {
		return Entry{}, err
	}
	var h Hasher
	raw, _, err := h.Append(nil, &body, id, at)
	if err != nil {
		return Entry{}, err
	}
	return ParseEntry(raw)
}

// Event returns the event, without its erased fields.
func (e Entry) Event() countersign.Event {
	ev := countersign.Event{Type: e.Type, Fields: make([]countersign.Field, 0, len(e.Fields))}
	for _, f := range e.Fields {
		if !f.Erased {
			ev.Fields = append(ev.Fields, countersign.Field{Name: f.Name, Value: f.Value})
		}
	}
	return ev
}

// Get returns the value of the field of that name, or the zero Clean.
func (e Entry) Get(name string) sanitize.Clean {
	for _, f := range e.Fields {
		if !f.Erased && f.Name == name {
			return f.Value
		}
	}
	return sanitize.Clean{}
}

// Leaf returns the canonical envelope that the tree commits to.
func (e Entry) Leaf() []byte {
	leaf := e.appendEnvelope(nil)
	for _, f := range e.Fields {
		c := f.Commit()
		leaf = append(leaf, c[:]...)
	}
	return leaf
}

// Hash returns the hash of the leaf in the tree.
func (e Entry) Hash() tlog.Hash { return tlog.RecordHash(e.Leaf()) }

func (e Entry) appendEnvelope(b []byte) []byte {
	b = append(b, entryVersion)
	b = append(b, e.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time.UnixMicro()))
	b = append(b, byte(len(e.Type)))
	b = append(b, e.Type...)
	return append(b, byte(len(e.Fields)))
}

// AppendBinary appends the stored form: the envelope's head, then each field with salt and value, or
// its commitment when erased. The leaf follows from it.
func (e Entry) AppendBinary(b []byte) ([]byte, error) {
	if err := e.check(); err != nil {
		return b, err
	}
	b = e.appendEnvelope(b)
	for _, f := range e.Fields {
		if f.Erased {
			b = append(b, stateErased)
			b = append(b, f.Commitment[:]...)
			continue
		}
		b = appendField(b, f.Salt[:], f.Name, f.Value.String())
	}
	return b, nil
}

// fieldSize is the length of a field's stored form.
func fieldSize(name, value string) int { return 1 + SaltSize + 1 + len(name) + 4 + len(value) }

func appendField(b, salt []byte, name, value string) []byte {
	b = append(b, statePresent)
	b = append(b, salt...)
	b = append(b, byte(len(name)))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

func (e Entry) check() error {
	if err := e.ID.check(); err != nil {
		return err
	}
	ev := countersign.Event{Type: e.Type}
	for _, f := range e.Fields {
		if !f.Erased {
			ev.Fields = append(ev.Fields, countersign.Field{Name: f.Name, Value: f.Value})
		}
	}
	if len(e.Fields) > MaxFields {
		return fmt.Errorf("%w: %d fields; at most %d", ErrLimit, len(e.Fields), MaxFields)
	}
	return Check(ev)
}

// Check reports whether an event can be recorded: its type and names well formed and unique, everything within
// the limits. Its error wraps ErrLimit and quotes no value.
func Check(ev countersign.Event) error {
	if !validType(string(ev.Type)) {
		return fmt.Errorf("%w: type %q", ErrLimit, ev.Type)
	}
	if len(ev.Fields) > MaxFields {
		return fmt.Errorf("%w: %d fields; at most %d", ErrLimit, len(ev.Fields), MaxFields)
	}
	size := 0
	for i, f := range ev.Fields {
		if !validName(f.Name) {
			return fmt.Errorf("%w: field name %q", ErrLimit, f.Name)
		}
		for _, g := range ev.Fields[:i] {
			if g.Name == f.Name {
				return fmt.Errorf("%w: field %s twice", ErrLimit, f.Name)
			}
		}
		n := len(f.Value.String())
		if n > MaxValue {
			return fmt.Errorf("%w: field %s of %d bytes; at most %d", ErrLimit, f.Name, n, MaxValue)
		}
		size += n + len(f.Name) + SaltSize + 6
	}
	if size+fixedSize+2+MaxType > MaxEntry {
		return fmt.Errorf("%w: %d bytes; at most %d", ErrLimit, size, MaxEntry)
	}
	return nil
}

func validType(s string) bool {
	if s == "" || len(s) > MaxType {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func validName(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}
