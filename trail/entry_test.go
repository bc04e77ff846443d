package trail

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign"
)

func TestEntryRoundTrip(t *testing.T) {
	rng := seeded(3)
	for range 300 {
		ev := countersign.Event{Type: "a.b_c"}
		for i := range rng.IntN(MaxFields + 1) {
			value := make([]byte, rng.IntN(200))
			_, _ = rand.Read(value) // never fails
			ev.Fields = append(ev.Fields, countersign.Field{Name: "f" + strings.Repeat("x", i), Value: stringClean(value)})
		}
		e, err := NewEntry(ev, NewID(start, [8]byte{1}), start, rand.Reader)
		if err != nil {
			if len(ev.Fields) == MaxFields {
				continue // the last name has 64 bytes; all are valid
			}
			t.Fatal(err)
		}
		if len(e.Fields) > 2 {
			e.Fields[1] = Field{Erased: true, Commitment: e.Fields[1].Commit()}
		}
		raw, err := e.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseEntry(raw)
		if err != nil {
			t.Fatal(err)
		}
		again, err := back.AppendBinary(nil)
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("an entry of %d fields changes when read and written: %v", len(e.Fields), err)
		}
		if back.Hash() != e.Hash() {
			t.Fatal("the leaf changes when the entry is read and written")
		}
		var h Hasher
		if fast, err := h.Hash(raw); err != nil || fast != e.Hash() {
			t.Fatalf("the fast hash is %s, the plain one %s, %v", fast, e.Hash(), err)
		}
		if leaf, err := h.AppendLeaf(nil, raw); err != nil || !bytes.Equal(leaf, e.Leaf()) {
			t.Fatalf("the fast leaf differs: %v", err)
		}
		if env, err := ParseLeaf(e.Leaf()); err != nil || env != e.Envelope {
			t.Fatalf("the leaf's envelope is %+v, %v", env, err)
		}
	}
}

