package gate_test

import (
	"context"
	"testing"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/gatetest"
	"github.com/countersign-dev/countersign/sanitize"
)

// readPolicy lets agents read, as the policy of the end-to-end measurement does.
const readPolicy = `version: 1
rules:
  - name: agents-read
    match: {principal: {kind: agent}, resource: {env: prod}, effects: [read, session]}
    then: {allow: true}
  - name: agents-export
    match: {principal: {groups: [exporters]}, resource: {env: prod}, effects: [read, export]}
    then: {allow: true}
  - name: changes
    match: {resource: {env: prod}, any_effect: [write, delete]}
    then: {review: [{count: 1, groups: [resource.reviewers]}]}
`

// quickStore answers for events at once, so that what is measured is the gate.
type quickStore struct{ gate.Store }

func (s quickStore) Commit(ctx context.Context, c gate.Change, done func(gate.Receipt, error)) error {
	if c.Policy != nil || c.Directory != nil || c.Insert != nil || c.Update != nil {
		return s.Store.Commit(ctx, c, done)
	}
	done(gate.Receipt{}, nil)
	return nil
}

// BenchmarkAllowedRead is the door's own cost of one allowed read as the PostgreSQL front asks for it: judged,
// recorded, counted, finished. With the real store run it with -cpu 8 to see eight clients share commits.
func BenchmarkAllowedRead(b *testing.B) {
	b.Run("gate", func(b *testing.B) {
		benchmarkRead(b, func(o *gate.Options) { o.Store = quickStore{o.Store} })
	})
	b.Run("gate+store", func(b *testing.B) { benchmarkRead(b, nil) })
}

func benchmarkRead(b *testing.B, change func(*gate.Options)) {
	w := gatetest.New(b, gatetest.Options{Policy: readPolicy, Gate: change})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		s, err := w.Gate.Open(ctx, gatetest.Agent("deploy-bot"), gatetest.Shop.Name, gate.Opening{
			Front: "postgres", Database: sanitize.Name("bench"), Role: sanitize.Name("app"),
			Remote: sanitize.Name("127.0.0.1:40000"), Client: sanitize.Name("pgbench"),
		})
		if err != nil {
			b.Error(err)
			return
		}
		defer s.Close(gate.RolledBack, sanitize.Const("the benchmark is over"))
		text := "SELECT abalance FROM pgbench_accounts WHERE aid = $1;"
		a := gatetest.Action(text, countersign.Read)
		a.Front, a.Shape = "postgres", "a0b1c2d3e4f50617"
		a.Objects = []countersign.Object{{Kind: "table", Name: sanitize.Name("pgbench_accounts"), Effects: countersign.Read}}
		a.Why = []countersign.Evidence{
			{Effect: countersign.Read, Why: sanitize.Const("returns rows")},
			{Effect: countersign.Read, Why: sanitize.Const("reads pgbench_accounts")},
			{Effect: countersign.Read, Why: sanitize.Const("there is no catalog: functions, operators and types named without a schema " +
				"are taken for pg_catalog's, and names outside pg_catalog for plain tables")},
		}
		for pb.Next() {
			p, err := s.Admit(ctx, a, gate.Hold{})
			if err != nil {
				b.Error(err)
				return
			}
			if err := p.Durable(ctx); err != nil {
				b.Error(err)
				return
			}
			if err := p.Count(1, 20); err != nil {
				b.Error(err)
				return
			}
			p.Finish(gate.Outcome{State: approval.Done, Rows: 1})
		}
	})
}
