package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/policy"
)

func starter(t testing.TB) *policy.Set {
	t.Helper()
	s, err := policy.Load([]policy.File{{Name: "starter.yaml", Data: policy.Starter()}}, policy.Features{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	person  = &countersign.Principal{Kind: countersign.KindPerson, Person: "bob"}
	auditor = &countersign.Principal{Kind: countersign.KindPerson, Person: "ann", Groups: []countersign.Group{"auditors"}}
	itself  = &countersign.Resource{Name: "countersign", Kind: "countersign"}
	// shop has one group of reviewers, as a small team does.
	shop = &countersign.Resource{Name: "shop", Kind: "postgres", Labels: map[string]string{"env": "prod"}, Reviewers: []countersign.Group{"dba"}}
)

func TestTheStarterPolicy(t *testing.T) {
	const (
		read, write, del = countersign.Read, countersign.Write, countersign.Delete
		schema           = countersign.Schema
	)
	bounded, unbounded := &countersign.Facts{Statements: 1}, &countersign.Facts{Statements: 1, Unbounded: true}
	s := starter(t)
	for _, c := range []struct {
		story   string
		who     *countersign.Principal
		what    *countersign.Resource
		effects countersign.Effects
		facts   *countersign.Facts
		verdict countersign.Verdict
		rules   []string
		says    string
	}{
		{"an agent reads", bot, shop, read | countersign.Session, bounded, "allow", []string{"readers"}, ""},
		{"a person reads", person, shop, read, bounded, "allow", []string{"readers"}, ""},
		{"a person reads where nobody reviews", person, stage, read, bounded, "allow", []string{"readers"}, ""},
		{"an agent updates", bot, shop, read | write, bounded, "review", []string{"changes-by-agents"}, "an agent asks"},
		{"a person migrates", person, shop, write | schema, bounded, "review", []string{"changes-by-people"}, ""},
		{"an agent exports", bot, shop, read | countersign.Export, bounded, "review", []string{"sensitive"}, "moves data out"},
		{"an agent inserts what a function gives", bot, shop, write | countersign.Execute, bounded, "review", []string{"sensitive"}, ""},
		{"a person sends what nobody understands", person, shop, countersign.Unknown, bounded, "review", []string{"sensitive"}, ""},
		{"an agent deletes everything", bot, shop, del, unbounded, "deny", []string{"no-unbounded-changes"}, "a DELETE or UPDATE without WHERE is never run through here; add a WHERE clause"},
		{"a delete of which nothing is known", person, shop, del, nil, "deny", []string{"no-unbounded-changes"}, ""},
		{"a person drops a table", person, shop, countersign.Destroy | schema, bounded, "deny", []string{"no-destruction"}, "dropping objects"},
		{"a person reloads the server", person, shop, countersign.Admin | read, bounded, "deny", []string{"no-server-administration"}, ""},
		{"an auditor reads the trail", auditor, itself, read, nil, "allow", []string{"auditors"}, ""},
		{"an auditor changes something here", auditor, itself, write, nil, "deny", nil, "no rule permits"},
		{"anybody else reads the trail", person, itself, read, nil, "deny", nil, "no rule permits this requester"},
	} {
		d := s.Decide(policy.Input{Principal: c.who, Resource: c.what, Effects: c.effects, Facts: c.facts})
		if d.Verdict != c.verdict || !slices.Equal(d.Rules, c.rules) || !strings.Contains(d.Reason, c.says) {
			t.Errorf("%s: %+v", c.story, d)
		}
		if c.verdict == countersign.Review && (len(d.Seats) != 1 || !slices.Equal(d.Seats[0].Groups, []countersign.Group{"dba"})) {
			t.Errorf("%s: the seats are %+v; one reviewer of the resource must do", c.story, d.Seats)
		}
		if c.verdict != countersign.Deny && c.what.Kind == "postgres" && (d.Limits != countersign.Limits{Rows: 1000, RowsPerHour: 10000}) {
			t.Errorf("%s: the limits are %+v", c.story, d.Limits)
		}
	}
}

// Each privileged effect, alone or with any other, is decided by a rule: nothing is denied for want of one, and
// nothing privileged runs unsigned.
func TestTheStarterPolicyLeavesNoGap(t *testing.T) {
	s := starter(t)
	for effects := countersign.Effects(1); effects < countersign.Unknown<<1; effects++ {
		for _, who := range []*countersign.Principal{person, bot} {
			for _, facts := range []*countersign.Facts{{}, {Unbounded: true}, {Rows: 1, RowsKnown: true}} {
				d := s.Decide(policy.Input{Principal: who, Resource: shop, Effects: effects, Facts: facts})
				if len(d.Rules) == 0 {
					t.Fatalf("no rule decides about %s: %s", effects, d.Reason)
				}
				if effects.Privileged() && d.Verdict != countersign.Deny && len(d.Seats) == 0 {
					t.Fatalf("%s runs unsigned: %+v", effects, d)
				}
				if !effects.Privileged() && d.Verdict != countersign.Allow {
					t.Fatalf("%s is held: %+v", effects, d)
				}
				if len(d.Seats) > 1 {
					t.Fatalf("%s needs %d people; a small team has one reviewer", effects, len(d.Seats))
				}
			}
		}
	}
}
