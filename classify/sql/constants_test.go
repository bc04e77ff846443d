package sql

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const grammarPath = "github.com/pganalyze/pg_query_go/v6"

// Only constants.go looks at the value of a constant, for whoever does must note that the result depends
// on it: outside of that file a constant has a place and nothing else.
func TestConstantsAreReadInOneFile(t *testing.T) {
	fset := token.NewFileSet()
	var files []*ast.File
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, e.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", exportData(t))}
	if _, err := config.Check(module+"/classify/sql", fset, files, info); err != nil {
		t.Fatal(err)
	}
	inside := 0
	found := func(at token.Pos, what string) {
		if p := fset.Position(at); p.Filename == "constants.go" {
			inside++
		} else {
			t.Errorf("%s: %s may tell the value of a constant; use what constants.go has", p, what)
		}
	}
	for id, object := range info.Uses {
		if name, ok := object.(*types.TypeName); ok && ofGrammar(name) && tellsValue(name.Name()) {
			found(id.Pos(), name.Name())
		}
	}
	for at, s := range info.Selections {
		recv := s.Recv()
		if p, ok := recv.(*types.Pointer); ok {
			recv = p.Elem()
		}
		named, ok := recv.(*types.Named)
		if !ok || !ofGrammar(named.Obj()) {
			continue
		}
		_, message := named.Underlying().(*types.Struct)
		switch of, name := named.Obj().Name(), s.Obj().Name(); {
		case of == "A_Const" && name != "Location" && name != "GetLocation",
			of == "Node" && (name == "GetInteger" || name == "GetFloat" || name == "GetBitString"),
			of != "Node" && name == "ProtoReflect", message && name == "String", tellsValue(of):
			found(at.Pos(), of+"."+name)
		}
	}
	if inside < 10 {
		t.Errorf("in constants.go only %d places were found", inside)
	}
}

func ofGrammar(o types.Object) bool { return o.Pkg() != nil && o.Pkg().Path() == grammarPath }

func tellsValue(typeName string) bool {
	switch typeName {
	case "Integer", "Float", "BitString":
		return true
	}
	return strings.HasPrefix(typeName, "A_Const_")
}

// exportData returns how to find what the packages below this one export.
func exportData(t *testing.T) importer.Lookup {
	t.Helper()
	out, err := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	paths := map[string]string{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ ImportPath, Export string }
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		paths[p.ImportPath] = p.Export
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(paths[path]) }
}
