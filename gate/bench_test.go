package gate_test

import (
	"testing"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/gatetest"
)

// BenchmarkAllowedRead is the door's own cost of one allowed read: judged, its intent durable, its outcome recorded.
// Run it with -cpu 8 to see eight clients share commits.
func BenchmarkAllowedRead(b *testing.B) {
	w := gatetest.New(b, gatetest.Options{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		s := w.Session(gatetest.Agent("deploy-bot"))
		a := gatetest.Action("SELECT abalance FROM pgbench_accounts WHERE aid = 1", countersign.Read)
		a.Shape = "a0b1c2d3e4f50617"
		for pb.Next() {
			p, err := s.Admit(ctx, a, gate.Hold{})
			if err != nil {
				b.Fatal(err)
			}
			if err := p.Durable(ctx); err != nil {
				b.Fatal(err)
			}
			if err := p.Count(1, 20); err != nil {
				b.Fatal(err)
			}
			p.Finish(gate.Outcome{State: approval.Done, Rows: 1})
		}
	})
}
