package sqlite

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign/trail"
)

// tailSize is how many of the last events are read again at a start. What a crash or a bad disk damages
// is mostly there; the whole trail is what `trail verify` reads.
const tailSize = 4096

// checkTail recomputes the last events from their bodies, and with them the tree's edge, and fails when
// the store holds other hashes.
func (s *Store) checkTail(ctx context.Context) error {
	size := s.tree.Size()
	l := &logReader{ctx: ctx, db: s.reader, epoch: s.epoch, origin: s.origin, size: size}
	from := size - min(size, tailSize)
	tree, err := trail.LoadTree(from, l)
	if err != nil {
		return err
	}
	var h trail.Hasher
	var computed []tlog.Hash
	for c, err := range l.Chunks(from) {
		if err != nil {
			return err
		}
		if c.Missing > 0 {
			return fmt.Errorf("event %d: %w: %w", c.First, errMissing, c.Why)
		}
		for _, raw := range c.Raw {
			leaf, err := h.Hash(raw)
			if err != nil {
				return fmt.Errorf("event %d: %w: %w", tree.Size(), trail.ErrListing, err)
			}
			first := tlog.StoredHashCount(int64(tree.Size()))
			computed = tree.Append(leaf, computed[:0])
			for i, want := range computed {
				kept, err := l.ReadHashes([]int64{first + int64(i)})
				if err != nil {
					return err
				}
				if kept[0] != want {
					return fmt.Errorf("event %d does not have the hash that is kept for it: %w", tree.Size()-1, trail.ErrListing)
				}
			}
		}
	}
	if tree.Size() != size || tree.Root() != s.tree.Root() {
		return fmt.Errorf("the last %d events do not make the tree that is kept: %w", tailSize, trail.ErrListing)
	}
	return nil
}
