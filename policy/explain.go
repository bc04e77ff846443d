package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/countersign-dev/countersign"
)

// Answer is how one part of a rule came out.
type Answer string

// The answers. A failed condition counts as the stricter of both others.
const (
	Yes    Answer = "yes"
	No     Answer = "no"
	Failed Answer = "failed"
)

// Explanation is a Decision with what each rule had to do with it.
type Explanation struct {
	Principal string                   `json:"principal,omitempty"`
	Resource  countersign.ResourceName `json:"resource,omitempty"`
	Effects   countersign.Effects      `json:"effects"`
	Decision  countersign.Decision     `json:"decision"`
	Rules     []RuleExplanation        `json:"rules,omitempty"` // sorted by name
}

// RuleExplanation says how a rule met an action.
type RuleExplanation struct {
	RuleInfo
	// Matched: the rule had a part in the decision, or would have, had nothing stricter decided. A rule
	// without a verdict never matches; see LimitsApply.
	Matched bool `json:"matched"`
	// LimitsApply: its resource and principal match, so its limits and masks hold.
	LimitsApply bool `json:"limits_apply"`
	// Parts are the parts of the rule that say anything, each looked at whatever the others gave.
	Parts []PartExplanation `json:"parts,omitempty"`
}

// PartExplanation is one part of a rule: principal, resource, effects, objects or when.
type PartExplanation struct {
	Part   string  `json:"part"`
	Answer Answer  `json:"answer"`
	Why    string  `json:"why"`
	Values []Value `json:"values,omitempty"` // of a condition
}

// Value is a part of a condition with what it evaluated to.
type Value struct {
	Expr   string `json:"expr"`
	Value  string `json:"value"`
	Failed bool   `json:"failed,omitempty"`
}

// Explain decides about in as Decide does and says what each rule had to do with it.
func (s *Set) Explain(in Input) Explanation {
	x := Explanation{Effects: known(in.Effects), Decision: s.Decide(in)}
	if in.Principal != nil {
		x.Principal = in.Principal.ID()
	}
	if in.Resource != nil {
		x.Resource = in.Resource.Name
	}
	if s.undecidable(&in) != "" {
		return x
	}
	a := action{in: in, effects: x.Effects}
	for _, r := range s.rules {
		x.Rules = append(x.Rules, r.explain(&a))
	}
	return x
}

func (r *rule) explain(a *action) RuleExplanation {
	x := RuleExplanation{RuleInfo: r.info}
	x.Masks = slices.Clone(r.info.Masks)
	add := func(part string, says bool, matches bool, why string) {
		if says {
			x.Parts = append(x.Parts, PartExplanation{Part: part, Answer: answer(matches), Why: why})
		}
	}
	resource, principal := r.matchesResource(a.in.Resource), r.matchesPrincipal(a.in.Principal)
	x.LimitsApply = resource && principal
	add("resource", len(r.resources) > 0 || r.resKind != "" || len(r.labels) > 0, resource, r.whyResource(a.in.Resource))
	add("principal", r.kind != "" || len(r.groups) > 0 || len(r.names) > 0, principal, r.whyPrincipal(a.in.Principal))
	effects, objects := r.matchesEffects(a.effects), r.matchesObjects(a.effects, a.in.Objects)
	add("effects", r.effects|r.anyEffect != 0, effects, r.whyEffects(a.effects))
	add("objects", len(r.objects) > 0, objects, r.whyObjects(a))
	x.Matched = x.LimitsApply && effects && objects && r.info.Verdict != ""
	if r.when != nil {
		part, holds := r.when.explain(a.variables())
		x.Parts = append(x.Parts, part)
		x.Matched = x.Matched && (holds || part.Answer == Failed)
	}
	return x
}

func answer(b bool) Answer {
	if b {
		return Yes
	}
	return No
}

func (r *rule) whyResource(res *countersign.Resource) string {
	if len(r.resources) > 0 && !slices.Contains(r.resources, res.Name) {
		return fmt.Sprintf("it is for %s, not %s", strings.Join(strs(r.resources), ", "), res.Name)
	}
	if r.resKind != "" && r.resKind != res.Kind {
		return fmt.Sprintf("it is for kind %s, not %s", r.resKind, res.Kind)
	}
	var parts []string
	if r.resKind != "" {
		parts = append(parts, "kind "+r.resKind)
	}
	if len(r.resources) > 0 {
		parts = append(parts, "name "+string(res.Name))
	}
	for _, l := range r.labels {
		have, ok := res.Labels[l.key]
		switch {
		case !ok:
			return fmt.Sprintf("it is for %s: %s, and the resource has no label %s", l.key, l.value, l.key)
		case have != l.value:
			return fmt.Sprintf("it is for %s: %s, and the resource has %s: %s", l.key, l.value, l.key, have)
		}
		parts = append(parts, l.key+": "+l.value)
	}
	return strings.Join(parts, ", ")
}

