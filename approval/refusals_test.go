package approval

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// refusal is a case that one guard, and no earlier one, refuses.
type refusal struct {
	guard string // "table: name"
	kind  countersign.ErrorKind
	says  []string // all in the error's text
	err   error    // of the exported transition
	by    string   // the guard that refused
}

func refuseOpen(guard string, bend func(*Opening), dir countersign.Directory, kind countersign.ErrorKind, says ...string) refusal {
	o := openingOf(decide(seatFor("dba")))
	bend(&o)
	_, err := Open(o, dir, noon)
	return refusal{"open: " + guard, kind, says, err, brokenName("open", standard.open.broken(newOpening(standard, o, dir, noon)))}
}

func brokenName[T any](table string, g *guard[T]) string {
	if g == nil {
		return "nothing"
	}
	return table + ": " + g.name
}

func reviewRefusal(guard string, r Request, v Review, dir countersign.Directory, now time.Time, kind countersign.ErrorKind, says ...string) refusal {
	_, err := r.Review(v, dir, now)
	return refusal{"review: " + guard, kind, says, err, brokenName("review", standard.review.broken(newReviewing(standard, &r, v, dir, now)))}
}

func claimRefusal(guard string, r Request, cl Claim, dir countersign.Directory, now time.Time, kind countersign.ErrorKind, says ...string) refusal {
	_, _, err := r.Claim(cl, dir, now)
	c := &claiming{m: standard, request: &r, claim: cl, dir: dir, now: now}
	return refusal{"claim: " + guard, kind, says, err, brokenName("claim", standard.claim.broken(c))}
}

func cancelRefusal(guard string, r Request, by countersign.Principal, dir countersign.Directory, now time.Time, kind countersign.ErrorKind, says ...string) refusal {
	_, err := r.Cancel(by, dir, now, sanitize.Clean{})
	return refusal{"cancel: " + guard, kind, says, err, brokenName("cancel", standard.cancel.broken(&cancelling{&r, by, dir, now}))}
}

func outcomeRefusal(guard string, r Request, use int, s State, kind countersign.ErrorKind, says ...string) refusal {
	_, err := r.Outcome(use, s, noon)
	return refusal{"outcome: " + guard, kind, says, err, brokenName("outcome", standard.outcome.broken(&settling{&r, use, s, noon}))}
}

var (
	botActsForAnna = moved(func(d *countersign.Directory) { d.Agents[0].ActsFor = "anna" })
	botIsOff       = moved(func(d *countersign.Directory) { d.Agents[0].Active = false })
	annaOwnsBot    = moved(func(d *countersign.Directory) { d.Agents[0].Owners = []countersign.PersonID{"anna"} })
)

func openRefusals() []refusal {
	toConfirm := countersign.Decision{Verdict: countersign.Confirm, Rules: []string{"own-agents"}}
	return []refusal{
		refuseOpen("it binds an action and a view", func(o *Opening) { o.Digest = countersign.Digest{} }, office, countersign.ErrInvalid, "digest"),
		refuseOpen("it binds an action and a view", func(o *Opening) { o.View = countersign.Digest{} }, office, countersign.ErrInvalid, "view"),
		refuseOpen("it binds an action and a view", func(o *Opening) { o.ID = "" }, office, countersign.ErrInvalid, "id"),
		refuseOpen("the number of uses is stated", func(o *Opening) { o.MaxUses = -1 }, office, countersign.ErrInvalid, "-1"),
		refuseOpen("the number of uses is stated", func(o *Opening) { o.MaxUses = MaxUses + 1 }, office, countersign.ErrInvalid, "1000", "1001"),
		refuseOpen("its deadlines lie ahead", func(o *Opening) { o.Decision.Expires = -1 }, office, countersign.ErrInvalid, "negative"),
		refuseOpen("policy asks for signatures", func(o *Opening) { o.Decision.Verdict = countersign.Allow }, office, countersign.ErrInvalid, "allow"),
		refuseOpen("a review has seats", func(o *Opening) { o.Decision.Seats = nil }, office, countersign.ErrInvalid, "no reviewer"),
		refuseOpen("the requester is active", func(*Opening) {}, botIsOff, countersign.ErrDenied, "agent:deploy-bot", "not active"),
		refuseOpen("the requester is active", func(*Opening) {}, left("rita"), countersign.ErrDenied, "acts for"),
		refuseOpen("it acts for whom the directory says", func(*Opening) {}, botActsForAnna, countersign.ErrConflict, "connect again"),
		refuseOpen("there is somebody to confirm", func(o *Opening) { o.Requester, o.Decision = person("anna"), toConfirm }, office, countersign.ErrDenied, "own-agents", "person:anna"),
		refuseOpen("every seat can be filled", func(o *Opening) { o.Decision.Seats = []countersign.Seat{seatFor("nobody-here")} }, office, countersign.ErrDenied, "nobody-here", "prod-changes"),
	}
}

