package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/policy"
)

// under returns what each kind of rule makes of an agent's write, when its condition is when.
func under(t *testing.T, when string, in policy.Input) map[string]countersign.Verdict {
	t.Helper()
	out := map[string]countersign.Verdict{}
	for name, then := range map[string]string{
		"allow":   "allow: true",
		"confirm": "confirm: true",
		"review":  "review: [{count: 1, groups: [dba]}]",
		"deny":    "deny: true",
	} {
		text := fmt.Sprintf("version: 1\nrules:\n- name: it\n  match: {principal: {kind: agent}, effects: [write]}\n  when: |\n    %s\n  then: {%s}\n", when, then)
		if name == "deny" {
			text += "- {name: otherwise, match: {principal: {anyone: true}, effects: [write]}, then: {allow: true}}\n"
		}
		d := load(t, policy.Features{}, text).Decide(in)
		out[name] = d.Verdict
		if d.Verdict == countersign.Deny && len(d.Rules) == 0 {
			out[name] = "nothing"
		}
	}
	return out
}

var (
	holds = map[string]countersign.Verdict{"allow": "allow", "confirm": "confirm", "review": "review", "deny": "deny"}
	not   = map[string]countersign.Verdict{"allow": "nothing", "confirm": "nothing", "review": "nothing", "deny": "allow"}
	fails = map[string]countersign.Verdict{"allow": "deny", "confirm": "deny", "review": "review", "deny": "deny"}
)

func TestConditions(t *testing.T) {
	input := func(f *countersign.Facts) policy.Input {
		return policy.Input{
			Principal: &countersign.Principal{
				Kind: countersign.KindAgent, Agent: "deploy-bot", Groups: []countersign.Group{"bots", "ci"},
				Chain: []countersign.PersonID{"alice"}, Owners: []countersign.PersonID{"carol"},
			},
			Resource: prod, Effects: countersign.Write, Objects: objects("public.orders", "audit.log"), Facts: f, Shape: "aa11",
		}
	}
	counted, uncounted := input(rows(7)), input(&countersign.Facts{Rows: 7, Statements: 2})
	for _, c := range []struct {
		in   policy.Input
		when string
		want map[string]countersign.Verdict
	}{
		{counted, `facts.rows_known && facts.rows <= 100`, holds},
		{counted, `facts.rows > 100`, not},
		{counted, `has(facts.rows)`, holds},
		{counted, `facts.statements == 1 && !facts.unbounded && !facts.catalog_only && !facts.in_transaction && !facts.data_unseen`, holds},
		{counted, `principal.kind == "agent" && principal.id == "agent:deploy-bot" && principal.name == "deploy-bot"`, holds},
		{counted, `"ci" in principal.groups && principal.chain == ["alice"] && principal.owners[0] == "carol"`, holds},
		{counted, `resource.name == "shop" && resource.kind == "postgres" && resource.labels["env"] == "prod" && "dba" in resource.reviewers`, holds},
		{counted, `resource.labels.env == "prod" && !has(resource.labels.tier) && resource.owners.size() == 0`, holds},
		{counted, `"write" in effects && !("read" in effects)`, holds},
		{counted, `objects.exists(o, o.name.startsWith("audit.")) && objects.all(o, o.kind == "table") && size(objects) == 2`, holds},
		{counted, `shape in ["aa11", "bb22"]`, holds},
		// What is missing or broken fails; it is never false.
		{counted, `resource.labels["tier"] == "gold"`, fails},
		{counted, `resource.labels.tier != "gold"`, fails},
		{counted, `objects[5].name == "x"`, fails},
		{counted, `1 / (facts.statements - 1) > 0`, fails},
		{counted, `int(resource.labels.env) == 1`, fails},
		// An inexact number of rows cannot be read, by whatever way.
		{uncounted, `facts.rows_known && facts.rows <= 100`, not},
		{uncounted, `!facts.rows_known || facts.rows > 100`, holds},
		{uncounted, `facts.rows <= 100`, fails},
		{uncounted, `facts.rows > 100`, fails},
		{uncounted, `facts.rows == 7 || facts.rows != 7`, fails},
		{uncounted, `!(facts.rows > 100)`, fails},
		{uncounted, `[facts.rows].exists(r, r < 100)`, fails},
		{uncounted, `[1, 2].all(n, facts.rows < 100 * n)`, fails},
		{uncounted, `(facts.unbounded ? facts.rows : facts.rows + 1) < 100`, fails},
		{uncounted, `{"n": facts.rows}["n"] < 100`, fails},
		{uncounted, `facts.rows in [7, 8]`, fails},
		{uncounted, `string(facts.rows) == "7"`, fails},
		{uncounted, `has(facts.rows)`, not},
		{uncounted, `!has(facts.rows) || facts.rows < 100`, holds},
		// Facts that nobody gave are not harmless facts.
		{input(nil), `!facts.unbounded`, fails},
		{input(nil), `facts.unbounded`, fails},
		{input(nil), `"write" in effects`, holds},
	} {
		got := under(t, c.when, c.in)
		for rule, want := range c.want {
			if got[rule] != want {
				t.Errorf("%s (rows known: %v): a rule that says %s gives %s; want %s",
					c.when, c.in.Facts != nil && c.in.Facts.RowsKnown, rule, got[rule], want)
			}
		}
	}
}

func TestAConditionThatCostsTooMuchFails(t *testing.T) {
	var names []string
	for i := range 3000 {
		names = append(names, fmt.Sprintf("public.t%d", i))
	}
	in := policy.Input{Principal: bot, Resource: prod, Effects: countersign.Write, Objects: objects(names...), Facts: rows(1)}
	// Quadratic: nine million comparisons, all true.
	got := under(t, `objects.all(a, objects.all(b, a.name != "" && b.name != ""))`, in)
	for rule, want := range fails {
		if got[rule] != want {
			t.Errorf("a rule that says %s gives %s; want %s", rule, got[rule], want)
		}
	}
	if got := under(t, `objects.all(a, a.name.startsWith("public."))`, in); got["allow"] != countersign.Allow {
		t.Errorf("a linear condition over 3000 objects gives %s", got["allow"])
	}
}

func TestConditionsThatDoNotCompile(t *testing.T) {
	for when, says := range map[string]string{
		`facts.rows`:                                "it is of type int; it must be true or false",
		`facts.row > 1`:                             "undefined field 'row'",
		`facts.rows > "1"`:                          "found no matching overload for '_>_' applied to '(int, string)'",
		`fact.rows > 1`:                             "undeclared reference to 'fact'",
		`resource.upstream == "x"`:                  "undefined field 'upstream'",
		`resource.name.matches("sh.*")`:             "undeclared reference to 'matches'",
		`dyn(1) == 1`:                               "undeclared reference to 'dyn'",
		`[facts].exists(f, f.rows < 1)`:             "facts is used as a whole",
		`facts == facts`:                            "facts is used as a whole",
		`policy.factsVar{rows_known: true}.rows==0`: "cannot be made",
		`[1, "a"].size() == 2`:                      "expected type 'int' but found 'string'",
		`principal.groups[0] ==`:                    "Syntax error",
		`true; false`:                               "Syntax error",
		strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200): "recursion",
		"true" + strings.Repeat(" && true", 250):                     "node",
	} {
		text := "version: 1\nrules:\n- name: it\n  match: {}\n  when: |\n    " + when + "\n  then: {deny: true}\n"
		_, err := policy.Load([]policy.File{{Name: "p.yaml", Data: []byte(text)}}, policy.Features{})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), "p.yaml:6: rule it: the condition does not compile: ") {
			t.Errorf("%.60s: %v; want p.yaml:6 and %q", when, err, says)
		}
	}
}
