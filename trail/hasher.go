package trail

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
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

// Append appends the stored form of an event to dst and returns it with the hash of its leaf. salts
// holds SaltSize fresh random bytes for each field. The event must satisfy Check, which Append does not repeat.
func (h *Hasher) Append(dst []byte, ev countersign.Event, id ID, at time.Time, salts []byte) ([]byte, tlog.Hash, error) {
	if len(salts) != SaltSize*len(ev.Fields) {
		return dst, tlog.Hash{}, fmt.Errorf("%d bytes of salt for %d fields", len(salts), len(ev.Fields))
	}
	if at.UnixMicro() < 0 {
		return dst, tlog.Hash{}, fmt.Errorf("%w: time before 1970", ErrLimit)
	}
	start := len(dst)
	dst = append(dst, entryVersion)
	dst = append(dst, id[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(at.UnixMicro()))
	dst = append(dst, byte(len(ev.Type)))
	dst = append(dst, ev.Type...)
	dst = append(dst, byte(len(ev.Fields)))
	h.begin(dst[start:])
	for i, f := range ev.Fields {
		salt := salts[i*SaltSize : (i+1)*SaltSize]
		value := f.Value.String()
		dst = appendField(dst, salt, f.Name, value)
		c := h.commit(salt, f.Name, value)
		h.leaf = append(h.leaf, c[:]...)
	}
	return dst, h.sum(), nil
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
		c := commit(h, f.salt, f.name, f.value)
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

func (h *Hasher) commit(salt []byte, name, value string) [32]byte {
	return commit(h, salt, name, value)
}

// commit is a function so that it takes strings and bytes alike without copying them first.
func commit[T ~string | ~[]byte](h *Hasher, salt []byte, name, value T) [32]byte {
	b := append(h.field[:0], fieldLabel...)
	b = append(b, salt...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(name)))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	b = append(b, value...)
	sum := sha256.Sum256(b)
	if cap(b) <= 1<<20 {
		h.field = b // a rare huge value does not stay in memory
	}
	return sum
}
