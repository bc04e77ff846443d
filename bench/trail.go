package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/store/sqlite"
)

// event is one of about a kilobyte, as an intent is.
func event() countersign.Event {
	field := func(name, value string) countersign.Field {
		return countersign.Field{Name: name, Value: sanitize.New(sanitize.Options{}).Text(value)}
	}
	return countersign.Event{Type: countersign.ActionIntent, Fields: []countersign.Field{
		field(countersign.FieldAction, "act_0123456789abcdefghij"),
		field(countersign.FieldSession, "ses_0123456789abcdefghij"),
		field(countersign.FieldPrincipal, "agent:deploy-bot"),
		field(countersign.FieldChain, "requester-1"),
		field(countersign.FieldResource, "shop"),
		field(countersign.FieldFront, "postgres"),
		field(countersign.FieldText, "SELECT "+strings.Repeat("column_name, ", 55)+"1 FROM orders"),
		field(countersign.FieldEffects, "read"),
		field(countersign.FieldRules, "prod-readers"),
		field(countersign.FieldDecision, "allow"),
	}}
}

// trail measures durable events a second, and how fast a log is checked.
func (b *bench) trail(ctx context.Context) error {
	sync, err := b.syncs()
	if err != nil {
		return err
	}
	var rows [][]string
	for _, writers := range []int{1, 64, 512} {
		row, err := b.writers(ctx, writers, sync)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	b.table("Trail", fmt.Sprintf("Events of 1 KiB through the store's own Commit, each writer waiting until its event is durable before the next. "+
		"The reference is what the disk gives: a file appended by 1 KiB and synced, %.0f times a second (p50 %s µs).",
		1/sync.Seconds(), microseconds(sync)),
		[]string{"writers", "events/s", "× sync alone", "p50 µs", "p99 µs"}, rows)
	return nil
}

// syncs returns the median time of an append of 1 KiB with fsync on the same disk.
func (b *bench) syncs() (time.Duration, error) {
	f, err := os.Create(filepath.Join(b.dir, "sync"))
	if err != nil {
		return 0, err
	}
	took := make([]time.Duration, pick(b, 500, 100))
	block := make([]byte, 1024)
	for i := range took {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, errors.Join(err, f.Close())
		}
		if err := f.Sync(); err != nil {
			return 0, errors.Join(err, f.Close())
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return percentile(took, .5), f.Close()
}

func (b *bench) openStore(name string) (*sqlite.Store, error) {
	dir := filepath.Join(b.dir, name)
	return sqlite.Open(sqlite.Options{Dir: filepath.Join(dir, "data"), KeysDir: filepath.Join(dir, "keys")})
}

// writers measures one number of writers on a store of its own.
func (b *bench) writers(ctx context.Context, writers int, alone time.Duration) (row []string, err error) {
	s, err := b.openStore(fmt.Sprintf("trail-%d", writers))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	took, elapsed, err := write(ctx, s, writers, pick(b, 5*time.Second, time.Second))
	if err != nil {
		return nil, err
	}
	slices.Sort(took)
	rate := float64(len(took)) / elapsed.Seconds()
	return []string{
		fmt.Sprint(writers), number(rate, 0), number(rate*alone.Seconds(), 1),
		microseconds(percentile(took, .5)), microseconds(percentile(took, .99)),
	}, nil
}

// write lets writers commit events for a while, and returns how long each took.
func write(ctx context.Context, s *sqlite.Store, writers int, long time.Duration) ([]time.Duration, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	all := make([][]time.Duration, writers)
	failed := make([]error, writers)
	ev := event()
	start := time.Now()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			done := make(chan error, 1)
			for ctx.Err() == nil && failed[w] == nil {
				began := time.Now()
				// Not ctx: an event that was begun is waited for.
				err := s.Commit(context.WithoutCancel(ctx), gate.Change{Events: []countersign.Event{ev}}, func(_ gate.Receipt, err error) { done <- err })
				if err == nil {
					err = <-done
				}
				failed[w] = err
				all[w] = append(all[w], time.Since(began))
			}
		})
	}
	wg.Wait()
	return slices.Concat(all...), time.Since(start), errors.Join(failed...)
}
