package approval

import (
	"fmt"
	"slices"
	"strings"
)

// The checker walks every state that a world can reach, breadth first, running the real guards and
// transitions of a machine for every event in every state. Transitions are functions of their arguments,
// so each distinct argument is evaluated, and judged against spec_test.go, once.

type kind int

const (
	opened kind = iota
	reviewed
	cancelled
	expired
	lapsed
	revoked
	settled
	claimed // a replica commits a claim, judged on what it had read
	signedLate
	dropped
	read // a replica reads a request, the directory, policy and the clock
	changed
	rewritten // policy is
	ticked
)

// event is something that happens. For q, a, b see String.
type event struct {
	kind    kind
	q, a, b int
}

var outcomes = []State{Claimed, Uncommitted, Done, Failed, RolledBack, Unknown, Denied}

func (w *world) describe(ev event) string {
	switch ev.kind {
	case opened:
		return fmt.Sprintf("request %d is opened %s", ev.q, openCases[ev.a].name)
	case reviewed:
		return fmt.Sprintf("request %d: %s", ev.q, w.reviews[ev.a])
	case cancelled:
		return fmt.Sprintf("request %d is cancelled by %s", ev.q, w.facts[0].principal(ev.a).ID())
	case expired:
		return fmt.Sprintf("request %d expires", ev.q)
	case lapsed:
		return fmt.Sprintf("request %d lapses", ev.q)
	case revoked:
		return fmt.Sprintf("request %d is revoked", ev.q)
	case settled:
		return fmt.Sprintf("request %d: use %d is %s", ev.q, ev.a, w.outcomes[ev.b])
	case claimed:
		return fmt.Sprintf("request %d: replica %d claims %s", ev.q, ev.a, claimCases[ev.b].name)
	case signedLate:
		return fmt.Sprintf("request %d: replica %d takes: %s", ev.q, ev.a, w.reviews[ev.b])
	case dropped:
		return fmt.Sprintf("replica %d forgets what it read", ev.a)
	case read:
		return fmt.Sprintf("replica %d reads request %d", ev.a, ev.q)
	case changed:
		return "directory: " + w.changes[ev.a].name + ", or that is undone"
	case rewritten:
		return fmt.Sprintf("policy %d is active", ev.a)
	case ticked:
		return "time passes"
	}
	return "?"
}

// entity is a request with what the world remembers of it by itself.
type entity struct {
	r            Request
	q            int
	asker        int
	asked        ask
	uses         int
	openDir      int
	openTick     int
	approvedTick int
	ran          int // claims that were committed
	revision     int // of the store's record
}

// snapshot is what a replica has read.
type snapshot struct {
	entity         int32 // 0: nothing
	dir, pol       int8
	dirRev, polRev int8
	tick           int8
}

// stale is a snapshot of which only that is known, in a world that merges them.
var stale = snapshot{entity: -1}

// state is a state of the whole world. Requests are named by index, so that it can be compared.
type state struct {
	dir, pol       int8
	dirRev, polRev int8
	tick           int8
	slots          [2]int32 // entities; 0: not opened
	replicas       [2]snapshot
}

// environment is the part of the gateway around the transitions: the store's conditions of a write.
type environment struct {
	noRequestRevision, noDirectoryRevision, noPolicyRevision, noDeadline bool
}

type step struct {
	ev event
	to int32 // entity
}

// argument is everything that the steps of a request depend on.
type argument struct {
	entity        int32
	q             int8
	dir, pol      int8
	tick          int8
	replica       int8 // -1: steps that are one with their reading
	readAt        int8
	requestNow    int32
	dirNow, polNo int8
}

type checker struct {
	w        *world
	m        *machine
	env      environment
	entities []*entity
	byCode   map[string]int32
	codes    []string
	known    map[argument][]step
	states   []state
	parents  []int32
	via      []event
	seen     map[state]int32
	steps    int          // transitions between states
	taken    map[kind]int // by kind of event
	inState  map[State]bool
}

