package trail

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A proof is text in the form of c2sp.org/tlog-proof@v1, with the stored entry as its extra data: whoever
// holds the log's public key can check it with nothing else at hand.
const proofHeader = "c2sp.org/tlog-proof@v1"

// maxProof bounds the size of a proof.
const maxProof = MaxEntry*4/3 + MaxCheckpoint + 64<<10

// Prove makes the proof that the stored entry raw is number n of the log that the signed checkpoint covers.
func Prove(raw []byte, n uint64, signed []byte, r tlog.HashReader) ([]byte, error) {
	c, err := UnverifiedCheckpoint(signed)
	if err != nil {
		return nil, err
	}
	if n >= c.Size {
		return nil, fmt.Errorf("event %d is not covered by a checkpoint of %d events", n, c.Size)
	}
	hashes, err := tlog.ProveRecord(int64(c.Size), int64(n), r)
	if err != nil {
		return nil, fmt.Errorf("prove event %d: %w", n, err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nextra %s\nindex %d\n", proofHeader, base64.StdEncoding.EncodeToString(raw), n)
	for _, h := range hashes {
		fmt.Fprintf(&b, "%s\n", h)
	}
	b.WriteByte('\n')
	b.Write(signed)
	return []byte(b.String()), nil
}

// Proven is what a valid proof shows.
type Proven struct {
	Number     uint64
	Entry      Entry
	Checkpoint Checkpoint
}

var errProof = errors.New("malformed proof")

// CheckProof checks a proof against trusted keys.
func CheckProof(proof []byte, known note.Verifiers) (Proven, error) {
	raw, index, hashes, signed, err := cutProof(proof)
	if err != nil {
		return Proven{}, err
	}
	c, err := OpenCheckpoint(signed, known)
	if err != nil {
		return Proven{}, fmt.Errorf("the checkpoint of the proof: %w", err)
	}
	e, err := ParseEntry(raw)
	if err != nil {
		return Proven{}, err
	}
	if err := tlog.CheckRecord(hashes, int64(c.Size), c.Root, index, e.Hash()); err != nil {
		return Proven{}, fmt.Errorf("the event is not number %d of the log %s: %w", index, c.Origin, err)
	}
	return Proven{Number: uint64(index), Entry: e, Checkpoint: c}, nil
}

func cutProof(proof []byte) (raw []byte, index int64, hashes tlog.RecordProof, signed []byte, err error) {
	if len(proof) > maxProof {
		return nil, 0, nil, nil, errProof
	}
	head, note, ok := strings.Cut(string(proof), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 3 || len(lines) > 3+64 || lines[0] != proofHeader {
		return nil, 0, nil, nil, errProof
	}
	extra, ok1 := strings.CutPrefix(lines[1], "extra ")
	number, ok2 := strings.CutPrefix(lines[2], "index ")
	raw, err1 := base64.StdEncoding.Strict().DecodeString(extra)
	index, err2 := strconv.ParseInt(number, 10, 64)
	if !ok1 || !ok2 || err1 != nil || err2 != nil || index < 0 || strconv.FormatInt(index, 10) != number {
		return nil, 0, nil, nil, errProof
	}
	for _, l := range lines[3:] {
		h, err := tlog.ParseHash(l)
		if err != nil {
			return nil, 0, nil, nil, errProof
		}
		hashes = append(hashes, h)
	}
	return raw, index, hashes, []byte(note), nil
}

// ProveGrowth makes the proof that a tree of size newer extends one of size older.
func ProveGrowth(older, newer uint64, r tlog.HashReader) ([]tlog.Hash, error) {
	return tlog.ProveTree(int64(newer), int64(older), r)
}

// CheckGrowth checks that the newer checkpoint extends the older one: everything that the older covers is
// unchanged in the newer.
func CheckGrowth(older, newer Checkpoint, proof []tlog.Hash) error {
	if older.Origin != newer.Origin {
		return fmt.Errorf("the checkpoints are of two logs, %s and %s", older.Origin, newer.Origin)
	}
	if older.Size > newer.Size {
		return fmt.Errorf("the newer checkpoint covers %d events, the older %d", newer.Size, older.Size)
	}
	if older.Size == 0 {
		return nil // everything extends the empty log
	}
	return tlog.CheckTree(proof, int64(newer.Size), newer.Root, int64(older.Size), older.Root)
}
