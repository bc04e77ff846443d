package approval

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// The people of the stories. deploy-bot acts for rita and is owned by olaf.
var office = countersign.Directory{
	Persons: []countersign.Person{
		{ID: "rita", Groups: []countersign.Group{"dba"}, Logins: []string{"rita@example.org"}, Active: true},
		{ID: "olaf", Groups: []countersign.Group{"dba", "security"}, Logins: []string{"olaf@example.org"}, Active: true},
		{ID: "anna", Groups: []countersign.Group{"dba"}, Logins: []string{"anna@example.org", "anna@home.example.org"}, Active: true},
		{ID: "ben", Groups: []countersign.Group{"dba", "security"}, Logins: []string{"ben@example.org"}, Active: true},
		{ID: "cleo", Groups: []countersign.Group{"security"}, Logins: []string{"cleo@example.org"}, Active: true},
		{ID: "zoe", Groups: []countersign.Group{"dba"}, Logins: []string{"zoe@example.org"}},
	},
	Agents: []countersign.Agent{
		{ID: "deploy-bot", ActsFor: "rita", Owners: []countersign.PersonID{"olaf"}, Active: true},
		{ID: "old-bot", Owners: []countersign.PersonID{"olaf"}},
	},
}

var (
	noon   = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	bot    = mustPrincipal(office, countersign.Principal{Kind: countersign.KindAgent, Agent: "deploy-bot"})
	action = countersign.Digest{7}
	shown  = countersign.Digest{8}
)

func mustPrincipal(d countersign.Directory, p countersign.Principal) countersign.Principal {
	p, err := d.Principal(p)
	if err != nil {
		panic(err)
	}
	return p
}

func person(id countersign.PersonID) countersign.Principal {
	return countersign.Principal{Kind: countersign.KindPerson, Person: id}
}

// moved returns the office after a change to it.
func moved(change func(*countersign.Directory)) countersign.Directory {
	data, err := json.Marshal(office)
	if err != nil {
		panic(err)
	}
	var d countersign.Directory
	if err := json.Unmarshal(data, &d); err != nil {
		panic(err)
	}
	change(&d)
	return d
}

func left(id countersign.PersonID) countersign.Directory {
	return moved(func(d *countersign.Directory) {
		for i := range d.Persons {
			if d.Persons[i].ID == id {
				d.Persons[i].Active = false
			}
		}
	})
}

func seatFor(groups ...countersign.Group) countersign.Seat {
	return countersign.Seat{Rule: "prod-changes", Groups: groups}
}

func decide(seats ...countersign.Seat) countersign.Decision {
	return countersign.Decision{Verdict: countersign.Review, Seats: seats, Rules: []string{"prod-changes"}}
}

func openingOf(d countersign.Decision) Opening {
	return Opening{ID: "req_0123456789abcdefghij", Resource: "shop", Requester: bot, Digest: action, View: shown, Policy: countersign.Digest{9}, Decision: d}
}

