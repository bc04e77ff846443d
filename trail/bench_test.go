package trail

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/benchtest"
)

// typical is an event of twelve fields and about 600 bytes, as the gateway records for a statement.
func typical() countersign.Event {
	field := func(name, value string) countersign.Field {
		return countersign.Field{Name: name, Value: stringClean([]byte(value))}
	}
	return countersign.Event{Type: countersign.ActionIntent, Fields: []countersign.Field{
		field(countersign.FieldAction, "act_0123456789abcdefghij"),
		field(countersign.FieldSession, "ses_0123456789abcdefghij"),
		field(countersign.FieldPrincipal, "agent:deploy-bot"),
		field(countersign.FieldChain, "requester-1"),
		field(countersign.FieldResource, "shop"),
		field(countersign.FieldRole, "app"),
		field(countersign.FieldFront, "postgres"),
		field(countersign.FieldText, "SELECT o.id, o.total, o.created_at, c.name FROM orders o JOIN customers c ON c.id = o.customer WHERE o.id = $1 ORDER BY o.created_at"),
		field(countersign.FieldEffects, "read"),
		field(countersign.FieldObjects, "table public.orders read, table public.customers read"),
		field(countersign.FieldShape, "0123456789abcdef"),
		field(countersign.FieldRules, "prod-readers"),
	}}
}

// benchLog returns a log of n typical events.
func benchLog(b *testing.B, n int) *testLog {
	b.Helper()
	l := newTestLog(b)
	l.copy.chunk = 256
	ev := typical()
	var h Hasher
	salts := make([]byte, SaltSize*len(ev.Fields))
	for i := range n {
		_, _ = rand.Read(salts) // never fails
		at := start.Add(time.Duration(i) * time.Millisecond)
		var body Body
		if err := body.Make(ev, salts); err != nil {
			b.Fatal(err)
		}
		raw, leaf, err := h.Append(nil, &body, NewID(at, [8]byte{}), at)
		if err != nil {
			b.Fatal(err)
		}
		l.copy.raw = append(l.copy.raw, raw)
		l.copy.hashes = l.tree.Append(leaf, l.copy.hashes)
	}
	return l
}

// BenchmarkVerify verifies a log in memory against a checkpoint.
func BenchmarkVerify(b *testing.B) {
	const n = 100_000
	l := benchLog(b, n)
	cp := l.checkpoint()
	b.SetBytes(int64(n * len(l.copy.raw[0])))
	b.ReportAllocs()
	before := benchtest.ProcessorTime(b)
	for b.Loop() {
		r, err := Verify(l.copy, Options{Checkpoints: [][]byte{cp}, Verifiers: l.known})
		if err != nil || r.Verdict() != "consistent, anchored" {
			b.Fatal(r.Verdict(), err)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(benchtest.ProcessorTime(b)-before)/float64(n*b.N), "cpu-ns/event")
}

// BenchmarkAppend encodes and hashes one event, as a store does.
func BenchmarkAppend(b *testing.B) {
	ev := typical()
	var h Hasher
	var body Body
	var dst []byte
	salts := make([]byte, SaltSize*len(ev.Fields))
	b.ReportAllocs()
	for b.Loop() {
		err := body.Make(ev, salts)
		if err != nil {
			b.Fatal(err)
		}
		if dst, _, err = h.Append(dst[:0], &body, ID{}, start); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(dst)))
}

// BenchmarkProve makes and checks an inclusion proof.
func BenchmarkProve(b *testing.B) {
	l := benchLog(b, 50_000)
	cp := l.checkpoint()
	for b.Loop() {
		proof, err := Prove(l.copy.raw[777], 777, cp, l.copy)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := CheckProof(proof, l.known); err != nil {
			b.Fatal(err)
		}
	}
}
