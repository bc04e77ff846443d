package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	return b.verify(ctx)
}

// verify measures `countersign trail verify` on a stopped gateway's folder, against the checkpoint outside it.
func (b *bench) verify(ctx context.Context) error {
	events := pick(b, 500_000, 50_000)
	const each = 500 // events in one change
	s, err := b.openStore("verify")
	if err != nil {
		return err
	}
	changed := gate.Change{Events: slices.Repeat([]countersign.Event{event()}, each)}
	done := make(chan error, events/each)
	for range events / each {
		if err := s.Commit(ctx, changed, func(_ gate.Receipt, err error) { done <- err }); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	for range events / each {
		err = errors.Join(err, <-done)
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	dir := filepath.Join(b.dir, "verify")
	start := time.Now()
	out, err := exec.CommandContext(ctx, b.program, "trail", "verify", filepath.Join(dir, "data"),
		"--since", filepath.Join(dir, "checkpoints", "checkpoint"), "--keys", filepath.Join(dir, "keys", "log.pub")).CombinedOutput()
	took := time.Since(start)
	if err != nil {
		return fmt.Errorf("trail verify: %w\n%s", err, out)
	}
	verdict, _, _ := strings.Cut(string(out), "\n")
	hashing := b.hashing(events)
	b.table("Verify", fmt.Sprintf("`countersign trail verify` of a stopped gateway's folder with %d events of 1 KiB, the program's start included; it said %q. "+
		"The reference is one core hashing as many blocks of 1 KiB with SHA-256.", events, verdict),
		[]string{"what", "seconds", "events/s", "× hashing alone"}, [][]string{
			{"SHA-256 alone", number(hashing.Seconds(), 2), number(float64(events)/hashing.Seconds(), 0), "1.00"},
			{"trail verify", number(took.Seconds(), 2), number(float64(events)/took.Seconds(), 0), number(hashing.Seconds()/took.Seconds(), 2)},
		})
	return nil
}

// hashing is how long one core takes to hash blocks of 1 KiB.
func (b *bench) hashing(blocks int) time.Duration {
	var block [1024]byte
	start := time.Now()
	for range blocks {
		sum := sha256.Sum256(block[:])
		copy(block[:], sum[:])
	}
	return time.Since(start)
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
