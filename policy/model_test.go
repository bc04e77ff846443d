package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/policy"
)

// drawn is a rule as the tests know it; its text is what Load reads, and matches is what it should mean.
type drawn struct {
	name      string
	principal string
	resource  string
	effects   countersign.Effects
	anyEffect countersign.Effects
	objects   []string
	when      string
	verdict   countersign.Verdict // "" for limits alone
	seats     []drawnSeats
	limits    countersign.Limits
	expires   time.Duration
}

type drawnSeats struct {
	count  int
	groups []string
}

func (d drawn) yaml() string {
	var match []string
	add := func(key, value string) {
		if value != "" {
			match = append(match, key+": "+value)
		}
	}
	add("principal", d.principal)
	add("resource", d.resource)
	if d.effects != 0 {
		add("effects", "["+strings.Join(d.effects.Names(), ", ")+"]")
	}
	if d.anyEffect != 0 {
		add("any_effect", "["+strings.Join(d.anyEffect.Names(), ", ")+"]")
	}
	if len(d.objects) > 0 {
		add("objects", `["`+strings.Join(d.objects, `", "`)+`"]`)
	}
	text := fmt.Sprintf("  - name: %s\n    match: {%s}\n", d.name, strings.Join(match, ", "))
	if d.when != "" {
		text += "    when: '" + d.when + "'\n"
	}
	return text + "    then: {" + strings.Join(d.then(), ", ") + "}\n"
}

func (d drawn) then() []string {
	var then []string
	switch d.verdict {
	case "":
	case countersign.Review:
		var entries []string
		for _, s := range d.seats {
			entries = append(entries, fmt.Sprintf("{count: %d, groups: [%s]}", s.count, strings.Join(s.groups, ", ")))
		}
		then = append(then, "review: ["+strings.Join(entries, ", ")+"]")
	default:
		then = append(then, string(d.verdict)+": true")
	}
	if d.expires > 0 {
		then = append(then, "expires: "+d.expires.String())
	}
	if d.limits != (countersign.Limits{}) {
		var limits []string
		if d.limits.Rows > 0 {
			limits = append(limits, fmt.Sprintf("rows: %d", d.limits.Rows))
		}
		if d.limits.BytesPerHour > 0 {
			limits = append(limits, fmt.Sprintf("bytes_per_hour: %d", d.limits.BytesPerHour))
		}
		then = append(then, "limit: {"+strings.Join(limits, ", ")+"}")
	}
	return then
}

// The conditions that are drawn, with what they mean; "fails" is one that cannot be evaluated.
const failing = "fails"

var conditions = map[string]func(policy.Input) string{
	"":     func(policy.Input) string { return "true" },
	"true": func(policy.Input) string { return "true" },
	"facts.unbounded": func(in policy.Input) string {
		if in.Facts == nil {
			return failing
		}
		return fmt.Sprint(in.Facts.Unbounded)
	},
	"facts.rows > 5": func(in policy.Input) string {
		if in.Facts == nil || !in.Facts.RowsKnown {
			return failing
		}
		return fmt.Sprint(in.Facts.Rows > 5)
	},
	"facts.rows_known && facts.rows <= 5": func(in policy.Input) string {
		if in.Facts == nil {
			return failing
		}
		return fmt.Sprint(in.Facts.RowsKnown && in.Facts.Rows <= 5)
	},
	`resource.labels.tier == "gold"`: func(in policy.Input) string {
		tier, ok := in.Resource.Labels["tier"]
		if !ok {
			return failing
		}
		return fmt.Sprint(tier == "gold")
	},
	`objects.exists(o, o.name == "public.cards")`: func(in policy.Input) string {
		for _, o := range in.Objects {
			if o.Name.String() == "public.cards" {
				return "true"
			}
		}
		return "false"
	},
}

// meets says whether the rule's resource and principal match.
func (d drawn) meets(in policy.Input) bool {
	p, res := in.Principal, in.Resource
	who := map[string]bool{
		"":                              true,
		"{anyone: true}":                true,
		"{kind: agent}":                 p.Kind == countersign.KindAgent,
		"{kind: person}":                p.Kind == countersign.KindPerson,
		"{groups: [readers, bots]}":     p.In("readers") || p.In("bots"),
		`{names: ["agent:bot"]}`:        p.ID() == "agent:bot",
		"{kind: agent, groups: [bots]}": p.Kind == countersign.KindAgent && p.In("bots"),
	}
	what := map[string]bool{
		"":                            true,
		"{env: prod}":                 res.Labels["env"] == "prod",
		"{env: prod, team: shop}":     res.Labels["env"] == "prod" && res.Labels["team"] == "shop",
		"{name: shop}":                res.Name == "shop",
		"{names: [shop, other]}":      res.Name == "shop" || res.Name == "other",
		"{kind: postgres, env: test}": res.Kind == "postgres" && res.Labels["env"] == "test",
	}
	matchesWho, ok1 := who[d.principal]
	matchesWhat, ok2 := what[d.resource]
	if !ok1 || !ok2 {
		panic("a principal or resource that the model does not know: " + d.principal + d.resource)
	}
	return matchesWho && matchesWhat
}

