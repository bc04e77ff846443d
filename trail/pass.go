package trail

import (
	"errors"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
)

// unitSize is how many entries one goroutine hashes at a time, unitBytes how many bytes, about.
const (
	unitSize  = 512
	unitBytes = 4 << 20
)

// blockLevel is the level of the subtrees whose computed hashes are kept in memory: 32 bytes for 256 events.
const blockLevel = 8

// maxFindings bounds what a pass remembers of one kind of finding.
const maxFindings = 1 << 12

// maxGap is how many missing entries are passed over.
const maxGap = 1 << 22

// errHole: the copy claims so many missing entries that what follows them is not looked at.
var errHole = errors.New("too many entries are missing")

// finding is an entry that does not fit its place.
type finding struct {
	number   uint64
	count    uint64
	envelope Envelope // zero when it cannot be read
	err      error
}

func (f finding) overlaps(g finding) bool {
	return f.number < g.number+g.count && g.number < f.number+f.count
}

// findings is a bounded list.
type findings struct {
	list []finding
	more int
}

func (f *findings) add(x finding) {
	if len(f.list) >= maxFindings {
		f.more++
		return
	}
	f.list = append(f.list, x)
}

// passed is what one reading of a copy brought.
type passed struct {
	tree *Tree
	// keptTree has the leaves' kept hashes; nil as long as these are the computed ones.
	keptTree *Tree
	roots    map[uint64]tlog.Hash // at the sizes asked for
	blocks   []tlog.Hash          // computed, at blockLevel

	missing uint64   // entries
	differs findings // leaves that are not what the hash kept for them says
	leaves  findings // leaves kept beside that are not those of the bodies
	gaps    findings // entries that are not there
	damaged findings // entries that cannot be read
	nodes   findings // inner hashes kept that are not those of the leaves
	erased  findings // entries that lack values
	unread  findings // entries whose kept hashes cannot be read
	story   story
}

// unit is a run of entries on its way through the workers.
type unit struct {
	chunk  Chunk
	leaves []tlog.Hash
	errs   []error // nil where the entry can be read
	erased []int   // entries with erased fields
	told   []int   // entries that tell of a request
	beside []int   // entries whose leaf kept beside is another
	err    error   // the copy cannot be read
	ready  chan struct{}
}

// pass reads the whole copy once. One goroutine reads, some hash, and this one puts the tree together.
func pass(src Source, sizes []uint64) (*passed, error) {
	p := &passed{tree: &Tree{}, roots: map[uint64]tlog.Hash{}}
	sizes = slices.Clone(sizes)
	slices.Sort(sizes)
	workers := min(8, runtime.GOMAXPROCS(0))
	work := make(chan *unit)
	order := make(chan *unit, 2*workers)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { read(src, work, order, stop) })
	for range workers {
		wg.Go(func() {
			var h Hasher
			for u := range work {
				u.hash(&h)
				close(u.ready)
			}
		})
	}
	p.reach(&sizes)
	var err error
	for u := range order {
		<-u.ready
		if err = u.err; err == nil {
			err = p.take(src, u, &sizes)
		}
		if err != nil {
			break
		}
	}
	close(stop)
	for range order { // lets the reader end
	}
	wg.Wait()
	return p, err
}

// read cuts what the copy holds into units and hands them to the workers and, in order, to the consumer.
func read(src Source, work, order chan<- *unit, stop <-chan struct{}) {
	defer close(order)
	defer close(work)
	send := func(u *unit) bool {
		u.ready = make(chan struct{})
		select {
		case order <- u:
		case <-stop:
			return false
		}
		if len(u.chunk.Raw) == 0 {
			close(u.ready)
			return true
		}
		work <- u
		return true
	}
	var held *unit
	size := 0
	flush := func() bool {
		u := held
		held, size = nil, 0
		return u == nil || send(u)
	}
	for c, err := range src.Chunks(0) {
		if err != nil {
			_ = flush() && send(&unit{err: err})
			return
		}
		// Small chunks are put together, large ones cut.
		for len(c.Raw) > 0 {
			if held == nil {
				held = &unit{chunk: Chunk{First: c.First}}
			}
			n := 0
			for n < len(c.Raw) && len(held.chunk.Raw)+n < unitSize && size < unitBytes {
				size += len(c.Raw[n])
				n++
			}
			held.chunk.Raw = append(held.chunk.Raw, c.Raw[:n]...)
			if c.Leaves != nil {
				held.chunk.Leaves = append(held.chunk.Leaves, c.Leaves[:n]...)
				c.Leaves = c.Leaves[n:]
			}
			c.First += uint64(n)
			c.Raw = c.Raw[n:]
			if (len(held.chunk.Raw) == unitSize || size >= unitBytes) && !flush() {
				return
			}
		}
		if c.Missing > 0 && !(flush() && send(&unit{chunk: c})) {
			return
		}
	}
	flush()
}

// hash computes the leaves of a unit.
func (u *unit) hash(h *Hasher) {
	n := len(u.chunk.Raw)
	u.leaves = make([]tlog.Hash, n)
	u.errs = make([]error, n)
	for i, raw := range u.chunk.Raw {
		u.leaves[i], u.errs[i] = h.Hash(raw)
		if u.errs[i] != nil {
			continue
		}
		if h.Erased() {
			u.erased = append(u.erased, i)
		}
		if tells(h.eventType()) {
			u.told = append(u.told, i)
		}
		if i < len(u.chunk.Leaves) && u.chunk.Leaves[i] != nil && string(u.chunk.Leaves[i]) != string(h.leaf[1:]) {
			u.beside = append(u.beside, i)
		}
	}
}