func (r *rule) whyPrincipal(p *countersign.Principal) string {
	if r.kind != "" && r.kind != p.Kind {
		return fmt.Sprintf("it is for kind %s, not %s", r.kind, p.Kind)
	}
	if len(r.groups) > 0 && !r.namesGroup(p) {
		return fmt.Sprintf("it is for members of %s; %s is in %s", strings.Join(strs(r.groups), ", "), p.ID(), listOr(strs(p.Groups), "no group"))
	}
	if len(r.names) > 0 && !r.namesPrincipal(p) {
		return fmt.Sprintf("it is for %s, not %s", strings.Join(r.names, ", "), p.ID())
	}
	return p.ID() + " is meant"
}

func (r *rule) whyEffects(e countersign.Effects) string {
	named, listed := r.effects|r.anyEffect, strings.Join((r.effects|r.anyEffect).Names(), ", ")
	if r.anyEffect != 0 {
		if !e.Any(named) {
			return fmt.Sprintf("none of %s is among %s", listed, strings.Join(e.Names(), ", "))
		}
		return strings.Join((e&named).Names(), ", ") + " is among " + listed
	}
	if more := e &^ named; more != 0 {
		return fmt.Sprintf("%s is not among %s", strings.Join(more.Names(), ", "), listed)
	}
	return fmt.Sprintf("%s: all among %s", strings.Join(e.Names(), ", "), listed)
}

func (r *rule) whyObjects(a *action) string {
	var named, others []string
	for _, o := range a.in.Objects {
		if r.namesObject(o) {
			named = append(named, o.Name.String())
		} else {
			others = append(others, o.Name.String())
		}
	}
	patterns := make([]string, len(r.objects))
	for i, p := range r.objects {
		patterns[i] = p.String()
	}
	listed := strings.Join(patterns, ", ")
	switch {
	case r.lenient && len(a.in.Objects) == 0:
		return "no object is known, and " + string(r.info.Verdict) + " needs each to be named"
	case r.lenient && len(others) > 0:
		return fmt.Sprintf("%s is not among %s", listSome(others), listed)
	case !r.lenient && len(named) == 0 && a.effects.Any(countersign.Unknown):
		return "what an unknown action reaches cannot be told, so " + listed + " may be among it"
	case len(named) == 0:
		return fmt.Sprintf("%s is not among %s", listOr(others, "no object"), listed)
	}
	return fmt.Sprintf("%s is among %s", listSome(named), listed)
}

func listOr(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return listSome(list)
}

