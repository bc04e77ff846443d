package policy

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/countersign-dev/countersign"
)

const emptyHint = "write version: 1 and rules:, or delete the file"

// loader reads one policy file.
type loader struct {
	reader
	features Features
	team     string // the file's scope; empty for none
}

// loadFile returns the rules of a file and what is wrong with it. Rules with errors are left out.
func loadFile(file File, f Features) ([]*rule, Errors) {
	l := &loader{reader: reader{file: file.Name}, features: f}
	root := l.document(file.Data, emptyHint)
	if root == nil {
		return nil, l.errs
	}
	top, ok := l.pairs(root, "the file")
	if !ok {
		return nil, l.errs
	}
	var version, rules *yaml.Node
	for _, p := range top {
		switch p.key {
		case "version":
			version = p.value
			l.version(p.value)
		case "scope":
			l.scope(p.value)
		case "rules":
			rules = p.value
		default:
			l.unknown(p, "the file", "version", "scope", "rules")
		}
	}
	if version == nil {
		l.fail(root, "version", "write version: 1 on top", "the file has no version")
	}
	if rules == nil {
		l.fail(root, "rules", emptyHint, "the file has no rules")
		return nil, l.errs
	}
	return l.rules(rules), l.errs
}

func (r *reader) version(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Value != "1" {
		r.fail(n, "version", "write version: 1", "this build knows version 1 only, and version is %s", kindOf(n))
	}
}

func (l *loader) scope(n *yaml.Node) {
	pairs, ok := l.pairs(n, "scope")
	if !ok {
		return
	}
	for _, p := range pairs {
		if p.key != "team" {
			l.unknown(p, "scope", "team")
			continue
		}
		l.team, _ = l.text(p.value, "team", maxNameBytes)
	}
	if len(pairs) == 0 {
		l.fail(n, "scope", "write scope: {team: NAME} or remove it", "scope is empty")
	}
}

func (l *loader) rules(n *yaml.Node) []*rule {
	var list []*rule
	for _, item := range l.items(n, "rules", maxRules) {
		before := len(l.errs)
		if before >= maxErrors {
			break
		}
		r := l.readRule(item)
		if len(l.errs) == before {
			list = append(list, r)
		}
		l.rule = ""
	}
	return list
}

func (l *loader) readRule(n *yaml.Node) *rule {
	r := &rule{info: RuleInfo{File: l.file, Line: n.Line}}
	pairs, ok := l.pairs(n, "rule")
	if !ok {
		return r
	}
	parts := map[string]*yaml.Node{}
	for _, p := range pairs {
		parts[p.key] = p.value
	}
	// The name first: every message about the rule carries it.
	l.name(n, parts["name"], r)
	for _, p := range pairs {
		if !slices.Contains([]string{"name", "match", "when", "then"}, p.key) {
			l.unknown(p, "the rule", "name", "match", "when", "then")
		}
	}
	if parts["then"] == nil {
		l.fail(n, "then", "say what follows, like then: {deny: true}", "the rule has no then")
		return r
	}
	l.then(parts["then"], r)
	if parts["match"] == nil {
		l.fail(n, "match", "write match: {} when it is for everything", "the rule has no match")
		return r
	}
	l.match(parts["match"], r)
	if parts["when"] != nil {
		l.when(parts["when"], r)
	}
	return r
}

// name reads the rule's name. It appears in messages, in the trail and in protocols' errors, so it is plain.
func (l *loader) name(at, n *yaml.Node, r *rule) {
	if n == nil {
		l.fail(at, "name", "give it one, like name: prod-readers", "the rule has no name")
		return
	}
	s, ok := l.text(n, "name", 64)
	if !ok {
		return
	}
	if strings.ContainsFunc(s, func(c rune) bool { return !isNameRune(c) }) {
		l.fail(n, "name", "use letters, digits, ., _ and -", "the name %s holds other characters", quoted(s))
		return
	}
	l.rule, r.info.Name, r.self = s, s, []string{s}
}

