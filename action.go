package countersign

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/countersign-dev/countersign/sanitize"
)

// Digest is a SHA-256 value. Its text form is lower-case hexadecimal.
type Digest [sha256.Size]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Clean returns the text form.
func (d Digest) Clean() sanitize.Clean { return sanitize.Hex(d[:]) }

// MarshalText writes the text form.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the text form.
func (d *Digest) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(d) {
		return fmt.Errorf("digest of %d characters; want %d", len(text), hex.EncodedLen(len(d)))
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// Raw is bytes as a client sent them: never stored, logged or sent anywhere but upstream (P7). Its
// printed and encoded forms tell its length only.
type Raw []byte

func (r Raw) String() string               { return fmt.Sprintf("[%d raw bytes]", len(r)) }
func (r Raw) GoString() string             { return r.String() }
func (r Raw) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Param is one parameter of an action with its type as the protocol names it (PostgreSQL: type OID and
// format code).
type Param struct {
	Type   uint32
	Format uint16
	Null   bool
	Value  Raw
}

// Setting is one part of the session context that decides what the text means.
type Setting struct {
	Name  string
	Value Raw
}

// Definition is the hash of something that the action reaches (a view, a function, a file).
type Definition struct {
	Name string
	Hash Digest
}

// Object is something that an action touches, named as far as it is resolved ("public.customers").
type Object struct {
	Kind    string         `json:"kind"` // table, function, role, setting, file, …
	Name    sanitize.Clean `json:"name"`
	Effects Effects        `json:"effects"`
}

// Facts is what is known about an action's size and circumstances.
type Facts struct {
	Rows          int64 `json:"rows"`           // meaningful when RowsKnown
	RowsKnown     bool  `json:"rows_known"`     // Rows is exact
	Unbounded     bool  `json:"unbounded"`      // changes or removes every row of a table: no WHERE
	CatalogOnly   bool  `json:"catalog_only"`   // reads system catalogs and constants, no stored user data
	InTransaction bool  `json:"in_transaction"` // runs inside a transaction block of the client
	DataUnseen    bool  `json:"data_unseen"`    // incoming data was too large to be part of the digest
	Statements    int   `json:"statements"`     // number of statements in the text
}

// Evidence says why an action has an effect.
type Evidence struct {
	Effect Effects        `json:"effect"`
	Why    sanitize.Clean `json:"why"`
}

// Justification is what the requester says about himself: untrusted, shown, outside the digest.
type Justification struct {
	Reason sanitize.Clean `json:"reason,omitzero"`
	Ticket sanitize.Clean `json:"ticket,omitzero"`
	Run    sanitize.Clean `json:"run,omitzero"`
}

// Action is one unit of intent on a resource. The first group of fields is what runs, and is bound by
// the digest (P3); it is raw and stays in memory. The second is what is known and shown of it.
type Action struct {
	Resource    ResourceName
	Front       string // the protocol: "postgres"
	Text        Raw    // exactly what is forwarded
	Params      []Param
	Context     []Setting    // sorted by name
	Definitions []Definition // sorted by name

	Shown         sanitize.Clean // sanitized text, with parameters
	Effects       Effects
	Objects       []Object
	Facts         Facts
	Why           []Evidence
	Shape         string // fingerprint without literals; hexadecimal or names, never literals
	Justification Justification
}

// Canonical returns the bytes that an approval is bound to, for requester p. The format is
// docs/trail-format.md, "Canonical action": every field is preceded by its length as a big-endian
// uint64, every list by its count, so no two actions share an encoding.
func (a *Action) Canonical(p Principal) []byte {
	size := 128 + len(a.Text)
	for i := range a.Params {
		size += 32 + len(a.Params[i].Value)
	}
	b := make([]byte, 0, size)
	b = appendField(b, "countersign/action/v1")
	b = appendField(b, p.ID())
	b = appendCount(b, len(p.Chain))
	for _, c := range p.Chain {
		b = appendField(b, string(c))
	}
	b = appendField(b, string(a.Resource))
	b = appendField(b, a.Front)
	b = appendField(b, a.Text)
	b = appendCount(b, len(a.Params))
	for _, v := range a.Params {
		b = binary.BigEndian.AppendUint32(b, v.Type)
		b = binary.BigEndian.AppendUint16(b, v.Format)
		if v.Null {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
		b = appendField(b, v.Value)
	}
	b = appendCount(b, len(a.Context))
	for _, s := range a.Context {
		b = appendField(b, s.Name)
		b = appendField(b, s.Value)
	}
	b = appendCount(b, len(a.Definitions))
	for _, d := range a.Definitions {
		b = appendField(b, d.Name)
		b = appendField(b, d.Hash[:])
	}
	return b
}

// BindingDigest is the digest shown outside: SHA-256(nonce ‖ canonical), the nonce preceded by its length.
func BindingDigest(nonce, canonical []byte) Digest {
	h := sha256.New()
	h.Write(appendField(nil, nonce))
	h.Write(canonical)
	var d Digest
	h.Sum(d[:0])
	return d
}

func appendField[T ~string | ~[]byte](b []byte, field T) []byte {
	return append(appendCount(b, len(field)), field...)
}

func appendCount(b []byte, n int) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }
