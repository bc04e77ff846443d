package policy_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/policy"
)

func TestMain(m *testing.M) {
	flag.Parse()
	checks := "300"
	if os.Getenv("COUNTERSIGN_LONG") != "" {
		checks = "20000"
	}
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", checks); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

var someEffects = []countersign.Effects{countersign.Read, countersign.Write, countersign.Delete, countersign.Export, countersign.Session, countersign.Unknown}

func drawEffects(t *rapid.T, label string, most int, from ...countersign.Effects) countersign.Effects {
	var all countersign.Effects
	for _, e := range rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, most, rapid.ID[countersign.Effects]).Draw(t, label) {
		all |= e
	}
	return all
}

// often draws first half of the time, so that rules and actions meet.
func often[T any](t *rapid.T, label string, first T, others ...T) T {
	if rapid.Bool().Draw(t, label+" as usual") {
		return first
	}
	return rapid.SampledFrom(others).Draw(t, label)
}

func drawRule(t *rapid.T, name string, verdicts ...countersign.Verdict) drawn {
	d := drawn{name: name, verdict: rapid.SampledFrom(verdicts).Draw(t, "verdict")}
	lenient := d.verdict == countersign.Allow || d.verdict == countersign.Confirm
	who := []string{"{kind: agent}", "{groups: [readers, bots]}", `{names: ["agent:bot"]}`, "{kind: agent, groups: [bots]}", "{anyone: true}"}
	if d.verdict != countersign.Confirm {
		who = append(who, "{kind: person}")
	}
	if d.verdict != countersign.Allow {
		who = append(who, "")
	}
	d.principal = often(t, "principal", "{kind: agent}", who...)
	d.resource = often(t, "resource", "", []string{"{env: prod}", "{env: prod, team: shop}", "{name: shop}", "{names: [shop, other]}", "{kind: postgres, env: test}"}...)
	if rapid.Bool().Draw(t, "limited") || d.verdict == "" {
		d.limits = countersign.Limits{Rows: rapid.Int64Range(1, 9).Draw(t, "rows"), BytesPerHour: rapid.Int64Range(0, 3).Draw(t, "bytes")}
	}
	if d.verdict == "" {
		return d
	}
	switch {
	case lenient:
		d.effects = often(t, "all", countersign.Read|countersign.Write|countersign.Delete|countersign.Session, drawEffects(t, "effects", 5, someEffects[:5]...))
	case rapid.Bool().Draw(t, "all effects"):
		d.effects = often(t, "all", countersign.Unknown|countersign.Read|countersign.Write, drawEffects(t, "effects", 6, someEffects...))
	case rapid.Bool().Draw(t, "some effect"):
		d.anyEffect = drawEffects(t, "any effect", 6, someEffects...)
	}
	d.objects = often(t, "objects", nil, [][]string{{"public.cards"}, {"audit.*", "public.orders"}}...)
	d.when = often(t, "when", "", slices.Sorted(maps.Keys(conditions))...)
	if d.verdict == countersign.Review {
		for range rapid.IntRange(1, 2).Draw(t, "entries") {
			d.seats = append(d.seats, drawnSeats{
				count:  rapid.IntRange(1, 3).Draw(t, "count"),
				groups: rapid.SampledFrom([][]string{{"dba"}, {"dba", "security"}, {"resource.reviewers"}, {"security", "resource.reviewers"}}).Draw(t, "groups"),
			})
		}
	}
	if d.verdict == countersign.Review || d.verdict == countersign.Confirm {
		d.expires = rapid.SampledFrom([]time.Duration{0, time.Minute, 2 * time.Hour}).Draw(t, "expires")
	}
	return d
}

var anyVerdict = []countersign.Verdict{"", countersign.Allow, countersign.Allow, countersign.Confirm, countersign.Review, countersign.Review, countersign.Deny}

func drawRules(t *rapid.T) []drawn {
	var rules []drawn
	for i := range rapid.IntRange(1, 7).Draw(t, "rules") {
		rules = append(rules, drawRule(t, fmt.Sprintf("r%d", i), anyVerdict...))
	}
	return rules
}

var acting = &countersign.Principal{
	Kind: countersign.KindAgent, Agent: "bot", Groups: []countersign.Group{"bots"}, Chain: []countersign.PersonID{"alice"},
}

