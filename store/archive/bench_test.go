package archive

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/benchtest"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/store/sqlite"
)

// BenchmarkVerify verifies the data folder and the export of a store with typical events: twelve fields, about 600 bytes.
func BenchmarkVerify(b *testing.B) {
	dir := b.TempDir()
	data, keysDir, export := filepath.Join(dir, "data"), filepath.Join(dir, "keys"), filepath.Join(dir, "export")
	s, err := sqlite.Open(sqlite.Options{Dir: data, KeysDir: keysDir})
	if err != nil {
		b.Fatal(err)
	}
	const events, each = 200_000, 100
	var wg sync.WaitGroup
	for i := range events / each {
		c := gate.Change{}
		for j := range each {
			c.Events = append(c.Events, typical(i*each+j))
		}
		wg.Add(1)
		if err := s.Commit(ctx, c, func(_ gate.Receipt, err error) {
			if err != nil {
				b.Error(err)
			}
			wg.Done()
		}); err != nil {
			b.Fatal(err)
		}
	}
	wg.Wait()
	if err := s.ExportFolder(ctx, export); err != nil {
		b.Fatal(err)
	}
	since, err := s.Checkpoint()
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	trusted, err := ReadGiven(filepath.Join(keysDir, "log.pub"))
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range []string{data, export} {
		b.Run(filepath.Base(path), func(b *testing.B) {
			before := benchtest.ProcessorTime(b)
			for b.Loop() {
				r, err := Verify(ctx, path, since, trusted)
				if err != nil || r.Verdict() != "consistent, anchored" {
					b.Fatal(r.Verdict(), err)
				}
			}
			b.ReportMetric(float64((benchtest.ProcessorTime(b)-before).Nanoseconds())/(events*float64(b.N)), "cpu-ns/event")
			b.ReportMetric(events*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func typical(n int) countersign.Event {
	field := func(name, value string) countersign.Field { return countersign.Field{Name: name, Value: clean(value)} }
	return countersign.Event{Type: countersign.ActionIntent, Fields: []countersign.Field{
		field(countersign.FieldAction, fmt.Sprintf("act_%020d", n)),
		field(countersign.FieldSession, "ses_0123456789abcdefghij"),
		field(countersign.FieldPrincipal, "agent:deploy-bot"),
		field(countersign.FieldChain, "requester-1"),
		field(countersign.FieldResource, "shop"),
		field(countersign.FieldRole, "app"),
		field(countersign.FieldFront, "postgres"),
		field(countersign.FieldText, "SELECT o.id, o.total FROM orders o JOIN customers c ON c.id = o.customer WHERE o.id = $1 "+strings.Repeat("-", 60)),
		field(countersign.FieldEffects, "read"),
		field(countersign.FieldObjects, "table public.orders read, table public.customers read"),
		field(countersign.FieldShape, "0123456789abcdef"),
		field(countersign.FieldRules, "prod-readers"),
	}}
}
