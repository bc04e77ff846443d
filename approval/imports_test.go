package approval

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/countersign-dev/countersign"

// allowed is every package outside the standard library that approval reaches.
var allowed = []string{module, module + "/sanitize", module + "/approval"}

// TestImports keeps the package pure. The go command is run each time, so a change in a package below is
// seen even when the test's own result is cached; run it with -count=1 to be sure that it runs.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard", "./").Output()
	if err != nil {
		t.Fatal(err)
	}
	var reached []string
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Standard   bool
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if !p.Standard {
			reached = append(reached, p.ImportPath)
			if !slices.Contains(allowed, p.ImportPath) {
				t.Errorf("approval reaches %s, which is not on its list", p.ImportPath)
			}
		}
	}
	if !slices.Contains(reached, module+"/approval") {
		t.Errorf("go list named only %v", reached)
	}
}

func TestOwnFilesArePure(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		seen++
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, im := range parsed.Imports {
			path := strings.Trim(im.Path.Value, `"`)
			if impure(path) {
				t.Errorf("%s imports %s", file, path)
			}
		}
		for _, word := range clockWords(fset, parsed) {
			t.Errorf("%s uses %s; the time is a parameter", file, word)
		}
	}
	if seen == 0 {
		t.Error("no files found")
	}
}

func impure(path string) bool {
	if path == "os" || path == "net" || path == "database/sql" {
		return true
	}
	return strings.HasPrefix(path, "os/") || strings.HasPrefix(path, "net/") || strings.HasPrefix(path, "log") ||
		strings.HasPrefix(path, "database/") || path == "math/rand" || path == "math/rand/v2" || path == "crypto/rand"
}

// clockWords finds uses of the machine's clock.
func clockWords(fset *token.FileSet, file *ast.File) []string {
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := sel.X.(*ast.Ident)
		if ok && pkg.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "Tick", "NewTimer", "NewTicker", "Sleep", "AfterFunc"}, sel.Sel.Name) {
			found = append(found, "time."+sel.Sel.Name+" at "+fset.Position(sel.Pos()).String())
		}
		return true
	})
	return found
}