func reviewRefusals(t *testing.T) []refusal {
	r := open(t, decide(seatFor("dba")))
	two := signed(t, open(t, decide(seatFor("dba"), seatFor("security"))), "anna")
	withConfirm := decide(seatFor("dba"))
	withConfirm.Confirm = true
	c := open(t, withConfirm)
	passkey := open(t, decide(countersign.Seat{Rule: "exports", Groups: []countersign.Group{"dba"}, Passkey: true}))
	approve := says("anna", Approve)
	other := approve
	other.Digest = countersign.Digest{1}
	otherView := approve
	otherView.View = countersign.Digest{1}
	noPresence := approve
	noPresence.Presence = "cookie"
	foreign := approve
	foreign.Login = "ben@example.org"
	signedTwice := signed(t, open(t, decide(seatFor("dba"), seatFor("dba"))), "anna")
	return []refusal{
		reviewRefusal("the verdict is known", r, says("anna", "maybe"), office, noon, countersign.ErrInvalid, "approve, deny, confirm"),
		reviewRefusal("presence is proven", r, noPresence, office, noon, countersign.ErrInvalid, "proof"),
		reviewRefusal("the request is open to the verdict", signed(t, r, "ben"), approve, office, noon, countersign.ErrConflict, "approved already", "req_0123456789abcdefghij"),
		reviewRefusal("it is in time", r, approve, office, r.Deadline, countersign.ErrConflict, "expired", "2026-05-04T13:00:00"),
		reviewRefusal("it is in time", signed(t, r, "ben"), says("anna", Deny), office, noon.Add(time.Hour), countersign.ErrConflict, "lapsed"),
		reviewRefusal("the reviewer is an active person of the directory", r, says("zoe", Approve), office, noon, countersign.ErrDenied, "zoe", "agents"),
		reviewRefusal("the login is the reviewer's", r, foreign, office, noon, countersign.ErrDenied, "ben@example.org", "anna"),
		reviewRefusal("the reviewer is none of the requester's people as recorded", r, says("rita", Approve), office, noon, countersign.ErrDenied, "agent:deploy-bot", "rita", "olaf"),
		reviewRefusal("the reviewer is none of the requester's people as recorded", r, says("olaf", Approve), annaOwnsBot, noon, countersign.ErrDenied, "olaf"),
		reviewRefusal("the reviewer is none of the requester's people now", r, approve, annaOwnsBot, noon, countersign.ErrDenied, "anna"),
		reviewRefusal("a confirmation is asked for", r, says("rita", Confirm), office, noon, countersign.ErrInvalid, "no confirmation"),
		reviewRefusal("the confirmer was acted for when it was asked", c, says("anna", Confirm), botActsForAnna, noon, countersign.ErrDenied, "anna", "rita"),
		reviewRefusal("the confirmer is acted for now", c, says("rita", Confirm), botActsForAnna, noon, countersign.ErrDenied, "rita"),
		reviewRefusal("some seat is for the reviewer's groups", r, says("cleo", Approve), office, noon, countersign.ErrDenied, "cleo", "prod-changes", "dba"),
		reviewRefusal("it is about this very action", r, other, office, noon, countersign.ErrConflict, "digest"),
		reviewRefusal("it is about what is shown", r, otherView, office, noon, countersign.ErrConflict, "view"),
		reviewRefusal("the reviewer has not spoken yet", signedTwice, approve, office, noon, countersign.ErrConflict, "anna", "already", "approve"),
		reviewRefusal("the requester is active", r, approve, botIsOff, noon, countersign.ErrDenied, "deploy-bot"),
		reviewRefusal("it fills an open seat", passkey, approve, office, noon, countersign.ErrDenied, "exports", "with a passkey"),
		reviewRefusal("it fills an open seat", signed(t, c, "ben"), approve, office, noon, countersign.ErrConflict, "no more approvals"),
		reviewRefusal("it fills an open seat", two, says("ben", Approve), moved(func(d *countersign.Directory) { d.Persons[3].Groups = []countersign.Group{"dba"} }), noon, countersign.ErrDenied, "security", "somebody else"),
	}
}

