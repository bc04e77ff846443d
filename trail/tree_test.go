package trail

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// TestTreeAgainstTlog grows a tree beside the reference implementation.
func TestTreeAgainstTlog(t *testing.T) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var all []tlog.Hash
		for _, i := range indexes {
			all = append(all, stored[i])
		}
		return all, nil
	})
	tree := &Tree{}
	for n := range int64(1100) {
		leaf := tlog.RecordHash(fmt.Append(nil, n))
		want, err := tlog.StoredHashesForRecordHash(n, leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		got := tree.Append(leaf, nil)
		if !slices.Equal(got, want) {
			t.Fatalf("leaf %d stores other hashes than tlog", n)
		}
		stored = append(stored, got...)
		root, err := tlog.TreeHash(n+1, reader)
		if err != nil {
			t.Fatal(err)
		}
		if tree.Root() != root {
			t.Fatalf("root of %d leaves", n+1)
		}
		loaded, err := LoadTree(uint64(n+1), reader)
		if err != nil || loaded.Root() != root || loaded.Size() != uint64(n+1) {
			t.Fatalf("the tree of %d leaves loads with root %s, %v", n+1, loaded.Root(), err)
		}
	}
	clone := tree.Clone()
	clone.Append(tlog.Hash{}, nil)
	if tree.Size() != 1100 || clone.Size() != 1101 {
		t.Error("a clone shares its growth")
	}
	if (&Tree{}).Root().String() != "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" {
		t.Error("the root of the empty tree is not SHA-256 of nothing")
	}
}

func TestCheckpoint(t *testing.T) {
	l := newTestLog(t)
	c := Checkpoint{Origin: l.origin, Size: 7, Root: tlog.Hash{1}, Lines: []string{"review_auth: token", "policy_source: unreviewed"}}
	signed, err := c.Sign(l.signer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenCheckpoint(signed, l.known)
	if err != nil || got.Origin != c.Origin || got.Size != 7 || got.Root != c.Root || !slices.Equal(got.Lines, c.Lines) {
		t.Errorf("read back as %+v, %v", got, err)
	}
	if !strings.HasPrefix(string(signed), "example.org/log\n7\nAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nreview_auth: token\npolicy_source: unreviewed\n\n— example.org/log ") {
		t.Errorf("signed checkpoint:\n%s", signed)
	}
	for _, lines := range [][]string{{""}, {"two\nlines"}, {"a\rb"}} {
		c.Lines = lines
		if _, err := c.Sign(l.signer); err == nil {
			t.Errorf("a checkpoint with the line %q was signed", lines)
		}
	}
	for _, text := range []string{
		"", "a\n1\n", "a\n1\nAQ==\n", "a\n-1\n" + zeroHash + "\n", "a\n01\n" + zeroHash + "\n", "a\n1\n" + zeroHash,
		"a\n1\n" + zeroHash + "\n\n", "\n1\n" + zeroHash + "\n", "a\n1\n" + zeroHash + "\nx\n\ny\n",
	} {
		if c, err := ParseCheckpointText(text); err == nil {
			t.Errorf("%q reads as %+v", text, c)
		}
	}
}

const zeroHash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

func TestSplitCheckpoints(t *testing.T) {
	l := newTestLog(t)
	var file []byte
	for i := range 4 {
		l.fill(3)
		file = append(file, l.checkpoint()...)
		if i%2 == 0 {
			file = append(file, '\n')
		}
	}
	parts := SplitCheckpoints(file)
	if len(parts) != 4 {
		t.Fatalf("%d checkpoints; want 4", len(parts))
	}
	for i, p := range parts {
		c, err := OpenCheckpoint(p, l.known)
		if err != nil || c.Size != uint64(3*(i+1)) {
			t.Errorf("checkpoint %d: size %d, %v", i, c.Size, err)
		}
	}
	if _, err := note.Open(parts[0], l.known); err != nil {
		t.Errorf("a part is not a note: %v", err)
	}
}
