package sanitize_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign/sanitize"
)

// TestRandom puts pieces of structure, secrets and encodings together at random, which finds more than
// random bytes do, and checks what always holds. COUNTERSIGN_LONG=1 makes it a long test; COUNTERSIGN_SEED
// repeats one.
func TestRandom(t *testing.T) {
	n, seed := 800, rand.Uint64()
	if os.Getenv("COUNTERSIGN_LONG") != "" {
		n = 300_000
	}
	if v, err := strconv.ParseUint(os.Getenv("COUNTERSIGN_SEED"), 10, 64); err == nil {
		seed = v
	}
	r := rand.New(rand.NewPCG(seed, 0))
	pieces := randomPieces()
	for i := range n {
		var b strings.Builder
		for range 1 + r.IntN(12) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		raw := b.String()
		checkRandom(t, raw)
		checkRandomJSON(t, r, raw)
		checkRandomSQL(t, r, pieces)
		if t.Failed() {
			t.Fatalf("at %d of seed %d", i, seed)
		}
	}
}

func checkRandom(t *testing.T, raw string) {
	t.Helper()
	token := "ghp" + "_" + rep("Planted7Here", 3)
	for _, s := range []*sanitize.Sanitizer{plain, keyed, strict} {
		if clean := checkText(t, s, s.Text, raw); s != strict && strings.Trim(clean, `"`) == "[text]" && len(raw) > 64 {
			t.Errorf("given up on %q", raw) // fails closed, but a matcher finds its own placeholder
		}
		checkText(t, s, func(raw string) sanitize.Clean { return s.SQL(raw, nil) }, raw)
		if clean := checkText(t, s, s.Text, raw+" "+token+"\n"+raw); strings.Contains(clean, token) {
			t.Errorf("the token survives in %q", clean)
		}
		planted := raw + " '" + token + "' " + raw
		if clean := s.SQL(planted, nil).String(); strings.Contains(clean, token) {
			t.Errorf("the token survives in %q", clean)
		}
	}
	checkSpans(t, raw)
}

// checkRandomJSON: a document stays one.
func checkRandomJSON(t *testing.T, r *rand.Rand, raw string) {
	t.Helper()
	raw = strings.ToValidUTF8(raw, "")
	key := []string{"msg", "password", "token", "authorization", "value", "name", "phone", "data", "cookie"}[r.IntN(9)]
	doc := `{"` + key + `":` + jsonString(raw) + `,"n":[4111111111111111,` + jsonString(raw[:len(raw)/2]) + `,1.5,{"x":null}]}`
	if r.IntN(3) == 0 {
		doc = `{"wrapped":` + jsonString(doc) + `,"card":4111111111111111}`
	}
	if !utf8.ValidString(doc) || !json.Valid([]byte(doc)) {
		return
	}
	for _, s := range []*sanitize.Sanitizer{plain, keyed, strict} {
		clean := checkText(t, s, s.Text, doc)
		if !json.Valid([]byte(clean)) {
			t.Errorf("no longer JSON:\n%s\n%s", doc, clean)
		}
	}
}

// checkRandomSQL: what parses still parses, with the same code.
func checkRandomSQL(t *testing.T, r *rand.Rand, pieces []string) {
	t.Helper()
	raw := sqlCredentials[r.IntN(len(sqlCredentials))].raw
	// A literal's content becomes something else, quoted as its kind wants.
	at := strings.Index(raw, "'correct-horse'")
	if at < 0 {
		return
	}
	content := pieces[r.IntN(len(pieces))] + pieces[r.IntN(len(pieces))] + pieces[r.IntN(len(pieces))]
	content = strings.ToValidUTF8(strings.ReplaceAll(content, "\x00", ""), "")
	var literal string
	switch r.IntN(4) {
	case 0:
		literal = "'" + strings.ReplaceAll(content, "'", "''") + "'"
	case 1:
		literal = "E'" + strings.ReplaceAll(strings.ReplaceAll(content, `\`, `\\`), "'", `\'`) + "'"
	case 2:
		literal = "$qq$" + strings.ReplaceAll(content, "$", "") + "$qq$"
	default:
		literal = "/* " + strings.NewReplacer("/*", "", "*/", "", "*", "", "/", "").Replace(content) + "*/ 'x'"
	}
	raw = raw[:at] + literal + raw[at+len("'correct-horse'"):]
	if _, err := pg.Parse(raw); err == nil {
		checkSQL(t, raw)
	}
}

func randomPieces() []string {
	pieces := append(fuzzSeeds(), adversarial...)
	for _, p := range plants() {
		for _, enc := range encodings {
			pieces = append(pieces, enc(p.value))
		}
	}
	for range 3 {
		pieces = append(pieces, " ", "\n", "'", `"`, `\`, `\"`, "=", ":", ",", "x", "password", "token=", `"password": `, "[", "]", "{", "}", "@", "://", "%", "*/", "/*", "--", "'a'", "''", ";", "<", ">", "(", ")", "$")
	}
	return append(pieces, fakePEM("PRIVATE KEY"), strings.ReplaceAll(fakePEM("PRIVATE KEY"), "\n", `\n`), "[password]", "[email:0123456789ab]", "%5Bpassword%5D")
}
