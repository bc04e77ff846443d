package approval

import (
	"slices"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// counting is the question whether a review counts. It is asked again whenever something depends on it.
type counting struct {
	request  *Request
	review   *Review
	person   countersign.Person    // the reviewer's record; the zero value when there is none
	claimer  countersign.Principal // who uses the grant; before a claim, the requester as recorded
	asker    countersign.Principal // the requester as the directory has him now
	chainNow []countersign.PersonID
}

// seatGuards make an approval count for a seat (P2).
var seatGuards = guards[*counting]{
	{name: "the reviewer is active", holds: func(c *counting) bool { return c.person.Active }},
	{name: "the login is still the reviewer's", holds: func(c *counting) bool { return owns(c.person, c.review.Login) }},
	{name: "the reviewer is none of the requester's people now", holds: func(c *counting) bool {
		return !concerns(c.asker, c.review.Person)
	}},
	{name: "the reviewer is none of the people of the requester as recorded, nor of the claimer", holds: func(c *counting) bool {
		return !concerns(c.request.Requester, c.review.Person) && !concerns(c.claimer, c.review.Person)
	}},
}

// confirmGuards make a confirmation count. Whoever it comes from is active: a principal with an inactive
// person in his chain neither gathers signatures nor claims.
var confirmGuards = guards[*counting]{
	{name: "the login is still the confirmer's", holds: func(c *counting) bool { return owns(c.person, c.review.Login) }},
	{name: "the confirmer is still acted for", holds: func(c *counting) bool {
		return slices.Contains(c.chainNow, c.review.Person)
	}},
}

// standing is the signatures of a request as they count at one moment.
type standing struct {
	m         *machine
	request   *Request
	signers   []Signer
	confirmed bool
}

// completeGuards make a pending request an approved one.
var completeGuards = guards[*standing]{
	{name: "every seat is filled", holds: func(s *standing) bool { return s.fills(s.request.Seats) }},
	{name: "a confirmation asked for is given", holds: func(s *standing) bool { return !s.request.Confirm || s.confirmed }},
}

func (s *standing) fills(seats []countersign.Seat) bool {
	_, ok := s.m.quorum(seats, s.signers)
	return ok
}

// stand judges every review of r under dir, for a grant that claimer uses.
func (m *machine) stand(r *Request, dir countersign.Directory, claimer countersign.Principal) *standing {
	s := &standing{m: m, request: r}
	asker := asDirectoryHas(r.Requester, dir)
	for i := range r.Reviews {
		v := &r.Reviews[i]
		person, _ := dir.Person(v.Person)
		c := &counting{request: r, review: v, person: person, claimer: claimer, asker: asker, chainNow: asker.Chain}
		switch {
		case v.Verdict == Approve && m.seat.broken(c) == nil:
			s.signers = append(s.signers, Signer{Person: v.Person, Groups: person.Groups, Passkey: v.Presence == PresencePasskey})
		case v.Verdict == Confirm && m.confirm.broken(c) == nil:
			s.confirmed = true
		}
	}
	return s
}

// rank is how many of the seats the signers fill at best.
func (m *machine) rank(seats []countersign.Seat, signers []Signer) int {
	assignment, _ := m.quorum(seats, signers)
	n := 0
	for _, a := range assignment {
		if a >= 0 {
			n++
		}
	}
	return n
}

// asDirectoryHas returns p's chain and owners as dir has them, even when p is inactive; nobody when p is
// not in it.
func asDirectoryHas(p countersign.Principal, dir countersign.Directory) countersign.Principal {
	if p.Kind == countersign.KindPerson {
		return countersign.Principal{Kind: p.Kind, Person: p.Person}
	}
	rec, ok := dir.Agent(p.Agent)
	if !ok {
		return countersign.Principal{Kind: p.Kind, Agent: p.Agent}
	}
	now := countersign.Principal{Kind: p.Kind, Agent: p.Agent, Owners: rec.Owners}
	if rec.ActsFor != "" {
		now.Chain = []countersign.PersonID{rec.ActsFor}
	}
	return now
}

// concerns reports whether what p asks is id's own matter, so that id may not sign it (P2).
func concerns(p countersign.Principal, id countersign.PersonID) bool {
	return slices.Contains(p.Interested(), id)
}

// people returns everyone whose own matter the request is, as recorded and as dir has it.
func (r *Request) people(dir countersign.Directory) []countersign.PersonID {
	all := append(r.Requester.Interested(), asDirectoryHas(r.Requester, dir).Interested()...)
	slices.Sort(all)
	return slices.Compact(all)
}

// owns reports whether login, if there is one, belongs to p.
func owns(p countersign.Person, login string) bool {
	return login == "" || slices.Contains(p.Logins, login)
}

// asksFor reports whether some seat is open to a member of p's groups.
func asksFor(seats []countersign.Seat, p countersign.Person) bool {
	return slices.ContainsFunc(seats, func(s countersign.Seat) bool { return anyOf(s.Groups, p.Groups) })
}

// OpenSeats returns the seats that the signatures which count now leave open.
func (r Request) OpenSeats(dir countersign.Directory) []countersign.Seat {
	assignment, _ := Quorum(r.Seats, standard.stand(&r, dir, r.Requester).signers)
	var open []countersign.Seat
	for i, a := range assignment {
		if a < 0 {
			open = append(open, r.Seats[i])
		}
	}
	return open
}

// CanSign reports whether that person may approve or confirm r, supposing that he proves presence by a
// passkey and that the deadline has not passed. When not, the text says why; when so, it says what his
// signature is for.
func (r Request) CanSign(person countersign.PersonID, dir countersign.Directory) (bool, sanitize.Clean) {
	v := Review{Person: person, Verdict: Approve, Presence: PresencePasskey, Digest: r.Digest, View: r.View}
	means := sanitize.Const("your approval fills a seat")
	if r.Confirm && slices.Contains(r.Requester.Chain, person) {
		v.Verdict, means = Confirm, sanitize.Const("you are asked to confirm what is done on your behalf")
	}
	c := newReviewing(standard, &r, v, dir, r.Created)
	if g := standard.review.broken(c); g != nil {
		err := g.refuse(c)
		if err.Detail.IsZero() {
			return false, err.Message
		}
		return false, sanitize.Join(": ", err.Message, err.Detail)
	}
	return true, means
}
