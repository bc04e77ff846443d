package sql

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// changes are the effects that change a relation or its rows.
const changes = countersign.Write | countersign.Delete | countersign.Schema | countersign.Destroy | countersign.Privilege

// relation says what a relation named in the current context suffers.
func (w *walker) relation(n *pg.RangeVar) {
	if w.ctx.use == countersign.Read && n.Schemaname == "" && n.Catalogname == "" && w.isCTE(n.Relname) {
		return
	}
	kind := w.ctx.kind
	if kind == "" {
		kind = "table"
	}
	w.useRelation(kind, n, w.ctx.use)
}

func (w *walker) isCTE(name string) bool {
	for c := w.ctx.ctes; c != nil; c = c.outer {
		if c.names[name] {
			return true
		}
	}
	return false
}

// useRelation records that relation n suffers e, and adds e and what follows from the relation itself
// to the statement's effects.
func (w *walker) useRelation(kind string, n *pg.RangeVar, e countersign.Effects) {
	place, extra, why := w.resolveRelation(n, e)
	name := display(place, n.Relname)
	w.object(kind, name, e|extra)
	switch shown := sanitize.Name(name); e {
	case countersign.Read:
		w.effect(e, sanitize.Format("reads %s", shown))
	case countersign.Write:
		w.effect(e, sanitize.Format("writes to %s", shown))
	case countersign.Delete:
		w.effect(e, sanitize.Format("removes rows of %s", shown))
	case countersign.Destroy:
		w.effect(e, sanitize.Format("drops %s", shown))
	case countersign.Read | countersign.Export:
		w.effect(e, sanitize.Format("reads every row of %s and copies them out", shown))
	default:
		w.effect(e, sanitize.Format("changes %s", shown))
	}
	if extra != 0 {
		w.effect(extra, why)
	}
}

// resolveRelation finds the schema of n ("" when it is not known) and what using it for e does besides.
func (w *walker) resolveRelation(n *pg.RangeVar, e countersign.Effects) (schema string, extra countersign.Effects, why sanitize.Clean) {
	name := n.Relname
	schema = n.Schemaname
	builtIn := schema == catalogSchema || schema == infoSchema || schema == toastSchema
	if schema == "" && vettedRelations[catalogSchema+"."+name].effects != 0 {
		if w.session.path.first {
			schema = catalogSchema
		}
		builtIn = true // whether or not a schema before pg_catalog has one of that name
	}
	if builtIn {
		extra, why = w.catalogRelation(schema, n, e)
		return schema, extra, why
	}
	w.userData = w.userData || e.Has(countersign.Read)
	if strings.HasPrefix(name, "pg_") && e.Has(countersign.Read) {
		// A system view of a newer server, or pg_stat_statements and its kin, in whatever schema.
		return schema, countersign.Secret, sanitize.Format("%s looks like a system view that is not on the list of vetted ones", sanitize.Name(display(schema, name)))
	}
	if w.session.catalog != nil {
		return w.catalogued(n, e)
	}
	w.plain = true
	return schema, 0, why
}

// catalogRelation is resolveRelation for relations of the system's schemas, or what may be one.
func (w *walker) catalogRelation(schema string, n *pg.RangeVar, e countersign.Effects) (extra countersign.Effects, why sanitize.Clean) {
	shown := sanitize.Name(display(schema, n.Relname))
	if e.Any(changes) {
		return countersign.Privilege | countersign.Admin, sanitize.Format("%s is a system catalog", shown)
	}
	if !e.Has(countersign.Read) {
		return 0, why
	}
	listedIn := schema
	if listedIn == "" {
		listedIn = catalogSchema
		w.userData = true // it may be somebody's own table
	}
	m, ok := vettedRelations[listedIn+"."+n.Relname]
	switch {
	case !ok && schema == toastSchema:
		w.userData = true
		return countersign.Secret, sanitize.Format("%s holds the large values of another table", shown)
	case !ok:
		w.userData = true
		return countersign.Secret, sanitize.Format("%s is not on the list of vetted system views", shown)
	case (n.Relname == "pg_roles" || n.Relname == "pg_user") && listedIn == catalogSchema && !w.hidesSettings(n):
		w.userData = true
		return countersign.Secret, sanitize.Format("%s shows the settings stored for roles, which may hold secrets; name the columns that are needed", shown)
	case m.effects == countersign.Read || n == w.ctx.plainCatalog:
		return 0, why
	}
	w.userData = true
	return m.effects &^ countersign.Read, sanitize.Format("%s shows credentials, samples of data, or others' sessions", shown)
}

