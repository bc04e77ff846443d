package sql

import (
	"reflect"
	"slices"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/countersign-dev/countersign"
)

// walkOne walks a statement that consists of n alone.
func walkOne(n *pg.Node) Statement {
	w := &walker{grammar: understood, session: newSession(normal, nil)}
	return w.statement(n)
}

var wrappers = nodeWrappers()

// wrap returns a Node that holds message m, or nil when no kind of node does.
func wrap(m any) *pg.Node {
	for _, wrapper := range wrappers {
		if wrapper.Field(0).Type == reflect.TypeOf(m) {
			v := reflect.New(wrapper)
			v.Elem().Field(0).Set(reflect.ValueOf(m))
			n := &pg.Node{}
			reflect.ValueOf(n).Elem().FieldByName("Node").Set(v)
			return n
		}
	}
	return nil
}

// Every kind of node of the grammar is either in a rule, or makes a statement Unknown.
func TestEveryNodeIsListedOrUnknown(t *testing.T) {
	listed, unlisted := 0, 0
	for _, wrapper := range nodeWrappers() {
		m := reflect.New(wrapper.Field(0).Type.Elem())
		p := understood.plans[m.Elem().Type()]
		if p == nil {
			t.Errorf("no plan for %s", m.Type())
			continue
		}
		if p.rule != nil {
			listed++
			continue
		}
		unlisted++
		if st := walkOne(wrap(m.Interface())); !st.Effects.Has(countersign.Unknown) {
			t.Errorf("%s is not listed, and is %s", p.name, st.Effects)
		}
		if p.name == "List" || p.name == "FuncCall" {
			t.Errorf("%s has lost its rule", p.name)
		}
	}
	t.Logf("%d kinds of node are understood, %d are unknown", listed, unlisted)
	if listed < 150 || unlisted < 50 {
		t.Errorf("%d kinds of node are understood, %d unknown; want most of the raw grammar and none of what only the server's analysis makes", listed, unlisted)
	}
}

// What only the server's own analysis makes never comes out of the parser, and must not have a rule.
func TestAnalysedNodesAreUnknown(t *testing.T) {
	for _, name := range []string{"Query", "Var", "Const", "FuncExpr", "OpExpr", "RangeTblEntry", "TargetEntry", "Aggref", "CoerceToDomain", "NextValueExpr", "SubPlan"} {
		for _, p := range understood.plans {
			if p.name == name && p.rule != nil {
				t.Errorf("%s has a rule", name)
			}
		}
	}
}

// A field that no rule names and that is not of message type makes a statement Unknown when it holds
// anything; so do fields and kinds of node that the decoder does not know.
func TestUnlistedFieldsAreUnknown(t *testing.T) {
	refused := 0
	for typ, p := range understood.plans {
		if p.rule == nil {
			continue
		}
		for i, kind := range p.fields {
			if kind != fieldRefused {
				continue
			}
			m := reflect.New(typ)
			if f := typ.Field(i); f.Name == "unknownFields" {
				m.Interface().(protoreflect.ProtoMessage).ProtoReflect().SetUnknown(protoreflect.RawFields{0x80, 0x7d, 1})
			} else {
				setSomething(t, m.Elem().Field(i))
			}
			n := wrap(m.Interface())
			if n == nil {
				continue // ParseResult and kinds that only stand in fields of their own type
			}
			refused++
			w := &walker{grammar: understood, session: newSession(normal, nil), st: &Statement{}}
			w.query()
			w.node(n)
			if !w.st.Effects.Has(countersign.Unknown) {
				t.Errorf("%s with %s is %s", p.name, typ.Field(i).Name, w.st.Effects)
			}
		}
	}
	if refused < 150 {
		t.Errorf("only %d fields tried", refused)
	}
	n := &pg.Node{}
	n.ProtoReflect().SetUnknown(protoreflect.RawFields{0xca, 0x3e, 0})
	if st := walkOne(wrap(&pg.SelectStmt{TargetList: []*pg.Node{n}})); !st.Effects.Has(countersign.Unknown) {
		t.Errorf("a kind of node that the decoder does not know is %s", st.Effects)
	}
}

func setSomething(t *testing.T, f reflect.Value) {
	t.Helper()
	switch f.Kind() {
	case reflect.String:
		f.SetString("x")
	case reflect.Bool:
		f.SetBool(true)
	case reflect.Int32, reflect.Int64:
		f.SetInt(1)
	case reflect.Uint32, reflect.Uint64:
		f.SetUint(1)
	case reflect.Slice:
		f.Set(reflect.MakeSlice(f.Type(), 1, 1))
	default:
		t.Fatalf("a field of kind %s", f.Kind())
	}
}

