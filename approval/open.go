package approval

import (
	"slices"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

const (
	// DefaultExpires is how long a request waits for signatures when policy does not say.
	DefaultExpires = time.Hour
	// DefaultClaimWithin is how long an approval may be used when policy does not say.
	DefaultClaimWithin = 15 * time.Minute
	// MaxUses is how many uses one grant may have at most.
	MaxUses = 1000
)

// Opening is what a new request is made of.
type Opening struct {
	ID        countersign.RequestID
	Resource  countersign.ResourceName
	Requester countersign.Principal
	Digest    countersign.Digest // of the action, P3
	View      countersign.Digest // of what reviewers are shown
	Policy    countersign.Digest
	Decision  countersign.Decision
	MaxUses   int // zero is one
}

type opening struct {
	m       *machine
	o       Opening
	dir     countersign.Directory
	request Request // as it will be
}

// openGuards refuse requests that bind nothing, ask nobody, or wait for a signature that nobody can give.
var openGuards = guards[*opening]{
	{"it binds an action and a view", func(c *opening) bool {
		zero := countersign.Digest{}
		return c.o.ID != "" && c.o.Digest != zero && c.o.View != zero
	}, func(c *opening) *countersign.Error {
		return c.invalid(sanitize.Const("a request needs an id, the digest of its action and the digest of its view"))
	}},
	{"the number of uses is stated", func(c *opening) bool {
		return c.request.MaxUses >= 1 && c.request.MaxUses <= MaxUses
	}, func(c *opening) *countersign.Error {
		return c.invalid(sanitize.Format("a grant has 1 to %s uses, not %s", sanitize.Int(MaxUses), sanitize.Int(int64(c.o.MaxUses))))
	}},
	{"its deadlines lie ahead", func(c *opening) bool {
		return c.o.Decision.Expires >= 0 && c.o.Decision.ClaimWithin >= 0
	}, func(c *opening) *countersign.Error {
		return c.invalid(sanitize.Const("the time to sign or to use a request is negative"))
	}},
	{"policy asks for signatures", func(c *opening) bool {
		return c.o.Decision.Verdict == countersign.Review || c.o.Decision.Verdict == countersign.Confirm
	}, func(c *opening) *countersign.Error {
		return c.invalid(sanitize.Format("policy says %s, which is no request for signatures", name(c.o.Decision.Verdict)))
	}},
	{"a review has seats", func(c *opening) bool {
		return c.o.Decision.Verdict != countersign.Review || len(c.o.Decision.Seats) > 0
	}, func(c *opening) *countersign.Error {
		return c.invalid(sanitize.Const("policy asks for review, but for no reviewer"))
	}},
	{"the requester is active", func(c *opening) bool {
		_, err := c.dir.Principal(c.o.Requester)
		return err == nil
	}, refuseInactiveOpening},
	{"it acts for whom the directory says", func(c *opening) bool {
		return slices.Equal(c.o.Requester.Chain, asDirectoryHas(c.o.Requester, c.dir).Chain)
	}, func(c *opening) *countersign.Error {
		return about(&c.request, countersign.ErrConflict, sanitize.Format("%s acts for somebody else now", name(c.o.Requester.ID())),
			sanitize.Const("the directory has changed since the session began"), sanitize.Const("connect again"))
	}},
	{"there is somebody to confirm", func(c *opening) bool {
		return !c.request.Confirm || len(c.o.Requester.Chain) > 0
	}, func(c *opening) *countersign.Error {
		return about(&c.request, countersign.ErrDenied, sanitize.Const("nobody can confirm this action, so it is denied at once"),
			sanitize.Format("policy asks that the person acted for confirms, and %s acts for nobody (rules: %s)",
				name(c.o.Requester.ID()), list(c.o.Decision.Rules)),
			sanitize.Const("ask an administrator to say for whom the agent acts, or to change the rule"))
	}},
	{"every seat can be filled", func(c *opening) bool {
		_, ok := c.m.quorum(c.request.Seats, c.candidates())
		return ok
	}, refuseUnfillable},
}

func (c *opening) invalid(message sanitize.Clean) *countersign.Error {
	return about(&c.request, countersign.ErrInvalid, message, sanitize.Clean{}, sanitize.Clean{})
}

// candidates is everyone who could sign, as if all had passkeys.
func (c *opening) candidates() []Signer {
	interested := c.request.people(c.dir)
	var all []Signer
	for _, p := range c.dir.Persons {
		if p.Active && !slices.Contains(interested, p.ID) && asksFor(c.request.Seats, p) {
			all = append(all, Signer{Person: p.ID, Groups: p.Groups, Passkey: true})
		}
	}
	return all
}

func refuseInactiveOpening(c *opening) *countersign.Error {
	return about(&c.request, countersign.ErrDenied, sanitize.Format("%s may not ask for anything", name(c.o.Requester.ID())),
		sanitize.Const("he, or a person he acts for, is not active in the directory"), sanitize.Const("ask an administrator"))
}

func refuseUnfillable(c *opening) *countersign.Error {
	message := sanitize.Const("this action needs signatures that nobody can give, so it is denied at once")
	if len(c.request.Seats) > MaxSeats {
		return about(&c.request, countersign.ErrDenied, message,
			sanitize.Format("policy asks for %s signatures; at most %s are possible (rules: %s)",
				sanitize.Int(int64(len(c.request.Seats))), sanitize.Int(MaxSeats), list(c.o.Decision.Rules)),
			sanitize.Const("ask an administrator to change the rules"))
	}
	var missing []countersign.Seat
	assignment, _ := c.m.quorum(c.request.Seats, c.candidates())
	for i, a := range assignment {
		if a < 0 {
			missing = append(missing, c.request.Seats[i])
		}
	}
	return about(&c.request, countersign.ErrDenied, message,
		sanitize.Format("%s, and too few are left: people with a part in the request never sign it (%s), and nobody signs twice",
			wants(missing), list(c.request.people(c.dir))),
		sanitize.Const("ask an administrator to add members to these groups, or to change the rule"))
}

// Open makes a request of what policy wants signed. It fails with ErrDenied when the signatures could
// never be given: by no active person without a part in the request.
func Open(o Opening, dir countersign.Directory, now time.Time) (Request, error) {
	c := newOpening(standard, o, dir, now)
	if g := standard.open.broken(c); g != nil {
		return Request{}, g.refuse(c)
	}
	return c.request, nil
}

func newOpening(m *machine, o Opening, dir countersign.Directory, now time.Time) *opening {
	d := o.Decision
	r := Request{
		ID: o.ID, Resource: o.Resource, Requester: o.Requester,
		Digest: o.Digest, View: o.View, Policy: o.Policy,
		Seats: slices.Clone(d.Seats), Confirm: d.Verdict == countersign.Confirm || d.Confirm,
		MaxUses: o.MaxUses, Created: now, ClaimWithin: d.ClaimWithin, State: Pending,
	}
	if r.MaxUses == 0 {
		r.MaxUses = 1
	}
	if r.ClaimWithin == 0 {
		r.ClaimWithin = DefaultClaimWithin
	}
	wait := d.Expires
	if wait == 0 {
		wait = DefaultExpires
	}
	r.Deadline = now.Add(wait)
	return &opening{m: m, o: o, dir: dir, request: r}
}
