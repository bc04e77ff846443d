package approval

import (
	"fmt"
	"slices"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// The bounded world that the checker walks: four persons, two of whom have two logins, two agents that
// act for different persons, two requests, two replicas. What is true in it is kept as plain numbers
// (facts, ask), from which the values for the code under test are built; the rules in spec_test.go read
// the numbers only.

const (
	ann = iota
	bob
	cat
	dan
	persons
	nobody = -1
)

var personNames = [persons]countersign.PersonID{"ann", "bob", "cat", "dan"}

func personIndex(id countersign.PersonID) int { return slices.Index(personNames[:], id) }

var loginNames = []string{"ann@work", "ann@home", "bob@work", "cat@work", "dan@work", "dan@home"}

const (
	annHome = 1
	danWork = 4
)

// Groups are bits.
const (
	dba = 1 << iota
	sec
)

var groupNames = []countersign.Group{"dba", "sec"}

func groupsOf(mask int) []countersign.Group {
	var gs []countersign.Group
	for i, g := range groupNames {
		if mask&(1<<i) != 0 {
			gs = append(gs, g)
		}
	}
	return gs
}

// An asker is an agent (x, y) or a person (2 + his index).
const (
	x = iota
	y
	agents
	askers = agents + persons
)

var agentNames = [agents]countersign.AgentID{"x", "y"}

// facts is who everybody is.
type facts struct {
	active      [persons]bool
	groups      [persons]int
	loginOf     [6]int
	agentActive [agents]bool
	actsFor     [agents]int
	owners      [agents]int // bits by person
}

func startFacts() facts {
	return facts{
		active:      [persons]bool{true, true, true, true},
		groups:      [persons]int{ann: dba, bob: dba | sec, cat: sec, dan: dba},
		loginOf:     [6]int{ann, ann, bob, cat, dan, dan},
		agentActive: [agents]bool{true, true},
		actsFor:     [agents]int{x: dan, y: ann},
		owners:      [agents]int{x: 1 << cat, y: 1 << dan},
	}
}

// activeAsker: he, and whoever he acts for, is active.
func (f *facts) activeAsker(a int) bool {
	if a >= agents {
		return f.active[a-agents]
	}
	return f.agentActive[a] && (f.actsFor[a] == nobody || f.active[f.actsFor[a]])
}

// chain is whom a acts for, or nobody.
func (f *facts) chain(a int) int {
	if a >= agents {
		return nobody
	}
	return f.actsFor[a]
}

// interested is everyone whose own matter a's requests are, as bits.
func (f *facts) interested(a int) int {
	if a >= agents {
		return 1 << (a - agents)
	}
	mask := f.owners[a]
	if f.actsFor[a] != nobody {
		mask |= 1 << f.actsFor[a]
	}
	return mask
}

func peopleOf(mask int) []countersign.PersonID {
	var ids []countersign.PersonID
	for i, p := range personNames {
		if mask&(1<<i) != 0 {
			ids = append(ids, p)
		}
	}
	return ids
}

// directory builds the value that the code under test sees.
func (f *facts) directory() countersign.Directory {
	var d countersign.Directory
	for p, id := range personNames {
		rec := countersign.Person{ID: id, Groups: groupsOf(f.groups[p]), Active: f.active[p]}
		for l, owner := range f.loginOf {
			if owner == p {
				rec.Logins = append(rec.Logins, loginNames[l])
			}
		}
		d.Persons = append(d.Persons, rec)
	}
	for a, id := range agentNames {
		rec := countersign.Agent{ID: id, Owners: peopleOf(f.owners[a]), Active: f.agentActive[a]}
		if f.actsFor[a] != nobody {
			rec.ActsFor = personNames[f.actsFor[a]]
		}
		d.Agents = append(d.Agents, rec)
	}
	return d
}

// principal builds asker a as f has him.
func (f *facts) principal(a int) countersign.Principal {
	if a >= agents {
		p := a - agents
		return countersign.Principal{Kind: countersign.KindPerson, Person: personNames[p], Groups: groupsOf(f.groups[p])}
	}
	pr := countersign.Principal{Kind: countersign.KindAgent, Agent: agentNames[a], Owners: peopleOf(f.owners[a])}
	if f.actsFor[a] != nobody {
		pr.Chain = []countersign.PersonID{personNames[f.actsFor[a]]}
	}
	return pr
}

// change is something that may happen to the directory, and be undone.
type change struct {
	name string
	do   func(*facts)
}

var (
	bobDeactivated = change{"bob is deactivated", func(f *facts) { f.active[bob] = false }}
	danDeactivated = change{"dan is deactivated", func(f *facts) { f.active[dan] = false }}
	xDeactivated   = change{"agent x is deactivated", func(f *facts) { f.agentActive[x] = false }}
	bobLeavesSec   = change{"bob leaves sec", func(f *facts) { f.groups[bob] &^= sec }}
	annLeavesDBA   = change{"ann leaves dba", func(f *facts) { f.groups[ann] &^= dba }}
	catJoinsDBA    = change{"cat joins dba", func(f *facts) { f.groups[cat] |= dba }}
	annOwnsX       = change{"x's owner is ann, not cat", func(f *facts) { f.owners[x] = 1 << ann }}
	xActsForBob    = change{"x acts for bob", func(f *facts) { f.actsFor[x] = bob }}
	homeIsDans     = change{"login ann@home is dan's", func(f *facts) { f.loginOf[annHome] = dan }}
	workIsAnns     = change{"login dan@work is ann's", func(f *facts) { f.loginOf[danWork] = ann }}
)

// want is a seat; ask is what policy says.
type want struct {
	groups  int
	set     string
	passkey bool
}

type ask struct {
	verdict countersign.Verdict
	seats   []want
	confirm bool
}

func (a ask) decision() countersign.Decision {
	d := countersign.Decision{
		Verdict: a.verdict, Confirm: a.confirm, Expires: 2 * unit, ClaimWithin: unit, Rules: []string{"rule"},
	}
	for _, w := range a.seats {
		d.Seats = append(d.Seats, countersign.Seat{Rule: "rule", Groups: groupsOf(w.groups), Distinct: w.set, Passkey: w.passkey})
	}
	return d
}

// needsConfirm: a verdict of confirm asks for it by itself.
func (a ask) needsConfirm() bool { return a.confirm || a.verdict == countersign.Confirm }

// unit is one tick of the world's clock. A request waits for signatures two ticks, an approval for use one.
const unit = 10 * time.Minute

const (
	waitTicks  = 2
	claimTicks = 1
)

func clock(tick int) time.Time {
	return time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC).Add(time.Duration(tick) * unit)
}

