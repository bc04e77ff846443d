package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/policy"
	"github.com/countersign-dev/countersign/sanitize"
)

// design is the example of the design document.
const design = `version: 1
rules:
  - name: prod-readers
    match: {principal: {groups: [prod-readers]}, resource: {env: prod}, effects: [read, session]}   # every effect must be listed
    then: {allow: true, mask: [email, payment-card, "column:customers.phone"], limit: {rows: 1000, rows_per_hour: 10000}}
  - name: prod-changes-by-agents
    match: {resource: {env: prod}, principal: {kind: agent}, any_effect: [write, delete]}
    when: '!facts.rows_known || facts.rows > 100'
    then: {review: [{count: 1, groups: [resource.reviewers]}], expires: 1h}
  - name: small-changes-by-agents
    match: {resource: {env: prod}, principal: {kind: agent}, effects: [read, write, delete, session]}
    when: 'facts.rows_known && facts.rows <= 100'
    then: {allow: true}
  - name: exports
    match: {any_effect: [export, secret]}
    then: {review: [{count: 2, groups: [dba, security], distinct_groups: true, passkey: true}]}
  - name: own-agents-in-staging
    match: {resource: {env: staging}, principal: {kind: agent}, effects: [read, write, session]}
    then: {confirm: true}      # the person the agent acts for confirms; never a substitute for review
`

var everything = policy.Features{Passkey: true, Mask: true, Observe: true}

func load(t testing.TB, f policy.Features, texts ...string) *policy.Set {
	t.Helper()
	var files []policy.File
	for i, text := range texts {
		files = append(files, policy.File{Name: string(rune('a'+i)) + ".yaml", Data: []byte(text)})
	}
	s, err := policy.Load(files, f)
	if err != nil {
		t.Fatalf("the policy does not load:\n%v", err)
	}
	return s
}

var (
	bot    = &countersign.Principal{Kind: countersign.KindAgent, Agent: "deploy-bot", Chain: []countersign.PersonID{"alice"}, Owners: []countersign.PersonID{"alice"}}
	orphan = &countersign.Principal{Kind: countersign.KindAgent, Agent: "cron"}
	reader = &countersign.Principal{Kind: countersign.KindPerson, Person: "bob", Groups: []countersign.Group{"staff", "prod-readers"}}
	prod   = &countersign.Resource{Name: "shop", Kind: "postgres", Labels: map[string]string{"env": "prod", "team": "shop"}, Reviewers: []countersign.Group{"dba"}}
	stage  = &countersign.Resource{Name: "shop-staging", Kind: "postgres", Labels: map[string]string{"env": "staging"}}
)

func rows(n int64) *countersign.Facts {
	return &countersign.Facts{Rows: n, RowsKnown: true, Statements: 1}
}

func objects(names ...string) []countersign.Object {
	var list []countersign.Object
	for _, n := range names {
		list = append(list, countersign.Object{Kind: "table", Name: clean(n)})
	}
	return list
}

// clean makes the text of a test Clean, as a store reads it back.
func clean(s string) (c sanitize.Clean) {
	if err := c.UnmarshalText([]byte(s)); err != nil {
		panic(err)
	}
	return c
}