func open(t *testing.T, d countersign.Decision) Request {
	t.Helper()
	r, err := Open(openingOf(d), office, noon)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func says(p countersign.PersonID, v Verdict) Review {
	return Review{Person: p, Verdict: v, Presence: PresenceSession, Digest: action, View: shown}
}

func signed(t *testing.T, r Request, by ...countersign.PersonID) Request {
	t.Helper()
	for _, p := range by {
		var err error
		if r, err = r.Review(says(p, Approve), office, noon); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func claimOf(d countersign.Decision, id countersign.ActionID) Claim {
	return Claim{Claimer: bot, Digest: action, Action: id, Decision: d}
}

func wantState(t *testing.T, r Request, s State) {
	t.Helper()
	if r.State != s {
		t.Fatalf("the request is %s; want %s", r.State, s)
	}
}

func TestAgentAsksReviewerSignsAgentRuns(t *testing.T) {
	d := decide(seatFor("dba"))
	r := open(t, d)
	if !r.IsOpen() || !r.Deadline.Equal(noon.Add(time.Hour)) || r.ClaimWithin != 15*time.Minute || r.MaxUses != 1 || r.State.Ended() {
		t.Fatalf("opened as %+v", r)
	}
	if seats := r.OpenSeats(office); len(seats) != 1 {
		t.Fatalf("open seats: %v", seats)
	}
	later := noon.Add(time.Minute)
	r, err := r.Review(Review{Person: "anna", Login: "anna@home.example.org", Verdict: Approve, Presence: PresencePasskey, Digest: action, View: shown, At: noon.Add(-time.Hour)}, office, later)
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, r, Approved)
	if !r.ClaimBy.Equal(later.Add(15*time.Minute)) || !r.Reviews[0].At.Equal(later) || len(r.OpenSeats(office)) != 0 {
		t.Fatalf("approved as %+v", r)
	}
	// It goes through the store and comes back the same.
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var stored Request
	if err := json.Unmarshal(data, &stored); err != nil || !reflect.DeepEqual(stored, r) {
		t.Fatalf("from the store: %v, %+v; want %+v", err, stored, r)
	}
	r, use, err := stored.Claim(claimOf(d, "act_1"), office, later)
	if err != nil || use != 0 {
		t.Fatal(use, err)
	}
	wantState(t, r, Claimed)
	if r.IsOpen() || r.State.Ended() {
		t.Fatal("a claimed request is neither open nor ended")
	}
	r, err = r.Outcome(0, Uncommitted, later)
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, r, Uncommitted)
	r, err = r.Outcome(0, Done, later.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, r, Done)
	if !r.State.Ended() || !r.Ended.Equal(later.Add(time.Second)) {
		t.Fatalf("ended as %+v", r)
	}
}

func TestNobodySignsForHimself(t *testing.T) {
	r := open(t, decide(seatFor("dba", "security")))
	for _, p := range []countersign.PersonID{"rita", "olaf"} { // acted for; owner; both are dba
		if _, err := r.Review(says(p, Approve), office, noon); !isKind(err, countersign.ErrDenied) || !strings.Contains(err.Error(), "nobody signs for himself") {
			t.Errorf("%s: %v", p, err)
		}
	}
	own, err := Open(Opening{ID: "req_2", Requester: person("anna"), Digest: action, View: shown, Decision: decide(seatFor("dba"))}, office, noon)
	if err != nil {
		t.Fatal(err)
	}
	v := says("anna", Approve)
	v.Login = "anna@home.example.org"
	if _, err := own.Review(v, office, noon); !isKind(err, countersign.ErrDenied) {
		t.Errorf("anna signed her own request under another login: %v", err)
	}
	for _, name := range []countersign.PersonID{"deploy-bot", "agent:deploy-bot", "old-bot", ""} {
		if _, err := r.Review(says(name, Approve), office, noon); !isKind(err, countersign.ErrDenied) {
			t.Errorf("%q reviewed: %v", name, err)
		}
	}
}

func isKind(err error, k countersign.ErrorKind) bool {
	var e *countersign.Error
	return errors.As(err, &e) && e.Kind == k
}

func TestTwoLoginsAreOnePerson(t *testing.T) {
	r := open(t, decide(seatFor("dba"), seatFor("dba")))
	r = signed(t, r, "anna")
	again := says("anna", Approve)
	again.Login = "anna@home.example.org"
	if _, err := r.Review(again, office, noon); !isKind(err, countersign.ErrConflict) {
		t.Errorf("the second login signed again: %v", err)
	}
	wantState(t, signed(t, r, "ben"), Approved)
}

func TestOneDenialEndsIt(t *testing.T) {
	d := decide(seatFor("dba"), seatFor("security"))
	for name, r := range map[string]Request{
		"pending":                open(t, d),
		"by one who signed":      signed(t, open(t, d), "cleo"),
		"approved, not yet used": signed(t, open(t, d), "cleo", "anna"),
	} {
		r, err := r.Review(says("cleo", Deny), office, noon)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantState(t, r, Denied)
		if !strings.Contains(r.Why.String(), "cleo") {
			t.Errorf("%s: why: %q", name, r.Why)
		}
		if _, _, err := r.Claim(claimOf(d, "act_1"), office, noon); !isKind(err, countersign.ErrDenied) {
			t.Errorf("%s: a denied request ran: %v", name, err)
		}
		if _, err := r.Review(says("anna", Approve), office, noon); !isKind(err, countersign.ErrConflict) {
			t.Errorf("%s: approve overwrote deny: %v", name, err)
		}
	}
}

func TestSignaturesStopCounting(t *testing.T) {
	d := decide(seatFor("dba"), seatFor("security"))
	r := signed(t, open(t, d), "anna", "cleo")
	stricter := decide(seatFor("dba"), seatFor("security"), seatFor("dba"))
	askToo := d
	askToo.Confirm = true
	inDBA := moved(func(d *countersign.Directory) { d.Persons[2].Groups = nil })
	ownsNow := moved(func(d *countersign.Directory) { d.Agents[0].Owners = []countersign.PersonID{"anna"} })
	for name, c := range map[string]struct {
		dir countersign.Directory
		now countersign.Decision
	}{
		"anna left":                    {left("anna"), d},
		"anna left her group":          {inDBA, d},
		"anna owns the agent now":      {ownsNow, d},
		"policy asks for three":        {office, stricter},
		"policy asks to confirm":       {office, askToo},
		"allowed now, but anna left":   {left("anna"), countersign.Decision{Verdict: countersign.Allow}},
		"policy asks for too many now": {office, decide(make([]countersign.Seat, MaxSeats+1)...)},
	} {
		_, _, err := r.Claim(claimOf(c.now, "act_1"), c.dir, noon)
		if !errors.Is(err, ErrSignaturesNoLongerCount) || !isKind(err, countersign.ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	revoked, err := r.Revoke(noon, sanitize.Const("anna has left"))
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, revoked, Revoked)
	if _, _, err := r.Claim(claimOf(countersign.Decision{Verdict: countersign.Allow}, "act_1"), office, noon); err != nil {
		t.Errorf("a milder policy: %v", err)
	}
	_, _, err = r.Claim(claimOf(countersign.Decision{Verdict: countersign.Deny}, "act_1"), office, noon)
	if !isKind(err, countersign.ErrDenied) || errors.Is(err, ErrSignaturesNoLongerCount) {
		t.Errorf("policy denies now: %v", err)
	}
}

// A signature that does not count for a while must not leave a request pending that nobody can settle.
func TestReturnedSignatureIsSettledByTheNext(t *testing.T) {
	r := signed(t, open(t, decide(seatFor("dba"), seatFor("security"))), "anna")
	r, err := r.Review(says("cleo", Approve), left("anna"), noon)
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, r, Pending)
	wantState(t, signed(t, r, "ben"), Approved)
}

func TestGrantOfSeveralUses(t *testing.T) {
	d := decide(seatFor("dba"))
	o := openingOf(d)
	o.MaxUses = 2
	r, err := Open(o, office, noon)
	if err != nil {
		t.Fatal(err)
	}
	r = signed(t, r, "anna")
	r, first, err := r.Claim(claimOf(d, "act_1"), office, noon)
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, r, Approved)
	if _, _, err := r.Claim(claimOf(d, "act_1"), office, noon); !isKind(err, countersign.ErrConflict) {
		t.Errorf("a retry of the same use took another: %v", err)
	}
	if r, err = r.Outcome(first, Failed, noon); err != nil {
		t.Fatal(err)
	}
	wantState(t, r, Approved)
	stopped, err := r.Review(says("anna", Deny), office, noon)
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, stopped, Denied)
	r, second, err := r.Claim(claimOf(d, "act_2"), office, noon)
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, r, Claimed)
	if r, err = r.Outcome(second, Done, noon); err != nil {
		t.Fatal(err)
	}
	wantState(t, r, Failed) // the least certain outcome of its uses
	// A lapse with a use under way keeps its outcome.
	r = signed(t, mustOpen(t, o), "anna")
	r, _, err = r.Claim(claimOf(d, "act_1"), office, noon)
	if err != nil {
		t.Fatal(err)
	}
	r, ok := r.Expire(r.ClaimBy)
	if !ok {
		t.Fatal("did not lapse")
	}
	if r, err = r.Outcome(0, Done, noon.Add(time.Hour)); err != nil || r.Uses[0].Outcome != Done {
		t.Fatal(r.Uses, err)
	}
	wantState(t, r, Lapsed)
}