// world is one bounded world.
type world struct {
	name          string
	askers        [2]int // who asks for each of the two requests; the second is nobody in a small world
	uses          [2]int
	policies      [][2]ask // by policy, by request; the first is active at the start
	policyChanges int
	changes       []change
	dirChanges    int
	lastTick      int
	lastOpen      int // requests may be opened up to this tick
	presences     []Presence
	replicas      int
	readsAll      bool // replicas also read requests that are not approved

	outcomes    []State // that are tried; all unless given
	mergesStale bool    // stale snapshots are one, which only a store that compares revisions permits

	// built from the above
	facts       []facts // by the bits of the changes in force
	directories []countersign.Directory
	principals  [][askers]countersign.Principal
	decisions   [][2]countersign.Decision
	reviews     []reviewCase
}

func (w *world) build() *world {
	for bits := range 1 << len(w.changes) {
		f := startFacts()
		for i, c := range w.changes {
			if bits&(1<<i) != 0 {
				c.do(&f)
			}
		}
		w.facts = append(w.facts, f)
		w.directories = append(w.directories, f.directory())
		var all [askers]countersign.Principal
		for a := range all {
			all[a] = f.principal(a)
		}
		w.principals = append(w.principals, all)
	}
	for _, p := range w.policies {
		w.decisions = append(w.decisions, [2]countersign.Decision{p[0].decision(), p[1].decision()})
	}
	if w.outcomes == nil {
		w.outcomes = outcomes
	}
	w.reviews = reviewCases(w.presences)
	return w
}

