package gate

import (
	"sync"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// fields returns a copy of the session's own fields with room for more.
func (s *Session) fields(more int) []countersign.Field {
	return append(make([]countersign.Field, 0, len(s.base)+more), s.base...)
}

// described returns the fields that tell what a is and what was decided of it.
func (s *Session) described(a *countersign.Action, id sanitize.Clean, d *countersign.Decision) []countersign.Field {
	t := s.telling(a)
	more := 4 + len(t.fields)
	if a.Justification != (countersign.Justification{}) {
		more += 3
	}
	f := s.fields(more)
	f = appendField(f, countersign.FieldAction, id)
	f = appendField(f, countersign.FieldText, a.Shown)
	f = append(f, t.fields...)
	f = appendField(f, countersign.FieldDecision, verdictName(d.Verdict))
	f = appendField(f, countersign.FieldRules, t.ruleNames(d))
	f = appendField(f, countersign.FieldReason, a.Justification.Reason)
	f = appendField(f, countersign.FieldTicket, a.Justification.Ticket)
	return appendField(f, countersign.FieldRun, a.Justification.Run)
}

// appendField adds a field that says something.
func appendField(f []countersign.Field, name string, v sanitize.Clean) []countersign.Field {
	if v.IsZero() {
		return f
	}
	return append(f, countersign.Field{Name: name, Value: v})
}

// refused is the event of an action that did not run.
func (s *Session) refused(a *countersign.Action, d countersign.Decision, why *countersign.Error) countersign.Event {
	f := s.described(a, newID(actionPrefix), &d)
	f = append(f, countersign.Field{Name: countersign.FieldError, Value: why.Message},
		countersign.Field{Name: "detail", Value: why.Detail})
	if why.Request != "" {
		f = append(f, countersign.Field{Name: countersign.FieldRequest, Value: sanitize.Name(string(why.Request))})
	}
	return countersign.Event{Type: countersign.ActionRefused, Fields: f}
}

// requestEvent is an event about a request, with the fields that search finds it by.
func requestEvent(t countersign.EventType, rec Record, more ...countersign.Field) countersign.Event {
	r := rec.Request
	f := []countersign.Field{
		{Name: countersign.FieldRequest, Value: sanitize.Name(string(r.ID))},
		{Name: countersign.FieldPrincipal, Value: sanitize.Name(r.Requester.ID())},
		{Name: countersign.FieldResource, Value: sanitize.Name(string(r.Resource))},
		{Name: countersign.FieldDigest, Value: r.Digest.Clean()},
		{Name: countersign.FieldView, Value: r.View.Clean()},
	}
	if len(r.Requester.Chain) > 0 {
		f = append(f, countersign.Field{Name: countersign.FieldChain, Value: persons(r.Requester.Chain)})
	}
	return countersign.Event{Type: t, Fields: append(f, more...)}
}

// effectSets holds the text of each set of effects met so far; there are at most 2^13.
var effectSets sync.Map

func effectNames(e countersign.Effects) sanitize.Clean {
	if c, ok := effectSets.Load(e); ok {
		return c.(sanitize.Clean)
	}
	c := names(e.Names())
	effectSets.Store(e, c)
	return c
}

func names[T ~string](list []T) sanitize.Clean {
	if len(list) == 1 {
		return sanitize.Name(string(list[0]))
	}
	parts := make([]sanitize.Clean, len(list))
	for i, n := range list {
		parts[i] = sanitize.Name(string(n))
	}
	return sanitize.Join(",", parts...)
}

func persons(ids []countersign.PersonID) sanitize.Clean { return names(ids) }

// shownObjects and shownEvidence bound what one event tells; the rest is counted.
const (
	shownObjects  = 64
	shownEvidence = 32
)

func objectNames(list []countersign.Object) sanitize.Clean {
	parts := make([]sanitize.Clean, 0, min(len(list), shownObjects)+1)
	for i, o := range list {
		if i == shownObjects {
			parts = append(parts, sanitize.Format("and %s more", sanitize.Int(int64(len(list)-i))))
			break
		}
		parts = append(parts, o.Name)
	}
	return sanitize.Join(",", parts...)
}

func evidence(list []countersign.Evidence) sanitize.Clean {
	parts := make([]sanitize.Clean, 0, min(len(list), shownEvidence)+1)
	for i, e := range list {
		if i == shownEvidence {
			parts = append(parts, sanitize.Format("and %s more", sanitize.Int(int64(len(list)-i))))
			break
		}
		parts = append(parts, sanitize.Join(": ", effectNames(e.Effect), e.Why))
	}
	return sanitize.Join("; ", parts...)
}

func factNames(f countersign.Facts) sanitize.Clean {
	var parts []sanitize.Clean
	add := func(holds bool, name sanitize.Clean) {
		if holds {
			parts = append(parts, name)
		}
	}
	if f.RowsKnown {
		add(true, sanitize.Format("rows=%s", sanitize.Int(f.Rows)))
	}
	add(f.Unbounded, sanitize.Const("unbounded"))
	add(f.CatalogOnly, sanitize.Const("catalog_only"))
	add(f.InTransaction, sanitize.Const("in_transaction"))
	add(f.DataUnseen, sanitize.Const("data_unseen"))
	if f.Statements > 1 {
		add(true, sanitize.Format("statements=%s", sanitize.Int(int64(f.Statements))))
	}
	return sanitize.Join(",", parts...)
}

func verdictName(v countersign.Verdict) sanitize.Clean {
	switch v {
	case countersign.Allow:
		return sanitize.Const("allow")
	case countersign.Confirm:
		return sanitize.Const("confirm")
	case countersign.Review:
		return sanitize.Const("review")
	default:
		return sanitize.Const("deny")
	}
}
