package sql

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
)

// What a large text executes may itself be a large text that has to be classified.
func TestLargeTextExecutesLargeText(t *testing.T) {
	k := NewClassifier(nil, 1<<20)
	comment := " /*" + strings.Repeat("x", largeText) + "*/"
	asked := 0
	s := normal
	s.Prepared = func(name string) *Statement {
		asked++
		if name != "p" {
			return nil
		}
		return &k.Classify([]byte("DELETE FROM t"+comment), normal).Statements[0]
	}
	done := make(chan *Result)
	go func() { done <- k.Classify([]byte("EXECUTE p; EXECUTE p; EXECUTE q"+comment), s) }()
	select {
	case r := <-done:
		for i, want := range []countersign.Effects{countersign.Delete, countersign.Delete, countersign.Unknown} {
			if got := r.Statements[i].Effects; got != want {
				t.Errorf("statement %d: %s, want %s", i, got, want)
			}
		}
		if asked != 2 {
			t.Errorf("asked %d times for two names", asked)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the classifier waits for itself")
	}
}

// One text reaches a limited number of others through EXECUTE.
func TestExecutesAreLimited(t *testing.T) {
	asked := 0
	s := normal
	s.Prepared = func(string) *Statement {
		asked++
		return &Statement{Effects: countersign.Read}
	}
	executes := func(n int, name func(int) string) *Result {
		var b strings.Builder
		b.WriteString("PREPARE a AS SELECT 1")
		for i := range n {
			b.WriteString("; EXECUTE " + name(i))
		}
		r := Classify(b.String(), s, nil)
		return &r
	}
	same := func(int) string { return "a" }
	others := func(i int) string { return fmt.Sprint("p", i) }
	for _, test := range []struct {
		n    int
		name func(int) string
		want bool
	}{{MaxExecutes, same, false}, {MaxExecutes + 1, same, true}, {MaxPrepared, others, false}, {MaxPrepared + 1, others, true}} {
		asked = 0
		if r := executes(test.n, test.name); r.Effects.Has(countersign.Unknown) != test.want {
			t.Errorf("%d EXECUTEs of %s…: %s", test.n, test.name(0), r.Effects)
		}
		if asked > MaxPrepared {
			t.Errorf("asked for %d statements", asked)
		}
	}
}
