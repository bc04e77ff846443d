package sqlite

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/countersign-dev/countersign"
)

// TestIntentsAgainstModel notes random events in transactions that are kept or undone, beside a plain model.
func TestIntentsAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 20 {
		x, model, position := newIntents(), map[string]int64{}, int64(0)
		for range 2000 {
			before, at := maps.Clone(model), position
			for range rng.IntN(5) {
				action := fmt.Sprintf("act_%d", rng.IntN(40))
				typ := countersign.ActionIntent
				if rng.IntN(2) == 0 {
					typ = countersign.ActionOutcome
				}
				ev := event(typ, countersign.FieldAction, action)
				x.note(&ev, position)
				switch _, ok := model[action]; {
				case typ == countersign.ActionOutcome:
					delete(model, action)
				case !ok:
					model[action] = position
				}
				position++
			}
			want := position
			for _, p := range model {
				want = min(want, p)
			}
			if got := x.low(position); got != want {
				t.Fatalf("the oldest open intent is at %d; want %d", got, want)
			}
			if rng.IntN(4) == 0 {
				x.undo()
				model, position = before, at
			} else {
				x.keep()
			}
			if !maps.Equal(x.open, model) {
				t.Fatalf("open intents %v; want %v", x.open, model)
			}
		}
		if len(x.line)-x.head > 5000 {
			t.Errorf("%d marks are kept for %d open intents", len(x.line)-x.head, len(model))
		}
	}
}
