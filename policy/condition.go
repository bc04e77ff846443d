package policy

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/countersign-dev/countersign"
)

// Limits on a condition, so that none can be slow to load or to evaluate.
const (
	maxConditionBytes = 2048
	maxConditionNodes = 400
	maxConditionDepth = 40
	// conditionCost is the most that one evaluation may cost in CEL's units (about one for each
	// operation). A condition that reaches it has failed to evaluate.
	conditionCost = 100_000
)

// The values that a condition sees. Names in CEL are those of the cel tags. No credentials, no text of
// the action and no upstream address are among them.
type (
	principalVar struct {
		Kind   string   `cel:"kind"`
		ID     string   `cel:"id"`
		Name   string   `cel:"name"`
		Groups []string `cel:"groups"`
		Chain  []string `cel:"chain"`
		Owners []string `cel:"owners"`
	}
	resourceVar struct {
		Name      string            `cel:"name"`
		Kind      string            `cel:"kind"`
		Labels    map[string]string `cel:"labels"`
		Owners    []string          `cel:"owners"`
		Reviewers []string          `cel:"reviewers"`
	}
	factsVar struct {
		Rows          int64 `cel:"rows"`
		RowsKnown     bool  `cel:"rows_known"`
		Unbounded     bool  `cel:"unbounded"`
		CatalogOnly   bool  `cel:"catalog_only"`
		InTransaction bool  `cel:"in_transaction"`
		DataUnseen    bool  `cel:"data_unseen"`
		Statements    int64 `cel:"statements"`
	}
	objectVar struct {
		Kind    string   `cel:"kind"`
		Name    string   `cel:"name"`
		Effects []string `cel:"effects"`
	}
)

const (
	factsType = "policy.factsVar"
	rowsField = "rows"
)

// errRowsUnknown is what reading facts.rows gives while the number is not exact: size lowers a
// decision only when it is.
var errRowsUnknown = errors.New("facts.rows is not known exactly")

var errNoFacts = errors.New("no facts are known of the action")

// exactRows makes facts.rows an error, and has(facts.rows) false, while facts.rows_known is false.
type exactRows struct{ types.Provider }

func (p exactRows) FindStructFieldType(structType, field string) (*types.FieldType, bool) {
	ft, ok := p.Provider.FindStructFieldType(structType, field)
	if !ok || structType != factsType || field != rowsField {
		return ft, ok
	}
	return &types.FieldType{
		Type: ft.Type,
		IsSet: func(target any) bool {
			facts, ok := target.(*factsVar)
			return ok && facts.RowsKnown
		},
		GetFrom: func(target any) (any, error) {
			facts, ok := target.(*factsVar)
			if !ok || !facts.RowsKnown {
				return nil, errRowsUnknown
			}
			return types.Int(facts.Rows), nil
		},
	}, true
}

// environment is CEL's standard library without regular expressions and without dyn, over the types above.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	library := env.NewLibrarySubset().AddExcludedFunctions(
		env.NewFunction("matches"),
		env.NewFunction("dyn"),
	)
	e, err := cel.NewCustomEnv(
		cel.StdLib(cel.StdLibSubset(library)),
		ext.NativeTypes(ext.ParseStructTags(true),
			reflect.TypeFor[principalVar](), reflect.TypeFor[resourceVar](),
			reflect.TypeFor[factsVar](), reflect.TypeFor[objectVar]()),
		cel.Variable("principal", cel.ObjectType("policy.principalVar")),
		cel.Variable("resource", cel.ObjectType("policy.resourceVar")),
		cel.Variable("facts", cel.ObjectType(factsType)),
		cel.Variable("effects", cel.ListType(cel.StringType)),
		cel.Variable("objects", cel.ListType(cel.ObjectType("policy.objectVar"))),
		cel.Variable("shape", cel.StringType),
		cel.EnableMacroCallTracking(),
		cel.ASTValidators(cel.ValidateHomogeneousAggregateLiterals()),
		cel.ParserRecursionLimit(maxConditionDepth),
		cel.ParserExpressionSizeLimit(maxConditionBytes),
		cel.ExpressionNodeLimit(maxConditionNodes),
	)
	if err != nil {
		return nil, err
	}
	return e.Extend(cel.CustomTypeProvider(exactRows{e.CELTypeProvider()}))
})

// condition is a compiled `when`.
type condition struct {
	source  string
	ast     *cel.Ast
	program cel.Program
	facts   bool // it reads facts
}

// conditionError is what is wrong with a condition; Line and Column are 1-based within its text.
type conditionError struct {
	Line, Column int
	Message      string
}