// outcome says what the rule has to do with the action: "true", "false" or failing.
func (d drawn) outcome(in policy.Input) string {
	e := in.Effects
	if e == 0 {
		e = countersign.Unknown
	}
	unknown, lenient := e.Has(countersign.Unknown), d.verdict == countersign.Allow || d.verdict == countersign.Confirm
	switch {
	case d.verdict == "" || !d.meets(in),
		lenient && unknown,
		d.effects != 0 && e&d.effects != e,
		d.anyEffect != 0 && e&d.anyEffect == 0:
		return "false"
	}
	if len(d.objects) > 0 {
		named := 0
		for _, o := range in.Objects {
			for _, pattern := range d.objects {
				prefix, wild := strings.CutSuffix(pattern, "*")
				if o.Name.String() == pattern || wild && strings.HasPrefix(o.Name.String(), prefix) {
					named++
					break
				}
			}
		}
		if lenient && (named == 0 || named < len(in.Objects)) || !lenient && named == 0 && !unknown {
			return "false"
		}
	}
	return conditions[d.when](in)
}

// model is section "Policy" of the design, written down once more and as plainly as possible.
func model(rules []drawn, in policy.Input) countersign.Decision {
	rules = slices.SortedFunc(slices.Values(rules), func(a, b drawn) int { return strings.Compare(a.name, b.name) })
	by := map[countersign.Verdict][]string{}
	var broken []string
	var limits countersign.Limits
	var seats []countersign.Seat
	var expires time.Duration
	unknownNamed := false
	for _, r := range rules {
		if r.meets(in) {
			limits = limits.Min(r.limits)
		}
		got := r.outcome(in)
		if got == "false" {
			continue
		}
		if got == failing && (r.verdict == countersign.Allow || r.verdict == countersign.Confirm) {
			broken = append(broken, r.name)
			continue
		}
		by[r.verdict] = append(by[r.verdict], r.name)
		if r.verdict == countersign.Review {
			unknownNamed = unknownNamed || (r.effects | r.anyEffect).Has(countersign.Unknown)
			for _, s := range r.seats {
				for range s.count {
					seats = append(seats, countersign.Seat{Rule: r.name, Groups: expand(s.groups, in.Resource)})
				}
			}
		}
		if r.verdict == countersign.Review || r.verdict == countersign.Confirm {
			mine := r.expires
			if mine == 0 {
				mine = time.Hour
			}
			if expires == 0 || mine < expires {
				expires = mine
			}
		}
	}
	held := slices.Sorted(slices.Values(slices.Concat(by[countersign.Review], by[countersign.Confirm])))
	confirm := len(by[countersign.Confirm]) > 0
	unknown := in.Effects == 0 || in.Effects.Has(countersign.Unknown)
	deny := func(names []string) countersign.Decision {
		return countersign.Decision{Verdict: countersign.Deny, Rules: names}
	}
	switch {
	case len(by[countersign.Deny]) > 0:
		return deny(by[countersign.Deny])
	case len(broken) > 0:
		return deny(broken)
	case unknown && !unknownNamed:
		return deny(nil)
	case confirm && len(in.Principal.Chain) == 0, len(seats) > 16:
		return deny(held)
	case len(seats) > 0:
		return countersign.Decision{Verdict: countersign.Review, Rules: held, Seats: seats, Confirm: confirm, Limits: limits, Expires: expires, ClaimWithin: 15 * time.Minute}
	case confirm:
		return countersign.Decision{Verdict: countersign.Confirm, Rules: held, Confirm: true, Limits: limits, Expires: expires, ClaimWithin: 15 * time.Minute}
	case len(by[countersign.Allow]) > 0:
		return countersign.Decision{Verdict: countersign.Allow, Rules: by[countersign.Allow], Limits: limits}
	}
	return deny(nil)
}

func expand(groups []string, res *countersign.Resource) []countersign.Group {
	var list []countersign.Group
	for _, g := range groups {
		if g != "resource.reviewers" {
			list = append(list, countersign.Group(g))
		}
	}
	if slices.Contains(groups, "resource.reviewers") {
		for _, g := range res.Reviewers {
			if !slices.Contains(list, g) {
				list = append(list, g)
			}
		}
	}
	return list
}