func drawInput(t *rapid.T) policy.Input {
	in := policy.Input{
		Principal: often(t, "principal", acting, []*countersign.Principal{
			{Kind: countersign.KindPerson, Person: "bob"},
			{Kind: countersign.KindPerson, Person: "rita", Groups: []countersign.Group{"readers"}},
			{Kind: countersign.KindAgent, Agent: "cron"},
		}...),
		Resource: rapid.SampledFrom([]*countersign.Resource{
			{Name: "shop", Kind: "postgres", Labels: map[string]string{"env": "prod", "team": "shop", "tier": "gold"}, Reviewers: []countersign.Group{"dba", "leads"}},
			{Name: "other", Kind: "postgres", Labels: map[string]string{"env": "prod"}},
			{Name: "test", Kind: "postgres", Labels: map[string]string{"env": "test", "tier": "tin"}},
		}).Draw(t, "resource"),
		Objects: objects(rapid.SampledFrom([][]string{nil, {"public.cards"}, {"audit.log", "public.orders"}, {"audit.log", "public.cards"}, {"public.other"}}).Draw(t, "objects")...),
		Facts: rapid.SampledFrom([]*countersign.Facts{
			nil, {Statements: 1}, {Statements: 1, Rows: 3, RowsKnown: true}, {Rows: 9, RowsKnown: true, Unbounded: true},
		}).Draw(t, "facts"),
	}
	if rapid.IntRange(0, 9).Draw(t, "effects known") > 0 {
		in.Effects = often(t, "effects", countersign.Write, drawEffects(t, "effects", 3, someEffects...))
	}
	return in
}

// set loads rules, spread over files in the order given.
func set(t *rapid.T, rules ...drawn) *policy.Set {
	var files []policy.File
	for i := range 3 {
		text := ""
		for j := i; j < len(rules); j += 3 {
			text += rules[j].yaml()
		}
		if text != "" {
			files = append(files, policy.File{Name: fmt.Sprintf("%d.yaml", i), Data: []byte("version: 1\nrules:\n" + text)})
		}
	}
	s, err := policy.Load(files, policy.Features{})
	if err != nil {
		t.Fatalf("the drawn policy does not load:\n%v", err)
	}
	return s
}

const inputs = 12 // drawn for each policy

func TestDecisionsAreThoseOfTheDesign(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		s := set(t, rules...)
		for range inputs {
			in := drawInput(t)
			got, want := s.Decide(in), model(rules, in)
			seen[fmt.Sprintf("%s by rule: %v", got.Verdict, len(got.Rules) > 0)]++
			if got.Verdict == countersign.Allow != (got.Reason == "") {
				t.Fatalf("%s with the reason %q", got.Verdict, got.Reason)
			}
			got.Reason = ""
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("(-model +got):\n%s", diff)
			}
		}
	})
	for _, kind := range []string{"allow by rule: true", "confirm by rule: true", "review by rule: true", "deny by rule: true", "deny by rule: false"} {
		if seen[kind] < 10 {
			t.Errorf("only %d decisions of the kind %q were drawn: %v", seen[kind], kind, seen)
		}
	}
}

// weaker says in what b asks for less than a, or lets more through; "" when in nothing. It is the partial order
// of decisions: allow is below everything; a decision with more seats, with a confirmation, with smaller limits,
// with shorter deadlines is above one without; deny is above everything.
func weaker(b, a countersign.Decision) string {
	if b.Verdict == countersign.Deny {
		return ""
	}
	if a.Verdict == countersign.Deny {
		return "it is no longer denied"
	}
	rank := map[countersign.Verdict]int{countersign.Allow: 0, countersign.Confirm: 1, countersign.Review: 2}
	if rank[b.Verdict] < rank[a.Verdict] {
		return fmt.Sprintf("%s became %s", a.Verdict, b.Verdict)
	}
	if a.Confirm && !b.Confirm {
		return "nobody has to confirm"
	}
	left := slices.Clone(b.Seats)
	for _, seat := range a.Seats {
		i := slices.IndexFunc(left, func(s countersign.Seat) bool { return cmp.Equal(s, seat) })
		if i < 0 {
			return fmt.Sprintf("the seat %+v is gone", seat)
		}
		left = slices.Delete(left, i, i+1)
	}
	if b.Limits != a.Limits.Min(b.Limits) {
		return fmt.Sprintf("the limits %+v became %+v", a.Limits, b.Limits)
	}
	if a.Expires > 0 && (b.Expires == 0 || b.Expires > a.Expires) || a.ClaimWithin > 0 && (b.ClaimWithin == 0 || b.ClaimWithin > a.ClaimWithin) {
		return "a deadline is later"
	}
	return ""
}

