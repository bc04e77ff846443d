package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign-dev/countersign/policy"
)

const starterCases = `version: 1
tests:
  - name: an agent reads
    principal: {kind: agent, name: deploy-bot, groups: [bots], acts_for: alice, owners: [alice]}
    resource: {name: shop, kind: postgres, labels: {env: prod}, reviewers: [dba]}
    effects: [read]
    objects: [public.customers]
    want: {verdict: allow, rules: [readers], seats: 0, limit: {rows: 1000, rows_per_hour: 10000}}
  - name: an agent changes a row
    principal: {kind: agent, name: deploy-bot, acts_for: alice}
    resource: {name: shop, kind: postgres, reviewers: [dba]}
    effects: [read, write]
    facts: {rows: 1}
    want: {verdict: review, rules: [changes-by-agents], seats: 1, confirm: false, reason: an agent asks}
  - name: a person deletes everything
    principal: {kind: person, name: bob}
    resource: {name: shop, kind: postgres}
    effects: [delete]
    facts: {unbounded: true, in_transaction: false, catalog_only: false, data_unseen: false, statements: 1}
    shape: 00ff
    want: {verdict: deny, reason: WHERE}
  - name: an auditor writes
    principal: {kind: person, name: ann, groups: [auditors]}
    resource: {name: countersign, kind: countersign, owners: [security]}
    effects: [write]
    want: {verdict: deny, rules: []}
`

func TestCasesPassAndFail(t *testing.T) {
	cases, err := policy.LoadTests(policy.File{Name: "starter_cases.yaml", Data: []byte(starterCases)})
	if err != nil {
		t.Fatal(err)
	}
	s := starter(t)
	results := s.Test(cases)
	if len(results) != 4 {
		t.Fatalf("%d results", len(results))
	}
	for _, r := range results {
		if !r.Passed || !strings.HasPrefix(r.String(), "ok ") {
			t.Errorf("%s", r)
		}
	}

	// Every expectation is looked at: each, changed alone, fails its case.
	for from, to := range map[string]string{
		"{verdict: allow,":                      "{verdict: review,",
		"rules: [readers]":                      "rules: [auditors]",
		"seats: 0":                              "seats: 1",
		"confirm: false":                        "confirm: true",
		"limit: {rows: 1000,":                   "limit: {rows: 999,",
		"reason: WHERE":                         "reason: because",
		"want: {verdict: deny, rules: []":       "want: {verdict: deny, rules: [auditors]",
		"facts: {unbounded: true,":              "facts: {unbounded: false,",
		"kind: agent, name: deploy-bot, groups": "kind: agent, name: x, groups", // passes: no rule looks at the name
	} {
		if !strings.Contains(starterCases, from) {
			t.Fatalf("%q is in no case", from)
		}
		cases, err := policy.LoadTests(policy.File{Name: "x.yaml", Data: []byte(strings.ReplaceAll(starterCases, from, to))})
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for _, r := range s.Test(cases) {
			if !r.Passed {
				failed++
				if len(r.Problems) == 0 || r.Explanation == nil || !strings.Contains(r.String(), "FAIL") || r.Line == 0 {
					t.Errorf("a failed case says too little: %s", r)
				}
			}
		}
		if want := map[bool]int{true: 0, false: 1}[strings.Contains(to, "name: x")]; failed != want {
			t.Errorf("with %q %d cases fail; want %d", to, failed, want)
		}
	}
}

func TestAFailedCaseShowsWhy(t *testing.T) {
	cases, err := policy.LoadTests(policy.File{Name: "cases.yaml", Data: []byte(`tests:
  - name: deletes run
    principal: {kind: person, name: bob}
    resource: {name: shop, kind: postgres, reviewers: [dba]}
    effects: [delete]
    want: {verdict: allow, seats: 0}
`)})
	if err != nil {
		t.Fatal(err)
	}
	got := starter(t).Test(cases)[0].String()
	head, _, _ := strings.Cut(got, "\n      |\n")
	want := `FAIL  deletes run  (cases.yaml:2)
      verdict: got review, want allow
      seats: got 1, want 0
      | REVIEW
      |   person:bob: delete on shop
      |   because rule changes-by-people asks for 1 of dba
      |   seat 1: one of dba, for rule changes-by-people
      |   waits 1h, then is used within 15m
      |   limits: 1000 rows, 10000 rows an hour`
	if diff := cmp.Diff(want, head); diff != "" {
		t.Errorf("(-want +got):\n%s\nin\n%s", diff, got)
	}
}
