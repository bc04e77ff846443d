package policy_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/policy"
)

func TestAnExplanationNamesThePartThatDecided(t *testing.T) {
	s := load(t, everything, design)
	for _, c := range []struct {
		in   policy.Input
		want string
	}{
		{policy.Input{
			Principal: bot, Resource: prod, Effects: countersign.Read | countersign.Write,
			Objects: objects("public.orders"), Facts: &countersign.Facts{Statements: 1},
		}, `REVIEW
  agent:deploy-bot: read, write on shop
  because rule prod-changes-by-agents asks for 1 of dba
  seat 1: one of dba, for rule prod-changes-by-agents
  waits 1h, then is used within 15m

rules that match
  prod-changes-by-agents  (review, a.yaml:6)
    yes    resource: env: prod
    yes    principal: agent:deploy-bot is meant
    yes    effects: write is among write, delete
    yes    when: !facts.rows_known || facts.rows > 100
             !facts.rows_known || facts.rows > 100  true
             !facts.rows_known                      true
             facts.rows_known                       false
             facts.rows > 100                       facts.rows is not known exactly
             facts.rows                             facts.rows is not known exactly

rules that do not match
  exports  (review, a.yaml:14)
    no     effects: none of export, secret is among read, write
  own-agents-in-staging  (confirm, a.yaml:17)
    no     resource: it is for env: staging, and the resource has env: prod
  prod-readers  (allow, a.yaml:3)
    no     principal: it is for members of prod-readers; agent:deploy-bot is in no group
    no     effects: write is not among read, session
  small-changes-by-agents  (allow, a.yaml:10)
    no     when: facts.rows_known && facts.rows <= 100
             facts.rows_known && facts.rows <= 100  false
             facts.rows_known                       false
             facts.rows <= 100                      facts.rows is not known exactly
             facts.rows                             facts.rows is not known exactly
`},
		{policy.Input{
			Principal: reader, Resource: prod, Effects: countersign.Write, Facts: rows(3),
		}, `DENY
  person:bob: write on shop
  because no rule permits this requester write on this resource; what no rule permits is denied

rules that only set limits here
  prod-readers  (allow, a.yaml:3)
    sets   1000 rows, 10000 rows an hour
    no     effects: write is not among read, session

rules that do not match
  exports  (review, a.yaml:14)
    no     effects: none of export, secret is among write
  own-agents-in-staging  (confirm, a.yaml:17)
    no     resource: it is for env: staging, and the resource has env: prod
    no     principal: it is for kind agent, not person
  prod-changes-by-agents  (review, a.yaml:6)
    no     principal: it is for kind agent, not person
    no     when: !facts.rows_known || facts.rows > 100
             !facts.rows_known || facts.rows > 100  false
             !facts.rows_known                      false
             facts.rows_known                       true
             facts.rows > 100                       false
             facts.rows                             3
  small-changes-by-agents  (allow, a.yaml:10)
    no     principal: it is for kind agent, not person
`},
	} {
		x := s.Explain(c.in)
		if diff := cmp.Diff(c.want, x.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		data, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		var back policy.Explanation
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(x.String(), back.String()); diff != "" {
			t.Errorf("through JSON:\n%s", diff)
		}
	}
}

func TestAnExplanationShowsWhatFailed(t *testing.T) {
	s := load(t, policy.Features{}, `version: 1
rules:
  - name: gold
    match: {principal: {kind: agent}, effects: [write], objects: [public.orders, "audit.*"]}
    when: 'resource.labels.tier == "gold" && objects.exists(o, o.name == "public.orders")'
    then: {allow: true}
`)
	in := policy.Input{Principal: bot, Resource: prod, Effects: countersign.Write, Objects: objects("public.orders", "audit.log")}
	got := s.Explain(in).String()
	for _, want := range []string{
		"DENY",
		"because the condition of rule gold could not be evaluated, so nothing is permitted",
		"yes    objects: public.orders, audit.log is among public.orders, audit.*",
		"failed when: resource.labels.tier == \"gold\" && objects.exists(o, o.name == \"public.orders\"): no such key: tier",
		"resource.labels.tier                              no such key: tier",
		"objects.exists(o, o.name == \"public.orders\")      true",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("without %q:\n%s", want, got)
		}
	}
	in.Objects = append(in.Objects, objects("public.secrets")...)
	if got := s.Explain(in).String(); !strings.Contains(got, "no     objects: public.secrets is not among public.orders, audit.*") {
		t.Errorf("the object that is not named is not shown:\n%s", got)
	}
}

func TestFactsThatNobodyGaveAreSaidToBeMissing(t *testing.T) {
	got := starter(t).Explain(policy.Input{Principal: bot, Resource: shop, Effects: countersign.Write}).String()
	if !strings.Contains(got, "failed when: facts.unbounded: no facts are known of the action") {
		t.Error(got)
	}
}
