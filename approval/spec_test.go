package approval

import (
	"errors"
	"fmt"
	"slices"

	"github.com/countersign-dev/countersign"
)

// This file says the promises again, from the facts of the world, without calling the code under test.

// moment is which directory, policy and time something happens under. A write happens at one moment, and is
// stamped with the time at which it was judged.
type moment struct{ dir, pol, tick int }

// maySign: nobody signs for himself (P2). Not who asked, whom he acts for or who owns him, neither as it
// was then nor as it is now.
func (w *world) maySign(e *entity, at moment, p int) bool {
	own := w.facts[e.openDir].interested(e.asker) | w.facts[at.dir].interested(e.asker)
	return own&(1<<p) == 0
}

// mayConfirm: only the one who was acted for then and is now.
func (w *world) mayConfirm(e *entity, at moment, p int) bool {
	return e.asked.needsConfirm() && w.facts[e.openDir].chain(e.asker) == p && w.facts[at.dir].chain(e.asker) == p
}

type hand struct {
	person, groups int
	passkey        bool
}

// counted is the persons whose approvals count at a moment, when somebody owned by claimersPeople claims.
func (w *world) counted(e *entity, at moment, claimersPeople int) []hand {
	f := &w.facts[at.dir]
	var all []hand
	for _, v := range e.r.Reviews {
		p := personIndex(v.Person)
		if v.Verdict != Approve || p < 0 || !f.active[p] || !w.loginIs(at, v.Login, p) || !w.maySign(e, at, p) || claimersPeople&(1<<p) != 0 {
			continue
		}
		all = append(all, hand{p, f.groups[p], v.Presence == "passkey"})
	}
	return all
}

func (w *world) loginIs(at moment, login string, p int) bool {
	l := slices.Index(loginNames, login)
	return login == "" || l >= 0 && w.facts[at.dir].loginOf[l] == p
}

// confirmed: a word of the one acted for, which still counts.
func (w *world) confirmed(e *entity, at moment) bool {
	return slices.ContainsFunc(e.r.Reviews, func(v Review) bool {
		p := personIndex(v.Person)
		return v.Verdict == Confirm && p >= 0 && w.facts[at.dir].chain(e.asker) == p && w.loginIs(at, v.Login, p)
	})
}

// fill is how many seats these persons fill at best, one seat each, the seats of a set through different
// groups: every way is tried.
func fill(seats []want, from []hand) int {
	var try func(s, usedPersons int, used []want) int
	try = func(s, usedPersons int, used []want) int {
		if s == len(seats) {
			return 0
		}
		best := try(s+1, usedPersons, used)
		for _, t := range from {
			if usedPersons&(1<<t.person) != 0 || seats[s].passkey && !t.passkey {
				continue
			}
			for bit := 1; bit <= sec; bit <<= 1 {
				through := want{groups: bit, set: seats[s].set}
				if bit&t.groups&seats[s].groups == 0 || through.set != "" && slices.Contains(used, through) {
					continue
				}
				best = max(best, 1+try(s+1, usedPersons|1<<t.person, append(slices.Clip(used), through)))
			}
		}
		return best
	}
	return try(0, 0, nil)
}

// permits: the signatures are all there (P2, P5).
func (w *world) permits(e *entity, at moment, claimersPeople int, a ask) bool {
	return fill(a.seats, w.counted(e, at, claimersPeople)) == len(a.seats) && (!a.needsConfirm() || w.confirmed(e, at))
}

// mayOpen: only what policy wants signed, and what can be signed.
func (w *world) mayOpen(q int, at moment, variant int) bool {
	f, a := &w.facts[at.dir], w.policies[at.pol][q]
	if variant != 0 || !f.activeAsker(w.askers[q]) || a.verdict != countersign.Review && a.verdict != countersign.Confirm {
		return false
	}
	if a.verdict == countersign.Review && len(a.seats) == 0 || a.needsConfirm() && f.chain(w.askers[q]) == nobody {
		return false
	}
	var could []hand
	for p := range persons {
		if f.active[p] && f.interested(w.askers[q])&(1<<p) == 0 {
			could = append(could, hand{p, f.groups[p], true})
		}
	}
	return fill(a.seats, could) == len(a.seats)
}

