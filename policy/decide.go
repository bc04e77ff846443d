package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/countersign-dev/countersign"
)

// maxIndexed bounds the resources whose candidates are kept.
const maxIndexed = 1024

// candidates is what can match on one resource: the rules whose resource part holds, by name, those that deny first.
type candidates struct {
	kind      string
	labels    map[string]string
	reviewers []countersign.Group

	denies []*rule
	others []*rule
	seats  [][]countersign.Seat // of others, for this resource
}

// of reports whether c was made for a resource like res; names are equal.
func (c *candidates) of(res *countersign.Resource) bool {
	return c.kind == res.Kind && maps.Equal(c.labels, res.Labels) && slices.Equal(c.reviewers, res.Reviewers)
}

// candidatesFor returns the candidates of res, from the index when they are there.
func (s *Set) candidatesFor(res *countersign.Resource) *candidates {
	if c, ok := (*s.index.Load())[res.Name]; ok && c.of(res) {
		return c
	}
	c := &candidates{kind: res.Kind, labels: maps.Clone(res.Labels), reviewers: slices.Clone(res.Reviewers)}
	for _, r := range s.rules {
		switch {
		case !r.matchesResource(res):
		case r.info.Verdict == countersign.Deny:
			c.denies = append(c.denies, r)
		default:
			c.others = append(c.others, r)
			c.seats = append(c.seats, r.seatsFor(res))
		}
	}
	s.remember(res.Name, c)
	return c
}

func (s *Set) remember(name countersign.ResourceName, c *candidates) {
	s.grow.Lock()
	defer s.grow.Unlock()
	next := maps.Clone(*s.index.Load())
	if len(next) >= maxIndexed {
		clear(next)
	}
	next[name] = c
	s.index.Store(&next)
}

// known returns e, or Unknown with it when it is empty or holds an effect that this build has no name for.
func known(e countersign.Effects) countersign.Effects {
	if e == 0 || e&^allEffects != 0 {
		return e&allEffects | countersign.Unknown
	}
	return e
}

// action is one Input being decided about.
type action struct {
	in      Input
	effects countersign.Effects // known(in.Effects)
	vars    *variables          // made when the first condition asks
}

func (a *action) variables() *variables {
	if a.vars == nil {
		a.vars = &variables{in: a.in, effects: a.effects}
	}
	return a.vars
}

// Decide says what the rules make of in. The package's comment says how.
func (s *Set) Decide(in Input) countersign.Decision {
	if refusal := s.undecidable(&in); refusal != "" {
		return countersign.Decision{Verdict: countersign.Deny, Reason: refusal}
	}
	c := s.candidatesFor(in.Resource)
	a := action{in: in, effects: known(in.Effects)}
	limits, denial := c.deny(&a)
	if denial != nil {
		return *denial
	}
	return c.permit(&a, limits)
}

// undecidable says why nothing can be decided about in, or nothing.
func (s *Set) undecidable(in *Input) string {
	switch {
	case s == nil:
		return "no active policy: nothing is permitted until one is loaded"
	case in.Principal == nil || in.Principal.Kind != countersign.KindPerson && in.Principal.Kind != countersign.KindAgent:
		return "nobody known asks"
	case in.Resource == nil:
		return "no known resource is named"
	}
	return ""
}

// deny returns the decision of the rules that deny, if any does, and else their limits.
func (c *candidates) deny(a *action) (limits countersign.Limits, denial *countersign.Decision) {
	var found, failed []*rule
	for _, r := range c.denies {
		if !r.concerns(a, &limits) {
			continue
		}
		switch holds, err := r.matchesCondition(a); {
		case err != nil:
			failed = append(failed, r)
		case holds:
			found = append(found, r)
		}
	}
	if len(found)+len(failed) == 0 {
		return limits, nil
	}
	return limits, &countersign.Decision{
		Verdict: countersign.Deny,
		Rules:   namesOf(slices.Concat(found, failed)),
		Reason:  whyDenied(found, failed),
	}
}

// concerns reports whether all of the rule matches but for its condition. It adds the rule's limits, which
// hold when only resource and principal match. The cheapest question comes first: most rules say nothing
// of an action's effects.
func (r *rule) concerns(a *action, limits *countersign.Limits) bool {
	effects := r.info.Verdict != "" && r.matchesEffects(a.effects)
	if !effects && !r.limits || !r.matchesPrincipal(a.in.Principal) {
		return false
	}
	if r.limits {
		*limits = limits.Min(r.info.Limits)
	}
	return effects && r.matchesObjects(a.effects, a.in.Objects)
}

func whyDenied(found, failed []*rule) string {
	var reasons []string
	for _, r := range found {
		if r.reason != "" {
			reasons = append(reasons, fmt.Sprintf("%s (rule %s)", r.reason, r.info.Name))
		} else {
			reasons = append(reasons, fmt.Sprintf("rule %s denies it", r.info.Name))
		}
	}
	for _, r := range failed {
		reasons = append(reasons, fmt.Sprintf("the condition of rule %s could not be evaluated, so it denies", r.info.Name))
	}
	return strings.Join(reasons, "; ")
}

