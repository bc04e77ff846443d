package gate

import (
	"fmt"
	"slices"
	"testing"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/policy"
	"github.com/countersign-dev/countersign/sanitize"
)

func tellingAction() *countersign.Action {
	return &countersign.Action{
		Effects: countersign.Read, Shape: "a0b1", Facts: countersign.Facts{Statements: 1},
		Objects: []countersign.Object{{Kind: "table", Name: sanitize.Name("orders"), Effects: countersign.Read}},
		Why:     []countersign.Evidence{{Effect: countersign.Read, Why: sanitize.Const("reads orders")}},
	}
}

// What is remembered of one action is never told of, or decided for, another that policy can tell apart from it.
func TestATellingIsOfLikeActionsOnly(t *testing.T) {
	changes := map[string]func(*countersign.Action){
		"effects":        func(a *countersign.Action) { a.Effects |= countersign.Write },
		"shape":          func(a *countersign.Action) { a.Shape = "a0b2" },
		"rows":           func(a *countersign.Action) { a.Facts.Rows, a.Facts.RowsKnown = 5, true },
		"in transaction": func(a *countersign.Action) { a.Facts.InTransaction = true },
		"statements":     func(a *countersign.Action) { a.Facts.Statements = 2 },
		"object's name":  func(a *countersign.Action) { a.Objects[0].Name = sanitize.Name("customers") },
		"object's kind":  func(a *countersign.Action) { a.Objects[0].Kind = "view" },
		"object's effects": func(a *countersign.Action) {
			a.Objects[0].Effects = countersign.Write
		},
		"another object": func(a *countersign.Action) { a.Objects = append(a.Objects, a.Objects[0]) },
		"no object":      func(a *countersign.Action) { a.Objects = nil },
		"why":            func(a *countersign.Action) { a.Why[0].Why = sanitize.Const("reads customers") },
		"no why":         func(a *countersign.Action) { a.Why = nil },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			s := &Session{}
			a := tellingAction()
			first := s.telling(a)
			if s.telling(tellingAction()) != first {
				t.Fatal("the same again is not remembered")
			}
			// The caller's own slices are altered, too: what is remembered does not lie in them.
			change(a)
			now := s.telling(a)
			if now == first {
				t.Fatal("another action is told of as the first was")
			}
			if fresh := (&Session{}).telling(a); !slices.Equal(now.fields, fresh.fields) {
				t.Errorf("told %v, want %v", now.fields, fresh.fields)
			}
			if s.telling(tellingAction()) != first {
				t.Error("the first is forgotten")
			}
		})
	}
}

func TestTellingsAreBounded(t *testing.T) {
	s := &Session{}
	for i := range 10 * tellingsKept {
		a := tellingAction()
		a.Shape = fmt.Sprintf("%04x", i)
		s.telling(a)
	}
	if len(s.tellings) != tellingsKept {
		t.Errorf("%d are kept, want %d", len(s.tellings), tellingsKept)
	}
	s = &Session{}
	long, many := tellingAction(), tellingAction()
	for range 40 {
		long.Why = append(long.Why, countersign.Evidence{Effect: countersign.Read, Why: sanitize.Name(fmt.Sprintf("%0200d", 0))})
	}
	for range tellingParts {
		many.Objects = append(many.Objects, countersign.Object{Kind: "table"})
	}
	if s.telling(long); len(s.tellings) != 0 {
		t.Error("a long telling is kept")
	}
	if s.telling(many); len(s.tellings) != 0 {
		t.Error("a telling of many parts is kept")
	}
}

// P4, P5: a remembered decision holds for the policy and directory it was made by, and for no other.
func TestADecisionIsOfOneConfiguration(t *testing.T) {
	set := func(text string) *policy.Set {
		p, err := policy.Load([]policy.File{{Name: "p.yaml", Data: []byte(text)}}, policy.Features{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	open := set("version: 1\nrules: [{name: r, match: {principal: {kind: agent}, effects: [read]}, then: {allow: true}}]\n")
	shut := set("version: 1\nrules: [{name: r, match: {any_effect: [read]}, then: {deny: true}}]\n")
	s := &Session{resource: &countersign.Resource{Name: "shop"}}
	bot := &countersign.Principal{Kind: countersign.KindAgent, Agent: "bot"}
	for i, c := range []struct {
		act  *active
		who  *countersign.Principal
		want countersign.Verdict
	}{
		{&active{}, bot, countersign.Deny}, // no policy yet
		{&active{policyRevision: 1, directoryRevision: 1, policy: open}, bot, countersign.Allow},
		{&active{policyRevision: 2, directoryRevision: 1, policy: shut}, bot, countersign.Deny},
		{&active{policyRevision: 3, directoryRevision: 1, policy: open}, bot, countersign.Allow},
		{&active{policyRevision: 3, directoryRevision: 2, policy: open}, &countersign.Principal{Kind: countersign.KindPerson}, countersign.Deny},
		{&active{policyRevision: 4, directoryRevision: 2}, bot, countersign.Deny}, // a policy that this build cannot read
	} {
		for range 2 {
			if d := s.decide(c.act, c.who, tellingAction()); d.Verdict != c.want {
				t.Errorf("configuration %d: %s, want %s", i, d.Verdict, c.want)
			}
		}
	}
}
