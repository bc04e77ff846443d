package policy_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/countersign-dev/countersign/policy"
)

// TestMistakesAreNamedWithTheirPlace compares what loading says with testdata/errors.txtar. With
// COUNTERSIGN_UPDATE=1 it writes that file anew, to be read before it is kept.
func TestMistakesAreNamedWithTheirPlace(t *testing.T) {
	compareErrors(t, "errors.txtar", func(f policy.File) error {
		_, err := policy.Load([]policy.File{f}, policy.Features{})
		return err
	})
	compareErrors(t, "test-errors.txtar", func(f policy.File) error {
		_, err := policy.LoadTests(f)
		return err
	})
}

func compareErrors(t *testing.T, archive string, read func(policy.File) error) {
	t.Helper()
	path := filepath.Join("testdata", archive)
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	out := &txtar.Archive{Comment: a.Comment}
	for _, f := range a.Files {
		if name, ok := strings.CutSuffix(f.Name, ".want"); ok {
			want[name] = string(f.Data)
		}
	}
	for _, f := range a.Files {
		name, ok := strings.CutSuffix(f.Name, ".yaml")
		if !ok {
			continue
		}
		err := read(policy.File{Name: f.Name, Data: f.Data})
		if err == nil {
			t.Errorf("%s is accepted", f.Name)
			continue
		}
		var all policy.Errors
		if !errors.As(err, &all) {
			t.Errorf("%s: the error is a %T", f.Name, err)
		}
		got := err.Error() + "\n"
		if diff := cmp.Diff(want[name], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f.Name, diff)
		}
		out.Files = append(out.Files, f, txtar.File{Name: name + ".want", Data: []byte(got)})
	}
	if os.Getenv("COUNTERSIGN_UPDATE") != "" {
		if err := os.WriteFile(path, txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