func TestTheDesignsExampleDecidesAsItSays(t *testing.T) {
	s := load(t, everything, design)
	one := func(rule string, groups ...countersign.Group) countersign.Seat {
		return countersign.Seat{Rule: rule, Groups: groups}
	}
	both := countersign.Seat{Rule: "exports", Groups: []countersign.Group{"dba", "security"}, Distinct: "exports", Passkey: true}
	limits := countersign.Limits{Rows: 1000, RowsPerHour: 10000}
	unknownSize := &countersign.Facts{Statements: 1}

	for _, c := range []struct {
		story string
		in    policy.Input
		want  countersign.Decision
	}{
		{
			"a reader reads",
			policy.Input{Principal: reader, Resource: prod, Effects: countersign.Read, Facts: unknownSize},
			countersign.Decision{Verdict: countersign.Allow, Rules: []string{"prod-readers"}, Limits: limits},
		},
		{
			"a reader writes",
			policy.Input{Principal: reader, Resource: prod, Effects: countersign.Read | countersign.Write, Facts: unknownSize},
			countersign.Decision{Verdict: countersign.Deny, Reason: "no rule permits this requester write on this resource; what no rule permits is denied"},
		},
		{
			"an agent changes few rows, counted",
			policy.Input{Principal: bot, Resource: prod, Effects: countersign.Write, Facts: rows(100)},
			countersign.Decision{Verdict: countersign.Allow, Rules: []string{"small-changes-by-agents"}},
		},
		{
			"an agent changes many rows",
			policy.Input{Principal: bot, Resource: prod, Effects: countersign.Write, Facts: rows(101)},
			countersign.Decision{Verdict: countersign.Review, Rules: []string{"prod-changes-by-agents"}, Seats: []countersign.Seat{one("prod-changes-by-agents", "dba")}, Expires: time.Hour, ClaimWithin: 15 * time.Minute, Reason: "rule prod-changes-by-agents asks for 1 of dba"},
		},
		{
			"an agent changes nobody knows how many rows",
			policy.Input{Principal: bot, Resource: prod, Effects: countersign.Write, Facts: unknownSize},
			countersign.Decision{Verdict: countersign.Review, Rules: []string{"prod-changes-by-agents"}, Seats: []countersign.Seat{one("prod-changes-by-agents", "dba")}, Expires: time.Hour, ClaimWithin: 15 * time.Minute, Reason: "rule prod-changes-by-agents asks for 1 of dba"},
		},
		{
			"a reader exports: the limits of his reading rule hold",
			policy.Input{Principal: reader, Resource: prod, Effects: countersign.Read | countersign.Export, Facts: unknownSize},
			countersign.Decision{Verdict: countersign.Review, Rules: []string{"exports"}, Seats: []countersign.Seat{both, both}, Limits: limits, Expires: time.Hour, ClaimWithin: 15 * time.Minute, Reason: "rule exports asks for 2 of dba, security"},
		},
		{
			"an agent writes what it exported: the seats of both rules",
			policy.Input{Principal: bot, Resource: prod, Effects: countersign.Write | countersign.Export, Facts: unknownSize},
			countersign.Decision{Verdict: countersign.Review, Rules: []string{"exports", "prod-changes-by-agents"}, Seats: []countersign.Seat{both, both, one("prod-changes-by-agents", "dba")}, Expires: time.Hour, ClaimWithin: 15 * time.Minute, Reason: "rule exports asks for 2 of dba, security; rule prod-changes-by-agents asks for 1 of dba"},
		},
		{
			"an agent writes in staging",
			policy.Input{Principal: bot, Resource: stage, Effects: countersign.Write, Facts: unknownSize},
			countersign.Decision{Verdict: countersign.Confirm, Confirm: true, Rules: []string{"own-agents-in-staging"}, Expires: time.Hour, ClaimWithin: 15 * time.Minute, Reason: "rule own-agents-in-staging asks the person acted for to confirm"},
		},
		{
			"an agent that acts for nobody",
			policy.Input{Principal: orphan, Resource: stage, Effects: countersign.Write, Facts: unknownSize},
			countersign.Decision{Verdict: countersign.Deny, Rules: []string{"own-agents-in-staging"}, Reason: "rule own-agents-in-staging asks the person acted for to confirm, and the requester acts for nobody"},
		},
		{
			"unknown",
			policy.Input{Principal: bot, Resource: prod, Effects: countersign.Unknown | countersign.Write, Facts: unknownSize},
			countersign.Decision{Verdict: countersign.Deny, Reason: "what this does cannot be told, and no review rule names unknown; what no rule permits is denied"},
		},
		{
			"no effects at all",
			policy.Input{Principal: reader, Resource: prod, Facts: unknownSize},
			countersign.Decision{Verdict: countersign.Deny, Reason: "what this does cannot be told, and no review rule names unknown; what no rule permits is denied"},
		},
	} {
		if diff := cmp.Diff(c.want, s.Decide(c.in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.story, diff)
		}
	}
}

func TestWhatTheBuildLacksIsRefused(t *testing.T) {
	for _, c := range []struct {
		lacks policy.Features
		says  string
	}{
		{policy.Features{Mask: true, Observe: true}, "d.yaml:16: rule exports: this build has no passkeys"},
		{policy.Features{Passkey: true, Observe: true}, "d.yaml:5: rule prod-readers: this build cannot mask results"},
	} {
		_, err := policy.Load([]policy.File{{Name: "d.yaml", Data: []byte(design)}}, c.lacks)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("with %+v: %v; want just %q", c.lacks, err, c.says)
		}
	}
	observed := "version: 1\nrules:\n  - name: x\n    match: {}\n    then: {deny: true, mode: observe, until: 2030-01-31}\n"
	if _, err := policy.Load([]policy.File{{Name: "d.yaml", Data: []byte(observed)}}, policy.Features{}); err == nil {
		t.Error("mode: observe loads in a build that cannot observe")
	}
	s := load(t, everything, observed)
	if got := s.Rules()[0].ObserveUntil; got != time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC) {
		t.Errorf("until is %v", got)
	}
	// A build that can observe still applies the rule here: what has observed is not this package's to say.
	if got := s.Decide(policy.Input{Principal: reader, Resource: prod, Effects: countersign.Read}).Verdict; got != countersign.Deny {
		t.Errorf("an observed deny gives %s", got)
	}
}