func endRefusals(t *testing.T) []refusal {
	r := open(t, decide(seatFor("dba")))
	gone, err := r.Cancel(bot, office, noon, sanitize.Const("not needed"))
	if err != nil {
		t.Fatal(err)
	}
	used, _, err := signed(t, r, "anna").Claim(claimOf(decide(seatFor("dba")), "act_1"), office, noon)
	if err != nil {
		t.Fatal(err)
	}
	_, lapseErr := gone.Lapse(noon, sanitize.Clean{})
	_, revokeErr := r.Revoke(noon, sanitize.Clean{})
	_, revokeEndedErr := gone.Revoke(noon, sanitize.Clean{})
	return []refusal{
		cancelRefusal("the request is open", gone, bot, office, noon, countersign.ErrConflict, "cancelled", "not needed"),
		cancelRefusal("it is in time", r, bot, office, r.Deadline, countersign.ErrConflict, "expired"),
		cancelRefusal("who cancels is active", r, bot, botIsOff, noon, countersign.ErrDenied, "deploy-bot"),
		cancelRefusal("who cancels has a part in it", r, person("anna"), office, noon, countersign.ErrDenied, "person:anna", "deny"),
		{"lapse: the request is open", countersign.ErrConflict, []string{"cancelled"}, lapseErr, brokenName("lapse", standard.lapse.broken(&ending{&gone, noon}))},
		{"revoke: the request is approved", countersign.ErrConflict, []string{"not approved"}, revokeErr, brokenName("revoke", standard.revoke.broken(&ending{&r, noon}))},
		{"revoke: the request is approved", countersign.ErrConflict, []string{"cancelled"}, revokeEndedErr, brokenName("revoke", standard.revoke.broken(&ending{&gone, noon}))},
		outcomeRefusal("there is such a use", r, 0, Done, countersign.ErrInvalid, "no use 0"),
		outcomeRefusal("there is such a use", used, -1, Done, countersign.ErrInvalid, "no use -1"),
		outcomeRefusal("the outcome may follow", used, 0, RolledBack, countersign.ErrConflict, "claimed", "rolled_back"),
	}
}

