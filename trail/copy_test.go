package trail

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign"
)

// testLog is a log with its key, from which copies are made to be tampered with.
type testLog struct {
	t      testing.TB
	origin string
	signer note.Signer
	known  note.Verifiers
	copy   *memory
	tree   *Tree
}

// memory is a copy of a log in memory.
type memory struct {
	origin string
	raw    [][]byte // nil: missing
	leaves [][]byte
	hashes []tlog.Hash
	chunk  int
}

func (m *memory) Origin() string { return m.origin }
func (m *memory) Size() uint64   { return uint64(len(m.raw)) }

func (m *memory) Chunks(from uint64) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		for at := from; at < uint64(len(m.raw)); {
			end := at
			for end < uint64(len(m.raw)) && end-at < uint64(m.chunk) && (m.raw[end] == nil) == (m.raw[at] == nil) {
				end++
			}
			c := Chunk{First: at}
			if m.raw[at] == nil {
				c.Missing, c.Why = end-at, errors.New("no such row")
			} else {
				c.Raw = m.raw[at:end]
				if m.leaves != nil {
					c.Leaves = m.leaves[at:end]
				}
			}
			if !yield(c, nil) {
				return
			}
			at = end
		}
	}
}

func (m *memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	all := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x >= int64(len(m.hashes)) {
			return nil, fmt.Errorf("no hash %d", x)
		}
		all[i] = m.hashes[x]
	}
	return all, nil
}

func (m *memory) clone() *memory {
	c := *m
	c.raw = slices.Clone(m.raw)
	for i := range c.raw {
		c.raw[i] = bytes.Clone(c.raw[i])
	}
	c.hashes = slices.Clone(m.hashes)
	return &c
}

// rehash makes the kept hashes follow from the bodies, as a thorough forger would.
func (m *memory) rehash(t testing.TB) {
	t.Helper()
	var tree Tree
	var h Hasher
	m.hashes = nil
	for _, raw := range m.raw {
		leaf, err := h.Hash(raw)
		if err != nil {
			t.Fatal(err)
		}
		m.hashes = tree.Append(leaf, m.hashes)
	}
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

func newTestLog(t testing.TB) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, "example.org/log")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return &testLog{
		t: t, origin: "example.org/log", signer: signer, known: note.VerifierList(verifier),
		copy: &memory{origin: "example.org/log", chunk: 100}, tree: &Tree{},
	}
}

func (l *testLog) add(ev countersign.Event) Entry {
	l.t.Helper()
	n := len(l.copy.raw)
	at := start.Add(time.Duration(n) * time.Millisecond)
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	e, err := NewEntry(ev, NewID(at, random), at, rand.Reader)
	if err != nil {
		l.t.Fatal(err)
	}
	raw, err := e.AppendBinary(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	l.copy.raw = append(l.copy.raw, raw)
	l.copy.hashes = l.tree.Append(e.Hash(), l.copy.hashes)
	return e
}

func (l *testLog) fill(n int) {
	l.t.Helper()
	for range n {
		l.add(intent(len(l.copy.raw)))
	}
}

func (l *testLog) checkpoint() []byte {
	l.t.Helper()
	signed, err := Checkpoint{Origin: l.origin, Size: l.tree.Size(), Root: l.tree.Root()}.Sign(l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	return signed
}

func (l *testLog) verify(c *memory, checkpoints ...[]byte) Report {
	l.t.Helper()
	r, err := Verify(c, Options{Checkpoints: checkpoints, Verifiers: l.known})
	if err != nil {
		l.t.Fatalf("verify: %v", err)
	}
	return r
}

// intent is an event like the gateway's.
func intent(n int) countersign.Event {
	return countersign.Event{Type: countersign.ActionIntent, Fields: []countersign.Field{
		{Name: countersign.FieldAction, Value: stringClean(fmt.Appendf(nil, "act_%020d", n))},
		{Name: countersign.FieldPrincipal, Value: stringClean([]byte("agent:deploy-bot"))},
		{Name: countersign.FieldText, Value: stringClean([]byte("DELETE FROM orders WHERE id = 7"))},
	}}
}

// expect fails unless the report has exactly one problem, of that kind and for those events.
func expect(t *testing.T, r Report, kind ProblemKind, first, last uint64) {
	t.Helper()
	if len(r.Problems) != 1 || r.More != 0 {
		t.Fatalf("%d problems; want 1:\n%s", len(r.Problems)+r.More, list(r))
	}
	if p := r.Problems[0]; p.Kind != kind || p.Number != first || p.Last != last {
		t.Errorf("the problem is %q; want %s, %d to %d", p, kind, first, last)
	}
	if r.OK() {
		t.Error("a report with a problem is OK")
	}
}

func list(r Report) string {
	var b strings.Builder
	for _, p := range r.Problems {
		b.WriteString("  " + p.String() + "\n")
	}
	return b.String()
}

func clean(t *testing.T, r Report, verdict string) {
	t.Helper()
	if !r.OK() || r.Verdict() != verdict {
		t.Errorf("verdict %q; want %q\n%s", r.Verdict(), verdict, list(r))
	}
}

func seeded(seed uint64) *mathrand.Rand { return mathrand.New(mathrand.NewPCG(seed, 1)) }
