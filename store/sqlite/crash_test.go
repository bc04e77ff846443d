package sqlite

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/gate"
)

// In the environment these make the test binary another process: the one that is killed, and one that
// only opens a store and says what comes of it.
const (
	crashFolder = "COUNTERSIGN_TEST_CRASH_FOLDER"
	openFolder  = "COUNTERSIGN_TEST_OPEN_FOLDER"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashFolder); dir != "" {
		if err := victim(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv(openFolder); dir != "" {
		s, err := Open(Options{Dir: filepath.Join(dir, "data"), KeysDir: filepath.Join(dir, "keys")})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_ = s.Close() // the test has failed
		return
	}
	os.Exit(m.Run())
}

// victim opens a store and writes until it is killed, telling on its standard output what was acknowledged:
// "intent ACTION NUMBER", "outcome ACTION NUMBER", "claim REQUEST ACTION".
func victim(dir string) error {
	s, err := Open(Options{Dir: filepath.Join(dir, "data"), KeysDir: filepath.Join(dir, "keys")})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	tell := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Printf(format+"\n", args...) // the reader may be gone; so will this process
	}
	var wg sync.WaitGroup
	for w := range 12 {
		wg.Go(func() {
			for i := 0; ; i++ {
				action := fmt.Sprintf("act_%s_%d_%d", s.boot, w, i)
				r, err := tryCommit(s, gate.Change{Events: []countersign.Event{event(countersign.ActionIntent, countersign.FieldAction, action)}})
				if err != nil {
					tell("error %v", err)
					return
				}
				tell("intent %s %d", action, r.First)
				if i%5 == 4 {
					continue // under way when the process dies
				}
				r, err = tryCommit(s, gate.Change{Events: []countersign.Event{event(countersign.ActionOutcome, countersign.FieldAction, action)}, Lazy: i%2 == 0})
				if err != nil {
					tell("error %v", err)
					return
				}
				tell("outcome %s %d", action, r.First)
			}
		})
	}
	ids := make(chan countersign.RequestID)
	for range 4 {
		wg.Go(func() { claim(s, ids, tell) })
	}
	offerGrants(s, ids, tell)
	wg.Wait()
	return errors.New("the writers ended")
}

// offerGrants hands every grant, those of earlier boots too, to several claimers at once.
func offerGrants(s *Store, ids chan<- countersign.RequestID, tell func(string, ...any)) {
	offer := func(id countersign.RequestID) {
		for range 3 {
			ids <- id
		}
	}
	old, err := s.Requests(ctx, gate.Filter{States: []approval.State{approval.Approved}})
	if err != nil {
		tell("error %v", err)
		return
	}
	for _, r := range old {
		offer(r.Request.ID)
	}
	for i := 0; ; i++ {
		c := insert(s, fmt.Sprintf("req_%s_%d", s.boot, i))
		if _, err := tryCommit(s, c); err != nil {
			tell("error %v", err)
			return
		}
		r, err := s.Request(ctx, c.Insert.Record.Request.ID)
		if err != nil {
			tell("error %v", err)
			return
		}
		r.Request.ClaimBy = s.Now().Add(time.Hour)
		if _, err := tryCommit(s, approve(r)); err != nil {
			tell("error %v", err)
			return
		}
		offer(r.Request.ID)
	}
}

// claim claims grants: it reads, judges, and writes over the revision that it read.
func claim(s *Store, ids <-chan countersign.RequestID, tell func(string, ...any)) {
	for n := 0; ; n++ {
		id := <-ids
		r, err := s.Request(ctx, id)
		if err != nil {
			tell("error %v", err)
			return
		}
		if r.Request.State != approval.Approved {
			continue
		}
		action := countersign.ActionID(fmt.Sprintf("act_%s_claim%d_%d", s.boot, n, rand.Uint32()))
		r.Request.State = approval.Claimed
		r.Request.Uses = append(r.Request.Uses, approval.Use{Action: action, At: s.Now(), Outcome: approval.Claimed})
		_, err = tryCommit(s, gate.Change{
			Before: r.Request.ClaimBy,
			Update: &gate.Update{Revision: r.Revision, Request: r.Request},
			Events: []countersign.Event{
				event(countersign.GrantClaimed, countersign.FieldRequest, string(id), countersign.FieldAction, string(action)),
				event(countersign.ActionIntent, countersign.FieldRequest, string(id), countersign.FieldAction, string(action)),
			},
		})
		switch {
		case err == nil:
			tell("claim %s %s", id, action)
		case !errors.Is(err, gate.ErrConflict):
			tell("error %v", err)
			return
		}
	}
}

// told is what a victim said before it died.
type told struct {
	numbers map[string]uint64 // "intent ACTION" → number
	claims  map[string]string // request → action
}