// mayReview: an active person, present, who saw this request, may sign it, and is asked to.
func (w *world) mayReview(e *entity, at moment, rc reviewCase) bool {
	p := personIndex(rc.person)
	login := ""
	if rc.login != nobody {
		login = loginNames[rc.login]
	}
	if p < 0 || !w.facts[at.dir].active[p] || !w.loginIs(at, login, p) || !rc.digest || !rc.view || rc.presence == "" || !e.waits(at.tick) {
		return false
	}
	member := slices.ContainsFunc(e.asked.seats, func(s want) bool { return s.groups&w.facts[at.dir].groups[p] != 0 })
	switch rc.verdict {
	case Deny:
		return w.maySign(e, at, p) && member || w.mayConfirm(e, at, p)
	case Confirm:
		return e.r.State == Pending && w.mayConfirm(e, at, p) && !e.spoke(p) && w.facts[at.dir].activeAsker(e.asker)
	case Approve:
		if e.r.State != Pending || !w.maySign(e, at, p) || !member || e.spoke(p) || !w.facts[at.dir].activeAsker(e.asker) {
			return false
		}
		have := w.counted(e, at, 0)
		n := fill(e.asked.seats, have)
		if n == len(e.asked.seats) {
			return !e.asked.needsConfirm() || w.confirmed(e, at)
		}
		return fill(e.asked.seats, append(have, hand{p, w.facts[at.dir].groups[p], rc.presence == PresencePasskey})) > n
	}
	return false
}

// waits: it is pending or approved, and its time is not over.
func (e *entity) waits(tick int) bool {
	return e.r.State == Pending && tick < e.openTick+waitTicks || e.r.State == Approved && tick < e.approvedTick+claimTicks
}

func (e *entity) spoke(p int) bool {
	return slices.ContainsFunc(e.r.Reviews, func(v Review) bool { return v.Person == personNames[p] })
}

// mayCancel: who asked, whom he acts for, who owns him.
func (w *world) mayCancel(e *entity, at moment, by int) bool {
	if !e.waits(at.tick) || !w.facts[at.dir].activeAsker(by) {
		return false
	}
	return by == e.asker || by >= agents && !w.maySign(e, at, by-agents)
}

// mayClaim: what was signed, for whom it was signed, once, in time, under what holds now (P2–P5).
func (w *world) mayClaim(e *entity, q int, at moment, cc claimCase) bool {
	f := &w.facts[at.dir]
	session := f
	if cc.old {
		session = &w.facts[e.openDir]
	}
	if !cc.ok || cc.action != freshAction || e.r.State != Approved || !e.waits(at.tick) || e.ran >= e.uses || !f.activeAsker(e.asker) {
		return false
	}
	if f.chain(e.asker) != w.facts[e.openDir].chain(e.asker) || session.chain(e.asker) != f.chain(e.asker) {
		return false
	}
	now := w.policies[at.pol][q]
	if now.verdict != countersign.Allow && now.verdict != countersign.Confirm && (now.verdict != countersign.Review || len(now.seats) == 0) {
		return false
	}
	theirs := session.interested(e.asker) | cc.owners
	return w.permits(e, at, theirs, e.asked) && w.permits(e, at, theirs, now)
}

// arrows is the diagram: what each state may become. Nothing leaves a state that is not listed.
var arrows = map[State][]State{
	Pending:     {Pending, Approved, Denied, Cancelled, Expired},
	Approved:    {Approved, Claimed, Denied, Cancelled, Lapsed, Revoked},
	Claimed:     {Claimed, Uncommitted, Done, Failed, RolledBack, Unknown},
	Uncommitted: {Uncommitted, Done, Failed, RolledBack, Unknown},
}

var useArrows = map[State][]State{
	Claimed:     {Uncommitted, Done, Failed, Unknown},
	Uncommitted: {Done, RolledBack, Unknown},
}

