package gate

import (
	"slices"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// A session remembers what it told of its latest actions, since clients run the same few statements again and
// again with other values.
const (
	tellingsKept = 8
	tellingBytes = 4 << 10 // of one, in its fields; a longer one is made anew each time
	tellingParts = 64      // objects and reasons of one
)

// telling is what is told of all actions that policy cannot tell apart: they differ at most in text, parameters
// and context. What was decided of one of them by one active configuration holds for all of them, for a decision
// is a function of the policy and its input alone.
type telling struct {
	effects countersign.Effects
	facts   countersign.Facts
	shape   string
	objects []countersign.Object
	why     []countersign.Evidence

	fields []countersign.Field // that tell of the above

	decided           bool
	decision          countersign.Decision // of the policy and directory of these revisions
	policy, directory uint64

	rules []string // the names last asked for
	names sanitize.Clean
}

// of reports whether t tells of a.
func (t *telling) of(a *countersign.Action) bool {
	return t.effects == a.Effects && t.shape == a.Shape && t.facts == a.Facts &&
		slices.Equal(t.objects, a.Objects) && slices.Equal(t.why, a.Why)
}

// telling returns what is told of a.
func (s *Session) telling(a *countersign.Action) *telling {
	for _, t := range s.tellings {
		if t.of(a) {
			return t
		}
	}
	t := &telling{effects: a.Effects, facts: a.Facts, shape: a.Shape}
	t.fields = appendField(t.fields, countersign.FieldEffects, effectNames(a.Effects))
	t.fields = appendField(t.fields, countersign.FieldObjects, objectNames(a.Objects))
	t.fields = appendField(t.fields, countersign.FieldFacts, factNames(a.Facts))
	t.fields = appendField(t.fields, countersign.FieldWhy, evidence(a.Why))
	t.fields = appendField(t.fields, countersign.FieldShape, sanitize.Name(a.Shape))
	size := 0
	for _, f := range t.fields {
		size += len(f.Value.String())
	}
	if size > tellingBytes || len(a.Objects)+len(a.Why) > tellingParts {
		return t
	}
	t.objects, t.why = slices.Clone(a.Objects), slices.Clone(a.Why)
	if len(s.tellings) < tellingsKept {
		s.tellings = append(s.tellings, t)
	} else {
		s.tellings[s.told%tellingsKept] = t
	}
	s.told++
	return t
}

// decide returns what act's policy makes of a, asked by who, whom act's directory knows. The decision must not be
// changed. Claims, and whatever else is judged again, do not ask here.
func (s *Session) decide(act *active, who *countersign.Principal, a *countersign.Action) *countersign.Decision {
	t := s.telling(a)
	if !t.decided || t.policy != act.policyRevision || t.directory != act.directoryRevision {
		t.decided, t.decision = true, act.decide(who, s.resource, a)
		t.policy, t.directory = act.policyRevision, act.directoryRevision
	}
	return &t.decision
}

// ruleNames returns the names of the rules that decided.
func (t *telling) ruleNames(d *countersign.Decision) sanitize.Clean {
	if !slices.Equal(t.rules, d.Rules) {
		t.rules, t.names = d.Rules, names(d.Rules)
	}
	return t.names
}
