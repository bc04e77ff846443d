package policy_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/policy"
)

func seeds(f *testing.F) {
	f.Add([]byte(design))
	f.Add(policy.Starter())
	f.Add([]byte(starterCases))
	for _, name := range []string{"errors.txtar", "test-errors.txtar"} {
		a, err := txtar.ParseFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			f.Add(file.Data)
		}
	}
}

// FuzzLoad: any text loads or is refused with Errors; what loads decides, keeps its promises about
// unknown, and comes back from its encoding the same.
func FuzzLoad(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := policy.Load([]policy.File{{Name: "p.yaml", Data: data}}, everything)
		if err != nil {
			var all policy.Errors
			if !errors.As(err, &all) || len(all) == 0 || s != nil {
				t.Fatalf("refused with %T %v", err, err)
			}
			for _, e := range all {
				if !strings.HasPrefix(e.Error(), "p.yaml") || strings.ContainsAny(e.Error(), "\n\x00\x1b") {
					t.Fatalf("message %q", e)
				}
			}
			return
		}
		back, err := policy.Decode(s.Encode(), everything)
		if err != nil || back.Digest() != s.Digest() {
			t.Fatalf("decoded: %v", err)
		}
		for _, who := range []*countersign.Principal{bot, reader} {
			for _, effects := range []countersign.Effects{0, countersign.Read, countersign.Write | countersign.Delete, countersign.Unknown} {
				in := policy.Input{Principal: who, Resource: prod, Effects: effects, Objects: objects("public.orders")}
				d := s.Explain(in).Decision
				if (effects == 0 || effects.Has(countersign.Unknown)) && d.Verdict != countersign.Deny && d.Verdict != countersign.Review {
					t.Fatalf("%q permits unknown: %+v", data, d)
				}
				if d.Verdict == countersign.Review != (len(d.Seats) > 0) || d.Verdict != countersign.Allow && d.Reason == "" {
					t.Fatalf("%q decides %+v", data, d)
				}
			}
		}
	})
}

// FuzzLoadTests: any text is a list of cases or is refused with Errors.
func FuzzLoadTests(f *testing.F) {
	seeds(f)
	s := starter(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		cases, err := policy.LoadTests(policy.File{Name: "t.yaml", Data: data})
		if err != nil {
			var all policy.Errors
			if !errors.As(err, &all) || len(all) == 0 {
				t.Fatalf("refused with %T %v", err, err)
			}
			return
		}
		for _, r := range s.Test(cases) {
			if r.String() == "" || r.Passed != (len(r.Problems) == 0) {
				t.Fatalf("result %+v", r)
			}
		}
	})
}

// FuzzDecode: no bytes from a store make Decode panic, and what it takes is what Encode gives.
func FuzzDecode(f *testing.F) {
	f.Add(load(f, everything, design).Encode())
	f.Add([]byte("countersign/policy/v1\n\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := policy.Decode(data, everything)
		if err == nil && string(s.Encode()) != string(data) {
			t.Fatal("another encoding of the same policy is taken")
		}
	})
}

// TestLargeAndDeepFilesAreRefused: what would be slow to read is refused, quickly.
func TestLargeAndDeepFilesAreRefused(t *testing.T) {
	const head = "version: 1\nrules:\n"
	for name, text := range map[string]string{
		"large":           head + strings.Repeat("#", 1<<20),
		"deep flow":       head + "  - " + strings.Repeat("[", 100_000),
		"deep mapping":    head + "  - " + strings.Repeat("{a: ", 9_000) + strings.Repeat("}", 9_000),
		"many rules":      head + strings.Repeat("  - {}\n", 5000),
		"many mistakes":   head + strings.Repeat("  - {}\n", 1500),
		"not UTF-8":       head + "  - {name: \xff}\n",
		"many aliases":    "a: &a [x]\nb: &b [" + strings.Repeat("*a, ", 1000) + "]\n",
		"a byte too many": string([]byte{0}) + head,
	} {
		_, err := policy.Load([]policy.File{{Name: "p.yaml", Data: []byte(text)}}, policy.Features{})
		if err == nil || len(err.Error()) > 1<<14 {
			t.Errorf("%s: %.200v", name, err)
		}
	}
	if os.Getenv("COUNTERSIGN_LONG") != "" {
		for i := range design {
			_, _ = policy.Load([]policy.File{{Name: "p.yaml", Data: []byte(design[:i])}}, everything)
		}
	}
	many := make([]policy.File, 300)
	if _, err := policy.Load(many, policy.Features{}); err == nil || !strings.Contains(err.Error(), "at most 256") {
		t.Errorf("300 files: %v", err)
	}
	if _, err := policy.Load(nil, policy.Features{}); err == nil {
		t.Error("no files make a policy")
	}
}