func isNameRune(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// match reads who, on what and doing what, and checks it against the verdict that then gave.
func (l *loader) match(n *yaml.Node, r *rule) {
	pairs, ok := l.pairs(n, "match")
	if !ok {
		return
	}
	at := map[string]*yaml.Node{}
	for _, p := range pairs {
		at[p.key] = p.at
		switch p.key {
		case "principal":
			l.principal(p.value, r)
		case "resource":
			l.resource(p.value, r)
		case "effects":
			r.effects = l.effects(p.value, "effects")
		case "any_effect":
			r.anyEffect = l.effects(p.value, "any_effect")
		case "objects":
			r.objects = l.objects(p.value)
		default:
			l.unknown(p, "match", "principal", "resource", "effects", "any_effect", "objects")
		}
	}
	if l.team != "" {
		l.limitToTeam(n, r)
	}
	if at["effects"] != nil && at["any_effect"] != nil {
		l.fail(at["any_effect"], "any_effect", "keep one", "a rule has effects or any_effect, not both")
	}
	switch {
	case r.lenient:
		l.checkLenient(n, at, r)
	case r.info.Verdict == "":
		l.checkLimitOnly(at)
	}
	if r.info.Verdict == countersign.Allow && at["principal"] == nil {
		l.fail(n, "principal", "name a principal, or write principal: {anyone: true}",
			"the rule allows without saying whom")
	}
	if r.info.Verdict == countersign.Confirm && r.kind == countersign.KindPerson {
		l.fail(at["principal"], "kind", "write kind: agent, or use review",
			"only an agent acts for a person who can confirm")
	}
}

// checkLenient holds allow and confirm to naming every effect, and never unknown (P5).
func (l *loader) checkLenient(n *yaml.Node, at map[string]*yaml.Node, r *rule) {
	verdict := r.info.Verdict
	if at["any_effect"] != nil {
		l.fail(at["any_effect"], "any_effect", "list every effect under effects",
			"%s takes effects only: any_effect would let the other effects pass unseen", verdict)
		return
	}
	if at["effects"] == nil {
		l.fail(n, "effects", "list them, like effects: [read, session]", "the rule says %s without its effects", verdict)
		return
	}
	if r.effects.Any(countersign.Unknown) {
		l.fail(at["effects"], "effects", "use review for unknown", "%s never matches unknown", verdict)
	}
}

// checkLimitOnly refuses what a rule without a verdict would ignore.
func (l *loader) checkLimitOnly(at map[string]*yaml.Node) {
	for _, key := range []string{"effects", "any_effect", "objects"} {
		if at[key] != nil {
			l.fail(at[key], key, "remove it, or add a verdict",
				"limits and masks hold for every action of the principal on the resource, whatever its %s", key)
		}
	}
}

// limitToTeam adds the file's scope to the rule.
func (l *loader) limitToTeam(n *yaml.Node, r *rule) {
	i := slices.IndexFunc(r.labels, func(have label) bool { return have.key == "team" })
	switch {
	case i < 0:
		r.labels = append(r.labels, label{"team", l.team})
	case r.labels[i].value != l.team:
		l.fail(n, "team", "remove the label or the scope",
			"the rule is for team %s, and the file's scope is %s: it would never match", quoted(r.labels[i].value), quoted(l.team))
	}
}

func (l *loader) principal(n *yaml.Node, r *rule) {
	pairs, ok := l.pairs(n, "principal")
	if !ok {
		return
	}
	anyone := false
	for _, p := range pairs {
		switch p.key {
		case "kind":
			r.kind = l.kind(p.value)
		case "groups":
			r.groups = typed[countersign.Group](l.texts(p.value, "groups"))
		case "names":
			r.names = l.names(p.value)
		case "anyone":
			l.yes(p.value, "anyone")
			anyone = true
		default:
			l.unknown(p, "principal", "kind", "groups", "names", "anyone")
		}
	}
	for _, g := range r.groups {
		if strings.HasPrefix(string(g), "resource.") {
			l.fail(n, "groups", "name the group", "%s stands for people only in a review", quoted(string(g)))
		}
	}
	if len(pairs) == 0 {
		l.fail(n, "principal", "write principal: {anyone: true} or remove it", "principal is empty")
	}
	if anyone && len(pairs) > 1 {
		l.fail(n, "anyone", "remove anyone, or the rest", "anyone: true contradicts the other conditions on the principal")
	}
	for _, name := range r.names {
		if r.kind != "" && !strings.HasPrefix(name, string(r.kind)+":") {
			l.fail(n, "names", "", "%s is no %s: the rule would never match", quoted(name), r.kind)
		}
	}
}

func (l *loader) kind(n *yaml.Node) countersign.PrincipalKind {
	s, ok := l.text(n, "kind", maxNameBytes)
	kind := countersign.PrincipalKind(s)
	if ok && kind != countersign.KindPerson && kind != countersign.KindAgent {
		l.fail(n, "kind", "write person or agent", "no principal is of kind %s", quoted(s))
		return ""
	}
	return kind
}

func (l *loader) names(n *yaml.Node) []string {
	list := l.texts(n, "names")
	for _, name := range list {
		kind, rest, _ := strings.Cut(name, ":")
		if rest == "" || kind != "person" && kind != "agent" {
			l.fail(n, "names", "write person:NAME or agent:NAME", "%s does not say what it names", quoted(name))
		}
	}
	return list
}

// resource reads name, names, kind and labels. A label of one of these names cannot be matched here, only
// in a condition.
func (l *loader) resource(n *yaml.Node, r *rule) {
	pairs, ok := l.pairs(n, "resource")
	if !ok {
		return
	}
	one, many := false, false
	for _, p := range pairs {
		switch p.key {
		case "name":
			if s, ok := l.text(p.value, "name", maxNameBytes); ok {
				r.resources, one = append(r.resources, countersign.ResourceName(s)), true
			}
		case "names":
			r.resources, many = append(r.resources, typed[countersign.ResourceName](l.texts(p.value, "names"))...), true
		case "kind":
			r.resKind, _ = l.text(p.value, "kind", maxNameBytes)
		default:
			if s, ok := l.text(p.value, p.key, maxNameBytes); ok {
				r.labels = append(r.labels, label{p.key, s})
			}
		}
	}
	if one && many {
		l.fail(n, "names", "keep one", "a resource has name or names, not both")
	}
	if len(pairs) == 0 {
		l.fail(n, "resource", "remove it when the rule is for every resource", "resource is empty")
	}
}

func (l *loader) effects(n *yaml.Node, key string) countersign.Effects {
	var all countersign.Effects
	for _, item := range l.items(n, key, maxListItems) {
		s, ok := l.text(item, key, maxNameBytes)
		if !ok {
			continue
		}
		e, err := countersign.ParseEffect(s)
		if err != nil {
			l.fail(item, key, "the effects are "+strings.Join(allEffects.Names(), ", "), "no effect is named %s", quoted(s))
			continue
		}
		if all.Any(e) {
			l.fail(item, key, "remove one", "%s names %s twice", key, s)
		}
		all |= e
	}
	return all
}

// allEffects is every effect that this build knows.
const allEffects = countersign.Unknown<<1 - 1

func (l *loader) objects(n *yaml.Node) []pattern {
	var list []pattern
	for _, s := range l.texts(n, "objects") {
		prefix, isPrefix := strings.CutSuffix(s, "*")
		if isPrefix && strings.HasSuffix(prefix, ".") && len(prefix) > 1 && !strings.Contains(prefix, "*") {
			list = append(list, pattern{prefix: prefix})
			continue
		}
		if strings.Contains(s, "*") {
			l.fail(n, "objects", "write a name like public.customers or a schema like audit.*",
				"%s is no object: * stands only at the end, after a dot", quoted(s))
			continue
		}
		list = append(list, pattern{name: s})
	}
	return list
}

// when compiles the condition. Its errors are placed within the file when the text stands there as it is read.
func (l *loader) when(n *yaml.Node, r *rule) {
	if r.info.Verdict == "" {
		l.fail(n, "when", "remove it, or add a verdict",
			"limits and masks hold for every action of the principal on the resource, whatever its condition")
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || strings.TrimSpace(n.Value) == "" {
		l.fail(n, "when", "put the condition in quotes", "when is %s; it must be a condition", kindOf(n))
		return
	}
	if len(n.Value) > maxConditionBytes {
		l.fail(n, "when", "", "when has %d bytes; at most %d are allowed", len(n.Value), maxConditionBytes)
		return
	}
	c, problems := compile(strings.TrimRight(n.Value, " \n"))
	for _, p := range problems {
		l.fail(place(n, p), "when", "", "the condition does not compile: %s", p.Message)
	}
	r.when, r.info.When = c, strings.TrimSpace(n.Value)
}

// place returns where in the file a problem of the condition n is.
func place(n *yaml.Node, p conditionError) *yaml.Node {
	at := &yaml.Node{Line: n.Line, Column: n.Column}
	switch {
	case n.Style&yaml.LiteralStyle != 0:
		at.Line, at.Column = n.Line+max(p.Line, 1), 0
	case p.Line == 1 && n.Style&(yaml.FoldedStyle|yaml.DoubleQuotedStyle) == 0:
		at.Column = n.Column + p.Column - 1
		if n.Style&yaml.SingleQuotedStyle != 0 {
			at.Column++
		}
	}
	return at
}

func typed[T ~string](list []string) []T {
	var out []T
	for _, s := range list {
		out = append(out, T(s))
	}
	return out
}
