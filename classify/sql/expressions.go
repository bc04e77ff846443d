package sql

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// addVetted adds what a function, operator or type was vetted to do. Plain computing adds nothing: the
// statement around it says whether rows are read.
func (w *walker) addVetted(m mark, why sanitize.Clean) {
	if e := m.effects &^ countersign.Read; e != 0 {
		w.effect(m.effects, why)
	}
	if m.effects.Any(countersign.Execute | countersign.Export | countersign.Secret) {
		w.userData = true
	}
}

func (w *walker) funcCall(n *pg.FuncCall) {
	names, ok := parts(n.Funcname)
	if !ok {
		w.effect(countersign.Unknown, sanitize.Const("a function's name is not understood"))
		return
	}
	m, why := w.lookup(sanitize.Const("function"), names, vettedFunctions, w.session.catalog.functions())
	_, name := qualified(names)
	if m.bySetting {
		w.settingFunction(name, n)
	}
	w.addVetted(m, why)
	if m.effects != countersign.Read && !m.bySetting {
		schema, _ := qualified(names)
		w.object("function", display(schema, name), m.effects)
	}
	w.functionObjects(name, n)
	w.functionCredentials(name, n)
	w.runsArguments(name, n)
}

// functionObjects names the sequence or file that a function's first argument names.
func (w *walker) functionObjects(name string, n *pg.FuncCall) {
	kind, e := "", countersign.Read
	switch name {
	case "nextval", "setval":
		kind, e = "sequence", countersign.Write
	case "currval":
		kind = "sequence"
	case "pg_read_file", "pg_read_binary_file", "pg_ls_dir", "pg_stat_file":
		kind, e = "file", countersign.Read|countersign.Export
	case "lo_import":
		kind = "file"
	}
	if kind == "" || len(n.Args) == 0 {
		return
	}
	text, ok := w.session.literal(n.Args[0])
	if !ok {
		return
	}
	if kind == "sequence" {
		text = strings.ReplaceAll(text, `"`, "")
	}
	w.object(kind, text, e)
}

func (w *walker) operator(name []*pg.Node) {
	names, ok := parts(name)
	if !ok {
		w.effect(countersign.Unknown, sanitize.Const("an operator's name is not understood"))
		return
	}
	m, why := w.lookup(sanitize.Const("operator"), names, vettedOperators, w.session.catalog.operators())
	w.addVetted(m, why)
}

func (w *walker) aExpr(n *pg.A_Expr) {
	switch n.Kind {
	case pg.A_Expr_Kind_AEXPR_OP, pg.A_Expr_Kind_AEXPR_OP_ANY, pg.A_Expr_Kind_AEXPR_OP_ALL,
		pg.A_Expr_Kind_AEXPR_DISTINCT, pg.A_Expr_Kind_AEXPR_NOT_DISTINCT, pg.A_Expr_Kind_AEXPR_NULLIF,
		pg.A_Expr_Kind_AEXPR_IN, pg.A_Expr_Kind_AEXPR_LIKE, pg.A_Expr_Kind_AEXPR_ILIKE, pg.A_Expr_Kind_AEXPR_SIMILAR:
		w.operator(n.Name)
	case pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN,
		pg.A_Expr_Kind_AEXPR_BETWEEN_SYM, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		for _, op := range []string{"<=", ">="} {
			m, why := w.lookup(sanitize.Const("operator"), []string{op}, vettedOperators, w.session.catalog.operators())
			w.addVetted(m, why)
		}
	default:
		w.effect(countersign.Unknown, sanitize.Const("a kind of expression is not understood"))
	}
	w.comparedCredential(n)
	w.concatenated(n)
}

func (w *walker) subLink(n *pg.SubLink) {
	if len(n.OperName) > 0 {
		w.operator(n.OperName)
	}
}

func (w *walker) sortBy(n *pg.SortBy) {
	if len(n.UseOp) > 0 {
		w.operator(n.UseOp)
	}
}