func TestNoPolicyDeniesEverything(t *testing.T) {
	var none *policy.Set
	in := policy.Input{Principal: reader, Resource: prod, Effects: countersign.Session}
	d := none.Decide(in)
	if d.Verdict != countersign.Deny || !strings.HasPrefix(d.Reason, "no active policy") {
		t.Errorf("decision %+v", d)
	}
	if x := none.Explain(in); x.Decision.Verdict != countersign.Deny || none.Rules() != nil || none.Encode() != nil || none.Digest() != (countersign.Digest{}) {
		t.Errorf("explanation %+v", x)
	}
	s := load(t, everything, design)
	for _, in := range []policy.Input{
		{Resource: prod, Effects: countersign.Read},
		{Principal: &countersign.Principal{Person: "bob", Groups: []countersign.Group{"prod-readers"}}, Resource: prod, Effects: countersign.Read},
		{Principal: reader, Effects: countersign.Read},
	} {
		if d := s.Decide(in); d.Verdict != countersign.Deny || d.Reason == "" {
			t.Errorf("%+v: %+v", in, d)
		}
	}
}

func TestEncodingKeepsTheFiles(t *testing.T) {
	files := []policy.File{
		{Name: "20.yaml", Data: []byte("version: 1\nrules:\n  - {name: b, match: {}, then: {deny: true}}\n")},
		{Name: "10.yaml", Data: []byte("version: 1\nrules:\n  - {name: a, match: {}, then: {limit: {rows: 3}}}\n")},
	}
	s, err := policy.Load(files, policy.Features{})
	if err != nil {
		t.Fatal(err)
	}
	back, err := policy.Decode(s.Encode(), policy.Features{})
	if err != nil || back.Digest() != s.Digest() || !slices.Equal(back.Encode(), s.Encode()) || len(back.Rules()) != 2 {
		t.Fatalf("decoded: %v, %v", back, err)
	}
	slices.Reverse(files)
	again, err := policy.Load(files, policy.Features{})
	if err != nil || again.Digest() != s.Digest() {
		t.Errorf("the order of files changes the digest: %v", err)
	}
	for _, change := range []func(){
		func() { files[0].Name = "10.yml" },
		func() { files[0].Data = append(files[0].Data, '\n') },
		// The same bytes cut elsewhere are other files.
		func() { files[0].Name, files[0].Data = files[0].Name[1:], append([]byte(nil), files[0].Data...) },
	} {
		change()
		if other, err := policy.Load(files, policy.Features{}); err != nil || other.Digest() == s.Digest() {
			t.Errorf("another policy has the same digest (%v)", err)
		}
	}
	encoded := s.Encode()
	for n := range encoded {
		if _, err := policy.Decode(encoded[:n], policy.Features{}); err == nil {
			t.Fatalf("%d of %d bytes decode", n, len(encoded))
		}
	}
	if _, err := policy.Decode(append(encoded, 0), policy.Features{}); err == nil {
		t.Error("a byte too many decodes")
	}
}

func TestAResourceThatChangesIsJudgedAnew(t *testing.T) {
	s := load(t, policy.Features{}, `version: 1
rules:
  - {name: reads, match: {principal: {anyone: true}, resource: {env: test}, effects: [read]}, then: {allow: true}}
  - {name: signed, match: {resource: {kind: postgres, env: prod}}, then: {review: [{count: 1, groups: [resource.reviewers]}]}}
`)
	res := countersign.Resource{Name: "shop", Kind: "postgres", Labels: map[string]string{"env": "test"}, Reviewers: []countersign.Group{"dba"}}
	in := policy.Input{Principal: reader, Resource: &res, Effects: countersign.Read}
	if d := s.Decide(in); d.Verdict != countersign.Allow {
		t.Fatalf("%+v", d)
	}
	res.Labels["env"] = "prod" // the same map: what is kept must not share it
	if d := s.Decide(in); d.Verdict != countersign.Review || !slices.Equal(d.Seats[0].Groups, []countersign.Group{"dba"}) {
		t.Fatalf("with other labels: %+v", d)
	}
	res.Reviewers[0] = "security"
	if d := s.Decide(in); d.Verdict != countersign.Review || !slices.Equal(d.Seats[0].Groups, []countersign.Group{"security"}) {
		t.Fatalf("with other reviewers: %+v", d)
	}
	res.Reviewers = nil
	if d := s.Decide(in); d.Verdict != countersign.Review || len(d.Seats) != 1 || len(d.Seats[0].Groups) != 0 {
		t.Fatalf("without reviewers the seat must stay, and be for nobody: %+v", d)
	}
	res.Kind = "mcp"
	if d := s.Decide(in); d.Verdict != countersign.Deny {
		t.Fatalf("of another kind: %+v", d)
	}
	for i := range 1100 {
		other := res
		other.Name = countersign.ResourceName(fmt.Sprint(i))
		in.Resource = &other
		if d := s.Decide(in); d.Verdict != countersign.Deny {
			t.Fatalf("resource %d: %+v", i, d)
		}
	}
}

