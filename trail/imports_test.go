package trail

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// listed is what go list tells of a package.
type listed struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

// TestImports keeps the package pure: its own files, and those of our packages below it, import nothing that
// reaches files, networks or logs; other modules' packages are those of the list.
func TestImports(t *testing.T) {
	const module = "github.com/countersign-dev/countersign"
	ours := []string{module, module + "/sanitize", module + "/trail"}
	theirs := []string{"golang.org/x/mod/sumdb/note", "golang.org/x/mod/sumdb/tlog", "golang.org/x/mod/internal/lazyregexp"}
	forbidden := []string{"os", "net", "database/sql", "os/exec", "log", "syscall", "unsafe"}
	// -count=1 does not apply to go list, which is never cached; it sees the files as they are now.
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Standard", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Standard {
			continue
		}
		switch {
		case slices.Contains(theirs, p.ImportPath):
		case slices.Contains(ours, p.ImportPath):
			for _, i := range p.Imports {
				root, _, _ := strings.Cut(i, "/")
				if slices.Contains(forbidden, i) || root == "net" || root == "log" {
					t.Errorf("%s imports %s", p.ImportPath, i)
				}
			}
		default:
			t.Errorf("%s is below this package and on no list", p.ImportPath)
		}
	}
}

// TestNoClock looks for calls of the clock in the package's own files.
func TestNoClock(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	clock := regexp.MustCompile(`\btime\.(Now|Since|Until|After|AfterFunc|Tick|Sleep|NewTimer|NewTicker)\b`)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := clock.Find(data); found != nil {
			t.Errorf("%s calls %s", name, found)
		}
	}
}
