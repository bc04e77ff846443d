package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/benchtest"
	"github.com/countersign-dev/countersign/gate"
)

// sample is an event of twelve fields and about a kilobyte.
func sample(action string) countersign.Event {
	return countersign.Event{Type: countersign.ActionIntent, Fields: []countersign.Field{
		{Name: countersign.FieldAction, Value: own(action)},
		{Name: countersign.FieldRequest, Value: own("req_0123456789abcdefghij")},
		{Name: countersign.FieldSession, Value: own("ses_0123456789abcdefghij")},
		{Name: countersign.FieldPrincipal, Value: own("agent:deploy-bot")},
		{Name: countersign.FieldChain, Value: own("requester-1")},
		{Name: countersign.FieldResource, Value: own("shop")},
		{Name: countersign.FieldFront, Value: own("postgres")},
		{Name: countersign.FieldText, Value: own("SELECT " + strings.Repeat("column_name, ", 55) + "1 FROM orders")},
		{Name: countersign.FieldEffects, Value: own("read")},
		{Name: countersign.FieldShape, Value: own("0123456789abcdef")},
		{Name: countersign.FieldRules, Value: own("prod-readers")},
		{Name: countersign.FieldDecision, Value: own("allow")},
	}}
}

func openTest(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Dir == "" {
		dir := t.TempDir()
		o.Dir, o.KeysDir = filepath.Join(dir, "data"), filepath.Join(dir, "keys")
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// BenchmarkCommit measures durable events a second: each writer waits for its event before it commits the next.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openTest(b, Options{})
			var next atomic.Int64
			took := make([]time.Duration, b.N)
			var wg sync.WaitGroup
			b.ReportAllocs()
			before := benchtest.ProcessorTime(b)
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					done := make(chan error, 1)
					for {
						i := next.Add(1) - 1
						if i >= int64(b.N) {
							return
						}
						start := time.Now()
						err := s.Commit(context.Background(), gate.Change{Events: []countersign.Event{sample("act_0123456789abcdefghij")}},
							func(_ gate.Receipt, err error) { done <- err })
						if err == nil {
							err = <-done
						}
						if err != nil {
							b.Error(err)
							return
						}
						took[i] = time.Since(start)
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64((benchtest.ProcessorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/event")
			var commits int
			if err := s.reader.QueryRow(`SELECT count(*) FROM batch`).Scan(&commits); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/float64(commits), "events/commit")
			slices.Sort(took)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