func mustOpen(t *testing.T, o Opening) Request {
	t.Helper()
	r, err := Open(o, office, noon)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSilenceIsNo(t *testing.T) {
	d := decide(seatFor("dba"))
	r := open(t, d)
	if _, early := r.Expire(r.Deadline.Add(-1)); early {
		t.Error("expired before its deadline")
	}
	if _, err := r.Review(says("anna", Approve), office, r.Deadline); !isKind(err, countersign.ErrConflict) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("signed at its deadline: %v", err)
	}
	expired, ok := r.Expire(r.Deadline)
	if !ok {
		t.Fatal("did not expire at its deadline")
	}
	wantState(t, expired, Expired)
	a := signed(t, r, "anna")
	if _, _, err := a.Claim(claimOf(d, "act_1"), office, a.ClaimBy); !isKind(err, countersign.ErrConflict) || !strings.Contains(err.Error(), "lapsed") {
		t.Errorf("claimed too late: %v", err)
	}
	lapsed, ok := a.Expire(a.ClaimBy)
	if !ok {
		t.Fatal("did not lapse")
	}
	wantState(t, lapsed, Lapsed)
	why := sanitize.Const("its transaction has ended")
	pendingEnded, err := r.Lapse(noon, why)
	if err != nil || pendingEnded.State != Cancelled || pendingEnded.Why != why {
		t.Error(pendingEnded.State, err)
	}
	approvedEnded, err := a.Lapse(noon, why)
	if err != nil || approvedEnded.State != Lapsed {
		t.Error(approvedEnded.State, err)
	}
}

