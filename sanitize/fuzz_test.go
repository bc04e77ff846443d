package sanitize_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/countersign-dev/countersign/sanitize"
)

// maxGrowth is the longest placeholder that stands for one byte, in the longest of its forms.
const maxGrowth = 64

// checkText asserts what holds for every text.
func checkText(t *testing.T, s *sanitize.Sanitizer, f func(string) sanitize.Clean, raw string) string {
	t.Helper()
	clean := f(raw).String()
	if again := f(clean).String(); again != clean {
		t.Fatalf("not the same again:\n raw %q\nonce %q\ntwice %q", raw, clean, again)
	}
	if !utf8.ValidString(clean) {
		t.Fatalf("not UTF-8: %q", clean)
	}
	if len(clean) > maxGrowth*(len(raw)+1) {
		t.Fatalf("%d bytes became %d", len(raw), len(clean))
	}
	return clean
}

func FuzzText(f *testing.F) {
	for _, seed := range fuzzSeeds() {
		f.Add(seed, " ")
	}
	token := "ghp" + "_" + rep("Planted7Here", 3)
	f.Fuzz(func(t *testing.T, raw, sep string) {
		for _, s := range []*sanitize.Sanitizer{plain, keyed, strict} {
			checkText(t, s, s.Text, raw)
			// A planted token stands on its own, whatever is around it.
			clean := checkText(t, s, s.Text, raw+"\n"+token+"\n"+sep)
			if strings.Contains(clean, token) {
				t.Fatalf("the token survives in %q", clean)
			}
			if json.Valid([]byte(raw)) && strings.ContainsAny(strings.TrimSpace(raw)[:1], "{[") {
				if got := s.Text(raw).String(); !json.Valid([]byte(got)) {
					t.Fatalf("no longer JSON:\n%q\n%q", raw, got)
				}
			}
		}
		checkSpans(t, raw)
		sanitize.Name(raw)
		keyed.Value(sep, raw)
	})
}

func checkSpans(t *testing.T, raw string) {
	t.Helper()
	at := 0
	for _, sp := range plain.Find(raw) {
		if sp.Start < at || sp.End < sp.Start || sp.End > len(raw) || !sp.Kind.Known() {
			t.Fatalf("spans of %q: %v", raw, plain.Find(raw))
		}
		at = sp.End
	}
}

func FuzzSQL(f *testing.F) {
	for _, seed := range fuzzSeeds() {
		f.Add(seed, 0, 0)
	}
	for _, c := range sqlCredentials {
		f.Add(c.raw, strings.Index(c.raw, "'"), strings.LastIndex(c.raw, "'")+1)
	}
	token := "ghp" + "_" + rep("Planted7Here", 3)
	f.Fuzz(func(t *testing.T, raw string, start, end int) {
		for _, s := range []*sanitize.Sanitizer{plain, keyed, strict} {
			sql := func(raw string) sanitize.Clean { return s.SQL(raw, nil) }
			checkText(t, s, sql, raw)
			s.SQL(raw, []sanitize.Span{{Start: start, End: end}})
			for _, planted := range []string{"SELECT '" + token + "'; " + raw, raw + "\n'" + token + "'", raw + "\n-- " + token + "\n", raw + " " + token + " "} {
				if clean := checkText(t, s, sql, planted); strings.Contains(clean, token) {
					t.Fatalf("the token survives in %q", clean)
				}
			}
		}
		if utf8.ValidString(raw) {
			checkSQL(t, raw)
		}
		plain.InCode(raw)
	})
}

// FuzzLines: a stream gives what Text gives for each of its lines, however it is read.
func FuzzLines(f *testing.F) {
	for _, seed := range fuzzSeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		var once, again strings.Builder
		if err := plain.Lines(strings.NewReader(raw), &once, nil); err != nil {
			t.Fatal(err)
		}
		if err := plain.Lines(strings.NewReader(once.String()), &again, nil); err != nil {
			t.Fatal(err)
		}
		if once.String() != again.String() {
			t.Fatalf("not the same again:\n%q\n%q", once.String(), again.String())
		}
		if strings.Count(raw, "\n") != strings.Count(once.String(), "\n") {
			t.Fatalf("other lines:\n%q\n%q", raw, once.String())
		}
	})
}

func fuzzSeeds() []string {
	seeds := []string{
		"", "password=a", `{"password":"x","n":[1,2,{"a":null}]}`, "Cookie: a=b\nX: y", "\\u0070assword=x",
		"%70assword=x", "a'b\"c`d", "[password] [email:0123456789ab]x", "-----BEGIN PRIVATE KEY-----\nAAAA\n",
		"mail alice@example.com tel +1 415 555 0132", "postgres://u:p@h/d", "<password>x</password>", "password: |\n  a\n  b\nc",
		"--token x -p y", "mysql -px", "Authorization: Digest a=\"b\"", "a\xff\x00b", `"\"password\":\"x\""`,
		"SELECT E'\\'', U&'\\0061', $a$x$a$, \"i\"\"d\", 1.5e3, 'a'\n'b' -- c\n/* /* */ */", "password '", "token => [a, 'b'",
	}
	for _, p := range plants() {
		seeds = append(seeds, p.value)
	}
	for _, c := range sqlCredentials {
		seeds = append(seeds, c.raw)
	}
	return seeds
}