func TestAddingADenyNeverWeakens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		more := drawRule(t, rapid.SampledFrom([]string{"a", "r2a", "z"}).Draw(t, "name"), countersign.Deny)
		before, after := set(t, rules...), set(t, append(rules, more)...)
		for range inputs {
			in := drawInput(t)
			if what := weaker(after.Decide(in), before.Decide(in)); what != "" {
				t.Fatal(what)
			}
		}
	})
}

func TestAddingAReviewOrConfirmNeverWeakensWhatSomeRuleDecided(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		more := drawRule(t, rapid.SampledFrom([]string{"a", "r2a", "z"}).Draw(t, "name"), countersign.Review, countersign.Confirm)
		before, after := set(t, rules...), set(t, append(rules, more)...)
		for range inputs {
			in := drawInput(t)
			was := before.Decide(in)
			if len(was.Rules) == 0 {
				continue // no rule had decided
			}
			if what := weaker(after.Decide(in), was); what != "" {
				t.Fatal(what)
			}
		}
	})
}

func TestOrderNeverMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		other := rapid.Permutation(rules).Draw(t, "order")
		a, b := set(t, rules...), set(t, other...)
		for range inputs {
			in := drawInput(t)
			if diff := cmp.Diff(a.Decide(in), b.Decide(in)); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func TestAFailingConditionNeverPermitsWithoutSignatures(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		for i := range rules {
			if rules[i].verdict != "" {
				rules[i].when = `resource.labels.nowhere == "x"`
			}
		}
		s := set(t, rules...)
		for range inputs {
			if d := s.Decide(drawInput(t)); d.Verdict != countersign.Deny && len(d.Seats) == 0 {
				t.Fatalf("%+v", d)
			}
		}
	})
}

func TestUnknownIsNeverPermittedByAllowOrConfirm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		s := set(t, rules...)
		for range inputs {
			in := drawInput(t)
			in.Effects |= countersign.Unknown
			switch rapid.IntRange(0, 2).Draw(t, "kind of unknown") {
			case 1:
				in.Effects = 0
			case 2:
				in.Effects = countersign.Read | countersign.Unknown<<1 // an effect of a later build
			}
			d := s.Decide(in)
			if d.Verdict == countersign.Deny {
				continue
			}
			named := slices.ContainsFunc(rules, func(r drawn) bool {
				return r.verdict == countersign.Review && (r.effects | r.anyEffect).Has(countersign.Unknown) && slices.Contains(d.Rules, r.name)
			})
			if d.Verdict != countersign.Review || !named {
				t.Fatalf("unknown gives %+v", d)
			}
		}
	})
}

func TestExplanationsTellWhatDecided(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		s := set(t, rules...)
		for range inputs {
			in := drawInput(t)
			d, x := s.Decide(in), s.Explain(in)
			if diff := cmp.Diff(d, x.Decision); diff != "" {
				t.Fatalf("the explanation decides otherwise: %s", diff)
			}
			if len(x.Rules) != len(rules) {
				t.Fatalf("%d of %d rules are explained", len(x.Rules), len(rules))
			}
			for _, r := range x.Rules {
				i := slices.IndexFunc(rules, func(d drawn) bool { return d.name == r.Name })
				if want := rules[i].outcome(in) != "false"; r.Matched != want {
					t.Fatalf("rule %s: matched %v, want %v\n%s", r.Name, r.Matched, want, x)
				}
				if r.LimitsApply != rules[i].meets(in) {
					t.Fatalf("rule %s: limits apply %v\n%s", r.Name, r.LimitsApply, x)
				}
				kept := slices.ContainsFunc(r.Parts, func(p policy.PartExplanation) bool { return p.Answer != policy.Yes })
				if !r.Matched && !kept && r.Verdict != "" {
					t.Fatalf("rule %s does not match, and no part says why\n%s", r.Name, x)
				}
			}
			if x.String() == "" {
				t.Fatal("an empty explanation")
			}
		}
	})
}