// TestCrash kills a process under load again and again. After each time: everything acknowledged is in
// the trail under its number, no grant was claimed twice, the root recomputes from the bodies, and the
// unfinished intents are exactly those without an outcome.
func TestCrash(t *testing.T) {
	rounds := 20
	if os.Getenv("COUNTERSIGN_LONG") != "" {
		rounds = 200
	}
	dir := t.TempDir()
	f := folders{filepath.Join(dir, "data"), filepath.Join(dir, "keys"), filepath.Join(dir, "checkpoints")}
	all := told{map[string]uint64{}, map[string]string{}}
	for round := range rounds {
		killOne(t, dir, time.Duration(30+rand.IntN(100))*time.Millisecond, &all)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
		s, err := Open(f.options())
		if err != nil {
			t.Fatalf("round %d: the store does not open after a crash: %v", round, err)
		}
		checkAfterCrash(t, s, all)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	r := verifyAll(t, f)
	t.Logf("%d crashes: %d events, %d acknowledged one by one, %d grants claimed", rounds, r.Size, len(all.numbers), len(all.claims))
	if len(all.numbers) < 10*rounds || len(all.claims) < rounds {
		t.Errorf("only %d events and %d claims were acknowledged: the test was hardly under load", len(all.numbers), len(all.claims))
	}
}

// TestCrashAtFirstStart kills a process while it makes keys and store. The next start goes on or begins
// anew, and never asks for help.
func TestCrashAtFirstStart(t *testing.T) {
	self, err := os.Executable()
	must(t, err)
	halfway := 0
	for i := range 12 {
		dir := t.TempDir()
		f := folders{filepath.Join(dir, "data"), filepath.Join(dir, "keys"), filepath.Join(dir, "checkpoints")}
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), crashFolder+"="+dir)
		must(t, cmd.Start())
		// The keys' folder is made first; from then on each moment is tried.
		for range 2000 {
			if _, err := os.Stat(f.keys); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(i) * 3 * time.Millisecond)
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		if _, err := os.Stat(filepath.Join(f.keys, "first-start")); err == nil {
			halfway++
		}
		s, err := Open(f.options())
		if err != nil {
			t.Fatalf("after a kill %d ms into the first start: %v", 3*i, err)
		}
		commit(t, s, event(countersign.PolicyLoaded))
		must(t, s.Close())
		verifyAll(t, f)
	}
	t.Logf("%d of 12 first starts were cut short", halfway)
}

// killOne runs a victim and kills it some time after it has begun to write.
func killOne(t *testing.T, dir string, after time.Duration, all *told) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), crashFolder+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewReader(out)
	first := true
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				t.Errorf("read from the victim: %v", err)
			}
			break // a line without an end was not written whole
		}
		if first {
			first = false
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // SIGKILL; it has no other end
		}
		all.take(t, strings.Fields(line))
	}
	_ = cmd.Wait() // it was killed
	if first {
		t.Fatalf("the victim never wrote: %s", stderr.String())
	}
}

func (a *told) take(t *testing.T, words []string) {
	t.Helper()
	switch {
	case len(words) == 3 && (words[0] == "intent" || words[0] == "outcome"):
		n, err := strconv.ParseUint(words[2], 10, 64)
		must(t, err)
		a.numbers[words[0]+" "+words[1]] = n
	case len(words) == 3 && words[0] == "claim":
		if other, ok := a.claims[words[1]]; ok {
			t.Errorf("the grant %s was claimed by %s and by %s", words[1], other, words[2])
		}
		a.claims[words[1]] = words[2]
	default:
		t.Errorf("the victim says %q", strings.Join(words, " "))
	}
}

func checkAfterCrash(t *testing.T, s *Store, all told) {
	t.Helper()
	found := map[string]uint64{}
	claims := map[string]string{}
	open := map[string]bool{}
	events := everything(t, s)
	for i := len(events) - 1; i >= 0; i-- {
		e := events[i]
		action := e.Get(countersign.FieldAction).String()
		switch e.Type {
		case countersign.ActionIntent:
			found["intent "+action] = e.Number
			open[action] = true
		case countersign.ActionOutcome:
			found["outcome "+action] = e.Number
			delete(open, action)
		case countersign.GrantClaimed:
			request := e.Get(countersign.FieldRequest).String()
			if other, ok := claims[request]; ok {
				t.Errorf("the grant %s was claimed by %s and by %s", request, other, action)
			}
			claims[request] = action
		}
	}
	for what, number := range all.numbers {
		if at, ok := found[what]; !ok || at != number {
			t.Errorf("acknowledged %s as event %d; it is at %d, %v", what, number, at, ok)
		}
	}
	for request, action := range all.claims {
		if claims[request] != action {
			t.Errorf("the grant %s was claimed by %s; the trail says %q", request, action, claims[request])
		}
		r, err := s.Request(ctx, countersign.RequestID(request))
		if err != nil || r.Request.State != approval.Claimed || len(r.Request.Uses) != 1 || string(r.Request.Uses[0].Action) != action {
			t.Errorf("the claimed request %s: %+v, %v", request, r.Request.Uses, err)
		}
	}
	list, err := s.Unfinished(ctx)
	must(t, err)
	if len(list) != len(open) {
		t.Errorf("%d intents are unfinished; the trail holds %d without an outcome", len(list), len(open))
	}
	for _, i := range list {
		if !open[string(i.Action)] {
			t.Errorf("%s has an outcome and is listed as unfinished", i.Action)
		}
	}
}