// violation is a broken promise and how it came about.
type violation struct {
	err   error
	trace []string
	after int // states
}

func (v *violation) String() string {
	return fmt.Sprintf("%v\n\t%s", v.err, strings.Join(v.trace, "\n\t"))
}

// explore visits every state, or stops at the first broken promise. With a limit it stops there.
func (w *world) explore(m *machine, env environment, limit int) (*checker, *violation) {
	c := &checker{
		w: w, m: m, env: env, byCode: map[string]int32{}, known: map[argument][]step{}, seen: map[state]int32{},
		taken: map[kind]int{}, inState: map[State]bool{},
	}
	c.entities, c.codes = append(c.entities, nil), append(c.codes, "")
	c.add(state{}, -1, event{})
	for at := 0; at < len(c.states) && (limit == 0 || len(c.states) < limit); at++ {
		if ev, err := c.expand(int32(at)); err != nil {
			return c, &violation{err, append(c.trace(int32(at)), w.describe(ev)), len(c.states)}
		}
	}
	for id, code := range c.codes[1:] {
		if encode(c.entities[id+1]) != code {
			return c, &violation{fmt.Errorf("request %d was altered after it was made", id+1), nil, len(c.states)}
		}
	}
	return c, nil
}

func (c *checker) add(s state, parent int32, ev event) {
	c.steps++
	if c.w.mergesStale {
		c.merge(&s)
	}
	if _, ok := c.seen[s]; ok {
		return
	}
	c.seen[s] = int32(len(c.states))
	c.states, c.parents, c.via = append(c.states, s), append(c.parents, parent), append(c.via, ev)
}

func (c *checker) trace(at int32) []string {
	var lines []string
	for ; at > 0; at = c.parents[at] {
		lines = append(lines, c.w.describe(c.via[at]))
	}
	slices.Reverse(lines)
	return lines
}

// expand adds every state that follows a state.
func (c *checker) expand(at int32) (event, error) {
	s, w := c.states[at], c.w
	for q := range s.slots {
		if w.askers[q] == nobody || s.slots[q] == 0 && int(s.tick) > w.lastOpen {
			continue
		}
		arg := argument{entity: s.slots[q], q: int8(q), dir: s.dir, tick: s.tick, replica: -1}
		if s.slots[q] == 0 {
			arg.pol = s.pol // only opening depends on it
		}
		steps, ev, err := c.follow(arg, func() ([]event, moment) {
			return c.events(q, s.slots[q]), moment{int(s.dir), int(s.pol), int(s.tick)}
		})
		if err != nil {
			return ev, err
		}
		for _, st := range steps {
			next := s
			next.slots[q] = st.to
			c.add(next, at, st.ev)
		}
	}
	for i := range w.replicas {
		if ev, err := c.expandReplica(at, i); err != nil {
			return ev, err
		}
	}
	c.expandWorld(at)
	return event{}, nil
}

// expandWorld lets the directory, policy and the clock move on.
func (c *checker) expandWorld(at int32) {
	s, w := c.states[at], c.w
	if int(s.dirRev) < w.dirChanges {
		for i := range w.changes {
			next := s
			next.dir ^= 1 << i
			next.dirRev++
			c.add(next, at, event{kind: changed, a: i})
		}
	}
	if int(s.polRev) < w.policyChanges {
		for p := range w.policies {
			if p != int(s.pol) {
				next := s
				next.pol = int8(p)
				next.polRev++
				c.add(next, at, event{kind: rewritten, a: p})
			}
		}
	}
	if int(s.tick) < w.lastTick {
		next := s
		next.tick++
		c.add(next, at, event{kind: ticked})
	}
}