func TestTooManySignaturesAreADenial(t *testing.T) {
	text := "version: 1\nrules:\n"
	for i := range 3 {
		text += fmt.Sprintf("  - {name: r%d, match: {}, then: {review: [{count: 6, groups: [dba]}]}}\n", i)
	}
	d := load(t, policy.Features{}, text).Decide(policy.Input{Principal: reader, Resource: prod, Effects: countersign.Write})
	want := countersign.Decision{
		Verdict: countersign.Deny, Rules: []string{"r0", "r1", "r2"},
		Reason: "rules r0, r1, r2 need 18 signatures together; an action may need at most 16",
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
}

func TestDistinctGroupsOfOneRuleAreSetsOfTheirOwn(t *testing.T) {
	d := load(t, policy.Features{}, `version: 1
rules:
  - name: both
    match: {}
    then:
      review:
        - {count: 2, groups: [dba, security], distinct_groups: true}
        - {count: 1, groups: [legal]}
        - {count: 2, groups: [legal, leads], distinct_groups: true}
`).Decide(policy.Input{Principal: reader, Resource: prod, Effects: countersign.Unknown | countersign.Write})
	// Unknown is named by no rule, so the same question is asked without it.
	if d.Verdict != countersign.Deny {
		t.Fatalf("a rule without effects names unknown: %+v", d)
	}
	d = load(t, policy.Features{}, "version: 1\nrules:\n  - {name: both, match: {any_effect: [unknown, write]}, then: {review: [{count: 2, groups: [dba, security], distinct_groups: true}, {count: 1, groups: [legal]}, {count: 2, groups: [legal, leads], distinct_groups: true}]}}\n").
		Decide(policy.Input{Principal: reader, Resource: prod, Effects: countersign.Unknown | countersign.Write})
	var sets []string
	for _, seat := range d.Seats {
		sets = append(sets, seat.Distinct)
	}
	if !slices.Equal(sets, []string{"both", "both", "", "both/3", "both/3"}) {
		t.Errorf("sets %q", sets)
	}
}

func TestAScopeLimitsEveryRuleOfItsFile(t *testing.T) {
	s := load(t, policy.Features{},
		"version: 1\nscope: {team: shop}\nrules:\n  - {name: a, match: {principal: {anyone: true}, effects: [read]}, then: {allow: true, limit: {rows: 5}}}\n  - {name: b, match: {}, then: {limit: {rows: 3}}}\n",
		"version: 1\nrules:\n  - {name: c, match: {principal: {anyone: true}, effects: [read]}, then: {allow: true, limit: {rows: 9}}}\n")
	in := policy.Input{Principal: reader, Resource: prod, Effects: countersign.Read}
	if d := s.Decide(in); d.Limits.Rows != 3 || !slices.Equal(d.Rules, []string{"a", "c"}) {
		t.Errorf("on the team's resource: %+v", d)
	}
	in.Resource = stage
	if d := s.Decide(in); d.Limits.Rows != 9 || !slices.Equal(d.Rules, []string{"c"}) {
		t.Errorf("on another's: %+v", d)
	}
}

func TestDecisionsAreMadeConcurrently(t *testing.T) {
	s := load(t, everything, design)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				res := *prod
				res.Name = countersign.ResourceName(fmt.Sprint((g + i) % 20))
				in := policy.Input{Principal: bot, Resource: &res, Effects: countersign.Write, Facts: rows(int64(i))}
				want := countersign.Verdict("allow")
				if i > 100 {
					want = countersign.Review
				}
				if d := s.Decide(in); d.Verdict != want {
					t.Errorf("%d rows: %+v", i, d)
				}
				if i%50 == 0 && s.Explain(in).Decision.Verdict != want {
					t.Errorf("%d rows are explained otherwise", i)
				}
			}
		})
	}
	wg.Wait()
}
