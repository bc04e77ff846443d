package trail

import (
	"crypto/rand"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign"
)

func TestVerifyUntouched(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 255, 256, 257, 1000, 1025} {
		l := newTestLog(t)
		l.fill(n / 2)
		early := l.checkpoint()
		l.fill(n - n/2)
		late := l.checkpoint()
		clean(t, l.verify(l.copy), "consistent, not anchored")
		clean(t, l.verify(l.copy, late), "consistent, anchored")
		clean(t, l.verify(l.copy, early, late), "consistent, anchored")
		r := l.verify(l.copy, early)
		if !r.OK() || !r.Anchored || r.AnchoredSize != uint64(n/2) {
			t.Errorf("%d events against a checkpoint of %d: %q\n%s", n, n/2, r.Verdict(), list(r))
		}
		if r.Root != l.tree.Root() || r.Size != uint64(n) {
			t.Errorf("%d events: size %d, root %s; want %s", n, r.Size, r.Root, l.tree.Root())
		}
	}
}

// TestVerifyNamesEveryFlippedByte changes each byte of an event in turn. With and without a checkpoint, that event
// and no other is named.
func TestVerifyNamesEveryFlippedByte(t *testing.T) {
	l := newTestLog(t)
	l.fill(300)
	cp := l.checkpoint()
	for _, n := range []int{0, 17, 255, 256, 299} {
		step := 1
		if n != 17 {
			step = 11 // the others show that the place in the tree does not matter
		}
		for i := 0; i < len(l.copy.raw[n]); i += step {
			c := l.copy.clone()
			c.raw[n][i] ^= 0x20
			for name, r := range map[string]Report{"anchored": l.verify(c, cp), "not anchored": l.verify(c)} {
				if len(r.Problems) != 1 || r.Problems[0].Number != uint64(n) || r.Problems[0].Last != uint64(n) {
					t.Fatalf("byte %d of event %d, %s:\n%s", i, n, name, list(r))
				}
				p := r.Problems[0]
				if p.Kind != Changed && p.Kind != Damaged {
					t.Fatalf("byte %d of event %d, %s: %s", i, n, name, p)
				}
				// The event is named by what can still be read of it.
				want, err := ParseEnvelope(l.copy.raw[n])
				if err != nil {
					t.Fatal(err)
				}
				if i > 60 && (p.ID != want.ID || p.Type != want.Type || !p.Time.Equal(want.Time)) {
					t.Fatalf("byte %d of event %d, %s, is named as %s", i, n, name, p)
				}
			}
		}
	}
}