// judge reports how a step breaks a promise, or refuses what it must not refuse. A step that was refused
// leaves the request as it was.
func (w *world) judge(before, after *entity, taken bool, at moment, stamp int, ev event) error {
	if may := w.may(before, at, ev); taken && !may {
		return errors.New("was taken, and must not be")
	} else if !taken && may {
		return errors.New("was refused, and must not be")
	}
	if !taken {
		return nil
	}
	if err := fixed(before, after, ev); err != nil {
		return err
	}
	switch ev.kind {
	case opened:
		return w.judgeOpened(after, at)
	case reviewed:
		return w.judgeReviewed(after, at, stamp, w.reviews[ev.a])
	case expired:
		return endsAs(after, map[State]State{Pending: Expired, Approved: Lapsed}[before.r.State])
	case lapsed:
		return endsAs(after, map[State]State{Pending: Cancelled, Approved: Lapsed}[before.r.State])
	case cancelled:
		return endsAs(after, Cancelled)
	case revoked:
		return endsAs(after, Revoked)
	case claimed:
		return judgeClaimed(before, after)
	case settled:
		return w.judgeSettled(before, after, ev)
	}
	return fmt.Errorf("nothing is known of %v", ev.kind)
}

func (w *world) may(e *entity, at moment, ev event) bool {
	switch ev.kind {
	case opened:
		return w.mayOpen(ev.q, at, ev.a)
	case reviewed:
		return w.mayReview(e, at, w.reviews[ev.a])
	case cancelled:
		return w.mayCancel(e, at, ev.a)
	case expired:
		return (e.r.State == Pending || e.r.State == Approved) && !e.waits(at.tick)
	case lapsed:
		return e.r.State == Pending || e.r.State == Approved
	case revoked:
		return e.r.State == Approved
	case claimed:
		return w.mayClaim(e, ev.q, at, claimCases[ev.b])
	case settled:
		return ev.a >= 0 && ev.a < len(e.r.Uses) && slices.Contains(useArrows[e.r.Uses[ev.a].Outcome], w.outcomes[ev.b])
	}
	return false
}

// fixed: what was asked and signed never changes, states follow the diagram, records only grow.
func fixed(before, after *entity, ev event) error {
	if ev.kind == opened {
		return nil
	}
	b, a := before.r, after.r
	if a.ID != b.ID || a.Digest != b.Digest || a.View != b.View || a.Policy != b.Policy || a.Confirm != b.Confirm || a.MaxUses != b.MaxUses ||
		!a.Created.Equal(b.Created) || !a.Deadline.Equal(b.Deadline) || a.ClaimWithin != b.ClaimWithin || len(a.Seats) != len(b.Seats) {
		return errors.New("changed what was asked")
	}
	sameState := b.State == a.State && (ev.kind == settled || b.State == Pending || b.State == Approved)
	if !sameState && !slices.Contains(arrows[b.State], a.State) {
		return fmt.Errorf("went from %s to %s", b.State, a.State)
	}
	reviews, uses := 0, 0
	if ev.kind == reviewed {
		reviews = 1
	}
	if ev.kind == claimed {
		uses = 1
	}
	if len(a.Reviews) != len(b.Reviews)+reviews || len(a.Uses) != len(b.Uses)+uses || !slices.Equal(a.Reviews[:len(b.Reviews)], b.Reviews) {
		return errors.New("altered the record of reviews or uses")
	}
	for i := range b.Uses {
		if ev.kind == settled && i == ev.a {
			continue
		}
		if a.Uses[i] != b.Uses[i] {
			return errors.New("altered another use")
		}
	}
	return nil
}

func endsAs(after *entity, s State) error {
	if after.r.State != s {
		return fmt.Errorf("is %s; want %s", after.r.State, s)
	}
	return nil
}

func (w *world) judgeOpened(e *entity, at moment) error {
	r := e.r
	if r.State != Pending || len(r.Reviews) != 0 || len(r.Uses) != 0 || r.MaxUses != e.uses || len(r.Seats) != len(e.asked.seats) ||
		r.Confirm != e.asked.needsConfirm() || !r.Created.Equal(clock(at.tick)) || !r.Deadline.Equal(clock(at.tick+waitTicks)) {
		return fmt.Errorf("opened as %+v", r)
	}
	return nil
}

