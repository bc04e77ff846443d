package credential

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFetchReadsAtEachUse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pw")
	ref, err := Parse("file:pw", dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ content, want string }{
		{"first\n", "first"}, {"second\r\n", "second"}, {" with spaces ", " with spaces "}, {"two\nlines\n", "two\nlines"},
	} {
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := ref.Fetch(context.Background())
		if err != nil || s.Reveal() != c.want {
			t.Errorf("%q: %q, %v; want %q", c.content, s.Reveal(), err, c.want)
		}
	}
	t.Setenv("SHOP_PW", "from the environment")
	env, err := Parse("env:SHOP_PW", dir)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := env.Fetch(context.Background()); err != nil || s.Reveal() != "from the environment" {
		t.Errorf("env: %q, %v", s.Reveal(), err)
	}
}

func TestFetchFails(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("empty", "\n")
	write("long", strings.Repeat("hunter2", maxSecret))
	t.Setenv("EMPTY_PW", "")
	for _, text := range []string{"file:empty", "file:long", "file:absent", "file:.", "env:ABSENT_PW", "env:EMPTY_PW"} {
		ref, err := Parse(text, dir)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ref.Fetch(context.Background())
		if err == nil {
			t.Errorf("%s gives %d bytes", text, len(s.Reveal()))
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error quotes the secret", text)
		}
	}
	if _, err := (Reference{}).Fetch(context.Background()); err == nil {
		t.Error("the zero reference gives a secret")
	}
}

func TestParseRefusesAndNeverQuotes(t *testing.T) {
	for _, text := range []string{"", "hunter2", "env:", "env:hunter2 x", "file:", "file:a\x00b", "vault:hunter2", "postgres://app:hunter2@db/shop"} {
		if _, err := Parse(text, "/"); err == nil {
			t.Errorf("%q is taken as a reference", text)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error quotes it", text)
		}
	}
}

func TestSecretDoesNotPrint(t *testing.T) {
	s := Secret{"hunter2"}
	data, err := json.Marshal(struct{ S Secret }{s})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v %#v %s %q", s, s, s, s), fmt.Sprintf("%v", struct{ S Secret }{s}), string(data)} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("it prints: %s", text)
		}
	}
}