func TestVerifyFindsTampering(t *testing.T) {
	l := newTestLog(t)
	l.fill(700)
	early := l.checkpoint()
	l.fill(300)
	late := l.checkpoint()
	other := func(n int) []byte { // another event, well formed
		forged := newTestLog(t)
		forged.fill(n + 1)
		return forged.copy.raw[n]
	}
	t.Run("changed, hashes rewritten below the root", func(t *testing.T) {
		c := l.copy.clone()
		c.raw[300] = other(300)
		var h Hasher
		leaf, err := h.Hash(c.raw[300])
		if err != nil {
			t.Fatal(err)
		}
		// The forger makes the hashes follow up to a level. The run that is named is that of the next one.
		for level := range 6 {
			n := int64(300) >> level
			if level > 0 {
				leaf = tlog.NodeHash(c.hashes[tlog.StoredHashIndex(level-1, 2*n)], c.hashes[tlog.StoredHashIndex(level-1, 2*n+1)])
			}
			c.hashes[tlog.StoredHashIndex(level, n)] = leaf
			first := uint64(300) >> (level + 1) << (level + 1)
			expect(t, l.verify(c, late), Changed, first, first+1<<(level+1)-1)
		}
	})
	t.Run("changed, all hashes rewritten", func(t *testing.T) {
		c := l.copy.clone()
		c.raw[300] = other(300)
		c.rehash(t)
		clean(t, l.verify(c), "consistent, not anchored")
		expect(t, l.verify(c, late), Changed, 0, 999)
		expect(t, l.verify(c, early, late), Changed, 0, 699)
		c = l.copy.clone()
		c.raw[800] = other(800)
		c.rehash(t)
		r := l.verify(c, early, late)
		expect(t, r, Changed, 700, 999)
		if !r.Anchored || r.AnchoredSize != 700 {
			t.Errorf("the first 700 events are as they were, but anchored up to %d", r.AnchoredSize)
		}
	})
	t.Run("removed, leaving a gap", func(t *testing.T) {
		c := l.copy.clone()
		c.raw[300] = nil
		expect(t, l.verify(c), Removed, 300, 300)
		expect(t, l.verify(c, late), Removed, 300, 300)
		for i := 400; i < 500; i++ {
			c.raw[i] = nil
		}
		r := l.verify(c, late)
		if len(r.Problems) != 2 || r.Problems[1].Number != 400 || r.Problems[1].Last != 499 {
			t.Errorf("want 300 and 400 to 499 as removed:\n%s", list(r))
		}
	})
	t.Run("removed, the others moved up", func(t *testing.T) {
		c := l.copy.clone()
		c.raw = slices.Delete(c.raw, 300, 301)
		c.raw = append(c.raw, other(999))
		r := l.verify(c, late)
		if len(r.Problems) != 3 {
			t.Fatalf("want 300 removed, 300 to 998 moved, 999 changed:\n%s", list(r))
		}
		for i, want := range []Problem{{Kind: Removed, Number: 300, Last: 300}, {Kind: Moved, Number: 300, Last: 998}, {Kind: Changed, Number: 999, Last: 999}} {
			if p := r.Problems[i]; p.Kind != want.Kind && p.Number != want.Number || p.Last != want.Last {
				t.Errorf("problem %d is %s", i, p)
			}
		}
	})
	t.Run("removed and the log rebuilt", func(t *testing.T) {
		c := l.copy.clone()
		c.raw = slices.Delete(c.raw, 300, 301)
		c.rehash(t)
		clean(t, l.verify(c), "consistent, not anchored")
		expect(t, l.verify(c, late), RolledBack, 999, 999)
		r := l.verify(c, early, late)
		if len(r.Problems) != 2 {
			t.Errorf("want events 0 to 699 changed and a rollback:\n%s", list(r))
		}
	})
	t.Run("swapped", func(t *testing.T) {
		c := l.copy.clone()
		c.raw[10], c.raw[900] = c.raw[900], c.raw[10]
		r := l.verify(c, late)
		if len(r.Problems) != 2 || r.Problems[0].Kind != Moved || r.Problems[1].Kind != Moved ||
			r.Problems[0].Number != 10 || r.Problems[1].Number != 900 {
			t.Errorf("want 10 and 900 as moved:\n%s", list(r))
		}
		if !strings.Contains(r.Problems[0].String(), "under number 900") {
			t.Errorf("the problem does not say where the event belongs: %s", r.Problems[0])
		}
		if r := l.verify(c); len(r.Problems) != 2 {
			t.Errorf("without a checkpoint:\n%s", list(r))
		}
	})
	t.Run("rolled back", func(t *testing.T) {
		c := l.copy.clone()
		c.raw = c.raw[:850]
		c.rehash(t)
		clean(t, l.verify(c), "consistent, not anchored")
		r := l.verify(c, early)
		if !r.OK() || r.AnchoredSize != 700 {
			t.Errorf("against the early checkpoint: %q\n%s", r.Verdict(), list(r))
		}
		expect(t, l.verify(c, late), RolledBack, 850, 999)
		r = l.verify(c, early, late)
		expect(t, r, RolledBack, 850, 999)
		if r.AnchoredSize != 700 {
			t.Errorf("anchored up to %d; want 700", r.AnchoredSize)
		}
	})
	t.Run("grown by a forger", func(t *testing.T) {
		c := l.copy.clone()
		c.raw = append(c.raw, other(1000))
		c.rehash(t)
		r := l.verify(c, late)
		if !r.OK() || r.Verdict() != "consistent, anchored up to event 999" {
			t.Errorf("%q: an event past the checkpoint is not vouched for\n%s", r.Verdict(), list(r))
		}
	})
	t.Run("kept hash changed", func(t *testing.T) {
		for level, n := range map[int]int64{0: 500, 1: 250, 5: 3} {
			c := l.copy.clone()
			c.hashes[tlog.StoredHashIndex(level, n)][3]++
			expect(t, l.verify(c, late), BadHash, uint64(n)<<level, uint64(n+1)<<level-1)
		}
	})
	t.Run("leaf kept beside is another", func(t *testing.T) {
		c := l.copy.clone()
		var h Hasher
		for _, raw := range c.raw {
			leaf, err := h.AppendLeaf(nil, raw)
			if err != nil {
				t.Fatal(err)
			}
			c.leaves = append(c.leaves, leaf)
		}
		clean(t, l.verify(c, late), "consistent, anchored")
		c.leaves[7][20]++
		expect(t, l.verify(c, late), Changed, 7, 7)
	})
}

