package approval

import (
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

type cancelling struct {
	request *Request
	by      countersign.Principal
	dir     countersign.Directory
	now     time.Time
}

// cancelGuards let a request be withdrawn by those whose matter it is.
var cancelGuards = guards[*cancelling]{
	{"the request is open", func(c *cancelling) bool { return c.request.IsOpen() }, func(c *cancelling) *countersign.Error {
		return ended(c.request)
	}},
	{"it is in time", func(c *cancelling) bool { return c.request.inTime(c.now) }, func(c *cancelling) *countersign.Error {
		return tooLate(c.request)
	}},
	{"who cancels is active", func(c *cancelling) bool {
		_, err := c.dir.Principal(c.by)
		return err == nil
	}, refuseCanceller},
	{"who cancels has a part in it", func(c *cancelling) bool {
		return c.by.ID() == c.request.Requester.ID() || c.by.Kind == countersign.KindPerson && c.by.Person != "" &&
			(concerns(c.request.Requester, c.by.Person) || concerns(asDirectoryHas(c.request.Requester, c.dir), c.by.Person))
	}, refuseCanceller},
}

func refuseCanceller(c *cancelling) *countersign.Error {
	return about(c.request, countersign.ErrDenied, sanitize.Format("%s may not cancel request %s", name(c.by.ID()), name(c.request.ID)),
		sanitize.Format("only active ones with a part in it do: the requester %s, the persons he acts for, an agent's owners",
			name(c.request.Requester.ID())),
		sanitize.Const("a reviewer may deny it"))
}

// Cancel withdraws an open request: by the requester himself, a person he acts for, or an owner.
func (r Request) Cancel(by countersign.Principal, dir countersign.Directory, now time.Time, why sanitize.Clean) (Request, error) {
	c := &cancelling{&r, by, dir, now}
	if g := standard.cancel.broken(c); g != nil {
		return r, g.refuse(c)
	}
	return r.end(Cancelled, now, why), nil
}

// ending is a request about to end without anyone's verdict.
type ending struct {
	request *Request
	now     time.Time
}

var expireGuards = guards[*ending]{
	{name: "the request is open and its time is over", holds: func(c *ending) bool {
		return c.request.IsOpen() && !c.request.inTime(c.now)
	}},
}

var lapseGuards = guards[*ending]{
	{"the request is open", func(c *ending) bool { return c.request.IsOpen() }, func(c *ending) *countersign.Error {
		return ended(c.request)
	}},
}

var revokeGuards = guards[*ending]{
	{"the request is approved", func(c *ending) bool { return c.request.State == Approved }, func(c *ending) *countersign.Error {
		if c.request.State == Pending {
			return about(c.request, countersign.ErrConflict, sanitize.Format("request %s is not approved", name(c.request.ID)),
				sanitize.Const("only an approval can be revoked"), sanitize.Const("cancel or deny it"))
		}
		return ended(c.request)
	}},
}

// Expire ends a request whose time is over: a pending one at its Deadline, an approved one at ClaimBy.
// It reports whether it did.
func (r Request) Expire(now time.Time) (Request, bool) {
	c := &ending{&r, now}
	if standard.expire.broken(c) != nil {
		return r, false
	}
	return c.expire(), true
}

func (c *ending) expire() Request {
	if c.request.State == Pending {
		return c.request.end(Expired, c.now, sanitize.Const("nobody signed in time"))
	}
	return c.request.end(Lapsed, c.now, sanitize.Const("the approval was not used in time"))
}

// Lapse ends an open request because what it belongs to has ended, such as its transaction block.
func (r Request) Lapse(now time.Time, why sanitize.Clean) (Request, error) {
	c := &ending{&r, now}
	if g := standard.lapse.broken(c); g != nil {
		return r, g.refuse(c)
	}
	return c.lapse(why), nil
}

func (c *ending) lapse(why sanitize.Clean) Request {
	if c.request.State == Pending {
		return c.request.end(Cancelled, c.now, why)
	}
	return c.request.end(Lapsed, c.now, why)
}

// Revoke ends an approved request whose approval no longer counts.
func (r Request) Revoke(now time.Time, why sanitize.Clean) (Request, error) {
	c := &ending{&r, now}
	if g := standard.revoke.broken(c); g != nil {
		return r, g.refuse(c)
	}
	return r.end(Revoked, now, why), nil
}