func claimRefusals(t *testing.T) []refusal {
	d := decide(seatFor("dba"))
	pending := open(t, d)
	r := signed(t, pending, "anna")
	used, _, err := r.Claim(claimOf(d, "act_1"), office, noon)
	if err != nil {
		t.Fatal(err)
	}
	o := openingOf(d)
	o.MaxUses = 2
	once, _, err := signed(t, mustOpen(t, o), "anna").Claim(claimOf(d, "act_1"), office, noon)
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := r.Revoke(noon, sanitize.Const("anna has left"))
	if err != nil {
		t.Fatal(err)
	}
	confirmed := d
	confirmed.Confirm = true
	c, err := open(t, confirmed).Review(Review{Person: "rita", Login: "rita@example.org", Verdict: Confirm, Presence: PresenceSession, Digest: action, View: shown}, office, noon)
	if err != nil {
		t.Fatal(err)
	}
	c = signed(t, c, "anna")
	loginMoved := moved(func(d *countersign.Directory) { d.Persons[0].Logins = nil })
	now := claimOf(d, "act_2")
	bend := func(change func(*Claim)) Claim {
		cl := now
		change(&cl)
		return cl
	}
	return []refusal{
		claimRefusal("the request is approved and has a use left", pending, now, office, noon, countersign.ErrPending, "waits for signatures", "dba"),
		claimRefusal("the request is approved and has a use left", used, now, office, noon, countersign.ErrConflict, "has been used"),
		claimRefusal("the request is approved and has a use left", revoked, now, office, noon, countersign.ErrConflict, "revoked", "anna has left"),
		claimRefusal("it is in time", r, now, office, r.ClaimBy, countersign.ErrConflict, "lapsed"),
		claimRefusal("the use is named, and new", once, bend(func(c *Claim) { c.Action = "act_1" }), office, noon, countersign.ErrConflict, "act_1"),
		claimRefusal("the use is named, and new", r, bend(func(c *Claim) { c.Action = "" }), office, noon, countersign.ErrInvalid, "name"),
		claimRefusal("who asked claims", r, bend(func(c *Claim) { c.Claimer = person("anna") }), office, noon, countersign.ErrDenied, "person:anna", "agent:deploy-bot"),
		claimRefusal("he claims on behalf of whom he asked", r, bend(func(c *Claim) { c.Claimer = mustPrincipal(botActsForAnna, bot) }), botActsForAnna, noon, countersign.ErrDenied, "rita"),
		claimRefusal("this very action was signed", r, bend(func(c *Claim) { c.Digest[0]++ }), office, noon, countersign.ErrDenied, "digest"),
		claimRefusal("the claimer is active", r, now, botIsOff, noon, countersign.ErrDenied, "deploy-bot"),
		claimRefusal("he acts for whom the directory says", r, now, botActsForAnna, noon, countersign.ErrDenied, "somebody else"),
		claimRefusal("policy permits it now, with signatures or without", r, bend(func(c *Claim) {
			c.Decision = countersign.Decision{Verdict: countersign.Deny, Rules: []string{"freeze"}}
		}), office, noon, countersign.ErrDenied, "freeze"),
		claimRefusal("policy permits it now, with signatures or without", r, bend(func(c *Claim) { c.Decision.Verdict = "" }), office, noon, countersign.ErrDenied),
		claimRefusal("the signatures asked for count now", r, now, left("anna"), noon, countersign.ErrDenied, "prod-changes", "dba"),
		claimRefusal("the confirmation asked for counts now", c, now, loginMoved, noon, countersign.ErrDenied, "confirmation"),
		claimRefusal("they fill the seats that policy asks for now", r, bend(func(c *Claim) { c.Decision = decide(seatFor("security")) }), office, noon, countersign.ErrDenied, "policy has changed", "security"),
		claimRefusal("a confirmation that policy asks for now is given", r, bend(func(c *Claim) { c.Decision = confirmed }), office, noon, countersign.ErrDenied, "confirmation"),
	}
}

// TestEveryGuardRefusesInWords has at least one case for each guard that refuses.
func TestEveryGuardRefusesInWords(t *testing.T) {
	cases := openRefusals()
	cases = append(cases, reviewRefusals(t)...)
	cases = append(cases, endRefusals(t)...)
	cases = append(cases, claimRefusals(t)...)
	met := map[string]bool{}
	for _, c := range cases {
		met[c.guard] = true
		if c.by != c.guard {
			t.Errorf("%s: refused by %q instead (%v)", c.guard, c.by, c.err)
			continue
		}
		var e *countersign.Error
		if !errors.As(c.err, &e) || e.Kind != c.kind || e.Message.IsZero() || e.Request == "" && !strings.HasSuffix(c.guard, "a view") {
			t.Errorf("%s: error %#v; want kind %s, with a message and the request", c.guard, c.err, c.kind)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(e.Error(), part) {
				t.Errorf("%s: %q does not say %q", c.guard, e, part)
			}
		}
	}
	for _, mu := range mutants() {
		table, _, _ := strings.Cut(mu.name, ": ")
		if table != "seat" && table != "confirm" && table != "complete" && table != "expire" && table != "quorum" && !met[mu.name] {
			t.Errorf("no case for guard %q", mu.name)
		}
	}
}