// listSome joins the first few of a list that may be long.
func listSome(list []string) string {
	const most = 8
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

// explain evaluates the condition with both sides of every operator, and keeps what each part gave.
func (c *condition) explain(v *variables) (part PartExplanation, holds bool) {
	part = PartExplanation{Part: "when", Why: oneLine(c.source)}
	holds, err := c.holds(v)
	part.Answer = answer(holds)
	if err != nil {
		part.Answer = Failed
		part.Why += ": " + err.Error()
	}
	if c.ready(v) == nil {
		part.Values = c.values(v)
	}
	return part, holds
}

// values returns the parts of the condition that are not constants with their values, outermost first.
// The body of a macro runs many times: only its outcome is given.
func (c *condition) values(v *variables) []Value {
	e, err := environment()
	if err != nil {
		return nil
	}
	program, err := e.Program(c.ast, cel.EvalOptions(cel.OptExhaustiveEval, cel.OptTrackState), cel.CostLimit(conditionCost))
	if err != nil {
		return nil
	}
	_, details, _ := program.Eval(v) // an error is among the values
	native := c.ast.NativeRep()
	var list []Value
	var visit func(x ast.Expr)
	visit = func(x ast.Expr) {
		if text, ok := exprText(x, native.SourceInfo()); ok {
			if val, found := details.State().Value(x.ID()); found {
				list = append(list, valueOf(text, val))
			}
		}
		for _, child := range children(x) {
			visit(child)
		}
	}
	visit(native.Expr())
	return dedupe(list)
}

// children are the parts of x that are worth showing.
func children(x ast.Expr) []ast.Expr {
	if x.Kind() != ast.CallKind {
		return nil
	}
	call := x.AsCall()
	list := slices.Clone(call.Args())
	if call.IsMemberFunction() {
		list = append([]ast.Expr{call.Target()}, list...)
	}
	return list
}

// exprText returns the source of x, unless it is a constant.
func exprText(x ast.Expr, info *ast.SourceInfo) (string, bool) {
	switch x.Kind() {
	case ast.LiteralKind, ast.ListKind, ast.MapKind, ast.StructKind, ast.UnspecifiedExprKind:
		return "", false
	}
	text, err := cel.ExprToString(x, info)
	if err != nil {
		return "", false
	}
	return oneLine(text), true
}

func dedupe(list []Value) []Value {
	var out []Value
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func valueOf(expr string, val ref.Val) Value {
	if types.IsUnknownOrError(val) {
		return Value{Expr: expr, Value: fmt.Sprint(val), Failed: true}
	}
	return Value{Expr: expr, Value: clip(show(val))}
}

// show prints a value of a condition.
func show(val ref.Val) string {
	switch v := val.(type) {
	case types.String:
		return strconv.Quote(string(v))
	case traits.Lister:
		n, ok := v.Size().(types.Int)
		if !ok {
			break
		}
		var parts []string
		for i := types.Int(0); i < n && i < 8; i++ {
			parts = append(parts, show(v.Get(i)))
		}
		if n > 8 {
			parts = append(parts, fmt.Sprintf("… %d in all", n))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case types.Bool, types.Int, types.Uint, types.Double, types.Duration:
		return fmt.Sprint(v.Value())
	}
	return "a value of type " + val.Type().TypeName()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// String returns the explanation for a terminal: the decision, then the rules that matched, then the others with the
// part that kept them from it.
func (x Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", strings.ToUpper(string(x.Decision.Verdict)))
	if x.Principal != "" && x.Resource != "" {
		fmt.Fprintf(&b, "  %s: %s on %s\n", x.Principal, strings.Join(x.Effects.Names(), ", "), x.Resource)
	}
	if x.Decision.Reason != "" {
		fmt.Fprintf(&b, "  because %s\n", x.Decision.Reason)
	} else if len(x.Decision.Rules) > 0 {
		fmt.Fprintf(&b, "  because of rule %s\n", strings.Join(x.Decision.Rules, ", "))
	}
	x.writeTerms(&b)
	x.writeRules(&b, "rules that match", func(r RuleExplanation) bool { return r.Matched })
	x.writeRules(&b, "rules that only set limits here", func(r RuleExplanation) bool { return r.setsLimits() })
	x.writeRules(&b, "rules that do not match", func(r RuleExplanation) bool { return !r.Matched && !r.setsLimits() })
	return b.String()
}

// setsLimits reports whether the rule's limits hold though it does not match.
func (r RuleExplanation) setsLimits() bool {
	return !r.Matched && r.LimitsApply && r.Limits != countersign.Limits{}
}

func (x Explanation) writeTerms(b *strings.Builder) {
	d := x.Decision
	for i, seat := range d.Seats {
		more := ""
		if seat.Distinct != "" {
			more += ", each through another group (" + seat.Distinct + ")"
		}
		if seat.Passkey {
			more += ", with a passkey"
		}
		fmt.Fprintf(b, "  seat %d: one of %s%s, for rule %s\n", i+1, listOr(strs(seat.Groups), "nobody (no reviewers on the resource)"), more, seat.Rule)
	}
	if d.Confirm {
		fmt.Fprintf(b, "  and the person acted for confirms\n")
	}
	if d.Expires > 0 {
		fmt.Fprintf(b, "  waits %s, then is used within %s\n", short(d.Expires), short(d.ClaimWithin))
	}
	if limits := limitsInWords(d.Limits); limits != "" {
		fmt.Fprintf(b, "  limits: %s\n", limits)
	}
}

func limitsInWords(l countersign.Limits) string {
	var parts []string
	for _, one := range []struct {
		n    int64
		what string
	}{{l.Rows, "rows"}, {l.Bytes, "bytes"}, {l.RowsPerHour, "rows an hour"}, {l.BytesPerHour, "bytes an hour"}} {
		if one.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", one.n, one.what))
		}
	}
	return strings.Join(parts, ", ")
}

func (x Explanation) writeRules(b *strings.Builder, title string, choose func(RuleExplanation) bool) {
	first := true
	for _, r := range x.Rules {
		if !choose(r) {
			continue
		}
		if first {
			fmt.Fprintf(b, "\n%s\n", title)
			first = false
		}
		verdict := string(r.Verdict)
		if verdict == "" {
			verdict = "limit"
		}
		fmt.Fprintf(b, "  %s  (%s, %s:%d)\n", r.Name, verdict, r.File, r.Line)
		r.writeParts(b)
	}
}

// writeParts writes every part of a rule that matches, and of another only those that kept it from matching.
func (r RuleExplanation) writeParts(b *strings.Builder) {
	if r.setsLimits() {
		fmt.Fprintf(b, "    sets   %s\n", limitsInWords(r.Limits))
	}
	for _, p := range r.Parts {
		if !r.Matched && p.Answer == Yes {
			continue
		}
		fmt.Fprintf(b, "    %-6s %s: %s\n", p.Answer, p.Part, p.Why)
		width := 0
		for _, v := range p.Values {
			width = max(width, min(len(v.Expr), 48))
		}
		for _, v := range p.Values {
			fmt.Fprintf(b, "             %-*s  %s\n", width, v.Expr, v.Value)
		}
	}
}
