package sanitize_test

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

// TestImports keeps the package pure: it is a library of its own, touches neither files nor network, reads
// no clock, and needs nothing but the standard library.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,GoFiles,CgoFiles", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := false
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Standard   bool
			Imports    []string
			CgoFiles   []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Standard {
			continue
		}
		if p.ImportPath != module+"/sanitize" {
			t.Errorf("depends on %s; only the standard library is allowed", p.ImportPath)
			continue
		}
		seen = true
		for _, imp := range p.Imports {
			if impure(imp) {
				t.Errorf("imports %s", imp)
			}
		}
		if len(p.CgoFiles) > 0 {
			t.Errorf("uses cgo: %v", p.CgoFiles)
		}
	}
	if !seen {
		t.Error("go list did not name the package itself")
	}
}

func impure(path string) bool {
	root, _, _ := strings.Cut(path, "/")
	return slices.Contains([]string{"os", "net", "log", "database", "syscall", "unsafe"}, root)
}
