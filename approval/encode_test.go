package approval

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/countersign-dev/countersign"
)

// encode is every field of a request, and what the world remembers of it.
func encode(e *entity) string {
	var b []byte
	num := func(n int64) { b = binary.AppendVarint(b, n) }
	str := func(s string) { num(int64(len(s))); b = append(b, s...) }
	tm := func(t time.Time) {
		if t.IsZero() {
			num(-1)
		} else {
			num(t.Sub(clock(0)).Milliseconds())
		}
	}
	list := func(ids []countersign.PersonID) {
		num(int64(len(ids)))
		for _, id := range ids {
			str(string(id))
		}
	}
	for _, n := range []int{e.q, e.asker, e.uses, e.openDir, e.openTick, e.approvedTick, e.ran, e.revision} {
		num(int64(n))
	}
	str(fmt.Sprint(e.asked))
	r := &e.r
	for _, s := range []string{
		string(r.ID), string(r.Resource), r.Requester.ID(), string(r.Digest[:]), string(r.View[:]), string(r.Policy[:]),
		string(r.State), r.Why.String(), fmt.Sprint(r.Requester.Groups, r.Seats, r.Confirm, r.MaxUses),
	} {
		str(s)
	}
	list(r.Requester.Chain)
	list(r.Requester.Owners)
	tm(r.Created)
	tm(r.Deadline)
	num(int64(r.ClaimWithin))
	tm(r.ClaimBy)
	tm(r.Ended)
	num(int64(len(r.Reviews)))
	for _, v := range r.Reviews {
		for _, s := range []string{string(v.Person), v.Login, string(v.Verdict), string(v.Presence), string(v.Digest[:]), string(v.View[:]), v.Reason.String()} {
			str(s)
		}
		tm(v.At)
	}
	num(int64(len(r.Uses)))
	for _, u := range r.Uses {
		str(string(u.Action))
		str(string(u.Outcome))
		tm(u.At)
	}
	return string(b)
}