// typeName is a type that values are converted to, unless it only stands in a definition.
func (w *walker) typeName(n *pg.TypeName) {
	if w.ctx.ddl {
		return
	}
	names, ok := parts(n.Names)
	if !ok || n.PctType {
		w.effect(countersign.Unknown, sanitize.Const("a type's name is not understood"))
		return
	}
	m, why := w.lookup(sanitize.Const("type"), names, vettedTypes, w.session.catalog.types())
	w.addVetted(m, why)
}

// columnRef: c.name calls the function name(c) when c has no such column. Without a catalog it counts
// as a column; see the package's BUG notes.
func (w *walker) columnRef(n *pg.ColumnRef) {
	if len(n.Fields) > 1 {
		w.rowFunction(n.Fields[len(n.Fields)-1])
	}
}

func (w *walker) indirection(n *pg.A_Indirection) {
	for _, field := range n.Indirection {
		w.rowFunction(field)
	}
}

func (w *walker) rowFunction(field *pg.Node) {
	name := field.GetString_().GetSval()
	if name == "" || w.session.catalog == nil {
		return
	}
	if e, ok := w.session.catalog.RowFunctions[name]; ok {
		w.addVetted(mark{effects: e}, sanitize.Format("%s may call a function of that name on the row", sanitize.Name(display(name))))
	}
}

func (w *walker) tableSample(n *pg.RangeTableSample) {
	names, ok := parts(n.Method)
	schema, name := qualified(names)
	if ok && (name == "system" || name == "bernoulli") && (schema == catalogSchema || schema == "" && w.session.path.first) {
		return
	}
	w.effect(countersign.Execute, sanitize.Const("a sampling method is not on the list of vetted ones"))
}

// newerSyntax is for what the grammar of PostgreSQL 17 takes for SQL/JSON or MERGE_ACTION, and older
// servers for a call of somebody's function of that name.
func (w *walker) newerSyntax(any) {
	if c := w.session.catalog; c != nil && c.Version >= 170000 {
		return
	}
	w.effect(countersign.Execute, sanitize.Const("servers before version 17 call a function of that name"))
}

func (w *walker) lockingClause(*pg.LockingClause) {
	w.effect(countersign.Write, sanitize.Const("locks rows"))
}

// intoClause is for a table made from a query's rows.
func (w *walker) intoClause(n *pg.IntoClause) {
	w.selectsTo = true
	kind := w.ctx.kind
	if kind == "" {
		kind = "table"
	}
	e := countersign.Schema | countersign.Write
	if n.SkipData {
		e = countersign.Schema
	}
	w.ctx.ddl = true
	if n.Rel != nil {
		w.useRelation(kind, n.Rel, e)
	} else {
		w.effect(countersign.Unknown, sanitize.Const("the new table has no name"))
	}
}

// with makes the queries of a WITH clause known by name, and walks them.
func (w *walker) with(n *pg.WithClause) {
	if n == nil {
		return
	}
	ctes := &withNames{names: make(map[string]bool, len(n.Ctes)), outer: w.ctx.ctes}
	w.ctx.ctes = ctes
	if n.Recursive {
		for _, c := range n.Ctes {
			ctes.names[c.GetCommonTableExpr().GetCtename()] = true
		}
	}
	for _, c := range n.Ctes {
		w.node(c)
		ctes.names[c.GetCommonTableExpr().GetCtename()] = true
	}
}

// withNames are the names of the WITH queries in sight: those of one WITH clause so far, and around it.
type withNames struct {
	names map[string]bool
	outer *withNames
}

func (w *walker) commonTableExpr(n *pg.CommonTableExpr) {
	w.query()
	w.aliasCredentials(n.Aliascolnames, n.Ctequery)
}

// query makes relations named from here on be read.
func (w *walker) query() {
	w.ctx.use, w.ctx.kind, w.ctx.ddl, w.ctx.allOptions = countersign.Read, "", false, false
}