func (w *world) judgeReviewed(after *entity, at moment, stamp int, rc reviewCase) error {
	given := after.r.Reviews[len(after.r.Reviews)-1]
	if given.Person != rc.person || given.Verdict != rc.verdict || given.Presence != rc.presence || !given.At.Equal(clock(stamp)) {
		return fmt.Errorf("recorded %+v", given)
	}
	if rc.verdict == Deny {
		return endsAs(after, Denied)
	}
	if !w.permits(after, at, 0, after.asked) {
		return endsAs(after, Pending)
	}
	if !after.r.ClaimBy.Equal(clock(stamp + claimTicks)) {
		return fmt.Errorf("may be claimed until %v", after.r.ClaimBy)
	}
	return endsAs(after, Approved)
}

func judgeClaimed(before, after *entity) error {
	if after.ran > after.uses {
		return fmt.Errorf("ran %d times; %d were signed", after.ran, after.uses)
	}
	last := after.r.Uses[len(after.r.Uses)-1]
	if last.Outcome != Claimed {
		return fmt.Errorf("the new use is %s", last.Outcome)
	}
	if after.ran == after.uses {
		return endsAs(after, Claimed)
	}
	return endsAs(after, Approved)
}

// judgeSettled: the state of a request whose uses are all taken says the least certain of their outcomes.
func (w *world) judgeSettled(before, after *entity, ev event) error {
	if after.r.Uses[ev.a].Outcome != w.outcomes[ev.b] {
		return fmt.Errorf("the use became %s", after.r.Uses[ev.a].Outcome)
	}
	if before.ran < before.uses || before.r.State != Claimed && before.r.State != Uncommitted {
		return endsAs(after, before.r.State)
	}
	order := []State{Claimed, Uncommitted, Unknown, Failed, RolledBack, Done}
	least := len(order) - 1
	for _, u := range after.r.Uses {
		least = min(least, slices.Index(order, u.Outcome))
	}
	return endsAs(after, order[least])
}

// holds is what must be true of every request in every state, however it came there.
func (w *world) holds(e *entity) error {
	r := e.r
	if len(r.Uses) != e.ran || e.ran > e.uses {
		return fmt.Errorf("P4: ran %d times, %d uses recorded, %d signed", e.ran, len(r.Uses), e.uses)
	}
	signed, denied := false, false
	byPerson := map[countersign.PersonID]int{}
	own := w.facts[e.openDir].interested(e.asker)
	for _, v := range r.Reviews {
		p := personIndex(v.Person)
		if p < 0 {
			return fmt.Errorf("P2: %q reviewed", v.Person)
		}
		if v.Verdict == Approve && own&(1<<p) != 0 {
			return fmt.Errorf("P2: %s signed for himself", v.Person)
		}
		if v.Digest != r.Digest || v.View != r.View {
			return fmt.Errorf("P3: %s signed something else", v.Person)
		}
		if v.Verdict == Deny {
			denied = true
			continue
		}
		signed = true
		if byPerson[v.Person]++; byPerson[v.Person] > 1 {
			return fmt.Errorf("P2: %s counts twice", v.Person)
		}
	}
	if denied != (r.State == Denied) {
		return fmt.Errorf("P5: denied is %v in state %s", denied, r.State)
	}
	if !signed && (e.ran > 0 || r.State == Approved) {
		return errors.New("P5: it runs, and nobody said yes")
	}
	if e.ran > 0 && slices.Contains([]State{Pending, Expired}, r.State) {
		return fmt.Errorf("P5: it ran, and is %s", r.State)
	}
	for i, u := range r.Uses {
		if slices.ContainsFunc(r.Uses[:i], func(v Use) bool { return v.Action == u.Action }) {
			return fmt.Errorf("P4: %s ran twice", u.Action)
		}
		if u.At.After(r.Deadline.Add(r.ClaimWithin)) || !u.At.Before(r.ClaimBy) {
			return errors.New("P5: it ran too late")
		}
	}
	if ending := r.State.Ended(); ending == slices.Contains([]State{Pending, Approved, Claimed, Uncommitted}, r.State) || ending == r.Ended.IsZero() {
		return fmt.Errorf("state %s and the time of its end disagree", r.State)
	}
	return nil
}