// compile type-checks source, which must say true or false.
func compile(source string) (*condition, []conditionError) {
	e, err := environment()
	if err != nil {
		return nil, []conditionError{{Message: "the condition language is broken: " + err.Error()}}
	}
	checked, issues := e.Compile(source)
	if issues != nil && issues.Err() != nil {
		return nil, issuesOf(issues)
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) {
		return nil, []conditionError{{Message: fmt.Sprintf("it is of type %s; it must be true or false", t)}}
	}
	facts, problems := usesOfFacts(checked)
	if len(problems) > 0 {
		return nil, problems
	}
	program, err := e.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(conditionCost))
	if err != nil {
		return nil, []conditionError{{Message: err.Error()}}
	}
	return &condition{source: source, ast: checked, program: program, facts: facts}, nil
}

func issuesOf(issues *cel.Issues) []conditionError {
	var list []conditionError
	for _, e := range issues.Errors() {
		message, _, _ := strings.Cut(e.Message, "\n")
		list = append(list, conditionError{Line: e.Location.Line(), Column: e.Location.Column() + 1, Message: message})
	}
	return list
}

// usesOfFacts reports whether facts is read. It refuses uses of facts other than reading one of its
// fields, and values built of our types: they would carry a number of rows past exactRows.
func usesOfFacts(checked *cel.Ast) (used bool, list []conditionError) {
	native := checked.NativeRep()
	refuse := func(id int64, message string) {
		at := native.SourceInfo().GetStartLocation(id)
		list = append(list, conditionError{Line: at.Line(), Column: at.Column() + 1, Message: message})
	}
	read := map[int64]bool{}
	ast.PreOrderVisit(native.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			read[e.AsSelect().Operand().ID()] = true
		case ast.IdentKind:
			if e.AsIdent() != "facts" {
				return
			}
			used = true
			if !read[e.ID()] {
				refuse(e.ID(), "facts is used as a whole; use its fields, like facts.rows")
			}
		case ast.StructKind:
			refuse(e.ID(), "values of the type "+e.AsStruct().TypeName()+" cannot be made")
		}
	}))
	return used, list
}

// holds evaluates c. An error is a failed condition: the caller takes it to mean the stricter of both answers.
func (c *condition) holds(v *variables) (bool, error) {
	if err := c.ready(v); err != nil {
		return false, err
	}
	out, _, err := c.program.Eval(v)
	return truth(out, err)
}

// ready refuses to judge facts that nobody gave: their zero value would read as harmless.
func (c *condition) ready(v *variables) error {
	if c.facts && v.in.Facts == nil {
		return errNoFacts
	}
	return nil
}

func truth(out ref.Val, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the condition gave %s, neither true nor false", out.Type().TypeName())
	}
	return bool(b), nil
}

// variables resolves the names of a condition, making each value when it is first asked for. It serves
// one decision on one goroutine.
type variables struct {
	in        Input
	effects   countersign.Effects
	facts     *factsVar
	principal *principalVar
	resource  *resourceVar
	objects   []objectVar
	names     []string
}

// Parent is nil: there are no other variables.
func (v *variables) Parent() cel.Activation { return nil }

// ResolveName returns the value of a variable.
func (v *variables) ResolveName(name string) (any, bool) {
	switch name {
	case "facts":
		if v.facts == nil {
			v.facts = factsOf(v.in.Facts)
		}
		return v.facts, true
	case "principal":
		if v.principal == nil {
			v.principal = principalOf(v.in.Principal)
		}
		return v.principal, true
	case "resource":
		if v.resource == nil {
			v.resource = resourceOf(v.in.Resource)
		}
		return v.resource, true
	case "effects":
		if v.names == nil {
			v.names = v.effects.Names()
		}
		return v.names, true
	case "objects":
		if v.objects == nil {
			v.objects = objectsOf(v.in.Objects)
		}
		return v.objects, true
	case "shape":
		return v.in.Shape, true
	}
	return nil, false
}

func factsOf(f *countersign.Facts) *factsVar {
	return &factsVar{
		Rows: f.Rows, RowsKnown: f.RowsKnown, Unbounded: f.Unbounded, CatalogOnly: f.CatalogOnly,
		InTransaction: f.InTransaction, DataUnseen: f.DataUnseen, Statements: int64(f.Statements),
	}
}

func principalOf(p *countersign.Principal) *principalVar {
	name := string(p.Person)
	if p.Kind != countersign.KindPerson {
		name = string(p.Agent)
	}
	return &principalVar{
		Kind: string(p.Kind), ID: p.ID(), Name: name,
		Groups: strs(p.Groups), Chain: strs(p.Chain), Owners: strs(p.Owners),
	}
}

func resourceOf(r *countersign.Resource) *resourceVar {
	return &resourceVar{
		Name: string(r.Name), Kind: r.Kind, Labels: r.Labels,
		Owners: strs(r.Owners), Reviewers: strs(r.Reviewers),
	}
}

func objectsOf(list []countersign.Object) []objectVar {
	out := make([]objectVar, len(list))
	for i, o := range list {
		out[i] = objectVar{Kind: o.Kind, Name: o.Name.String(), Effects: o.Effects.Names()}
	}
	return out
}

func strs[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}
