// Package tiles is the trail as a folder of its own, to be handed to an auditor: C2SP tiles and entry
// bundles that any client of transparency logs reads, a signed checkpoint, and beside them the bodies of
// the events with the salts of their commitments.
//
// It promises that what Write writes is all that is needed to verify the trail and to read it, and that
// Open reads any folder without trusting it: paths, sizes and counts in it are checked and bounded. It
// does not promise that the folder is complete or true; trail.Verify finds that out.
//
// The folder holds the current log at its top, and each earlier log of a restored store below earlier/N.
package tiles

import (
	"context"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign/trail"
)

const (
	checkpointFile = "checkpoint"
	readmeFile     = "README.md"
	bodiesFolder   = "bodies"
	blobsFolder    = "blobs"
	earlierFolder  = "earlier"
)

//go:embed folder.md
var readme string

// Sink takes the files of an export: slash-separated paths, each once.
type Sink interface {
	WriteFile(path string, data []byte) error
}

// Log is one log to export.
type Log struct {
	Source     trail.Source
	Checkpoint []byte // signed, of the Source's whole size
}

// Write exports logs, the current one first, then the earlier ones, oldest first.
func Write(ctx context.Context, sink Sink, logs []Log) error {
	if err := sink.WriteFile(readmeFile, []byte(readme)); err != nil {
		return err
	}
	for i, l := range logs {
		prefix := ""
		if i > 0 {
			prefix = fmt.Sprintf("%s/%d/", earlierFolder, i-1)
		}
		w := &writer{ctx: ctx, sink: sink, prefix: prefix, log: l}
		if err := w.write(); err != nil {
			return fmt.Errorf("export the log %s: %w", l.Source.Origin(), err)
		}
	}
	return nil
}

// writer exports one log.
type writer struct {
	ctx    context.Context
	sink   Sink
	prefix string
	log    Log

	hasher  trail.Hasher
	number  uint64 // of entries taken
	entries []byte // the entry bundle so far
	bodies  []byte // the bundle of bodies so far
	leaf    []byte
}

func (w *writer) write() error {
	size := w.log.Source.Size()
	for c, err := range w.log.Source.Chunks(0) {
		if err != nil {
			return err
		}
		if c.Missing > 0 {
			return fmt.Errorf("event %d: %w", c.First, errors.Join(errors.New("it is missing"), c.Why))
		}
		if c.First != w.number {
			return fmt.Errorf("event %d follows event %d", c.First, int64(w.number)-1)
		}
		for _, raw := range c.Raw {
			if err := w.take(raw); err != nil {
				return fmt.Errorf("event %d: %w", w.number, err)
			}
		}
	}
	if w.number != size {
		return fmt.Errorf("%d events instead of %d", w.number, size)
	}
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.hashes(int64(size)); err != nil {
		return err
	}
	return w.file(checkpointFile, w.log.Checkpoint)
}

func (w *writer) file(path string, data []byte) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	return w.sink.WriteFile(w.prefix+path, data)
}

// take puts one entry into the bundles.
func (w *writer) take(raw []byte) error {
	var err error
	if w.leaf, err = w.hasher.AppendLeaf(w.leaf[:0], raw); err != nil {
		return err
	}
	if w.entries, err = torchwood.AppendTileEntry(w.entries, w.leaf); err != nil {
		return err
	}
	listed, hash, elsewhere := trail.AppendListed(w.bodies, raw)
	w.bodies = listed
	if elsewhere {
		if err := w.file(blobPath(hash[:]), raw); err != nil {
			return err
		}
	}
	w.number++
	if w.number%torchwood.TileWidth == 0 {
		return w.flush()
	}
	return nil
}

// flush writes the bundles begun.
func (w *writer) flush() error {
	if len(w.entries) == 0 {
		return nil
	}
	t := bundle(w.number - 1)
	t.W = int((w.number-1)%torchwood.TileWidth) + 1
	if err := w.file(torchwood.TilePath(t), w.entries); err != nil {
		return err
	}
	if err := w.file(bodiesPath(t), w.bodies); err != nil {
		return err
	}
	w.entries, w.bodies = w.entries[:0], w.bodies[:0]
	return nil
}

// hashes writes the tiles of hashes.
func (w *writer) hashes(size int64) error {
	for _, t := range tlog.NewTiles(torchwood.TileHeight, 0, size) {
		data, err := tlog.ReadTileData(t, w.log.Source)
		if err != nil {
			return fmt.Errorf("tile %s: %w", torchwood.TilePath(t), err)
		}
		if err := w.file(torchwood.TilePath(t), data); err != nil {
			return err
		}
	}
	return nil
}

// bundle returns the full bundle that holds an event.
func bundle(number uint64) tlog.Tile {
	return tlog.Tile{H: torchwood.TileHeight, L: -1, N: int64(number / torchwood.TileWidth), W: torchwood.TileWidth}
}

// bodiesPath is the path of the bodies of the events of an entry bundle.
func bodiesPath(t tlog.Tile) string {
	return bodiesFolder + strings.TrimPrefix(torchwood.TilePath(t), "tile/entries")
}

func blobPath(hash []byte) string {
	name := hex.EncodeToString(hash)
	return blobsFolder + "/" + name[:2] + "/" + name
}
