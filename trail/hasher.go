package trail

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign"
)

// Hasher encodes and hashes entries without allocating for each. Its zero value is ready for use; one
// goroutine uses it at a time.
type Hasher struct {
	field []byte // input of a commitment
	leaf  []byte // 0x00 and the leaf: the input of its hash

	erased bool // the entry hashed last has an erased field
}

// Erased reports whether the entry hashed last lacks the value of a field.
func (h *Hasher) Erased() bool { return h.erased }

// eventType is the type of the entry hashed last.
func (h *Hasher) eventType() []byte {
	from := 1 + fixedSize + 1
	return h.leaf[from : from+int(h.leaf[from-1])]
}

// Body is what an entry says besides when it was recorded: everything that can be made ready, and hashed,
// before its turn comes.
type Body struct {
	kind        countersign.EventType
	fields      int
	stored      []byte // each field in its stored form
	commitments []byte // of each field
}

// Make makes b the body of an event, in the memory that b had. salts holds SaltSize fresh random bytes for each field.
// Its error wraps ErrLimit if the event cannot be recorded.
func (b *Body) Make(ev countersign.Event, salts []byte) error {
	if err := Check(ev); err != nil {
		return err
	}
	if len(salts) != SaltSize*len(ev.Fields) {
		return fmt.Errorf("%d bytes of salt for %d fields", len(salts), len(ev.Fields))
	}
	b.kind, b.fields = ev.Type, len(ev.Fields)
	size := 0
	for _, f := range ev.Fields {
		size += fieldSize(f.Name, f.Value.String())
	}
	b.stored = slices.Grow(b.stored[:0], size)
	b.commitments = slices.Grow(b.commitments[:0], sha256.Size*len(ev.Fields))
	var small [1 << 10]byte
	scratch := small[:0]
	for i, f := range ev.Fields {
		salt, value := salts[i*SaltSize:(i+1)*SaltSize], f.Value.String()
		b.stored = appendField(b.stored, salt, f.Name, value)
		var c [sha256.Size]byte
		c, scratch = commit(scratch, salt, f.Name, value)
		b.commitments = append(b.commitments, c[:]...)
	}
	return nil
}

// Size is the number of bytes that the body holds.
func (b *Body) Size() int { return len(b.stored) + len(b.commitments) }

// Append appends the stored form of an entry to dst and returns it with the hash of its leaf.
func (h *Hasher) Append(dst []byte, b *Body, id ID, at time.Time) ([]byte, tlog.Hash, error) {
	if at.UnixMicro() < 0 {
		return dst, tlog.Hash{}, fmt.Errorf("%w: time before 1970", ErrLimit)
	}
	start := len(dst)
	dst = append(dst, entryVersion)
	dst = append(dst, id[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(at.UnixMicro()))
	dst = append(dst, byte(len(b.kind)))
	dst = append(dst, b.kind...)
	dst = append(dst, byte(b.fields))
	h.begin(dst[start:])
	h.leaf = append(h.leaf, b.commitments...)
	return append(dst, b.stored...), h.sum(), nil
}

// Hash returns the hash of the leaf that a stored entry makes. It fails on what is not a stored entry.
func (h *Hasher) Hash(raw []byte) (tlog.Hash, error) {
	if err := h.walk(raw); err != nil {
		return tlog.Hash{}, err
	}
	return h.sum(), nil
}

// AppendLeaf appends to dst the leaf that a stored entry makes.
func (h *Hasher) AppendLeaf(dst, raw []byte) ([]byte, error) {
	if err := h.walk(raw); err != nil {
		return dst, err
	}
	return append(dst, h.leaf[1:]...), nil
}

func (h *Hasher) walk(raw []byte) error {
	e, err := parseHead(raw)
	if err != nil {
		return err
	}
	h.begin(e.raw)
	h.erased = false
	rest := e.rest
	for range e.fields {
		var f stored
		if f, rest, err = cutField(rest); err != nil {
			return err
		}
		if f.erased {
			h.leaf = append(h.leaf, f.commitment...)
			h.erased = true
			continue
		}
		c := h.commit(f.salt, f.name, f.value)
		h.leaf = append(h.leaf, c[:]...)
	}
	if len(rest) != 0 {
		return fmt.Errorf("%w: %d bytes after its end", errMalformed, len(rest))
	}
	return nil
}

func (h *Hasher) begin(envelope []byte) {
	h.leaf = append(h.leaf[:0], 0x00)
	h.leaf = append(h.leaf, envelope...)
}

func (h *Hasher) sum() tlog.Hash { return sha256.Sum256(h.leaf) }

func (h *Hasher) commit(salt, name, value []byte) [sha256.Size]byte {
	sum, scratch := commit(h.field, salt, name, value)
	if cap(scratch) <= 1<<20 {
		h.field = scratch // a rare huge value does not stay in memory
	}
	return sum
}

// commit returns the commitment to a field, and the scratch that it used, grown where needed.
func commit[T ~string | ~[]byte](scratch, salt []byte, name, value T) (sum [sha256.Size]byte, grown []byte) {
	b := append(scratch[:0], fieldLabel...)
	b = append(b, salt...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(name)))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	b = append(b, value...)
	return sha256.Sum256(b), b
}
