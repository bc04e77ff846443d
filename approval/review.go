package approval

import (
	"slices"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

type reviewing struct {
	m        *machine
	request  *Request
	v        Review
	dir      countersign.Directory
	now      time.Time
	person   countersign.Person    // the reviewer's record; the zero value when there is none
	asker    countersign.Principal // the requester as the directory has him now
	confirms bool                  // it says, or refuses, the word of a person acted for
	counted  *standing             // what counts already, once it was asked for
}

func newReviewing(m *machine, r *Request, v Review, dir countersign.Directory, now time.Time) *reviewing {
	c := &reviewing{m: m, request: r, v: v, dir: dir, now: now, asker: asDirectoryHas(r.Requester, dir)}
	c.person, _ = dir.Person(v.Person)
	// Who is asked to confirm may refuse to, although the request is his own matter.
	c.confirms = v.Verdict == Confirm ||
		v.Verdict == Deny && r.Confirm && slices.Contains(r.Requester.Chain, v.Person) && slices.Contains(c.asker.Chain, v.Person)
	return c
}

// standing is what counts without this review.
func (c *reviewing) standing() *standing {
	if c.counted == nil {
		c.counted = c.m.stand(c.request, c.dir, c.request.Requester)
	}
	return c.counted
}

// signs reports whether the verdict asks for something to run.
func (c *reviewing) signs() bool { return c.v.Verdict != Deny }

func (c *reviewing) earlier() (Review, bool) {
	i := slices.IndexFunc(c.request.Reviews, func(v Review) bool { return v.Person == c.v.Person })
	if i < 0 {
		return Review{}, false
	}
	return c.request.Reviews[i], true
}

// reviewGuards are what a verdict must meet to be taken.
var reviewGuards = guards[*reviewing]{
	{"the verdict is known", func(c *reviewing) bool {
		return c.v.Verdict == Approve || c.v.Verdict == Deny || c.v.Verdict == Confirm
	}, func(c *reviewing) *countersign.Error {
		return c.refuse(countersign.ErrInvalid, sanitize.Const("the verdict is not one of approve, deny, confirm"), sanitize.Clean{}, sanitize.Clean{})
	}},
	{"presence is proven", func(c *reviewing) bool {
		return c.v.Presence == PresenceToken || c.v.Presence == PresenceSession || c.v.Presence == PresencePasskey
	}, func(c *reviewing) *countersign.Error {
		return c.refuse(countersign.ErrInvalid, sanitize.Const("a review needs proof that a person is there"), sanitize.Clean{},
			sanitize.Const("sign on the request's page"))
	}},
	{"the request is open to the verdict", func(c *reviewing) bool {
		return c.request.State == Pending || c.request.State == Approved && !c.signs()
	}, refuseState},
	{"it is in time", func(c *reviewing) bool { return c.request.inTime(c.now) }, func(c *reviewing) *countersign.Error {
		return tooLate(c.request)
	}},
	{"the reviewer is an active person of the directory", func(c *reviewing) bool {
		return c.person.Active
	}, func(c *reviewing) *countersign.Error {
		return c.refuse(countersign.ErrDenied, sanitize.Format("%s may not review", name(c.v.Person)),
			sanitize.Const("only active persons of the directory review; agents, keys and service accounts never do"), sanitize.Clean{})
	}},
	{"the login is the reviewer's", func(c *reviewing) bool { return owns(c.person, c.v.Login) }, func(c *reviewing) *countersign.Error {
		return c.refuse(countersign.ErrDenied, sanitize.Format("login %s is not a login of %s", name(c.v.Login), name(c.v.Person)),
			sanitize.Const("reviews count persons, and the directory says whose a login is"), sanitize.Const("sign in again"))
	}},
	{"the reviewer is none of the requester's people as recorded", func(c *reviewing) bool {
		return c.confirms || !concerns(c.request.Requester, c.v.Person)
	}, refuseInterested},
	{"the reviewer is none of the requester's people now", func(c *reviewing) bool {
		return c.confirms || !concerns(c.asker, c.v.Person)
	}, refuseInterested},
	{"a confirmation is asked for", func(c *reviewing) bool {
		return c.v.Verdict != Confirm || c.request.Confirm
	}, func(c *reviewing) *countersign.Error {
		return c.refuse(countersign.ErrInvalid, sanitize.Const("this request asks for no confirmation"), sanitize.Clean{},
			sanitize.Const("approve or deny it"))
	}},
	{"the confirmer was acted for when it was asked", func(c *reviewing) bool {
		return c.v.Verdict != Confirm || slices.Contains(c.request.Requester.Chain, c.v.Person)
	}, refuseConfirmer},
	{"the confirmer is acted for now", func(c *reviewing) bool {
		return c.v.Verdict != Confirm || slices.Contains(c.asker.Chain, c.v.Person)
	}, refuseConfirmer},
	{"some seat is for the reviewer's groups", func(c *reviewing) bool {
		return c.confirms || asksFor(c.request.Seats, c.person)
	}, func(c *reviewing) *countersign.Error {
		detail := wants(c.request.Seats)
		if len(c.request.Seats) == 0 {
			detail = sanitize.Const("it waits only for the person acted for, who confirms")
		}
		return c.refuse(countersign.ErrDenied, sanitize.Format("%s may not sign this request", name(c.v.Person)), detail,
			sanitize.Const("somebody who is asked must sign"))
	}},
	{"it is about this very action", func(c *reviewing) bool { return c.v.Digest == c.request.Digest }, refuseOther},
	{"it is about what is shown", func(c *reviewing) bool { return c.v.View == c.request.View }, refuseOther},
	{"the reviewer has not spoken yet", func(c *reviewing) bool {
		_, spoken := c.earlier()
		return !c.signs() || !spoken
	}, func(c *reviewing) *countersign.Error {
		v, _ := c.earlier()
		return c.refuse(countersign.ErrConflict, sanitize.Format("%s has already given a verdict: %s", name(v.Person), name(v.Verdict)),
			sanitize.Const("each person has one verdict on a request"), sanitize.Const("to stop it, deny it"))
	}},
	{"the requester is active", func(c *reviewing) bool {
		_, err := c.dir.Principal(c.request.Requester)
		return !c.signs() || err == nil
	}, func(c *reviewing) *countersign.Error {
		return c.refuse(countersign.ErrDenied, sanitize.Format("%s may not ask for anything now", name(c.request.Requester.ID())),
			sanitize.Const("he, or a person he acts for, is not active in the directory"), sanitize.Const("the request can still be denied"))
	}},
	{"it fills an open seat", func(c *reviewing) bool {
		return c.v.Verdict != Approve || c.fillsSeat()
	}, refuseSeat},
}

// fillsSeat reports whether more seats can be filled with this review than without. When all are filled
// already, and the request is pending only because a signature did not count for a while, anyone who may
// sign settles it.
func (c *reviewing) fillsSeat() bool {
	seats, signers := c.request.Seats, c.standing().signers
	before := c.m.rank(seats, signers)
	if before == len(seats) {
		return !c.request.Confirm || c.standing().confirmed
	}
	self := Signer{Person: c.v.Person, Groups: c.person.Groups, Passkey: c.v.Presence == PresencePasskey}
	return c.m.rank(seats, append(slices.Clip(signers), self)) > before
}

func (c *reviewing) refuse(kind countersign.ErrorKind, message, detail, hint sanitize.Clean) *countersign.Error {
	return about(c.request, kind, message, detail, hint)
}

func refuseState(c *reviewing) *countersign.Error {
	if c.request.State == Approved {
		return c.refuse(countersign.ErrConflict, sanitize.Format("request %s is approved already", name(c.request.ID)),
			sanitize.Clean{}, sanitize.Const("it can still be denied until it is used"))
	}
	return ended(c.request)
}

func refuseInterested(c *reviewing) *countersign.Error {
	return c.refuse(countersign.ErrDenied, sanitize.Format("%s may not review this request", name(c.v.Person)),
		sanitize.Format("nobody signs for himself: it was asked by %s, and the requester, the persons he acts for and an agent's owners never count (%s)",
			name(c.request.Requester.ID()), list(c.request.people(c.dir))),
		sanitize.Const("another person must sign; to stop it, cancel it"))
}

func refuseConfirmer(c *reviewing) *countersign.Error {
	return c.refuse(countersign.ErrDenied, sanitize.Format("%s may not confirm this request", name(c.v.Person)),
		sanitize.Format("only a person for whom %s acts confirms, both when it was asked and now (%s)",
			name(c.request.Requester.ID()), list(c.request.Requester.Chain)), sanitize.Clean{})
}

func refuseOther(c *reviewing) *countersign.Error {
	return c.refuse(countersign.ErrConflict, sanitize.Const("what was signed is not what waits"),
		sanitize.Const("the digest of the action or of the view differs from the request's"), sanitize.Const("open the request again and read it"))
}

func refuseSeat(c *reviewing) *countersign.Error {
	var open []countersign.Seat
	assignment, _ := c.m.quorum(c.request.Seats, c.standing().signers)
	for i, a := range assignment {
		if a < 0 {
			open = append(open, c.request.Seats[i])
		}
	}
	if len(open) == 0 {
		return c.refuse(countersign.ErrConflict, sanitize.Const("no more approvals are needed"),
			sanitize.Const("it waits only for the person acted for, who confirms"), sanitize.Clean{})
	}
	hint := sanitize.Const("somebody else must sign")
	withPasskey := *c
	withPasskey.v.Presence = PresencePasskey
	if withPasskey.fillsSeat() {
		hint = sanitize.Const("sign with a passkey")
	}
	return c.refuse(countersign.ErrDenied, sanitize.Format("the approval of %s fills none of the seats still open", name(c.v.Person)),
		wants(open), hint)
}

// Review takes one person's verdict. v.At is set to now. The caller has resolved v.Person from the login
// or passkey that signed, and vouches for v.Presence. An approval or a confirmation is taken while the
// request is pending; it is approved when all that was asked for is there. A denial is taken until the
// last use is, and ends the request.
func (r Request) Review(v Review, dir countersign.Directory, now time.Time) (Request, error) {
	c := newReviewing(standard, &r, v, dir, now)
	if g := standard.review.broken(c); g != nil {
		return r, g.refuse(c)
	}
	return c.apply(), nil
}

// apply takes the verdict, which has passed reviewGuards.
func (c *reviewing) apply() Request {
	r := *c.request
	v := c.v
	v.At = c.now
	r.Reviews = append(slices.Clip(r.Reviews), v)
	if v.Verdict == Deny {
		return r.end(Denied, c.now, sanitize.Format("denied by %s", name(v.Person)))
	}
	if c.m.complete.broken(c.m.stand(&r, c.dir, r.Requester)) == nil {
		r.State = Approved
		r.ClaimBy = c.now.Add(r.ClaimWithin)
	}
	return r
}

// inTime reports whether the deadline of r's state lies ahead.
func (r *Request) inTime(now time.Time) bool {
	switch r.State {
	case Pending:
		return now.Before(r.Deadline)
	case Approved:
		return now.Before(r.ClaimBy)
	}
	return true
}

// end ends r.
func (r Request) end(s State, now time.Time, why sanitize.Clean) Request {
	r.State, r.Ended, r.Why = s, now, why
	return r
}
