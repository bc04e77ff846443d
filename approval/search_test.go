package approval

import (
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
)

// mutant is a machine, or a store around it, that lacks one thing.
type mutant struct {
	name string
	m    *machine
	env  environment
}

// mutants lack one guard each: every entry of every table.
func mutants() []mutant {
	var all []mutant
	without(&all, "open", standard.open, func(m *machine) *guards[*opening] { return &m.open })
	without(&all, "review", standard.review, func(m *machine) *guards[*reviewing] { return &m.review })
	without(&all, "seat", standard.seat, func(m *machine) *guards[*counting] { return &m.seat })
	without(&all, "confirm", standard.confirm, func(m *machine) *guards[*counting] { return &m.confirm })
	without(&all, "complete", standard.complete, func(m *machine) *guards[*standing] { return &m.complete })
	without(&all, "cancel", standard.cancel, func(m *machine) *guards[*cancelling] { return &m.cancel })
	without(&all, "expire", standard.expire, func(m *machine) *guards[*ending] { return &m.expire })
	without(&all, "lapse", standard.lapse, func(m *machine) *guards[*ending] { return &m.lapse })
	without(&all, "revoke", standard.revoke, func(m *machine) *guards[*ending] { return &m.revoke })
	without(&all, "claim", standard.claim, func(m *machine) *guards[*claiming] { return &m.claim })
	without(&all, "outcome", standard.outcome, func(m *machine) *guards[*settling] { return &m.outcome })
	return append(all, worseQuorums()...)
}

func without[T any](all *[]mutant, table string, gs guards[T], of func(*machine) *guards[T]) {
	for i, g := range gs {
		m := *standard
		*of(&m) = slices.Delete(slices.Clone(gs), i, i+1)
		*all = append(*all, mutant{name: table + ": " + g.name, m: &m})
	}
}

// worseQuorums do not match people with seats as they should.
func worseQuorums() []mutant {
	bent := func(name string, bend func(seats []countersign.Seat, people []Signer) ([]countersign.Seat, []Signer)) mutant {
		m := *standard
		m.quorum = func(seats []countersign.Seat, people []Signer) ([]int, bool) { return Quorum(bend(seats, people)) }
		return mutant{name: "quorum: " + name, m: &m}
	}
	return []mutant{
		bent("whoever fills a seat is in its groups", func(seats []countersign.Seat, people []Signer) ([]countersign.Seat, []Signer) {
			seats = slices.Clone(seats)
			for i := range seats {
				seats[i].Groups = groupNames
			}
			return seats, people
		}),
		bent("a set is filled through different groups", func(seats []countersign.Seat, people []Signer) ([]countersign.Seat, []Signer) {
			seats = slices.Clone(seats)
			for i := range seats {
				seats[i].Distinct = ""
			}
			return seats, people
		}),
		bent("a passkey is asked for", func(seats []countersign.Seat, people []Signer) ([]countersign.Seat, []Signer) {
			people = slices.Clone(people)
			for i := range people {
				people[i].Passkey = true
			}
			return seats, people
		}),
		bent("one person fills one seat", func(seats []countersign.Seat, people []Signer) ([]countersign.Seat, []Signer) {
			var twice []Signer
			for _, p := range people {
				again := p
				again.Person += " again"
				twice = append(twice, p, again)
			}
			return seats, twice
		}),
		bent("more seats than the limit are refused", func(seats []countersign.Seat, people []Signer) ([]countersign.Seat, []Signer) {
			return seats[:min(len(seats), 1)], people
		}),
	}
}

// worseStores write without one of the conditions. They show that the checker sees races.
func worseStores() []mutant {
	return []mutant{
		{"store: the request's revision is compared", standard, environment{noRequestRevision: true}},
		{"store: the directory's revision is compared", standard, environment{noDirectoryRevision: true}},
		{"store: policy's revision is compared", standard, environment{noPolicyRevision: true}},
		{"store: the deadline is compared", standard, environment{noDeadline: true}},
	}
}

// TestEveryGuardIsNeeded removes each guard in turn. The checker must then find a broken promise.
func TestEveryGuardIsNeeded(t *testing.T) {
	worlds := alone()
	for _, w := range worlds {
		w.build()
	}
	all := append(mutants(), worseStores()...)
	for _, mu := range all {
		v, states, w := mu.hunt(worlds)
		if v == nil {
			t.Errorf("without %q, no promise is broken in %d states: the guard is superfluous, or the checker is blind", mu.name, states)
			continue
		}
		t.Logf("without %q: broken after %d states, where %s, when %s: %v", mu.name, states, w.name, v.trace[len(v.trace)-1], v.err)
	}
	t.Logf("%d guards and conditions are needed", len(all))
}

