package sqlite

import (
	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
)

// intents knows the recorded intents that have no outcome yet, and the oldest of them. The writer owns
// it. Changes are kept only when the transaction that recorded them is; else they are undone.
type intents struct {
	open map[string]int64 // action → position of its intent
	line []mark           // intents in the order of their positions; those no longer open are skipped
	head int              // the first of line that may still be open

	undos []mark // what was added and what was closed since keep, newest last
	added int    // marks appended to line since keep
}

type mark struct {
	action   string
	position int64
	added    bool
}

func newIntents() *intents { return &intents{open: map[string]int64{}} }

// note takes account of an event at a position.
func (t *intents) note(ev *countersign.Event, position int64) {
	switch ev.Type {
	case countersign.ActionIntent:
		action := ev.Get(countersign.FieldAction).String()
		if _, ok := t.open[action]; ok || action == "" {
			return
		}
		m := mark{action, position, true}
		t.open[action] = position
		t.line = append(t.line, m)
		t.added++
		t.undos = append(t.undos, m)
	case countersign.ActionOutcome:
		if ev.Get(countersign.FieldOutcome).String() == string(approval.Uncommitted) {
			return // the block it ran in is still open: how it ended will be another event
		}
		action := ev.Get(countersign.FieldAction).String()
		if at, ok := t.open[action]; ok {
			delete(t.open, action)
			t.undos = append(t.undos, mark{action, at, false})
		}
	}
}

// low returns the position of the oldest open intent, or end when there is none.
func (t *intents) low(end int64) int64 {
	for _, m := range t.line[t.head:] {
		if at, ok := t.open[m.action]; ok && at == m.position {
			return at
		}
	}
	return end
}

// keep makes everything noted final.
func (t *intents) keep() {
	t.undos, t.added = t.undos[:0], 0
	for t.head < len(t.line) {
		m := t.line[t.head]
		if at, ok := t.open[m.action]; ok && at == m.position {
			break
		}
		t.line[t.head] = mark{}
		t.head++
	}
	if t.head > 1024 && t.head > len(t.line)/2 {
		rest := copy(t.line, t.line[t.head:])
		clear(t.line[rest:])
		t.line, t.head = t.line[:rest], 0
	}
}

// undo forgets everything noted since keep.
func (t *intents) undo() {
	for i := len(t.undos) - 1; i >= 0; i-- {
		m := t.undos[i]
		if m.added {
			delete(t.open, m.action)
		} else {
			t.open[m.action] = m.position
		}
	}
	t.line = t.line[:len(t.line)-t.added]
	t.undos, t.added = t.undos[:0], 0
}
