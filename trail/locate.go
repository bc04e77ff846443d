package trail

import (
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// verification compares what a pass brought with the checkpoints, and names what differs.
type verification struct {
	src    Source
	pass   *passed
	report *Report
	sound  uint64          // the first so many events are as a checkpoint covers them
	told   map[uint64]bool // events that a problem names already
	runs   []finding       // runs that a problem names already
	block  leafBlock
}

// compare judges each checkpoint, the smallest first, and looks into the first that does not hold.
func (v *verification) compare(anchors []anchor) {
	v.told = map[uint64]bool{}
	slices.SortStableFunc(anchors, func(a, b anchor) int {
		switch {
		case a.Size < b.Size:
			return -1
		case a.Size > b.Size:
			return 1
		}
		return 0
	})
	located := false
	rolledBack := false
	for _, a := range anchors {
		root, reached := v.pass.roots[a.Size]
		switch {
		case !reached:
			rolledBack = v.rolledBack(a, rolledBack)
		case root == a.Root:
			v.sound = max(v.sound, a.Size)
			if a.outside {
				v.report.Anchored, v.report.AnchoredSize = true, max(v.report.AnchoredSize, a.Size)
			}
		case !located:
			located = true
			v.locate(a)
		}
	}
}

// rolledBack reports, once, that the copy ends before a checkpoint does.
func (v *verification) rolledBack(a anchor, told bool) bool {
	if told {
		return true
	}
	v.report.problem(Problem{
		Kind: RolledBack, Number: v.report.Size, Last: a.Size - 1,
		What: fmt.Sprintf("the checkpoint covers %d events, the copy holds %d: it is an older state, or events were taken out of it", a.Size, v.report.Size),
	})
	return true
}

// mismatch is a leaf that is not the one that the checkpoint covers.
type mismatch struct {
	number uint64
	want   tlog.Hash // what the checkpoint covers there
	got    tlog.Hash // what the copy holds there
}

// maxLocated bounds how many leaves are looked at one by one.
const maxLocated = 1 << 12

// locator walks down from a checkpoint's root by the hashes that the copy keeps. A kept hash is trusted
// only when it is the one that its parent commits to.
type locator struct {
	v     *verification
	size  uint64
	leafs []mismatch
	vague []finding // runs in which something differs, the hashes below being no help
	full  bool
}

// locate names what differs from a checkpoint that does not hold.
func (v *verification) locate(a anchor) {
	l := &locator{v: v, size: a.Size}
	type subtree struct {
		level int
		n     uint64
	}
	var trees []subtree
	var indexes []int64
	start := uint64(0)
	for left := a.Size; left != 0; {
		level := bits.Len64(left) - 1
		trees = append(trees, subtree{level: level, n: start >> level})
		indexes = append(indexes, tlog.StoredHashIndex(level, int64(start>>level)))
		start += 1 << level
		left -= 1 << level
	}
	hashes, err := v.src.ReadHashes(indexes)
	if err == nil && len(hashes) == len(trees) && len(trees) > 0 {
		root := hashes[len(hashes)-1]
		for i := len(hashes) - 2; i >= 0; i-- {
			root = tlog.NodeHash(hashes[i], root)
		}
		if root == a.Root {
			for i, t := range trees {
				l.descend(t.level, t.n, hashes[i])
			}
			l.tell(a)
			return
		}
	}
	l.vague = append(l.vague, finding{number: v.sound, count: a.Size - v.sound})
	l.tell(a)
}

// descend compares the subtree (level, n), whose hash want is trusted, with what was computed.
func (l *locator) descend(level int, n uint64, want tlog.Hash) {
	first, count := n<<level, uint64(1)<<level
	if first+count <= l.v.sound || l.full {
		return
	}
	got, err := l.v.node(level, n)
	if err != nil {
		l.vague = append(l.vague, finding{number: first, count: count, err: err})
		return
	}
	if got == want {
		return
	}
	if level == 0 {
		l.leafs = append(l.leafs, mismatch{first, want, got})
		l.full = len(l.leafs) >= maxLocated
		return
	}
	kept, err := l.v.src.ReadHashes([]int64{
		tlog.StoredHashIndex(level-1, int64(2*n)), tlog.StoredHashIndex(level-1, int64(2*n+1)),
	})
	if err != nil || len(kept) != 2 || tlog.NodeHash(kept[0], kept[1]) != want {
		l.vague = append(l.vague, finding{number: first, count: count})
		return
	}
	l.descend(level-1, 2*n, kept[0])
	l.descend(level-1, 2*n+1, kept[1])
}

// tell turns what was found into problems.
func (l *locator) tell(a anchor) {
	r := l.v.report
	covers := fmt.Sprintf("the checkpoint of %d events", a.Size)
	want := make(map[tlog.Hash]uint64, len(l.leafs))
	got := make(map[tlog.Hash]uint64, len(l.leafs))
	for _, m := range l.leafs {
		want[m.want] = m.number
		got[m.got] = m.number
	}
	var run move
	for _, m := range l.leafs {
		if l.v.missing(m.number) {
			continue // told as a gap
		}
		l.v.told[m.number] = true
		from, elsewhere := want[m.got]
		to, stillThere := got[m.want]
		if !elsewhere {
			run = run.tell(l.v, covers)
		}
		if elsewhere && !stillThere {
			run = run.tell(l.v, covers)
			r.problem(Problem{Kind: Removed, Number: m.number, What: "the event that " + covers + " has here is nowhere near"})
		}
		if elsewhere {
			if !run.extend(m.number, from) {
				run.tell(l.v, covers)
				run = move{m.number, m.number, from}
			}
			continue
		}
		what := "this is not the event that " + covers + " has here"
		if stillThere {
			what += fmt.Sprintf("; that one stands under number %d", to)
		}
		_, env := l.v.leafAt(m.number)
		r.problem(Problem{Kind: Changed, Number: m.number, ID: env.ID, Type: env.Type, Time: env.Time, What: what})
	}
	run.tell(l.v, covers)
	if l.full {
		r.Notes = append(r.Notes, fmt.Sprintf("only the first %d differing events were looked at one by one", maxLocated))
	}
	for _, f := range l.vague {
		if l.v.known(f) {
			continue
		}
		l.v.runs = append(l.v.runs, f)
		r.problem(Problem{
			Kind: Changed, Number: f.number, Last: f.number + f.count - 1,
			What: "something among these is not what " + covers + " has; the hashes kept for them were changed too, so it cannot be told which",
		})
	}
}

// move is a run of events that stand together, in order, under other numbers than they have.
type move struct{ first, last, from uint64 }

// extend makes the run longer by the event at number, if it belongs to it.
func (m *move) extend(number, from uint64) bool {
	if m.first == m.from || number != m.last+1 || from-m.from != number-m.first {
		return false
	}
	m.last = number
	return true
}

// tell reports the run and returns an empty one.
func (m *move) tell(v *verification, covers string) move {
	if m.first == m.from {
		return move{}
	}
	p := Problem{Kind: Moved, Number: m.first, Last: m.last}
	if m.first == m.last {
		_, env := v.leafAt(m.first)
		p.ID, p.Type, p.Time = env.ID, env.Type, env.Time
		p.What = fmt.Sprintf("%s has this event under number %d", covers, m.from)
	} else {
		p.What = fmt.Sprintf("%s has these events under numbers %d to %d", covers, m.from, m.from+m.last-m.first)
	}
	v.report.problem(p)
	return move{}
}

// missing reports whether an event is part of a gap or cannot be read.
func (v *verification) missing(number uint64) bool {
	in := func(f finding) bool { return f.number <= number && number < f.number+f.count }
	return slices.ContainsFunc(v.pass.gaps.list, in) || slices.ContainsFunc(v.pass.damaged.list, in)
}

// known reports whether a run holds an event that other problems name already, which explains that the
// run differs.
func (v *verification) known(run finding) bool {
	return slices.ContainsFunc(v.pass.gaps.list, run.overlaps) || slices.ContainsFunc(v.pass.damaged.list, run.overlaps) ||
		slices.ContainsFunc(v.pass.differs.list, run.overlaps)
}

// remaining reports what the pass found and no checkpoint has explained.
func (v *verification) remaining() {
	r, p := v.report, v.pass
	problem := func(kind ProblemKind, f finding, what string) {
		if f.count == 1 && v.told[f.number] {
			return
		}
		r.problem(Problem{
			Kind: kind, Number: f.number, Last: f.number + f.count - 1,
			ID: f.envelope.ID, Type: f.envelope.Type, Time: f.envelope.Time, What: what,
		})
	}
	for _, f := range p.gaps.list {
		problem(Removed, f, because("not in the copy", f.err))
	}
	for _, f := range p.damaged.list {
		problem(Damaged, f, because("cannot be read", f.err))
	}
	for _, f := range p.differs.list {
		if f.number < v.sound {
			problem(BadHash, f, "the event is as the checkpoint covers it, but the hash kept for it is another")
		} else {
			problem(Changed, f, "the event does not have the hash that is kept for it")
		}
	}
	for _, f := range p.leaves.list {
		problem(Changed, f, "the envelope kept in the entry bundle is not that of the event's body")
	}
	for _, f := range p.nodes.list {
		if slices.ContainsFunc(v.runs, f.overlaps) {
			continue // that these hashes are wrong is a part of what was told
		}
		problem(BadHash, f, "the hash kept for these events together does not follow from theirs")
	}
	for _, f := range p.unread.list {
		problem(BadHash, f, because("the hashes kept for these events cannot be read", f.err))
	}
	for _, f := range p.erased.list {
		problem(BadErasure, f, "values of the event are gone; no version of Countersign erases any so far")
	}
	if p.missing == 0 && len(p.damaged.list) == 0 { // else what signed the claim may be among what is not there
		for _, f := range p.story.unsigned.list {
			problem(Unsigned, f, "claimed without a signature: no earlier request.approved and review.given of that request that permit it")
		}
		r.More += p.story.unsigned.more
	}
	for _, f := range []findings{p.gaps, p.damaged, p.differs, p.leaves, p.nodes, p.unread, p.erased} {
		r.More += f.more
	}
}

func because(what string, err error) string {
	if err == nil {
		return what
	}
	return what + ": " + err.Error()
}

// leafBlock is one run of recomputed leaves.
type leafBlock struct {
	first     uint64
	leaves    []tlog.Hash
	envelopes []Envelope
}

// node returns the computed hash of a complete subtree.
func (v *verification) node(level int, n uint64) (tlog.Hash, error) {
	if level == blockLevel && n < uint64(len(v.pass.blocks)) {
		return v.pass.blocks[n], nil
	}
	if level == 0 {
		h, _ := v.leafAt(n)
		if h == (tlog.Hash{}) {
			return h, fmt.Errorf("event %d cannot be read", n)
		}
		return h, nil
	}
	left, err := v.node(level-1, 2*n)
	if err != nil {
		return tlog.Hash{}, err
	}
	right, err := v.node(level-1, 2*n+1)
	if err != nil {
		return tlog.Hash{}, err
	}
	return tlog.NodeHash(left, right), nil
}

// leafAt recomputes a leaf, as the pass did: what cannot be read has the hash that is kept for it.
func (v *verification) leafAt(number uint64) (tlog.Hash, Envelope) {
	const width = 1 << blockLevel
	first := number &^ (width - 1)
	if v.block.leaves == nil || v.block.first != first {
		v.block = leafBlock{first: first, leaves: make([]tlog.Hash, width), envelopes: make([]Envelope, width)}
		v.block.load(v.src)
	}
	i := number - first
	return v.block.leaves[i], v.block.envelopes[i]
}

func (b *leafBlock) load(src Source) {
	var h Hasher
	width := uint64(len(b.leaves))
	for c, err := range src.Chunks(b.first) {
		if err != nil || c.First >= b.first+width {
			break
		}
		for i, raw := range c.Raw {
			number := c.First + uint64(i)
			if number < b.first || number >= b.first+width {
				continue
			}
			env, _ := ParseEnvelope(raw)
			b.envelopes[number-b.first] = env
			if leaf, err := h.Hash(raw); err == nil {
				b.leaves[number-b.first] = leaf
			}
		}
	}
	for i := range b.leaves {
		if b.leaves[i] != (tlog.Hash{}) {
			continue
		}
		if kept, err := src.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(b.first)+int64(i))}); err == nil && len(kept) == 1 {
			b.leaves[i] = kept[0]
		}
	}
}
