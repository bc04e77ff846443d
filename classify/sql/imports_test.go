package sql

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/countersign-dev/countersign"

// The modules that this package may stand on: PostgreSQL's grammar, and what its tree comes in.
var thirdParty = []string{"github.com/pganalyze/pg_query_go/v6", "google.golang.org/protobuf"}

var impure = []string{"os", "net", "database/sql", "os/exec", "log"}

// TestPure asks the go command each time it runs; run it with -count=1, since the test cache does not
// see a change of other packages' imports.
func TestPure(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,Module", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	ours := []string{module, module + "/sanitize", module + "/classify/sql"}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Standard   bool
			Imports    []string
			Module     struct{ Path string }
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		switch {
		case p.Standard:
		case p.Module.Path == module:
			if !slices.Contains(ours, p.ImportPath) {
				t.Errorf("stands on %s, which is not among the pure packages below", p.ImportPath)
			}
			for _, path := range p.Imports {
				if slices.Contains(impure, path) || strings.HasPrefix(path, "net/") || strings.HasPrefix(path, "log/") {
					t.Errorf("%s imports %s", p.ImportPath, path)
				}
			}
		case !slices.Contains(thirdParty, p.Module.Path):
			t.Errorf("stands on %s of module %s, which is not on the list", p.ImportPath, p.Module.Path)
		}
	}
}