func digestOf(q int) countersign.Digest { return countersign.Digest{1, byte(q)} }
func viewOf(q int) countersign.Digest   { return countersign.Digest{2, byte(q)} }

// reviewCase is a verdict that somebody tries to give.
type reviewCase struct {
	person   countersign.PersonID // "x" is an agent's name
	login    int                  // index into loginNames, or nobody for none
	verdict  Verdict
	presence Presence
	digest   bool // of this request, else of the other
	view     bool
}

func reviewCases(presences []Presence) []reviewCase {
	var cases []reviewCase
	for _, v := range []Verdict{Approve, Deny, Confirm} {
		for l, p := range startFacts().loginOf {
			for _, presence := range presences {
				cases = append(cases, reviewCase{personNames[p], l, v, presence, true, true})
			}
		}
		for _, p := range personNames {
			cases = append(cases,
				reviewCase{p, annHome, v, presences[0], true, true}, // for all but ann somebody else's login
				reviewCase{p, nobody, v, presences[0], false, true},
				reviewCase{p, nobody, v, presences[0], true, false},
				reviewCase{p, nobody, v, "", true, true})
		}
		cases = append(cases, reviewCase{"x", nobody, v, presences[0], true, true}, reviewCase{"", nobody, v, presences[0], true, true})
	}
	return append(cases, reviewCase{"bob", nobody, "maybe", presences[0], true, true})
}

func (rc reviewCase) review(q int) Review {
	v := Review{Person: rc.person, Verdict: rc.verdict, Presence: rc.presence, Digest: digestOf(q), View: viewOf(q)}
	if rc.login != nobody {
		v.Login = loginNames[rc.login]
	}
	if !rc.digest {
		v.Digest = digestOf(1 - q)
	}
	if !rc.view {
		v.View = viewOf(1 - q)
	}
	return v
}

func (rc reviewCase) String() string {
	s := fmt.Sprintf("%s says %s by %q", rc.person, rc.verdict, rc.presence)
	if rc.login != nobody {
		s += " as " + loginNames[rc.login]
	}
	if !rc.digest {
		s += " of another digest"
	}
	if !rc.view {
		s += " of another view"
	}
	return s
}

// openCase is a way to open a request; all but the first must fail.
type openCase struct {
	name string
	bend func(*Opening)
}

var openCases = []openCase{
	{"as policy says", func(*Opening) {}},
	{"without a digest", func(o *Opening) { o.Digest = countersign.Digest{} }},
	{"without a view", func(o *Opening) { o.View = countersign.Digest{} }},
	{"for -1 uses", func(o *Opening) { o.MaxUses = -1 }},
	{"for too many uses", func(o *Opening) { o.MaxUses = MaxUses + 1 }},
	{"with its deadline behind", func(o *Opening) { o.Decision.Expires = -1 }},
	{"with a negative time to claim", func(o *Opening) { o.Decision.ClaimWithin = -1 }},
	{"allowed", func(o *Opening) { o.Decision.Verdict = countersign.Allow }},
	{"denied", func(o *Opening) { o.Decision.Verdict = countersign.Deny }},
	{"of an unknown verdict", func(o *Opening) { o.Decision.Verdict = "" }},
	{"for review by nobody", func(o *Opening) { o.Decision.Verdict, o.Decision.Seats = countersign.Review, nil }},
	{"for four of sec", func(o *Opening) {
		o.Decision.Verdict, o.Decision.Seats = countersign.Review, slices.Repeat(ask{seats: []want{{groups: sec}}}.decision().Seats, 4)
	}},
	{"for seventeen signatures", func(o *Opening) {
		o.Decision.Verdict, o.Decision.Seats = countersign.Review, slices.Repeat(ask{seats: []want{{groups: dba | sec}}}.decision().Seats, MaxSeats+1)
	}},
	{"by a person to be confirmed", func(o *Opening) {
		o.Requester = countersign.Principal{Kind: countersign.KindPerson, Person: "ann"}
		o.Decision.Verdict, o.Decision.Seats = countersign.Confirm, nil
	}},
	{"on behalf of somebody else", func(o *Opening) { o.Requester.Chain = []countersign.PersonID{"cat"} }},
	{"by a stranger", func(o *Opening) {
		o.Requester = countersign.Principal{Kind: countersign.KindAgent, Agent: "z"}
		o.Decision = ask{verdict: countersign.Review, seats: []want{{groups: dba}}}.decision()
	}},
}

