package sql

import (
	"reflect"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// A rule says that a message of the parse tree is understood, and how. What no rule lists makes a
// statement Unknown: a message without a rule, and any of its fields that holds something and is
// neither of message type, nor own, nor plain. Fields of message type are walked unless they are own,
// so that what stands inside them counts whatever the rule says.
type rule struct {
	visit func(*walker, any) // says what the message means; nil: nothing by itself
	own   []string           // message fields whose meaning visit takes in itself
	plain []string           // other fields, read by visit or without bearing on effects
}

// on makes a typed function a rule's visit.
func on[M any](visit func(*walker, *M)) func(*walker, any) {
	return func(w *walker, m any) { visit(w, m.(*M)) }
}

type fieldKind uint8

const (
	fieldSkipped fieldKind = iota // own, plain, a position in the text, or the protobuf runtime's
	fieldNode                     // *pg.Node
	fieldNodes                    // []*pg.Node
	fieldMessage                  // another message
	fieldRefused                  // Unknown when it holds something: not listed, or not known to the decoder
)

// A plan is a rule made ready for a Go type.
type plan struct {
	name   string
	rule   *rule // nil: not listed
	fields []fieldKind
}

func planFields(t reflect.Type, d protoreflect.MessageDescriptor, r *rule) []fieldKind {
	skipped := map[string]bool{}
	if r != nil {
		for _, name := range append(append([]string{}, r.own...), r.plain...) {
			known := d.Fields().ByName(protoreflect.Name(name)) != nil || d.Oneofs().ByName(protoreflect.Name(name)) != nil
			if skipped[name] || !known {
				panic("classify/sql: rule for " + string(d.Name()) + ": no field, or twice: " + name)
			}
			skipped[name] = true
		}
	}
	kinds := make([]fieldKind, t.NumField())
	for i := range kinds {
		f := t.Field(i)
		name := fieldName(f)
		switch {
		case f.Name == "unknownFields":
			kinds[i] = fieldRefused
		case name == "" || skipped[name] || name == "location" && f.Type.Kind() == reflect.Int32:
			kinds[i] = fieldSkipped
		case f.Type == reflect.TypeFor[*pg.Node]():
			kinds[i] = fieldNode
		case f.Type == reflect.TypeFor[[]*pg.Node]():
			kinds[i] = fieldNodes
		case f.Type.Kind() == reflect.Pointer:
			kinds[i] = fieldMessage
		default:
			kinds[i] = fieldRefused
		}
	}
	return kinds
}

// A walker collects what one statement does.
type walker struct {
	grammar *grammar
	session *session
	root    any // the statement itself
	// explained is what the root explains, when that is EXPLAIN.
	explained any
	once      map[*pg.FuncCall]bool // what runsOnce is true of; nil before it was asked
	st        *Statement

	objects   map[objectKey]int // index in st.Objects
	evidence  map[countersign.Evidence]bool
	userData  bool // something besides system catalogs and constants is read
	selectsTo bool // SELECT INTO
	assumed   bool // unqualified names were taken for pg_catalog's
	plain     bool // relations were taken for plain tables

	at  place
	ctx scope
}

// place is the message being walked.
type place struct {
	value reflect.Value // the struct
	plan  *plan
	done  bool // its children were walked
}

// scope is what a message inherits from those around it.
type scope struct {
	use          countersign.Effects // what a relation named here suffers
	kind         string              // and what kind of object it is
	ddl          bool                // in a definition: types and names are stored, not used
	ctes         *withNames
	values       *pg.SelectStmt // the VALUES of an INSERT, which return nothing
	plainCatalog *pg.RangeVar   // a pg_settings of which only harmless rows or columns are read
	query        any            // the statement or query whose FROM names the relations
	allOptions   bool           // every option's value is a credential, except user
}

type objectKey struct{ kind, name string }

// rootOf returns the message in n, as a rule's visit is given it.
func rootOf(n *pg.Node) any {
	if n == nil || n.Node == nil {
		return nil
	}
	return reflect.ValueOf(n.Node).Elem().Field(0).Interface()
}

// node walks n.
func (w *walker) node(n *pg.Node) {
	if n == nil {
		return
	}
	if n.Node == nil { // NULL in a list; or a kind of node that the decoder does not know
		if len(n.ProtoReflect().GetUnknown()) > 0 {
			w.unknown(nil)
		}
		return
	}
	wrapper := reflect.ValueOf(n.Node).Elem()
	w.message(wrapper.Field(0), w.grammar.variants[wrapper.Type()])
}

func (w *walker) nodes(list []*pg.Node) {
	for _, n := range list {
		w.node(n)
	}
}

// message walks v, a pointer to a message, by its plan.
func (w *walker) message(v reflect.Value, p *plan) {
	if v.IsNil() {
		return
	}
	if p == nil || p.rule == nil {
		w.unknown(p)
		return
	}
	at, ctx := w.at, w.ctx
	w.at = place{value: v.Elem(), plan: p}
	if p.rule.visit != nil {
		p.rule.visit(w, v.Interface())
	}
	w.children()
	w.at, w.ctx = at, ctx
}

// children walks what the message being visited holds, once. A visit calls it to go on afterwards.
func (w *walker) children() {
	if w.at.done {
		return
	}
	w.at.done = true
	v, p := w.at.value, w.at.plan
	for i, kind := range p.fields {
		switch kind {
		case fieldNode:
			w.node(v.Field(i).Interface().(*pg.Node))
		case fieldNodes:
			w.nodes(v.Field(i).Interface().([]*pg.Node))
		case fieldMessage:
			f := v.Field(i)
			w.message(f, w.grammar.plans[f.Type().Elem()])
		case fieldRefused:
			if !v.Field(i).IsZero() {
				w.unknown(p)
			}
		case fieldSkipped:
		}
	}
}

func (w *walker) unknown(p *plan) {
	name := sanitize.Const("something")
	if p != nil {
		name = sanitize.Name(p.name)
	}
	w.effect(countersign.Unknown, sanitize.Format("%s is not understood in this place", name))
}

// effect adds e to the statement's effects, and why.
func (w *walker) effect(e countersign.Effects, why sanitize.Clean) {
	w.st.Effects |= e
	ev := countersign.Evidence{Effect: e, Why: why}
	if len(w.st.Why) >= maxWhy || w.evidence[ev] {
		return
	}
	if w.evidence == nil {
		w.evidence = map[countersign.Evidence]bool{}
	}
	w.evidence[ev] = true
	w.st.Why = append(w.st.Why, ev)
}

// object adds an object; that its effects are the statement's too is up to the caller.
func (w *walker) object(kind, name string, e countersign.Effects) {
	w.cleanObject(kind, sanitize.Name(name), e)
}

func (w *walker) cleanObject(kind string, name sanitize.Clean, e countersign.Effects) {
	key := objectKey{kind, name.String()}
	if i, ok := w.objects[key]; ok {
		w.st.Objects[i].Effects |= e
		return
	}
	if len(w.st.Objects) >= MaxObjects {
		w.effect(countersign.Unknown, sanitize.Format("the statement names more than %s objects", sanitize.Int(MaxObjects)))
		return
	}
	if w.objects == nil {
		w.objects = map[objectKey]int{}
	}
	w.objects[key] = len(w.st.Objects)
	w.st.Objects = append(w.st.Objects, countersign.Object{Kind: kind, Name: name, Effects: e})
}

// find reports whether is holds for n or a message below it, listed or not.
func find(n *pg.Node, is func(any) bool) bool {
	if n == nil || n.Node == nil {
		return false
	}
	wrapper := reflect.ValueOf(n.Node).Elem()
	return findMessage(wrapper.Field(0), is)
}

func findMessage(v reflect.Value, is func(any) bool) bool {
	if v.IsNil() {
		return false
	}
	if is(v.Interface()) {
		return true
	}
	v = v.Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		if !v.Type().Field(i).IsExported() {
			continue
		}
		switch x := f.Interface().(type) {
		case *pg.Node:
			if find(x, is) {
				return true
			}
		case []*pg.Node:
			for _, n := range x {
				if find(n, is) {
					return true
				}
			}
		default:
			if f.Kind() == reflect.Pointer && findMessage(f, is) {
				return true
			}
		}
	}
	return false
}