// permit returns the decision of the rules that do not deny, when none denies.
func (c *candidates) permit(a *action, limits countersign.Limits) countersign.Decision {
	var few [8]*rule
	matched := few[:0]
	var broken []*rule // allow and confirm rules whose condition failed
	var seats []countersign.Seat
	for i, r := range c.others {
		if !r.concerns(a, &limits) {
			continue
		}
		holds, err := r.matchesCondition(a)
		switch {
		case err != nil && r.lenient:
			broken = append(broken, r)
		case holds || err != nil:
			matched = append(matched, r)
			seats = append(seats, c.seats[i]...)
		}
	}
	if len(broken) > 0 {
		return countersign.Decision{
			Verdict: countersign.Deny,
			Rules:   namesOf(broken),
			Reason:  "the condition of " + rulesInWords(namesOf(broken)) + " could not be evaluated, so nothing is permitted",
		}
	}
	d := combine(a, matched, seats, limits)
	if d.Verdict == countersign.Deny && d.Reason == "" {
		d.Reason = c.missing(a)
	}
	return d
}

// combine makes one decision of the rules that matched; none of them denies. A denial without a reason
// means that nothing permits the action.
func combine(a *action, matched []*rule, seats []countersign.Seat, limits countersign.Limits) countersign.Decision {
	reviews, confirms, unknownNamed := 0, 0, false
	for _, r := range matched {
		switch r.info.Verdict {
		case countersign.Review:
			reviews++
			unknownNamed = unknownNamed || r.namesUnknown()
		case countersign.Confirm:
			confirms++
		}
	}
	switch {
	case reviews == 0 && confirms == 0 && len(matched) > 0:
		return countersign.Decision{Verdict: countersign.Allow, Limits: limits, Rules: namesOf(matched)}
	case reviews == 0 && confirms == 0,
		a.effects.Any(countersign.Unknown) && !unknownNamed:
		return countersign.Decision{Verdict: countersign.Deny}
	}
	matched = slices.DeleteFunc(matched, func(r *rule) bool { return r.info.Verdict == countersign.Allow })
	return held(a, matched, seats, confirms > 0, limits)
}

// held returns the decision of review and confirm rules.
func held(a *action, rules []*rule, seats []countersign.Seat, confirm bool, limits countersign.Limits) countersign.Decision {
	d := countersign.Decision{Verdict: countersign.Confirm, Seats: seats, Confirm: confirm, Limits: limits, Rules: namesOf(rules)}
	if len(seats) > 0 {
		d.Verdict = countersign.Review
	}
	denial := countersign.Decision{Verdict: countersign.Deny, Rules: d.Rules}
	if confirm && len(a.in.Principal.Chain) == 0 {
		denial.Reason = rulesInWords(namesOf(onlyConfirm(rules))) + " asks the person acted for to confirm, and the requester acts for nobody"
		return denial
	}
	if len(seats) > MaxSeats {
		denial.Reason = fmt.Sprintf("%s need %d signatures together; an action may need at most %d", rulesInWords(d.Rules), len(seats), MaxSeats)
		return denial
	}
	for _, r := range rules {
		if d.Expires == 0 || r.expires < d.Expires {
			d.Expires = r.expires
		}
		if d.ClaimWithin == 0 || r.claimWithin < d.ClaimWithin {
			d.ClaimWithin = r.claimWithin
		}
	}
	d.Reason = whyHeld(rules, seats)
	return d
}

func onlyConfirm(rules []*rule) []*rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r *rule) bool { return r.info.Verdict != countersign.Confirm })
}

// whyHeld says in one sentence who has to sign, and quotes the rules' reasons.
func whyHeld(rules []*rule, seats []countersign.Seat) string {
	var parts []string
	for _, r := range rules {
		part := "rule " + r.info.Name + " asks the person acted for to confirm"
		if r.info.Verdict == countersign.Review {
			own := slices.DeleteFunc(slices.Clone(seats), func(s countersign.Seat) bool { return s.Rule != r.info.Name })
			part = "rule " + r.info.Name + " asks for " + asks(own)
		}
		if r.reason != "" {
			part += ": " + r.reason
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

// missing says why no rule permits the action, in the order in which someone would look.
func (c *candidates) missing(a *action) string {
	const then = "; what no rule permits is denied"
	forResource, forPrincipal := false, false
	var covered countersign.Effects
	for _, r := range c.others {
		if !r.permits() {
			continue
		}
		forResource = true
		if !r.matchesPrincipal(a.in.Principal) {
			continue
		}
		forPrincipal = true
		covered |= r.covers()
	}
	open := a.effects &^ covered
	switch {
	case !forResource:
		return "no rule permits anything on this resource" + then
	case !forPrincipal:
		return "no rule permits this requester anything on this resource" + then
	case open.Any(countersign.Unknown):
		return "what this does cannot be told, and no review rule names unknown" + then
	case open != 0:
		return "no rule permits this requester " + strings.Join(open.Names(), ", ") + " on this resource" + then
	default:
		return "no rule that names " + strings.Join(a.effects.Names(), ", ") + " holds for this action as a whole (its effects together, objects, condition)" + then
	}
}

// covers returns the effects that the rule could permit.
func (r *rule) covers() countersign.Effects {
	if r.effects|r.anyEffect != 0 {
		return r.effects | r.anyEffect
	}
	return allEffects &^ countersign.Unknown
}

// namesOf returns the names of rules, sorted. Callers may not change it.
func namesOf(rules []*rule) []string {
	if len(rules) == 1 {
		return rules[0].self
	}
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.info.Name
	}
	slices.Sort(names)
	return names
}

func rulesInWords(names []string) string {
	if len(names) == 1 {
		return "rule " + names[0]
	}
	return "rules " + strings.Join(names, ", ")
}