// expandReplica lets a replica read, or commit what it judged on what it had read. It forgets what it
// read either way, as it does when its client goes.
func (c *checker) expandReplica(at int32, i int) (event, error) {
	s := c.states[at]
	had := s.replicas[i]
	if had.entity == 0 {
		for q, id := range s.slots {
			if id == 0 || c.entities[id].r.State != Approved && !c.w.readsAll {
				continue
			}
			next := s
			next.replicas[i] = snapshot{id, s.dir, s.pol, s.dirRev, s.polRev, s.tick}
			c.add(next, at, event{kind: read, q: q, a: i})
		}
		return event{}, nil
	}
	idle := s
	idle.replicas[i] = snapshot{}
	c.add(idle, at, event{kind: dropped, a: i})
	if had == stale || !c.conditions(s, had) {
		return event{}, nil
	}
	q := c.entities[had.entity].q
	arg := argument{
		entity: had.entity, q: int8(q), dir: had.dir, pol: had.pol, tick: s.tick, replica: int8(i), readAt: had.tick,
		requestNow: s.slots[q], dirNow: s.dir, polNo: s.pol,
	}
	steps, ev, err := c.follow(arg, func() ([]event, moment) {
		return c.commits(q, i), moment{int(had.dir), int(had.pol), int(had.tick)}
	})
	if err != nil {
		return ev, err
	}
	for _, st := range steps {
		next := idle
		next.slots[q] = st.to
		c.add(next, at, st.ev)
	}
	return event{}, nil
}

// conditions are those of the store's write. Its deadline counts only when time has passed since the
// replica judged, so that the judgement itself must look at the time.
func (c *checker) conditions(s state, had snapshot) bool {
	e := c.entities[had.entity]
	now := c.entities[s.slots[e.q]]
	deadline := e.openTick + waitTicks
	if e.r.State != Pending {
		deadline = e.approvedTick + claimTicks
	}
	return (c.env.noRequestRevision || now.revision == e.revision) &&
		(c.env.noDirectoryRevision || had.dirRev == s.dirRev) &&
		(c.env.noPolicyRevision || had.polRev == s.polRev) &&
		(c.env.noDeadline || s.tick == had.tick || int(s.tick) < deadline)
}

// merge makes all stale snapshots one. Revisions never return, so what a replica judges on a stale one is
// refused by the store for ever, whatever it says.
func (c *checker) merge(s *state) {
	for i, had := range s.replicas {
		if had.entity == 0 || had == stale {
			continue
		}
		q := c.entities[had.entity].q
		if s.slots[q] != had.entity || s.dirRev != had.dirRev || s.polRev != had.polRev {
			s.replicas[i] = stale
		}
	}
}

// events are those that happen to request q in one write.
func (c *checker) events(q int, id int32) []event {
	var all []event
	if id == 0 {
		for i := range openCases {
			all = append(all, event{kind: opened, q: q, a: i})
		}
		return all
	}
	for i := range c.w.reviews {
		all = append(all, event{kind: reviewed, q: q, a: i})
	}
	for by := range askers {
		all = append(all, event{kind: cancelled, q: q, a: by})
	}
	all = append(all, event{kind: expired, q: q}, event{kind: lapsed, q: q}, event{kind: revoked, q: q})
	for use := -1; use <= len(c.entities[id].r.Uses); use++ {
		for o := range c.w.outcomes {
			all = append(all, event{kind: settled, q: q, a: use, b: o})
		}
	}
	return all
}

// commits are what replica i may try with what it has read.
func (c *checker) commits(q, i int) []event {
	var all []event
	for cc := range claimCases {
		all = append(all, event{kind: claimed, q: q, a: i, b: cc})
	}
	for k, rc := range c.w.reviews {
		if c.w.readsAll && rc.verdict == Approve && rc.digest && rc.view && rc.presence != "" {
			all = append(all, event{kind: signedLate, q: q, a: i, b: k})
		}
	}
	return all
}

