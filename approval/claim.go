package approval

import (
	"slices"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// Claim is the wish to use a grant.
type Claim struct {
	Claimer  countersign.Principal
	Digest   countersign.Digest
	Action   countersign.ActionID // names this use; a retry of the same use carries the same name
	Decision countersign.Decision // what policy says of the action now
}

type claiming struct {
	m       *machine
	request *Request
	claim   Claim
	dir     countersign.Directory
	now     time.Time
	counted *standing // what counts, once it was asked for
}

// standing is what counts now, for this claimer.
func (c *claiming) standing() *standing {
	if c.counted == nil {
		c.counted = c.m.stand(c.request, c.dir, c.claim.Claimer)
	}
	return c.counted
}

// claimGuards judge everything again, against who claims (P2, P3, P4).
var claimGuards = guards[*claiming]{
	{"the request is approved and has a use left", func(c *claiming) bool { return c.request.usesLeft() }, refuseUnapproved},
	{"it is in time", func(c *claiming) bool { return c.request.inTime(c.now) }, func(c *claiming) *countersign.Error {
		return tooLate(c.request)
	}},
	{"the use is named, and new", func(c *claiming) bool {
		return c.claim.Action != "" && !slices.ContainsFunc(c.request.Uses, func(u Use) bool { return u.Action == c.claim.Action })
	}, refuseUse},
	{"who asked claims", func(c *claiming) bool {
		p, q := c.claim.Claimer, c.request.Requester
		return p.Kind == q.Kind && p.Person == q.Person && p.Agent == q.Agent
	}, func(c *claiming) *countersign.Error {
		return c.refuse(countersign.ErrDenied, sanitize.Format("%s may not use this request", name(c.claim.Claimer.ID())),
			sanitize.Format("it was asked and signed for %s", name(c.request.Requester.ID())), sanitize.Const("submit the action to make a request of your own"))
	}},
	{"he claims on behalf of whom he asked", func(c *claiming) bool {
		return slices.Equal(c.claim.Claimer.Chain, c.request.Requester.Chain)
	}, refuseChain},
	{"this very action was signed", func(c *claiming) bool { return c.claim.Digest == c.request.Digest }, func(c *claiming) *countersign.Error {
		return c.refuse(countersign.ErrDenied, sanitize.Const("what is to run is not what was signed"),
			sanitize.Const("the action's digest differs from the request's"), sanitize.Const("submit the action to make a request of its own"))
	}},
	{"the claimer is active", func(c *claiming) bool {
		_, err := c.dir.Principal(c.claim.Claimer)
		return err == nil
	}, func(c *claiming) *countersign.Error {
		return c.refuse(countersign.ErrDenied, sanitize.Format("%s may not use anything now", name(c.claim.Claimer.ID())),
			sanitize.Const("he, or a person he acts for, is not active in the directory"), sanitize.Const("ask an administrator"))
	}},
	{"he acts for whom the directory says", func(c *claiming) bool {
		return slices.Equal(asDirectoryHas(c.claim.Claimer, c.dir).Chain, c.claim.Claimer.Chain)
	}, refuseChain},
	{"policy permits it now, with signatures or without", func(c *claiming) bool {
		d := c.claim.Decision
		return d.Verdict == countersign.Allow || d.Verdict == countersign.Confirm || d.Verdict == countersign.Review && len(d.Seats) > 0
	}, refusePolicy},
	{"the signatures asked for count now", func(c *claiming) bool { return c.standing().fills(c.request.Seats) }, func(c *claiming) *countersign.Error {
		return c.insufficient(c.unfilled(c.request.Seats))
	}},
	{"the confirmation asked for counts now", func(c *claiming) bool { return !c.request.Confirm || c.standing().confirmed }, refuseUnconfirmed},
	{"they fill the seats that policy asks for now", func(c *claiming) bool { return c.standing().fills(c.claim.Decision.Seats) }, func(c *claiming) *countersign.Error {
		return c.insufficient(sanitize.Format("policy has changed: %s", c.unfilled(c.claim.Decision.Seats)))
	}},
	{"a confirmation that policy asks for now is given", func(c *claiming) bool {
		return !c.claim.Decision.Confirm && c.claim.Decision.Verdict != countersign.Confirm || c.standing().confirmed
	}, refuseUnconfirmed},
}

func (c *claiming) refuse(kind countersign.ErrorKind, message, detail, hint sanitize.Clean) *countersign.Error {
	return about(c.request, kind, message, detail, hint)
}

func refuseUnapproved(c *claiming) *countersign.Error {
	switch c.request.State {
	case Pending:
		return c.refuse(countersign.ErrPending, sanitize.Format("request %s waits for signatures", name(c.request.ID)),
			wants(c.request.Seats), sanitize.Const("run it again after approval"))
	case Denied:
		return c.refuse(countersign.ErrDenied, sanitize.Format("request %s was denied", name(c.request.ID)), c.request.Why, sanitize.Clean{})
	case Claimed, Uncommitted, Done, Failed, RolledBack, Unknown, Approved:
		return c.refuse(countersign.ErrConflict, sanitize.Format("request %s has been used", name(c.request.ID)),
			sanitize.Format("it was signed for %s use(s)", sanitize.Int(int64(c.request.MaxUses))),
			sanitize.Const("submit the action again to make a new request"))
	}
	return ended(c.request)
}

func refuseUse(c *claiming) *countersign.Error {
	if c.claim.Action == "" {
		return c.refuse(countersign.ErrInvalid, sanitize.Const("a use of a grant needs the name of an action"), sanitize.Clean{}, sanitize.Clean{})
	}
	return c.refuse(countersign.ErrConflict, sanitize.Format("action %s has used this request already", name(c.claim.Action)),
		sanitize.Const("one action uses a grant once"), sanitize.Const("submit the action again"))
}

func refuseChain(c *claiming) *countersign.Error {
	return c.refuse(countersign.ErrDenied, sanitize.Const("it is asked on behalf of somebody else now"),
		sanitize.Format("it was asked and signed on behalf of %s", list(c.request.Requester.Chain)),
		sanitize.Const("connect and submit the action again"))
}

func refusePolicy(c *claiming) *countersign.Error {
	return c.refuse(countersign.ErrDenied, sanitize.Const("policy denies this action now, although it was signed"),
		sanitize.Format("policy has changed since it was asked (rules: %s)", list(c.claim.Decision.Rules)), sanitize.Clean{})
}

func refuseUnconfirmed(c *claiming) *countersign.Error {
	return c.insufficient(sanitize.Format("a confirmation by a person for whom %s acts is missing", name(c.claim.Claimer.ID())))
}

// unfilled says which seats stay open.
func (c *claiming) unfilled(seats []countersign.Seat) sanitize.Clean {
	if len(seats) > MaxSeats {
		return sanitize.Format("more than %s signatures are asked for", sanitize.Int(MaxSeats))
	}
	assignment, _ := c.m.quorum(seats, c.standing().signers)
	var open []countersign.Seat
	for i, a := range assignment {
		if a < 0 {
			open = append(open, seats[i])
		}
	}
	return wants(open)
}

func (c *claiming) insufficient(detail sanitize.Clean) *countersign.Error {
	err := c.refuse(countersign.ErrDenied, sanitize.Const("the signatures no longer suffice"), detail,
		sanitize.Const("submit the action again to make a new request"))
	err.Err = ErrSignaturesNoLongerCount
	return err
}

// Claim takes one use of a grant and returns its index. It is judged under the directory and the policy
// of this moment: the store's write must fail when either, the request, or the time has moved on. An
// error that wraps ErrSignaturesNoLongerCount asks for Revoke.
func (r Request) Claim(cl Claim, dir countersign.Directory, now time.Time) (Request, int, error) {
	c := &claiming{m: standard, request: &r, claim: cl, dir: dir, now: now}
	if g := standard.claim.broken(c); g != nil {
		return r, -1, g.refuse(c)
	}
	next := c.apply()
	return next, len(next.Uses) - 1, nil
}

func (c *claiming) apply() Request {
	r := *c.request
	r.Uses = append(slices.Clip(r.Uses), Use{Action: c.claim.Action, At: c.now, Outcome: Claimed})
	if len(r.Uses) >= r.MaxUses {
		r.State = Claimed
	}
	return r
}
