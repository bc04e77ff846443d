package trail

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// A listing is stored entries one after another, each after its length as a big-endian uint32. An entry
// longer than MaxListed is kept elsewhere, under its SHA-256: the length is then listedElsewhere, and the
// hash follows. Rows of a store and bundles of bodies have this form.
const (
	MaxListed       = 32 << 10
	listedElsewhere = 1<<32 - 1
)

// ErrListing: a listing is damaged.
var ErrListing = errors.New("the entries are damaged")

// AppendListed appends a stored entry to a listing. When elsewhere is true the listing holds the
// entry's hash only, and the caller keeps the entry under it.
func AppendListed(listing, raw []byte) (longer []byte, hash [sha256.Size]byte, elsewhere bool) {
	if len(raw) <= MaxListed {
		listing = binary.BigEndian.AppendUint32(listing, uint32(len(raw)))
		return append(listing, raw...), hash, false
	}
	hash = sha256.Sum256(raw)
	listing = binary.BigEndian.AppendUint32(listing, listedElsewhere)
	return append(listing, hash[:]...), hash, true
}

// Listed is one entry of a listing: the stored form, or the hash under which that is kept.
type Listed struct {
	Raw  []byte
	Hash []byte
}

// CutListed cuts the first entry off a listing.
func CutListed(listing []byte) (first Listed, rest []byte, err error) {
	if len(listing) < 4 {
		return Listed{}, nil, ErrListing
	}
	n := binary.BigEndian.Uint32(listing)
	listing = listing[4:]
	if n == listedElsewhere {
		if len(listing) < sha256.Size {
			return Listed{}, nil, ErrListing
		}
		return Listed{Hash: listing[:sha256.Size]}, listing[sha256.Size:], nil
	}
	if n > MaxListed || uint64(n) > uint64(len(listing)) {
		return Listed{}, nil, ErrListing
	}
	return Listed{Raw: listing[:n]}, listing[n:], nil
}
