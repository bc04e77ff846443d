package keys

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

func create(t *testing.T) (*Ring, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	r, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r, dir
}

func TestCreateAndOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := Open(dir); !errors.Is(err, ErrNone) {
		t.Errorf("Open of no folder: %v; want ErrNone", err)
	}
	r, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !Unfinished(dir) {
		t.Error("a first start is finished before Settle")
	}
	// Until the first start is finished, its keys may be made anew.
	r2, err := Create(dir)
	if err != nil || bytes.Equal(r.Pseudonym(), r2.Pseudonym()) {
		t.Errorf("keys of a first start that was cut short were not made anew: %v", err)
	}
	if err := r2.Settle(); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir); err == nil {
		t.Error("keys in use were replaced")
	}
	r3, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range purposes {
		if r3.ID(p) != r2.ID(p) || len(r3.ID(p)) != 16 {
			t.Errorf("key %s has id %q, was %q", p, r3.ID(p), r2.ID(p))
		}
	}
	if !bytes.Equal(r3.Pseudonym(), r2.Pseudonym()) || !bytes.Equal(r3.JoinMAC([]byte("x")), r2.JoinMAC([]byte("x"))) {
		t.Error("keys read back differ")
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", info.Mode(), err)
	}
	for _, p := range purposes {
		if info, err := os.Stat(keyPath(dir, p)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("key %s has mode %v, %v", p, info.Mode(), err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"missing":  {func(dir string) error { return os.Remove(keyPath(dir, PurposeJoin)) }, "join.key is missing"},
		"readable": {func(dir string) error { return os.Chmod(keyPath(dir, PurposeJoin), 0o604) }, "chmod 600"},
		"swapped":  {func(dir string) error { return os.Rename(keyPath(dir, PurposeLog), keyPath(dir, PurposeJoin)) }, `is a key for "log"`},
		"cut":      {func(dir string) error { return os.Truncate(keyPath(dir, PurposeJoin), 30) }, "form of a key file"},
		"empty":    {func(dir string) error { return os.Truncate(keyPath(dir, PurposeJoin), 0) }, "form of a key file"},
		"a folder": {func(dir string) error {
			return errors.Join(os.Remove(keyPath(dir, PurposeJoin)), os.Mkdir(keyPath(dir, PurposeJoin), 0o700))
		}, "is not a key file"},
		"very large": {func(dir string) error { return os.Truncate(keyPath(dir, PurposeJoin), 1<<20) }, "is not a key file"},
	} {
		_, dir := create(t)
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want it to say %q", name, err, c.want)
		}
	}
}

func TestSigner(t *testing.T) {
	r, _ := create(t)
	for _, origin := range []string{"example.org/log", "example.org/log/restored-1"} {
		signer, err := r.Signer(origin)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := note.Sign(&note.Note{Text: "hello\n"}, signer)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Publish([]string{origin}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(r.PublicFile())
		if err != nil {
			t.Fatal(err)
		}
		known, err := ParseVerifiers(append([]byte("# a comment\n\n"), data...))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := note.Open(signed, known); err != nil {
			t.Errorf("%s: %v", origin, err)
		}
		if strings.Contains(string(data), "PRIVATE") {
			t.Error("the public file holds a private key")
		}
	}
	for _, bad := range []string{"", "two words", "a+b"} {
		if _, err := r.Signer(bad); err == nil {
			t.Errorf("a log was named %q", bad)
		}
	}
	for _, bad := range []string{"", "# only a comment\n", "example.org+0+x\n"} {
		if _, err := ParseVerifiers([]byte(bad)); err == nil {
			t.Errorf("%q passes as public keys", bad)
		}
	}
}

func TestSeal(t *testing.T) {
	r, dir := create(t)
	day := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	plain, bound := []byte("the nonce"), []byte("req_1")
	name, sealed, err := r.Seal(day, plain, bound)
	if err != nil || name != "2026-03-01" || bytes.Contains(sealed, plain) {
		t.Fatalf("sealed under %s: %q, %v", name, sealed, err)
	}
	_, again, err := r.Seal(day, plain, bound)
	if err != nil || bytes.Equal(sealed, again) {
		t.Errorf("sealing twice gives the same bytes, %v", err)
	}
	reopened, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, ring := range []*Ring{r, reopened} {
		if got, err := ring.Unseal(name, sealed, bound); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("unsealed %q, %v", got, err)
		}
		if _, err := ring.Unseal(name, sealed, []byte("req_2")); err == nil {
			t.Error("a value sealed for one request opens for another")
		}
	}
	if _, _, err := r.Seal(day.Add(24*time.Hour), plain, bound); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Unseal("2026-03-02", sealed, bound); err == nil {
		t.Error("a value opens under another day's key")
	}
	if _, err := r.Unseal("2026-03-03", sealed, bound); err == nil {
		t.Error("a value opens without a key")
	}
	if _, err := r.Unseal(name, sealed[:5], bound); err == nil {
		t.Error("a cut value opens")
	}
	if err := r.DropSealing(day.Add(24*time.Hour), map[string]bool{name: true}); err != nil || !r.HasSealing(name) {
		t.Errorf("a key that is needed was dropped: %v", err)
	}
	if err := r.DropSealing(day.Add(24*time.Hour), nil); err != nil || r.HasSealing(name) || !r.HasSealing("2026-03-02") {
		t.Errorf("the wrong keys are left: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "sealing", name+".key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of a dropped key: %v", err)
	}
}
