package tiles

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign/trail"
)

// ErrNoExport: the folder is not an export.
var ErrNoExport = errors.New("not an exported trail")

// maxEarlier bounds how many earlier logs are read.
const maxEarlier = 1000

// Reader is one log of an exported folder. It implements trail.Source.
type Reader struct {
	root       *os.Root
	prefix     string
	checkpoint trail.Checkpoint
	signed     []byte

	tiles []*cached // read last, newest at the end; ReadHashes owns them
}

// cached is a tile with the hashes of all its levels: levels[0] is what lies in the file.
type cached struct {
	tile   tlog.Tile
	levels [torchwood.TileHeight][]tlog.Hash
}

// Is reports whether the folder looks like an export.
func Is(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, checkpointFile))
	return err == nil
}

// Open opens an exported folder: the current log, then the earlier ones, oldest first. Nothing outside
// the folder is read, whatever links it holds. close must be called at the end.
func Open(dir string) (logs []*Reader, closer io.Closer, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	current, err := open(root, "")
	if err != nil {
		return nil, nil, errors.Join(err, root.Close())
	}
	logs = []*Reader{current}
	for i := range maxEarlier {
		l, err := open(root, earlierFolder+"/"+strconv.Itoa(i)+"/")
		if errors.Is(err, ErrNoExport) {
			break
		}
		if err != nil {
			return nil, nil, errors.Join(err, root.Close())
		}
		logs = append(logs, l)
	}
	return logs, root, nil
}

func open(root *os.Root, prefix string) (*Reader, error) {
	r := &Reader{root: root, prefix: prefix}
	signed, err := r.file(checkpointFile, trail.MaxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it has no file %s", ErrNoExport, prefix+checkpointFile)
	}
	if err != nil {
		return nil, err
	}
	r.signed = signed
	if r.checkpoint, err = trail.UnverifiedCheckpoint(signed); err != nil {
		return nil, fmt.Errorf("file %s: %w", prefix+checkpointFile, err)
	}
	return r, nil
}

// file reads a file of the folder, up to a size.
func (r *Reader) file(path string, limit int64) ([]byte, error) {
	f, err := r.root.Open(filepath.FromSlash(r.prefix + path))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("file %s has more than %d bytes", r.prefix+path, limit)
	}
	return data, nil
}

// Origin implements trail.Source.
func (r *Reader) Origin() string { return r.checkpoint.Origin }

// Size implements trail.Source.
func (r *Reader) Size() uint64 { return r.checkpoint.Size }

// Checkpoint returns the signed checkpoint that lies in the folder.
func (r *Reader) Checkpoint() []byte { return r.signed }

// Chunks implements trail.Source: a bundle at a time, or less when its entries are large.
func (r *Reader) Chunks(from uint64) iter.Seq2[trail.Chunk, error] {
	return func(yield func(trail.Chunk, error) bool) {
		size := r.Size()
		for first := from &^ (torchwood.TileWidth - 1); first < size; first += torchwood.TileWidth {
			count := min(torchwood.TileWidth, size-first)
			t := bundle(first)
			t.W = int(count)
			if !r.bundle(t, first, count, func(c trail.Chunk) bool {
				if c.First+max(uint64(len(c.Raw)), c.Missing) <= from {
					return true
				}
				return yield(trimmed(c, from), nil)
			}) {
				return
			}
		}
	}
}

// trimmed cuts off what comes before from.
func trimmed(c trail.Chunk, from uint64) trail.Chunk {
	if c.First >= from {
		return c
	}
	skip := from - c.First
	c.First = from
	if c.Missing > 0 {
		c.Missing -= skip
	} else {
		c.Raw = c.Raw[skip:]
	}
	if c.Leaves != nil {
		c.Leaves = c.Leaves[skip:]
	}
	return c
}

// maxChunk is how many bytes of entries a chunk holds before it is handed on.
const maxChunk = 4 << 20