func (w *world) opening(q int, at moment, oc openCase) Opening {
	o := Opening{
		ID: countersign.RequestID(fmt.Sprint("req_", q)), Resource: "shop",
		Requester: w.principals[at.dir][w.askers[q]],
		Digest:    digestOf(q), View: viewOf(q), Policy: countersign.Digest{3},
		Decision: w.decisions[at.pol][q], MaxUses: w.uses[q],
	}
	oc.bend(&o)
	return o
}

// claimCase is a way to claim; all but the first two must fail, and the second when the directory has
// changed in what matters.
type claimCase struct {
	name   string
	bend   func(*Claim)
	owners int // besides those that the directory has: owners that the claimer's session knows of
	action int // which action it names
	ok     bool
	old    bool // the claimer as he was when the request was made
}

const (
	freshAction = iota
	usedAction
	noAction
)

var claimCases = []claimCase{
	{name: "by who asked", bend: func(*Claim) {}, ok: true},
	{name: "by who asked, in a session from then", bend: func(*Claim) {}, ok: true, old: true},
	{name: "by another agent", bend: func(c *Claim) { c.Claimer.Kind, c.Claimer.Person, c.Claimer.Agent = countersign.KindAgent, "", "w" }},
	{name: "by another agent that exists", bend: func(c *Claim) {
		if c.Claimer.Agent == "x" {
			c.Claimer.Agent = "y"
		} else {
			c.Claimer.Kind, c.Claimer.Person, c.Claimer.Agent = countersign.KindAgent, "", "x"
		}
	}},
	{name: "by another who acts for nobody", bend: func(c *Claim) {
		other := countersign.PersonID("bob")
		if c.Claimer.Person == other {
			other = "cat"
		}
		c.Claimer = countersign.Principal{Kind: countersign.KindPerson, Person: other}
	}},
	{
		name: "by who asked, in a session where bob owned it", ok: true, owners: 1 << bob,
		bend: func(c *Claim) { c.Claimer.Owners = append(slices.Clip(c.Claimer.Owners), "bob") },
	},
	{name: "on behalf of cat", bend: func(c *Claim) { c.Claimer.Chain = []countersign.PersonID{"cat"} }},
	{name: "for another action", bend: func(c *Claim) { c.Digest[0]++ }},
	{name: "again for the same use", bend: func(*Claim) {}, action: usedAction},
	{name: "without a name for the use", bend: func(*Claim) {}, action: noAction},
}

func (w *world) claim(q, rep int, e *entity, at moment, cc claimCase) Claim {
	dir := at.dir
	if cc.old {
		dir = e.openDir
	}
	c := Claim{Claimer: w.principals[dir][w.askers[q]], Digest: digestOf(q), Decision: w.decisions[at.pol][q]}
	switch cc.action {
	case freshAction:
		c.Action = countersign.ActionID(fmt.Sprintf("act_%d_%d", len(e.r.Uses), rep))
	case usedAction:
		if n := len(e.r.Uses); n > 0 {
			c.Action = e.r.Uses[n-1].Action
		}
	}
	cc.bend(&c)
	return c
}

var whyEnded = sanitize.Const("for the test")