var errOrder = errors.New("the copy gives its entries out of order")

// take puts a unit at the end of the tree and compares what it completes with the hashes kept.
func (p *passed) take(src Source, u *unit, sizes *[]uint64) error {
	first := p.tree.Size()
	if u.chunk.First != first {
		return errOrder
	}
	if len(u.chunk.Raw) == 0 {
		return p.takeGap(src, u, sizes)
	}
	for _, i := range u.beside {
		env, _ := ParseEnvelope(u.chunk.Raw[i])
		p.leaves.add(finding{number: first + uint64(i), count: 1, envelope: env})
	}
	for _, i := range u.erased {
		env, _ := ParseEnvelope(u.chunk.Raw[i])
		p.erased.add(finding{number: first + uint64(i), count: 1, envelope: env})
	}
	for _, i := range u.told {
		p.story.tell(first+uint64(i), u.chunk.Raw[i])
	}
	kept, err := keptHashes(src, first, uint64(len(u.leaves)))
	if err != nil {
		p.unread.add(finding{number: first, count: uint64(len(u.leaves)), err: err})
	}
	at := 0
	var computed, follows []tlog.Hash
	for i, leaf := range u.leaves {
		number := first + uint64(i)
		if err := u.errs[i]; err != nil {
			env, _ := ParseEnvelope(u.chunk.Raw[i])
			p.damaged.add(finding{number: number, count: 1, envelope: env, err: err})
			if kept != nil {
				leaf = kept[at] // so that the rest can still be judged
			}
		}
		if kept != nil && leaf != kept[at] && p.keptTree == nil {
			p.keptTree = p.tree.Clone()
		}
		computed = p.tree.Append(leaf, computed[:0])
		p.block(computed)
		if follows = computed; p.keptTree != nil {
			if kept != nil {
				leaf = kept[at]
			}
			follows = p.keptTree.Append(leaf, nil)
		}
		if kept != nil {
			p.match(number, computed, follows, kept[at:at+len(computed)], u.chunk.Raw[i])
			at += len(computed)
		}
		p.reach(sizes)
	}
	return nil
}

// block keeps the computed hash of a subtree that was just completed.
func (p *passed) block(computed []tlog.Hash) {
	if len(computed) > blockLevel {
		p.blocks = append(p.blocks, computed[blockLevel])
	}
}

// match compares a leaf with the hash kept for it, and the hashes kept for the subtrees it completes
// with what follows from the leaves and from their kept hashes: a subtree is at fault only when it fits neither.
func (p *passed) match(number uint64, computed, follows, kept []tlog.Hash, raw []byte) {
	if computed[0] != kept[0] {
		env, _ := ParseEnvelope(raw)
		p.differs.add(finding{number: number, count: 1, envelope: env})
	}
	for level := 1; level < len(kept); level++ {
		if kept[level] != computed[level] && kept[level] != follows[level] {
			n := uint64(1) << level
			p.nodes.add(finding{number: number + 1 - n, count: n})
			return
		}
	}
}

// takeGap goes on behind entries that are not there, with the hashes kept for them where there are any.
func (p *passed) takeGap(src Source, u *unit, sizes *[]uint64) error {
	first, left := u.chunk.First, u.chunk.Missing
	if uint64(len(u.chunk.Leaves)) == left {
		for i, leaf := range u.chunk.Leaves {
			env, _ := ParseLeaf(leaf) // names the event that is gone
			p.gaps.add(finding{number: first + uint64(i), count: 1, envelope: env, err: u.chunk.Why})
		}
	} else {
		p.gaps.add(finding{number: first, count: left, err: u.chunk.Why})
	}
	if p.missing += left; p.missing > maxGap {
		return errHole
	}
	var computed []tlog.Hash
	for left > 0 {
		n := min(left, unitSize)
		kept, _ := keptHashes(src, p.tree.Size(), n) // without them the tree cannot match, which will be told
		at := 0
		for range n {
			var leaf tlog.Hash
			if kept != nil {
				leaf = kept[at]
			}
			computed = p.tree.Append(leaf, computed[:0])
			if p.keptTree != nil {
				p.keptTree.Append(leaf, nil)
			}
			at += len(computed)
			p.block(computed)
			p.reach(sizes)
		}
		left -= n
	}
	return nil
}

// keptHashes reads the hashes kept for a run of events.
func keptHashes(src Source, first, n uint64) ([]tlog.Hash, error) {
	from, to := tlog.StoredHashCount(int64(first)), tlog.StoredHashCount(int64(first+n))
	indexes := make([]int64, 0, to-from)
	for i := from; i < to; i++ {
		indexes = append(indexes, i)
	}
	hashes, err := src.ReadHashes(indexes)
	if err == nil && len(hashes) != len(indexes) {
		err = errors.New("hashes are missing")
	}
	if err != nil {
		return nil, err
	}
	return hashes, nil
}

// reach notes the root when the tree has a size that was asked for.
func (p *passed) reach(sizes *[]uint64) {
	for len(*sizes) > 0 && (*sizes)[0] <= p.tree.Size() {
		if (*sizes)[0] == p.tree.Size() {
			p.roots[p.tree.Size()] = p.tree.Root()
		}
		*sizes = (*sizes)[1:]
	}
}
