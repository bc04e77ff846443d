package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/countersign-dev/countersign"
)

// rule is one rule as loaded. It is immutable.
type rule struct {
	info RuleInfo
	self []string // its name alone, shared by decisions

	// lenient: the rule permits without the signature of another person in a seat (allow, confirm). It is
	// held to more: each effect and each object must be named.
	lenient bool
	limits  bool // it sets some limit

	// Who: everything that is set must hold; within a list, one is enough.
	kind   countersign.PrincipalKind
	groups []countersign.Group
	names  []string // Principal.ID

	// On what. labels holds the file's scope, too.
	resources []countersign.ResourceName
	resKind   string
	labels    []label

	// Doing what. At most one of effects and anyEffect is set; none means whatever it does.
	effects   countersign.Effects
	anyEffect countersign.Effects
	objects   []pattern

	when *condition

	review      []seats
	reason      string
	expires     time.Duration
	claimWithin time.Duration
}

type label struct{ key, value string }

// seats is one entry of a review requirement.
type seats struct {
	count     int
	groups    []countersign.Group
	reviewers bool // the resource's reviewers may sign, too
	distinct  string
	passkey   bool
}

// pattern names objects: one by its name, or all whose names begin with prefix.
type pattern struct{ name, prefix string }

func (p pattern) matches(name string) bool {
	if p.prefix != "" {
		return len(name) > len(p.prefix) && strings.HasPrefix(name, p.prefix)
	}
	return name == p.name
}

// mayMean reports whether name could be what the pattern names although it is spelt otherwise: one of them
// says no schema, and their last parts agree. A deny or a review counts that as a match, since the schema depends
// on the session's search path.
func (p pattern) mayMean(name string) bool {
	schema, last := splitObject(name)
	if p.prefix != "" {
		return schema == "" // "audit.*" and a name without a schema
	}
	patternSchema, patternLast := splitObject(p.name)
	return (patternSchema == "" || schema == "") && last == patternLast
}

// splitObject cuts an object's name at its last dot.
func splitObject(name string) (schema, last string) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

func (p pattern) String() string {
	if p.prefix != "" {
		return p.prefix + "*"
	}
	return p.name
}

// permits reports whether the rule can let an action run, with or without signatures.
func (r *rule) permits() bool {
	return r.info.Verdict == countersign.Allow || r.info.Verdict == countersign.Confirm || r.info.Verdict == countersign.Review
}

func (r *rule) matchesResource(res *countersign.Resource) bool {
	if len(r.resources) > 0 && !slices.Contains(r.resources, res.Name) {
		return false
	}
	if r.resKind != "" && r.resKind != res.Kind {
		return false
	}
	for _, l := range r.labels {
		if v, ok := res.Labels[l.key]; !ok || v != l.value {
			return false
		}
	}
	return true
}

// matchesPrincipal looks at the principal itself: an agent's groups are its own, never those of the
// person it acts for.
func (r *rule) matchesPrincipal(p *countersign.Principal) bool {
	if r.kind != "" && r.kind != p.Kind {
		return false
	}
	return (len(r.groups) == 0 || r.namesGroup(p)) && (len(r.names) == 0 || r.namesPrincipal(p))
}

func (r *rule) namesGroup(p *countersign.Principal) bool {
	for _, g := range r.groups {
		if slices.Contains(p.Groups, g) {
			return true
		}
	}
	return false
}

func (r *rule) namesPrincipal(p *countersign.Principal) bool {
	for _, name := range r.names {
		if isID(p, name) {
			return true
		}
	}
	return false
}

// isID reports whether name is p.ID(), without making that string.
func isID(p *countersign.Principal, name string) bool {
	kind, rest, _ := strings.Cut(name, ":")
	switch p.Kind {
	case countersign.KindPerson:
		return kind == "person" && rest == string(p.Person)
	case countersign.KindAgent:
		return kind == "agent" && rest == string(p.Agent)
	}
	return false
}

func (r *rule) matchesEffects(e countersign.Effects) bool {
	switch {
	case r.lenient:
		return !e.Any(countersign.Unknown) && e&^r.effects == 0
	case r.effects != 0:
		return e&^r.effects == 0
	case r.anyEffect != 0:
		return e.Any(r.anyEffect)
	default:
		return true
	}
}

// namesUnknown reports whether the rule's effects name unknown.
func (r *rule) namesUnknown() bool { return (r.effects | r.anyEffect).Any(countersign.Unknown) }

// matchesObjects: a deny or review rule needs one named object, and takes an unknown action to reach them
// all, since nobody can tell; an allow or confirm rule needs every object of the action to be named, and
// at least one.
func (r *rule) matchesObjects(e countersign.Effects, objects []countersign.Object) bool {
	if len(r.objects) == 0 {
		return true
	}
	if r.lenient {
		return len(objects) > 0 && !slices.ContainsFunc(objects, func(o countersign.Object) bool { return !r.namesObject(o) })
	}
	return e.Any(countersign.Unknown) || slices.ContainsFunc(objects, r.namesObject)
}

func (r *rule) namesObject(o countersign.Object) bool {
	name := o.Name.String()
	return slices.ContainsFunc(r.objects, func(p pattern) bool { return p.matches(name) || !r.lenient && p.mayMean(name) })
}

// matchesCondition evaluates the rule's condition.
func (r *rule) matchesCondition(a *action) (bool, error) {
	if r.when == nil {
		return true, nil
	}
	return r.when.holds(a.variables())
}

// seatsFor returns the seats that the rule asks for on res. A seat whose groups are empty cannot be filled by anyone.
func (r *rule) seatsFor(res *countersign.Resource) []countersign.Seat {
	var list []countersign.Seat
	for _, entry := range r.review {
		groups := slices.Clone(entry.groups)
		if entry.reviewers {
			for _, g := range res.Reviewers {
				if !slices.Contains(groups, g) {
					groups = append(groups, g)
				}
			}
		}
		for range entry.count {
			list = append(list, countersign.Seat{
				Rule: r.info.Name, Groups: groups, Distinct: entry.distinct, Passkey: entry.passkey,
			})
		}
	}
	return list
}

// asks says in words whom the rule asks for on res: "2 of dba, security".
func asks(list []countersign.Seat) string {
	var parts []string
	for i := 0; i < len(list); {
		n := 1
		for i+n < len(list) && sameSeat(list[i], list[i+n]) {
			n++
		}
		who := "nobody: the resource has no reviewers"
		if len(list[i].Groups) > 0 {
			who = strings.Join(strs(list[i].Groups), ", ")
		}
		parts = append(parts, fmt.Sprintf("%d of %s", n, who))
		i += n
	}
	return strings.Join(parts, " and ")
}

func sameSeat(a, b countersign.Seat) bool {
	return a.Rule == b.Rule && a.Distinct == b.Distinct && a.Passkey == b.Passkey && slices.Equal(a.Groups, b.Groups)
}
