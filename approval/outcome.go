package approval

import (
	"slices"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

type settling struct {
	request *Request
	use     int
	state   State
	now     time.Time
}

// outcomeGuards let each use have one outcome, which never changes once it is final.
var outcomeGuards = guards[*settling]{
	{"there is such a use", func(c *settling) bool { return c.use >= 0 && c.use < len(c.request.Uses) }, func(c *settling) *countersign.Error {
		return about(c.request, countersign.ErrInvalid, sanitize.Format("request %s has no use %s", name(c.request.ID), sanitize.Int(int64(c.use))),
			sanitize.Clean{}, sanitize.Clean{})
	}},
	{"the outcome may follow", func(c *settling) bool { return mayFollow(c.request.Uses[c.use].Outcome, c.state) }, func(c *settling) *countersign.Error {
		return about(c.request, countersign.ErrConflict, sanitize.Format("a use of request %s is %s and cannot become %s",
			name(c.request.ID), name(c.request.Uses[c.use].Outcome), name(c.state)), sanitize.Clean{}, sanitize.Clean{})
	}},
}

func mayFollow(from, to State) bool {
	switch from {
	case Claimed:
		return to == Uncommitted || to == Done || to == Failed || to == Unknown
	case Uncommitted:
		return to == Done || to == RolledBack || to == Unknown
	}
	return false
}

// Outcome records what became of a use. When every use of the grant is taken, the request's state
// follows, as the package comment says.
func (r Request) Outcome(use int, s State, now time.Time) (Request, error) {
	c := &settling{&r, use, s, now}
	if g := standard.outcome.broken(c); g != nil {
		return r, g.refuse(c)
	}
	return c.apply(), nil
}

func (c *settling) apply() Request {
	r := *c.request
	r.Uses = slices.Clone(r.Uses)
	r.Uses[c.use].Outcome = c.state
	if r.State != Claimed && r.State != Uncommitted {
		return r // uses are left, or the rest of the grant ended otherwise
	}
	r.State = aggregate(r.Uses)
	if r.State.Ended() {
		r.Ended = c.now
	}
	return r
}

// aggregate returns the first of these states that some use has.
func aggregate(uses []Use) State {
	for _, s := range []State{Claimed, Uncommitted, Unknown, Failed, RolledBack} {
		if slices.ContainsFunc(uses, func(u Use) bool { return u.Outcome == s }) {
			return s
		}
	}
	return Done
}
