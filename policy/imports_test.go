package policy_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/countersign-dev/countersign"

// The modules that package policy may stand on: the condition language with what it needs, and YAML.
var thirdParty = []string{
	"cel.dev/cel-go", "cel.dev/expr", "github.com/antlr4-go/antlr/v4", "go.yaml.in/yaml/v3",
	"golang.org/x/exp", "golang.org/x/text",
	"google.golang.org/genproto/googleapis/api", "google.golang.org/genproto/googleapis/rpc", "google.golang.org/protobuf",
}

// The packages of ours below policy, all of them pure.
var ours = []string{module, module + "/sanitize", module + "/policy"}

// TestPure asks the go command each time it runs; run it with -count=1, since the test cache does not see
// a change of other packages' imports.
func TestPure(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,Module", ".")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	modules := map[string]bool{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			ImportPath string
			Standard   bool
			Imports    []string
			Module     struct{ Path string }
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		switch {
		case p.Standard:
		case p.Module.Path == module:
			if !slices.Contains(ours, p.ImportPath) {
				t.Errorf("policy stands on %s, which is not among the pure packages below it", p.ImportPath)
			}
			for _, path := range p.Imports {
				if impure(path) {
					t.Errorf("%s imports %s", p.ImportPath, path)
				}
			}
		case !slices.Contains(thirdParty, p.Module.Path):
			t.Errorf("%s of module %s is not among the third-party dependencies", p.ImportPath, p.Module.Path)
		default:
			modules[p.Module.Path] = true
		}
	}
	for _, path := range thirdParty {
		if !modules[path] {
			t.Errorf("module %s is no longer used", path)
		}
	}
}

func impure(path string) bool {
	for _, root := range []string{"os", "net", "log", "database/sql", "syscall", "plugin"} {
		if path == root || strings.HasPrefix(path, root+"/") {
			return true
		}
	}
	return false
}

// TestNoClock: a decision is a function of its input, so no file asks for the time.
func TestNoClock(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "_test.go") && strings.Contains(string(data), "time.Now") {
			t.Errorf("%s asks for the time", name)
		}
	}
}
