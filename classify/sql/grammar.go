package sql

import (
	"reflect"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// grammar is what the rules make of the parser's grammar. It is read-only.
type grammar struct {
	plans    map[reflect.Type]*plan // for each message type
	variants map[reflect.Type]*plan // for each wrapper type of a Node: the plan of what it wraps
}

// understood is the grammar as this package's rules understand it.
var understood = makeGrammar()

func makeGrammar() *grammar {
	g := &grammar{plans: map[reflect.Type]*plan{}, variants: map[reflect.Type]*plan{}}
	rules := map[string]*rule{}
	for _, table := range []map[string]rule{queryRules, statementRules, definitionRules} {
		for name, r := range table {
			if rules[name] != nil {
				panic("classify/sql: two rules for " + name)
			}
			rules[name] = &r
		}
	}
	eachMessageType(func(t reflect.Type, d protoreflect.MessageDescriptor) {
		name := string(d.Name())
		p := &plan{name: name, rule: rules[name]}
		p.fields = planFields(t, d, p.rule)
		g.plans[t] = p
		delete(rules, name)
	})
	for name := range rules {
		panic("classify/sql: a rule for " + name + ", which the grammar does not have")
	}
	for _, wrapper := range nodeWrappers() {
		g.variants[wrapper] = g.plans[wrapper.Field(0).Type.Elem()]
	}
	return g
}

// eachMessageType calls f with every message of the grammar: its Go struct type and description.
func eachMessageType(f func(reflect.Type, protoreflect.MessageDescriptor)) {
	messages := pg.File_pg_query_proto.Messages()
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(t reflect.Type) {
		if t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
			t = t.Elem()
			if t.Kind() == reflect.Pointer {
				t = t.Elem()
			}
		}
		if t.Kind() != reflect.Struct || seen[t] {
			return
		}
		m, ok := reflect.New(t).Interface().(protoreflect.ProtoMessage)
		if !ok {
			return
		}
		seen[t] = true
		d := m.ProtoReflect().Descriptor()
		if messages.ByName(d.Name()) == nil {
			return
		}
		f(t, d)
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				visit(t.Field(i).Type)
			}
		}
	}
	visit(reflect.TypeFor[pg.ParseResult]())
	visit(reflect.TypeFor[pg.Node]())
	for _, wrapper := range nodeWrappers() {
		visit(wrapper.Field(0).Type)
	}
}

// nodeWrappers returns the Go types that a Node's value may have: one struct for each kind of node.
func nodeWrappers() []reflect.Type {
	fields := (&pg.Node{}).ProtoReflect().Descriptor().Oneofs().ByName("node").Fields()
	wrappers := make([]reflect.Type, 0, fields.Len())
	for i := range fields.Len() {
		n := &pg.Node{}
		m := n.ProtoReflect()
		m.Set(fields.Get(i), m.NewField(fields.Get(i)))
		wrappers = append(wrappers, reflect.TypeOf(n.Node).Elem())
	}
	return wrappers
}

// fieldName returns the name in the grammar's description of a struct's field, "" when the field
// belongs to the protobuf runtime.
func fieldName(f reflect.StructField) string {
	if name, ok := f.Tag.Lookup("protobuf_oneof"); ok {
		return name
	}
	for part := range strings.SplitSeq(f.Tag.Get("protobuf"), ",") {
		if name, ok := strings.CutPrefix(part, "name="); ok {
			return name
		}
	}
	return ""
}