// TestLeafBySpecification computes a leaf by the text of docs/trail-format.md, with none of the package's code.
func TestLeafBySpecification(t *testing.T) {
	ev := countersign.Event{Type: countersign.SessionOpened, Fields: []countersign.Field{
		{Name: "principal", Value: stringClean([]byte("agent:deploy-bot"))},
		{Name: "empty"},
	}}
	e, err := NewEntry(ev, NewID(start, [8]byte{9, 8, 7}), start, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{1}
	want = append(want, e.ID[:]...)
	want = binary.BigEndian.AppendUint64(want, uint64(start.UnixMicro()))
	want = append(want, byte(len("session.opened")))
	want = append(want, "session.opened"...)
	want = append(want, 2)
	for _, f := range e.Fields {
		in := append([]byte("countersign/field/v1"), f.Salt[:]...)
		in = binary.BigEndian.AppendUint32(in, uint32(len(f.Name)))
		in = append(in, f.Name...)
		in = binary.BigEndian.AppendUint32(in, uint32(len(f.Value.String())))
		in = append(in, f.Value.String()...)
		c := sha256.Sum256(in)
		want = append(want, c[:]...)
	}
	if !bytes.Equal(e.Leaf(), want) {
		t.Errorf("leaf\n%x\nwant\n%x", e.Leaf(), want)
	}
	if e.Hash() != tlog.RecordHash(want) {
		t.Error("the leaf's hash is not RFC 6962's")
	}
}

func TestSaltsAreFresh(t *testing.T) {
	seen := map[[SaltSize]byte]bool{}
	for range 20 {
		e, err := NewEntry(intent(1), NewID(start, [8]byte{}), start, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range e.Fields {
			if seen[f.Salt] {
				t.Fatal("a salt is used twice")
			}
			seen[f.Salt] = true
		}
	}
	if _, err := NewEntry(intent(1), NewID(start, [8]byte{}), start, strings.NewReader("too short")); err == nil {
		t.Error("an entry was made without enough randomness")
	}
}

func TestCheck(t *testing.T) {
	field := func(name string, size int) countersign.Field {
		return countersign.Field{Name: name, Value: stringClean(make([]byte, size))}
	}
	many := func(n int) (all []countersign.Field) {
		for i := range n {
			all = append(all, field("f"+strings.Repeat("0", i), 0))
		}
		return all
	}
	for name, c := range map[string]struct {
		ev countersign.Event
		ok bool
	}{
		"plain":            {intent(1), true},
		"no fields":        {countersign.Event{Type: "a.b"}, true},
		"no type":          {countersign.Event{}, false},
		"type in capitals": {countersign.Event{Type: "A"}, false},
		"longest type":     {countersign.Event{Type: countersign.EventType(strings.Repeat("a", MaxType))}, true},
		"type too long":    {countersign.Event{Type: countersign.EventType(strings.Repeat("a", MaxType+1))}, false},
		"name twice":       {countersign.Event{Type: "a", Fields: []countersign.Field{field("a", 1), field("a", 1)}}, false},
		"no name":          {countersign.Event{Type: "a", Fields: []countersign.Field{field("", 1)}}, false},
		"name too long":    {countersign.Event{Type: "a", Fields: []countersign.Field{field(strings.Repeat("a", MaxName+1), 1)}}, false},
		"most fields":      {countersign.Event{Type: "a", Fields: many(MaxFields - 1)}, true},
		"too many fields":  {countersign.Event{Type: "a", Fields: many(MaxFields + 1)}, false},
		"largest value":    {countersign.Event{Type: "a", Fields: []countersign.Field{field("a", MaxValue)}}, true},
		"value too large":  {countersign.Event{Type: "a", Fields: []countersign.Field{field("a", MaxValue+1)}}, false},
		"all too large":    {countersign.Event{Type: "a", Fields: []countersign.Field{field("a", MaxValue), field("b", MaxValue)}}, false},
	} {
		err := Check(c.ev)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v", name, err)
		}
		if !c.ok {
			continue
		}
		e, err := NewEntry(c.ev, NewID(start, [8]byte{}), start, rand.Reader)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(e.Leaf()); n > 0xffff {
			t.Errorf("%s: a leaf of %d bytes does not fit an entry bundle", name, n)
		}
	}
}

func TestIDsSortByTime(t *testing.T) {
	last := ID{}
	for i := range 5000 {
		at := start.Add(time.Duration(i) * time.Microsecond)
		id := NewID(at, [8]byte{0xff - byte(i), 1, 2, 3, 4, 5, 6, 7})
		if i > 0 && i%1000 != 0 && bytes.Compare(id[:7], last[:7]) < 0 {
			t.Fatalf("the id at %v sorts before its predecessor", at)
		}
		last = id
		if ms := int64(binary.BigEndian.Uint64(id[:8]) >> 16); ms != at.UnixMilli() {
			t.Fatalf("the id at %v says %d ms", at, ms)
		}
		back, err := ParseID(id.String())
		if err != nil || back != id {
			t.Fatalf("%s reads back as %s, %v", id, back, err)
		}
	}
	for _, bad := range []string{"", "x", strings.Repeat("0", 36), "018f0000-0000-4000-8000-000000000000", "018f0000-0000-7000-0000-000000000000"} {
		if id, err := ParseID(bad); err == nil {
			t.Errorf("ParseID(%q) = %s", bad, id)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	for n := range 3 {
		e, err := NewEntry(intent(n), NewID(start, [8]byte{}), start, rand.Reader)
		if err != nil {
			f.Fatal(err)
		}
		if n == 2 {
			e.Fields[1] = Field{Erased: true}
		}
		raw, err := e.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var h Hasher
		fast, fastErr := h.Hash(raw)
		e, err := ParseEntry(raw)
		if err != nil {
			return
		}
		again, err := e.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("what was read does not write the same bytes: %v", err)
		}
		if fastErr != nil || fast != e.Hash() {
			t.Fatalf("fast hash %s, %v; plain %s", fast, fastErr, e.Hash())
		}
		if _, err := ParseLeaf(e.Leaf()); err != nil {
			t.Fatalf("its leaf does not parse: %v", err)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	l := newTestLog(f)
	l.fill(3)
	f.Add(l.checkpoint())
	f.Add([]byte("a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nx: y\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := ParseCheckpointText(string(data)); err == nil && c.Text() != string(data) {
			t.Fatalf("%q reads as %q", data, c.Text())
		}
		_, _ = UnverifiedCheckpoint(data)    // must not panic
		_, _ = OpenCheckpoint(data, l.known) // must not panic
		_, _ = CheckProof(data, l.known)     // must not panic
		for _, c := range SplitCheckpoints(data) {
			_, _ = UnverifiedCheckpoint(c)
		}
	})
}
