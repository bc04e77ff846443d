package trail

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign"
)

// vectors reads the lines "name: value" of the blocks marked "vectors" in docs/trail-format.md.
func vectors(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile("../docs/trail-format.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	in := false
	for line := range strings.SplitSeq(string(data), "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			in = line == "```vectors"
		case in && line != "":
			name, value, ok := strings.Cut(line, ": ")
			if !ok {
				t.Fatalf("docs/trail-format.md: %q is not a vector", line)
			}
			all[name] += strings.TrimSpace(value) // a value goes on in a line of the same name
		}
	}
	return all
}

// TestVectors compares every vector in the documentation with what the code computes.
func TestVectors(t *testing.T) {
	documented := vectors(t)
	computed := map[string]string{}
	for _, add := range []func(*testing.T, map[string]string){actionVectors, viewVectors, entryVectors, treeVectors} {
		add(t, computed)
	}
	for name, want := range computed {
		if documented[name] != want {
			t.Errorf("docs/trail-format.md has\n%s: %s\nthe code computes\n%s: %s", name, documented[name], name, want)
		}
	}
	for name := range documented {
		if _, ok := computed[name]; !ok {
			t.Errorf("docs/trail-format.md has a vector %q that nothing computes", name)
		}
	}
}

func actionVectors(_ *testing.T, v map[string]string) {
	a := countersign.Action{
		Resource: "shop",
		Front:    "postgres",
		Text:     countersign.Raw("DELETE FROM orders WHERE id = $1"),
		Params: []countersign.Param{
			{Type: 23, Format: 0, Value: countersign.Raw("7")},
			{Type: 25, Format: 1, Null: true},
		},
		Context:     []countersign.Setting{{Name: "search_path", Value: countersign.Raw("public")}},
		Definitions: []countersign.Definition{{Name: "public.orders", Hash: countersign.Digest{0: 1, 31: 2}}},
	}
	p := countersign.Principal{Kind: countersign.KindAgent, Agent: "deploy-bot", Chain: []countersign.PersonID{"requester-1"}}
	nonce := make([]byte, 32)
	for i := range nonce {
		nonce[i] = byte(i)
	}
	canonical := a.Canonical(p)
	v["canonical action"] = hex.EncodeToString(canonical)
	v["nonce"] = hex.EncodeToString(nonce)
	v["digest"] = countersign.BindingDigest(nonce, canonical).String()
}

// TestActionBySpecification encodes an action by the text of docs/trail-format.md alone.
func TestActionBySpecification(t *testing.T) {
	u64 := func(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
	field := func(s string) []byte { return append(u64(len(s)), s...) }
	want := slices.Concat(
		field("countersign/action/v1"), field("agent:deploy-bot"), u64(1), field("requester-1"),
		field("shop"), field("postgres"), field("DELETE FROM orders WHERE id = $1"),
		u64(2), []byte{0, 0, 0, 23, 0, 0, 0}, field("7"), []byte{0, 0, 0, 25, 0, 1, 1}, field(""),
		u64(1), field("search_path"), field("public"),
		u64(1), field("public.orders"), field("\x01"+strings.Repeat("\x00", 30)+"\x02"),
	)
	v := map[string]string{}
	actionVectors(t, v)
	if v["canonical action"] != hex.EncodeToString(want) {
		t.Errorf("canonical action\n%s\nby the text\n%x", v["canonical action"], want)
	}
	nonce, err := hex.DecodeString(v["nonce"])
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(slices.Concat(u64(len(nonce)), nonce, want))
	if v["digest"] != hex.EncodeToString(digest[:]) {
		t.Errorf("digest %s; by the text %x", v["digest"], digest)
	}
}

func viewVectors(t *testing.T, v map[string]string) {
	asked := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	view := countersign.View{
		Request: "req_0123456789abcdefghij", Digest: countersign.Digest{0: 0xaa}, Resource: "shop", ResourceKind: "postgres",
		Labels: []string{"env=prod"}, Front: "postgres", Role: stringClean([]byte("app")),
		Requester: countersign.Principal{Kind: countersign.KindAgent, Agent: "deploy-bot", Chain: []countersign.PersonID{"requester-1"}},
		Text:      stringClean([]byte("DELETE FROM orders WHERE id = $1")),
		Effects:   countersign.Delete,
		Objects:   []countersign.Object{{Kind: "table", Name: stringClean([]byte("public.orders")), Effects: countersign.Delete}},
		Facts:     countersign.Facts{Statements: 1},
		Decision:  countersign.Decision{Verdict: countersign.Review, Seats: []countersign.Seat{{Rule: "prod-changes", Groups: []countersign.Group{"dba"}}}, Expires: time.Hour, Rules: []string{"prod-changes"}},
		Policy:    countersign.Digest{31: 0xbb}, Asked: asked, Expires: asked.Add(time.Hour),
	}
	data, err := json.Marshal(view)
	if err != nil {
		t.Fatal(err)
	}
	v["view json"] = string(data)
	v["view digest"] = view.ViewDigest().String()
}

// vectorEntries are the entries of the documentation: the second has lost a field.
func vectorEntries(t *testing.T) []Entry {
	t.Helper()
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	var all []Entry
	for n := range 3 {
		salts := make([]byte, 2*SaltSize)
		for i := range salts {
			salts[i] = byte(16*n + i/SaltSize + 1)
		}
		id := NewID(at, [8]byte{1, 2, 3, 4, 5, 6, 7, byte(n)})
		e, err := NewEntry(countersign.Event{Type: countersign.ActionIntent, Fields: []countersign.Field{
			{Name: "principal", Value: stringClean([]byte("agent:deploy-bot"))},
			{Name: "text", Value: stringClean(fmt.Appendf(nil, "SELECT %d", n))},
		}}, id, at, strings.NewReader(string(salts)))
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			e.Fields[0] = Field{Erased: true, Commitment: e.Fields[0].Commit()}
		}
		all = append(all, e)
	}
	return all
}

func entryVectors(t *testing.T, v map[string]string) {
	for n, e := range vectorEntries(t)[:2] {
		raw, err := e.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		c0, c1 := e.Fields[0].Commit(), e.Fields[1].Commit()
		v[fmt.Sprintf("event %d id", n)] = e.ID.String()
		v[fmt.Sprintf("event %d commitment 0", n)] = hex.EncodeToString(c0[:])
		v[fmt.Sprintf("event %d commitment 1", n)] = hex.EncodeToString(c1[:])
		v[fmt.Sprintf("event %d stored", n)] = hex.EncodeToString(raw)
		v[fmt.Sprintf("event %d leaf", n)] = hex.EncodeToString(e.Leaf())
		h := e.Hash()
		v[fmt.Sprintf("event %d leaf hash", n)] = hex.EncodeToString(h[:])
	}
}

func treeVectors(t *testing.T, v map[string]string) {
	tree := &Tree{}
	var stored []tlog.Hash
	var listing []byte
	for _, e := range vectorEntries(t) {
		stored = tree.Append(e.Hash(), stored)
		raw, err := e.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		listing, _, _ = AppendListed(listing, raw)
	}
	root := tree.Root()
	v["root of 3"] = root.String()
	v["stored hashes of 3"] = fmt.Sprint(len(stored))
	v["listing length of 3"] = fmt.Sprint(len(listing))
	seed := slices.Repeat([]byte{7}, ed25519.SeedSize)
	private := ed25519.NewKeyFromSeed(seed)
	vkey, err := note.NewEd25519VerifierKey("example.org/log", private.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Split(vkey, "+")[1]
	signer, err := note.NewSigner("PRIVATE+KEY+example.org/log+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed...)))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := Checkpoint{Origin: "example.org/log", Size: 3, Root: root, Lines: []string{"policy_source: unreviewed", "review_auth: token"}}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	v["log key"] = vkey
	v["signature"] = strings.Fields(string(signed[strings.Index(string(signed), "— "):]))[2]
}