// poison is a call that any walk that reaches it must report.
func poison() *pg.Node {
	return pg.MakeFuncCallNode([]*pg.Node{pg.MakeStrNode("evil")}, nil, 0)
}

// harmlessFields hold names and lists of names, in which the grammar cannot put an expression, and which
// are read as names only. Anything else planted there goes unseen.
var harmlessFields = map[string][]string{
	"LockingClause":      {"locked_rels"}, // aliases
	"ConstraintsSetStmt": {"constraints"},
}

// A call planted in any field of any understood message counts: no rule hides what stands inside.
func TestNothingHides(t *testing.T) {
	planted := 0
	for typ, p := range understood.plans {
		if p.rule == nil {
			continue
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := fieldName(f)
			if !f.IsExported() || slices.Contains(harmlessFields[p.name], name) {
				continue
			}
			plain, poisoned := filled(typ), filled(typ)
			if !plant(poisoned.Elem().Field(i), 3) || wrap(plain.Interface()) == nil {
				continue
			}
			planted++
			_, before := walkMessage(plain.Interface())
			seen, after := walkMessage(poisoned.Interface())
			if !seen && (before || !after) {
				t.Errorf("%s.%s hides a call (unknown without it: %v)", p.name, name, before)
			}
		}
	}
	if planted < 300 {
		t.Errorf("only %d fields tried", planted)
	}
	t.Logf("%d fields tried", planted)
}

// walkMessage walks m; it reports whether the poison was seen and whether something was not understood.
func walkMessage(m any) (poisoned, unknown bool) {
	n := wrap(m)
	w := &walker{grammar: understood, session: newSession(normal, nil), st: &Statement{}, root: rootOf(n)}
	w.query()
	w.node(n)
	_, poisoned = w.objects[objectKey{"function", "evil"}]
	return poisoned, w.st.Effects.Has(countersign.Unknown)
}

// filled returns a message of which enough is set that its rule understands it.
func filled(typ reflect.Type) reflect.Value {
	m := reflect.New(typ)
	for i := range typ.NumField() {
		f := m.Elem().Field(i)
		switch {
		case !typ.Field(i).IsExported():
		case f.Type() == reflect.TypeFor[*pg.RangeVar]():
			f.Set(reflect.ValueOf(&pg.RangeVar{Relname: "t"}))
		}
	}
	name := []*pg.Node{pg.MakeStrNode("lower")}
	switch x := m.Interface().(type) {
	case *pg.A_Expr:
		x.Kind, x.Name = pg.A_Expr_Kind_AEXPR_OP, []*pg.Node{pg.MakeStrNode("+")}
	case *pg.FuncCall:
		x.Funcname = name
	case *pg.TypeName:
		x.Names = []*pg.Node{pg.MakeStrNode("text")}
	case *pg.RangeTableSample:
		x.Method = []*pg.Node{pg.MakeStrNode("system")}
	case *pg.MergeWhenClause:
		x.CommandType = pg.CmdType_CMD_UPDATE
	case *pg.AlterTableCmd:
		x.Subtype = pg.AlterTableType_AT_AddColumn
	case *pg.DropStmt:
		x.RemoveType = pg.ObjectType_OBJECT_TABLE
	case *pg.DefineStmt:
		x.Kind = pg.ObjectType_OBJECT_TYPE
	case *pg.TransactionStmt:
		x.Kind = pg.TransactionStmtKind_TRANS_STMT_BEGIN
	case *pg.CreateTableAsStmt:
		x.Objtype = pg.ObjectType_OBJECT_TABLE
	case *pg.VariableSetStmt:
		x.Kind, x.Name = pg.VariableSetKind_VAR_SET_VALUE, "datestyle"
	case *pg.PrepareStmt:
		x.Query = wrap(&pg.SelectStmt{})
	}
	return m
}

// plant puts a poison into field f, or into a message in it.
func plant(f reflect.Value, depth int) bool {
	switch f.Type() {
	case reflect.TypeFor[*pg.Node]():
		f.Set(reflect.ValueOf(poison()))
		return true
	case reflect.TypeFor[[]*pg.Node]():
		f.Set(reflect.ValueOf([]*pg.Node{poison()}))
		return true
	case reflect.TypeFor[*pg.RangeVar]():
		f.Set(reflect.ValueOf(&pg.RangeVar{Schemaname: "pg_catalog", Relname: "pg_authid"}))
		return false // what a relation means is up to the statement
	}
	if f.Kind() != reflect.Pointer || depth == 0 {
		return false
	}
	m := reflect.New(f.Type().Elem())
	for i := range m.Elem().NumField() {
		if f.Type().Elem().Field(i).IsExported() && plant(m.Elem().Field(i), depth-1) {
			f.Set(m)
			return true
		}
	}
	return false
}
