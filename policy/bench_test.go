package policy_test

import (
	"fmt"
	"testing"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/policy"
)

// ruleSet is n rules that all match the resource: readers, an agents' rule with a condition, an export rule,
// a deny with a condition, and for the rest rules of other groups, every second with a condition.
func ruleSet(b *testing.B, n int) *policy.Set {
	text := `version: 1
rules:
  - {name: readers, match: {principal: {anyone: true}, resource: {env: prod}, effects: [read, session]}, then: {allow: true, limit: {rows: 1000, rows_per_hour: 10000}}}
  - {name: changes, match: {principal: {kind: agent}, resource: {env: prod}, any_effect: [write, delete]}, when: '!facts.rows_known || facts.rows > 100', then: {review: [{count: 1, groups: [resource.reviewers]}]}}
  - {name: small, match: {principal: {kind: agent}, resource: {env: prod}, effects: [read, write, delete]}, when: 'facts.rows_known && facts.rows <= 100', then: {allow: true}}
  - {name: exports, match: {any_effect: [export, secret, unknown]}, then: {review: [{count: 2, groups: [dba, security], distinct_groups: true}]}}
  - {name: unbounded, match: {resource: {env: prod}, any_effect: [write, delete]}, when: facts.unbounded, then: {deny: true}}
`
	for i := 5; i < n; i++ {
		when := ""
		if i%2 == 0 {
			when = `when: 'facts.statements > 1 || "temp" in effects', `
		}
		text += fmt.Sprintf("  - {name: r%d, match: {principal: {groups: [team%d, leads%d]}, resource: {env: prod}, effects: [read, write]}, %sthen: {allow: true}}\n", i, i, i, when)
	}
	return load(b, policy.Features{}, text)
}

func BenchmarkDecide(b *testing.B) {
	cards := objects("public.orders")
	for _, n := range []int{5, 50} {
		s := ruleSet(b, n)
		for _, c := range []struct {
			name string
			in   policy.Input
			want countersign.Verdict
		}{
			{"read", policy.Input{Principal: reader, Resource: prod, Effects: countersign.Read, Facts: rows(1), Objects: cards}, "allow"},
			{"small-write", policy.Input{Principal: bot, Resource: prod, Effects: countersign.Write, Facts: rows(1), Objects: cards}, "allow"},
			{"export", policy.Input{Principal: bot, Resource: prod, Effects: countersign.Read | countersign.Export, Facts: rows(1), Objects: cards}, "review"},
			{"default-deny", policy.Input{Principal: reader, Resource: prod, Effects: countersign.Schema, Facts: rows(1), Objects: cards}, "deny"},
		} {
			b.Run(fmt.Sprintf("%d-rules/%s", n, c.name), func(b *testing.B) {
				if d := s.Decide(c.in); d.Verdict != c.want {
					b.Fatalf("%+v", d)
				}
				b.ReportAllocs()
				for b.Loop() {
					s.Decide(c.in)
				}
			})
		}
		// A team member whose every second rule has a condition that is evaluated.
		member := &countersign.Principal{Kind: countersign.KindPerson, Person: "m"}
		for i := range n {
			member.Groups = append(member.Groups, countersign.Group(fmt.Sprintf("team%d", i)))
		}
		in := policy.Input{Principal: member, Resource: prod, Effects: countersign.Read, Facts: rows(1), Objects: cards}
		b.Run(fmt.Sprintf("%d-rules/every-rule-matches", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(in)
			}
		})
	}
}

// BenchmarkDecideAllowedRead is an agent's query under a policy of three rules, as the end-to-end measurement has it.
func BenchmarkDecideAllowedRead(b *testing.B) {
	s := load(b, policy.Features{}, `version: 1
rules:
  - name: agents-read
    match: {principal: {kind: agent}, resource: {env: prod}, effects: [read, session]}
    then: {allow: true}
  - name: agents-export
    match: {principal: {groups: [exporters]}, resource: {env: prod}, effects: [read, export]}
    then: {allow: true}
  - name: changes
    match: {resource: {env: prod}, any_effect: [write, delete]}
    then: {review: [{count: 1, groups: [resource.reviewers]}]}
`)
	in := policy.Input{Principal: bot, Resource: prod, Effects: countersign.Read, Facts: &countersign.Facts{Statements: 1}, Objects: objects("pgbench_accounts")}
	if d := s.Decide(in); d.Verdict != countersign.Allow {
		b.Fatalf("%+v", d)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Decide(in)
	}
}

func BenchmarkDecideOnANewResource(b *testing.B) {
	s, res := ruleSet(b, 50), *prod
	in := policy.Input{Principal: reader, Resource: &res, Effects: countersign.Read, Facts: rows(1)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		res.Kind = fmt.Sprint(i)
		s.Decide(in)
	}
}

func BenchmarkLoad(b *testing.B) {
	files := []policy.File{{Name: "starter.yaml", Data: policy.Starter()}}
	for b.Loop() {
		if _, err := policy.Load(files, policy.Features{}); err != nil {
			b.Fatal(err)
		}
	}
}