// hunt looks at the beginning of every world, and then further into each.
func (mu mutant) hunt(worlds []*world) (v *violation, states int, in *world) {
	for _, limit := range []int{1000, 10_000, 100_000, 0} {
		for _, w := range worlds {
			c, v := w.explore(mu.m, mu.env, limit)
			states += len(c.states)
			if v != nil {
				return v, states, w
			}
		}
	}
	return nil, states, nil
}

// TestPromisesInEveryState walks every world to its end. COUNTERSIGN_LONG=1 adds the wide ones; under the
// race detector, which has nothing to see in pure code, one with two requests has to do.
func TestPromisesInEveryState(t *testing.T) {
	worlds := append(alone(), together()...)
	if raceEnabled {
		worlds = append(alone(), together()[1])
	}
	if os.Getenv("COUNTERSIGN_LONG") != "" {
		worlds = append(worlds, wide()...)
	}
	const least = 100_000
	states, steps := 0, 0
	taken, inState := map[kind]int{}, map[State]bool{}
	for _, w := range worlds {
		start := time.Now()
		c, v := w.build().explore(standard, environment{}, 0)
		if v != nil {
			t.Fatalf("%s: %v", w.name, v)
		}
		t.Logf("%s: %d distinct states, %d distinct requests, %d steps, %v",
			w.name, len(c.states), len(c.entities)-1, c.steps, time.Since(start).Round(time.Millisecond))
		states, steps = states+len(c.states), steps+c.steps
		for k, n := range c.taken {
			taken[k] += n
		}
		for s := range c.inState {
			inState[s] = true
		}
		checkAnswers(t, c)
	}
	t.Logf("%d distinct states visited, %d steps between them", states, steps)
	if states < least {
		t.Errorf("visited %d states; fewer than %d prove little", states, least)
	}
	for k := opened; k <= claimed; k++ {
		if taken[k] == 0 {
			t.Errorf("no event of kind %d was ever taken", k)
		}
	}
	for _, s := range []State{Pending, Approved, Denied, Expired, Cancelled, Lapsed, Revoked, Claimed, Uncommitted, Done, Failed, RolledBack, Unknown} {
		if !inState[s] {
			t.Errorf("no request was ever %s", s)
		}
	}
}

// checkAnswers compares, for some of the requests that were met, what reviewers are told with what they
// can do: CanSign with Review, OpenSeats with who is still needed, and the exported transitions with
// those that the checker ran.
func checkAnswers(t *testing.T, c *checker) {
	t.Helper()
	every := max(1, len(c.entities)/50)
	for i := 1; i < len(c.entities); i += every {
		e := c.entities[i]
		for d, dir := range c.w.directories {
			at := moment{dir: d, tick: e.openTick}
			if e.r.State == Pending {
				if open, want := len(e.r.OpenSeats(dir)), len(e.asked.seats)-fill(e.asked.seats, c.w.counted(e, at, 0)); open != want {
					t.Fatalf("%s: %d seats are open; want %d: %+v", c.w.name, open, want, e.r)
				}
			}
			for p, id := range personNames {
				can, why := e.r.CanSign(id, dir)
				may := false
				for _, v := range []Verdict{Approve, Confirm} {
					rc := reviewCase{id, nobody, v, PresencePasskey, true, true}
					may = may || e.r.State == Pending && c.w.mayReview(e, at, rc)
					after, err := e.r.Review(rc.review(e.q), dir, clock(at.tick))
					if taken := err == nil; taken != c.w.mayReview(e, at, rc) || taken == (len(after.Reviews) == len(e.r.Reviews)) {
						t.Fatalf("%s: %v: error %v and %d reviews, from %+v", c.w.name, rc, err, len(after.Reviews), e.r)
					}
				}
				if can != may || why.IsZero() {
					t.Fatalf("%s: CanSign(%s) = %v, %q; want %v: %+v (person %d)", c.w.name, id, can, why, may, e.r, p)
				}
			}
		}
	}
}

// TestEncodeIsWhole: the checker tells requests apart by every field they have.
func TestEncodeIsWhole(t *testing.T) {
	for _, v := range []struct {
		value  any
		fields int
	}{{Request{}, 18}, {Review{}, 8}, {Use{}, 3}} {
		if n := reflect.TypeOf(v.value).NumField(); n != v.fields {
			t.Errorf("%T has %d fields; add the new one to encode_test.go, then here", v.value, n)
		}
	}
}