// follow runs the events that may happen under arg, and judges each, unless that was done before.
func (c *checker) follow(arg argument, what func() ([]event, moment)) (taken []step, ev event, err error) {
	if steps, ok := c.known[arg]; ok {
		return steps, event{}, nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	events, at := what()
	now := at
	before := c.entities[arg.entity]
	current := before
	if arg.replica >= 0 {
		now = moment{int(arg.dirNow), int(arg.polNo), int(arg.tick)}
		current = c.entities[arg.requestNow]
	}
	for _, ev = range events {
		after, ok := c.run(before, at, ev)
		if ok && arg.replica >= 0 { // the write goes on top of what is there
			after.revision, after.ran = current.revision+1, after.ran-before.ran+current.ran
		}
		judged := ev
		if ev.kind == signedLate {
			judged = event{kind: reviewed, q: ev.q, a: ev.b}
		}
		// A refusal on grounds that have changed meanwhile is no fault.
		if ok || current == before && now == at {
			if err := c.w.judge(current, after, ok, now, at.tick, judged); err != nil {
				return nil, ev, err
			}
		}
		if !ok {
			continue
		}
		if err := c.w.holds(after); err != nil {
			return nil, ev, err
		}
		c.taken[ev.kind]++
		c.inState[after.r.State] = true
		taken = append(taken, step{ev, c.intern(after)})
	}
	c.known[arg] = taken
	return taken, event{}, nil
}

// run applies the real transition.
func (c *checker) run(before *entity, at moment, ev event) (after *entity, ok bool) {
	w, m, dir, now := c.w, c.m, c.w.directories[at.dir], clock(at.tick)
	if ev.kind == opened {
		return c.runOpen(at, ev)
	}
	r := &before.r
	var next Request
	ran := before.ran
	switch ev.kind {
	case reviewed, signedLate:
		rc := ev.a
		if ev.kind == signedLate {
			rc = ev.b
		}
		if c := newReviewing(m, r, w.reviews[rc].review(ev.q), dir, now); m.review.broken(c) == nil {
			next, ok = c.apply(), true
		}
	case cancelled:
		if c := (&cancelling{r, w.principals[at.dir][ev.a], dir, now}); m.cancel.broken(c) == nil {
			next, ok = r.end(Cancelled, now, whyEnded), true
		}
	case expired:
		if c := (&ending{r, now}); m.expire.broken(c) == nil {
			next, ok = c.expire(), true
		}
	case lapsed:
		if c := (&ending{r, now}); m.lapse.broken(c) == nil {
			next, ok = c.lapse(whyEnded), true
		}
	case revoked:
		if c := (&ending{r, now}); m.revoke.broken(c) == nil {
			next, ok = r.end(Revoked, now, whyEnded), true
		}
	case settled:
		if c := (&settling{r, ev.a, w.outcomes[ev.b], now}); m.outcome.broken(c) == nil {
			next, ok = c.apply(), true
		}
	case claimed:
		cl := w.claim(ev.q, ev.a, before, at, claimCases[ev.b])
		if c := (&claiming{m: m, request: r, claim: cl, dir: dir, now: now}); m.claim.broken(c) == nil {
			next, ok, ran = c.apply(), true, ran+1
		}
	}
	if !ok {
		return before, false
	}
	e := *before
	e.r, e.ran, e.revision = next, ran, e.revision+1
	if r.State == Pending && next.State == Approved {
		e.approvedTick = at.tick
	}
	return &e, true
}

func (c *checker) runOpen(at moment, ev event) (*entity, bool) {
	w := c.w
	o := newOpening(c.m, w.opening(ev.q, at, openCases[ev.a]), w.directories[at.dir], clock(at.tick))
	if c.m.open.broken(o) != nil {
		return nil, false
	}
	return &entity{
		r: o.request, q: ev.q, asker: w.askers[ev.q], asked: w.policies[at.pol][ev.q], uses: w.uses[ev.q],
		openDir: at.dir, openTick: at.tick, revision: 1,
	}, true
}

func (c *checker) intern(e *entity) int32 {
	code := encode(e)
	if id, ok := c.byCode[code]; ok {
		return id
	}
	id := int32(len(c.entities))
	c.entities, c.codes = append(c.entities, e), append(c.codes, code)
	c.byCode[code] = id
	return id
}