// TestVerifyAnyChange replaces, drops, swaps or flips at random places: something is always found.
func TestVerifyAnyChange(t *testing.T) {
	rng := seeded(7)
	l := newTestLog(t)
	l.fill(600)
	cp := l.checkpoint()
	for round := range 150 {
		c := l.copy.clone()
		c.chunk = 1 + rng.IntN(700)
		i, j := rng.IntN(600), rng.IntN(600)
		what := ""
		switch rng.IntN(5) {
		case 0:
			what = "flip"
			c.raw[i][rng.IntN(len(c.raw[i]))] ^= 1 << rng.IntN(8)
		case 1:
			what = "gap"
			c.raw[i] = nil
		case 2:
			if i == j {
				continue
			}
			what = "swap"
			c.raw[i], c.raw[j] = c.raw[j], c.raw[i]
		case 3:
			what = "delete"
			c.raw = slices.Delete(c.raw, i, i+1)
			c.rehash(t)
		case 4:
			if i == j {
				continue
			}
			what = "copy over, hashes rewritten"
			c.raw[i] = c.raw[j]
			c.rehash(t)
		}
		if r := l.verify(c, cp); r.OK() || r.Anchored {
			t.Fatalf("round %d: %s at %d, %d was not found: %q", round, what, i, j, r.Verdict())
		}
	}
}

func TestVerifyTrustsOnlyGivenKeys(t *testing.T) {
	l := newTestLog(t)
	l.fill(10)
	mine := l.checkpoint()
	impostor := newTestLog(t) // the same origin, another key
	forged, err := Checkpoint{Origin: l.origin, Size: 10, Root: l.tree.Root()}.Sign(impostor.signer)
	if err != nil {
		t.Fatal(err)
	}
	r := l.verify(l.copy, forged)
	if r.Anchored || len(r.Problems) != 1 || r.Problems[0].Kind != BadAnchor {
		t.Errorf("a checkpoint of an unknown key: %q\n%s", r.Verdict(), list(r))
	}
	broken := strings.Replace(string(mine), "\n10\n", "\n11\n", 1)
	r = l.verify(l.copy, []byte(broken))
	if r.Anchored || len(r.Problems) != 1 || r.Problems[0].Kind != BadAnchor {
		t.Errorf("a checkpoint whose text was changed: %q\n%s", r.Verdict(), list(r))
	}
	// A trusted key of another log vouches for its own origin only.
	skey, vkey, err := note.GenerateKey(rand.Reader, "example.org/other")
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
	foreign, err := Checkpoint{Origin: l.origin, Size: 10, Root: l.tree.Root()}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	r, err = Verify(l.copy, Options{Checkpoints: [][]byte{foreign}, Verifiers: note.VerifierList(verifier)})
	if err != nil || r.Anchored || len(r.Problems) != 1 {
		t.Errorf("a checkpoint signed by another log's key: %q, %v\n%s", r.Verdict(), err, list(r))
	}
	// Without keys, a checkpoint that its holder kept still anchors, and the report says what was not checked.
	r, err = Verify(l.copy, Options{Checkpoints: [][]byte{mine}})
	if err != nil || !r.Anchored || len(r.Notes) != 1 {
		t.Errorf("without keys: %q, notes %q, %v", r.Verdict(), r.Notes, err)
	}
	// A checkpoint inside the copy anchors nothing, but must fit.
	r, err = Verify(l.copy, Options{Inside: [][]byte{mine}, Verifiers: l.known})
	if err != nil || r.Verdict() != "consistent, not anchored" {
		t.Errorf("with a checkpoint inside only: %q, %v", r.Verdict(), err)
	}
	c := l.copy.clone()
	c.raw[3] = c.raw[4]
	c.rehash(t)
	r, err = Verify(c, Options{Inside: [][]byte{mine}, Verifiers: l.known})
	if err != nil || r.OK() {
		t.Errorf("a copy that does not fit the checkpoint inside: %q, %v", r.Verdict(), err)
	}
	// Checkpoints of other logs are passed over, and that is said.
	apart, err := Checkpoint{Origin: "example.org/other", Size: 99, Root: l.tree.Root()}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	if r := l.verify(l.copy, apart); !r.OK() || r.Anchored || len(r.Notes) != 1 {
		t.Errorf("another log's checkpoint: %q, notes %q\n%s", r.Verdict(), r.Notes, list(r))
	}
}