func TestWhoCancels(t *testing.T) {
	r := open(t, decide(seatFor("dba")))
	for _, by := range []countersign.Principal{bot, person("rita"), person("olaf")} {
		next, err := r.Cancel(by, office, noon, sanitize.Const("not needed"))
		if err != nil {
			t.Errorf("%s: %v", by.ID(), err)
		}
		wantState(t, next, Cancelled)
	}
	for _, by := range []countersign.Principal{person("anna"), person("zoe"), {Kind: countersign.KindAgent, Agent: "old-bot"}, {}} {
		if _, err := r.Cancel(by, office, noon, sanitize.Clean{}); !isKind(err, countersign.ErrDenied) {
			t.Errorf("%s cancelled: %v", by.ID(), err)
		}
	}
}

func TestConfirmationIsNoSignature(t *testing.T) {
	d := decide(seatFor("dba"))
	d.Confirm = true
	r := open(t, d)
	r, err := r.Review(says("rita", Confirm), office, noon)
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, r, Pending)
	if len(r.OpenSeats(office)) != 1 {
		t.Error("a confirmation filled a seat")
	}
	wantState(t, signed(t, r, "anna"), Approved)
	asked := open(t, d)
	if refused, err := asked.Review(says("rita", Deny), office, noon); err != nil || refused.State != Denied {
		t.Errorf("who is asked to confirm may refuse to: %v %s", err, refused.State)
	}
	only := open(t, countersign.Decision{Verdict: countersign.Confirm})
	if !only.Confirm {
		t.Error("a verdict of confirm asks for a confirmation")
	}
	if _, err := only.Review(says("anna", Approve), office, noon); !isKind(err, countersign.ErrDenied) {
		t.Errorf("anna approved what only rita confirms: %v", err)
	}
	only, err = only.Review(says("rita", Confirm), office, noon)
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, only, Approved)
}

func TestUnfillableSeatsAreDeniedAtOnceSayingWhy(t *testing.T) {
	_, err := Open(openingOf(decide(seatFor("security"), seatFor("security"), seatFor("security"))), office, noon)
	if !isKind(err, countersign.ErrDenied) {
		t.Fatal(err)
	}
	for _, part := range []string{"prod-changes", "security", "rita", "olaf"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %s", err, part)
		}
	}
	_, err = Open(openingOf(decide(make([]countersign.Seat, MaxSeats+1)...)), office, noon)
	if !isKind(err, countersign.ErrDenied) || !strings.Contains(err.Error(), "17") {
		t.Errorf("seventeen seats: %v", err)
	}
}

func TestCanSignSaysWhy(t *testing.T) {
	d := decide(countersign.Seat{Rule: "exports", Groups: []countersign.Group{"dba"}, Passkey: true})
	d.Confirm = true
	r := open(t, d)
	for id, want := range map[countersign.PersonID]struct {
		can  bool
		text string
	}{
		"anna":       {true, "fills a seat"},
		"rita":       {true, "on your behalf"},
		"olaf":       {false, "nobody signs for himself"},
		"cleo":       {false, "exports"},
		"zoe":        {false, "only active persons"},
		"deploy-bot": {false, "only active persons"},
	} {
		can, why := r.CanSign(id, office)
		if can != want.can || !strings.Contains(why.String(), want.text) {
			t.Errorf("%s: %v, %q; want %v, %q", id, can, why, want.can, want.text)
		}
	}
}

// TestTransitionsLeaveTheirReceiverAlone gives the lists room to grow, so that an append in place shows.
func TestTransitionsLeaveTheirReceiverAlone(t *testing.T) {
	d := decide(seatFor("dba"), seatFor("dba"))
	o := openingOf(d)
	o.MaxUses = 3
	r := mustOpen(t, o)
	r.Reviews, r.Uses = make([]Review, 0, 8), make([]Use, 0, 8)
	one := signed(t, r, "anna")
	other, err := r.Review(says("ben", Approve), office, noon)
	if err != nil || one.Reviews[0].Person != "anna" || other.Reviews[0].Person != "ben" {
		t.Fatal(err, one.Reviews, other.Reviews)
	}
	r = signed(t, one, "ben")
	r.Uses = make([]Use, 0, 8)
	first, _, err1 := r.Claim(claimOf(d, "act_1"), office, noon)
	second, _, err2 := r.Claim(claimOf(d, "act_2"), office, noon)
	if err1 != nil || err2 != nil || first.Uses[0].Action != "act_1" || second.Uses[0].Action != "act_2" {
		t.Fatal(err1, err2, first.Uses, second.Uses)
	}
	if done, err := first.Outcome(0, Done, noon); err != nil || first.Uses[0].Outcome != Claimed || done.Uses[0].Outcome != Done {
		t.Fatal(err, first.Uses)
	}
}
