package countersign

import (
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The vocabulary is pure: its own files import no way to the outside, and of ours it stands on sanitize only.
func TestPure(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			if path == "os" || path == "net" || strings.HasPrefix(path, "net/") || path == "database/sql" || path == "os/exec" || strings.HasPrefix(path, "log") {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/countersign-dev/countersign"
	for path := range strings.FieldsSeq(string(out)) {
		first, _, _ := strings.Cut(path, "/")
		if !strings.Contains(first, ".") || path == module || path == module+"/sanitize" {
			continue
		}
		t.Errorf("the vocabulary depends on %s", path)
	}
}