// bundle hands on one bundle of bodies with its leaves, and what is missing of it as a gap.
func (r *Reader) bundle(t tlog.Tile, first, count uint64, emit func(trail.Chunk) bool) bool {
	leaves, err := r.leaves(t, count)
	if err != nil {
		// The bodies may be there; that their envelopes are not must be told too.
		leaves = slices.Repeat([][]byte{{}}, int(count))
	}
	listing, err := r.file(bodiesPath(t), maxFile)
	var raw [][]byte
	done, size := uint64(0), 0
	flush := func() bool {
		c := trail.Chunk{First: first + done, Raw: raw, Leaves: leaves[done : done+uint64(len(raw))]}
		done += uint64(len(raw))
		raw, size = nil, 0
		return len(c.Raw) == 0 || emit(c)
	}
	for err == nil && done+uint64(len(raw)) < count {
		var l trail.Listed
		if l, listing, err = trail.CutListed(listing); err != nil {
			break
		}
		if l.Hash != nil {
			if l.Raw, err = r.file(blobPath(l.Hash), trail.MaxEntry); err != nil {
				l.Raw, err = []byte{}, nil // an empty entry cannot be read, and is told under its own number
			}
		}
		raw = append(raw, l.Raw)
		if size += len(l.Raw); size >= maxChunk && !flush() {
			return false
		}
	}
	if err == nil && len(listing) > 0 && len(raw) > 0 {
		raw, err = raw[:len(raw)-1], fmt.Errorf("%d bytes follow it that belong to no event", len(listing))
	}
	if !flush() {
		return false
	}
	if done < count {
		return emit(trail.Chunk{First: first + done, Missing: count - done, Why: err, Leaves: leaves[done:]})
	}
	return true
}

// leaves reads an entry bundle.
func (r *Reader) leaves(t tlog.Tile, count uint64) ([][]byte, error) {
	data, err := r.file(torchwood.TilePath(t), maxFile)
	if err != nil {
		return nil, err
	}
	leaves := make([][]byte, 0, count)
	for range count {
		var leaf []byte
		if leaf, data, err = torchwood.ReadTileEntry(data); err != nil {
			return nil, err
		}
		leaves = append(leaves, leaf)
	}
	if len(data) != 0 {
		return nil, fmt.Errorf("%d bytes after the last entry", len(data))
	}
	return leaves, nil
}

// keptTiles is how many tiles stay in memory: enough for the path from a leaf to the root.
const keptTiles = 16

// ReadHashes implements tlog.HashReader.
func (r *Reader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	all := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		if level > 62 || uint64(n+1) > r.Size()>>level {
			return nil, fmt.Errorf("hash %d is past the end", index)
		}
		// A level's hash lies in the tile whose lowest level is the multiple of eight below it.
		in := level % torchwood.TileHeight
		width := int64(torchwood.TileWidth) >> in
		t, err := r.tile(level/torchwood.TileHeight, n/width)
		if err != nil {
			return nil, err
		}
		all[i] = t.levels[in][n%width]
	}
	return all, nil
}

// tile reads a tile of the width that the folder must have.
func (r *Reader) tile(level int, n int64) (*cached, error) {
	for i := len(r.tiles) - 1; i >= 0; i-- {
		if c := r.tiles[i]; c.tile.L == level && c.tile.N == n {
			return c, nil
		}
	}
	whole := int64(r.Size()>>(level*torchwood.TileHeight)) - n*torchwood.TileWidth
	t := tlog.Tile{H: torchwood.TileHeight, L: level, N: n, W: int(min(whole, torchwood.TileWidth))}
	data, err := r.file(torchwood.TilePath(t), torchwood.TileWidth*tlog.HashSize)
	if err != nil {
		return nil, err
	}
	if len(data) != t.W*tlog.HashSize {
		return nil, fmt.Errorf("tile %s has %d bytes", torchwood.TilePath(t), len(data))
	}
	c := &cached{tile: t}
	for ; len(data) > 0; data = data[tlog.HashSize:] {
		c.levels[0] = append(c.levels[0], tlog.Hash(data[:tlog.HashSize]))
	}
	for l := 1; l < len(c.levels); l++ {
		for below := c.levels[l-1]; len(below) >= 2; below = below[2:] {
			c.levels[l] = append(c.levels[l], tlog.NodeHash(below[0], below[1]))
		}
	}
	if len(r.tiles) >= keptTiles {
		r.tiles = slices.Delete(r.tiles, 0, 1)
	}
	r.tiles = append(r.tiles, c)
	return c, nil
}