// catalogued is resolveRelation for relations that the snapshot should have.
func (w *walker) catalogued(n *pg.RangeVar, e countersign.Effects) (schema string, extra countersign.Effects, why sanitize.Clean) {
	c := w.session.catalog
	schemas := []string{n.Schemaname}
	if n.Schemaname == "" {
		schemas = schemasOf(w.session, c.Relations, n.Relname)
	}
	found := false
	for _, s := range schemas {
		r, ok := c.Relations[Name{s, n.Relname}]
		if !ok {
			continue
		}
		found, schema = true, s
		if e.Has(countersign.Read) {
			extra |= r.Reads
		}
		if e.Any(countersign.Write | countersign.Delete) {
			extra |= r.Writes
		}
		if !w.session.path.uncertain {
			break // else any of them may be meant
		}
	}
	switch {
	case found && w.session.path.uncertain && n.Schemaname == "":
		return "", extra, sanitize.Format("what the catalog snapshot says of relations named %s", sanitize.Name(display(n.Relname)))
	case found:
		return schema, extra, sanitize.Format("what the catalog snapshot says of %s", sanitize.Name(display(schema, n.Relname)))
	case w.ctx.ddl:
		return n.Schemaname, 0, why // being created, or nothing happens
	}
	return n.Schemaname, countersign.Unknown, sanitize.Format("%s is not in the catalog snapshot", sanitize.Name(display(n.Schemaname, n.Relname)))
}

// harmlessSettingColumns are the columns of pg_settings that do not show values.
var harmlessSettingColumns = map[string]bool{
	"name": true, "unit": true, "category": true, "short_desc": true, "extra_desc": true, "context": true,
	"vartype": true, "source": true, "min_val": true, "max_val": true, "enumvals": true, "pending_restart": true,
}

// plainSettings returns the pg_settings in n's FROM when n reads it alone, and either only columns
// that show no values or only rows that the WHERE names and that hold no secret. Drivers and
// administration tools do this at every connect.
func (w *walker) plainSettings(n *pg.SelectStmt) *pg.RangeVar {
	if len(n.FromClause) != 1 {
		return nil
	}
	r := n.FromClause[0].GetRangeVar()
	if r == nil || r.Relname != "pg_settings" || r.Schemaname != "" && r.Schemaname != catalogSchema ||
		len(r.GetAlias().GetColnames()) > 0 { // which could call the values "name"
		return nil
	}
	if w.namesPlainSettings(n.WhereClause, r) {
		return r
	}
	bad := find(&pg.Node{Node: &pg.Node_SelectStmt{SelectStmt: n}}, func(m any) bool {
		if !w.session.look() {
			return true
		}
		switch m := m.(type) {
		case *pg.ColumnRef:
			names, ok := parts(m.Fields)
			return !ok || !harmlessSettingColumns[names[len(names)-1]]
		case *pg.A_Indirection:
			return true
		}
		return false
	})
	if bad {
		return nil
	}
	return r
}

// isQualifiedBy reports whether what stands before a column's name, if anything, means r and no relation
// of a query around it.
func isQualifiedBy(qualifier []string, r *pg.RangeVar) bool {
	switch {
	case len(qualifier) == 0:
		return true
	case r.Alias != nil:
		return len(qualifier) == 1 && qualifier[0] == r.Alias.Aliasname
	case len(qualifier) == 1:
		return qualifier[0] == r.Relname
	}
	return len(qualifier) == 2 && qualifier[0] == r.Schemaname && qualifier[1] == r.Relname
}

// namesPlainSettings reports whether where, a chain of ANDs, holds name = 'literal' or name IN
// ('literals'), none of them a setting that holds a secret, where name is the column of settings, which
// the query reads alone.
func (w *walker) namesPlainSettings(where *pg.Node, settings *pg.RangeVar) bool {
	if and := where.GetBoolExpr(); and != nil && and.Boolop == pg.BoolExprType_AND_EXPR {
		for _, a := range and.Args {
			if w.namesPlainSettings(a, settings) {
				return true
			}
		}
		return false
	}
	x := where.GetAExpr()
	if x == nil || len(x.Name) != 1 || x.Name[0].GetString_().GetSval() != "=" {
		return false
	}
	column, ok := parts(x.Lexpr.GetColumnRef().GetFields())
	if !ok || column[len(column)-1] != "name" || !isQualifiedBy(column[:len(column)-1], settings) {
		return false
	}
	values := []*pg.Node{x.Rexpr}
	switch x.Kind {
	case pg.A_Expr_Kind_AEXPR_OP:
	case pg.A_Expr_Kind_AEXPR_IN:
		values = x.Rexpr.GetList().GetItems()
	default:
		return false
	}
	for _, v := range values {
		name, ok := w.session.literal(v)
		if !ok || isSecretSetting(name) {
			return false
		}
	}
	return len(values) > 0
}