// erase takes the value of one field out of a stored entry.
func erase(t *testing.T, raw []byte, field int) []byte {
	t.Helper()
	e, err := ParseEntry(raw)
	if err != nil {
		t.Fatal(err)
	}
	e.Fields[field] = Field{Erased: true, Commitment: e.Fields[field].Commit()}
	raw, err = e.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestVerifyErasure: a value that is gone is a problem, and an event that announces it changes nothing,
// whoever signed the log afterwards.
func TestVerifyErasure(t *testing.T) {
	l := newTestLog(t)
	l.fill(5)
	victim := l.add(intent(5))
	before := l.checkpoint()
	l.fill(3)
	l.copy.raw[5] = erase(t, l.copy.raw[5], 1)
	expect(t, l.verify(l.copy, before), BadErasure, 5, 5)

	l.add(countersign.Event{Type: "trail.erased", Fields: []countersign.Field{
		{Name: "event", Value: stringClean([]byte(victim.ID.String()))},
		{Name: "fields", Value: stringClean([]byte("1,2"))},
	}})
	l.copy.raw[5] = erase(t, l.copy.raw[5], 2)
	after := l.checkpoint()
	r := l.verify(l.copy, before, after)
	expect(t, r, BadErasure, 5, 5)
	if p := r.Problems[0]; p.ID != victim.ID || p.Type != countersign.ActionIntent {
		t.Errorf("the event that lost values is named as %s", p)
	}
	expect(t, l.verify(l.copy), BadErasure, 5, 5)
	// The commitment that stands for the value is still proven.
	forged := l.copy.clone()
	e, err := ParseEntry(forged.raw[5])
	if err != nil {
		t.Fatal(err)
	}
	e.Fields[1].Commitment[0]++
	forged.raw[5], err = e.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, l.verify(forged, after), Changed, 5, 5)
}

func TestVerifyBounded(t *testing.T) {
	l := newTestLog(t)
	l.fill(2000)
	cp := l.checkpoint()
	c := l.copy.clone()
	for i := range c.raw {
		c.raw[i][len(c.raw[i])-1]++
	}
	r := l.verify(c, cp)
	if len(r.Problems) != MaxProblems || len(r.Problems)+r.More < 2000 {
		t.Errorf("%d problems listed, %d more; want %d and the rest", len(r.Problems), r.More, MaxProblems)
	}
	// A copy that claims a hole larger than any store ends the verification, not the machine.
	huge := &hole{memory: l.copy}
	r, err := Verify(huge, Options{})
	if err != nil || r.OK() || r.Problems[0].Kind != Removed {
		t.Errorf("a hole of 2^40 events: %v\n%s", err, list(r))
	}
}

// hole is a copy that claims to lack 2^40 events.
type hole struct{ *memory }

func (h *hole) Size() uint64 { return 1 << 40 }

func (h *hole) Chunks(uint64) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) { yield(Chunk{Missing: 1 << 40, Why: fmt.Errorf("gone")}, nil) }
}

func TestProof(t *testing.T) {
	l := newTestLog(t)
	l.fill(300)
	early, err := UnverifiedCheckpoint(l.checkpoint())
	if err != nil {
		t.Fatal(err)
	}
	l.fill(77)
	signed := l.checkpoint()
	for _, n := range []uint64{0, 1, 255, 256, 376} {
		proof, err := Prove(l.copy.raw[n], n, signed, l.copy)
		if err != nil {
			t.Fatal(err)
		}
		got, err := CheckProof(proof, l.known)
		if err != nil {
			t.Fatalf("the proof of event %d: %v", n, err)
		}
		if want, err := ParseEntry(l.copy.raw[n]); err != nil || got.Number != n || got.Entry.ID != want.ID || got.Checkpoint.Size != 377 {
			t.Errorf("the proof of event %d shows number %d, %s", n, got.Number, got.Entry.ID)
		}
		if _, err := CheckProof(proof, newTestLog(t).known); err == nil {
			t.Error("a proof holds against another key")
		}
		for i := 0; i < len(proof); i += 3 {
			bad := slices.Clone(proof)
			bad[i] ^= 1
			if got, err := CheckProof(bad, l.known); err == nil && got.Number != n {
				t.Fatalf("with byte %d changed the proof of event %d shows event %d", i, n, got.Number)
			}
		}
	}
	if _, err := Prove(l.copy.raw[0], 377, signed, l.copy); err == nil {
		t.Error("an event past the checkpoint was proven")
	}
	late, err := UnverifiedCheckpoint(signed)
	if err != nil {
		t.Fatal(err)
	}
	growth, err := ProveGrowth(300, 377, l.copy)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckGrowth(early, late, growth); err != nil {
		t.Errorf("the proof that the log grew: %v", err)
	}
	early.Root[0]++
	if err := CheckGrowth(early, late, growth); err == nil {
		t.Error("a log with another past passes as grown")
	}
}
