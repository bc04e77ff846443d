package sql

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// columnCredentials marks what a query gives to columns of credentials, which names are its columns' in
// order. with are the WITH queries around it.
func (w *walker) columnCredentials(names []string, source *pg.SelectStmt, with *pg.WithClause) {
	if source == nil || w.session.credentials.whole[source] {
		return
	}
	direct := with == nil && isDirect(source)
	for i, name := range names {
		switch {
		case !isCredentialName(name):
		case direct:
			w.selectedCredential(source, i)
		default:
			w.texts(with)
			w.texts(source)
			return
		}
	}
}

// isDirect reports whether every row of a query can be seen in its text: VALUES, or expressions over
// tables. In all others a value may come from anywhere in it.
func isDirect(n *pg.SelectStmt) bool {
	if n == nil {
		return true
	}
	if n.WithClause != nil || !isDirect(n.Larg) || !isDirect(n.Rarg) {
		return false
	}
	for _, f := range n.FromClause {
		if !onlyTables(f) {
			return false
		}
	}
	for _, t := range n.TargetList {
		fields := t.GetResTarget().GetVal().GetColumnRef().GetFields()
		if len(fields) > 0 && fields[len(fields)-1].GetAStar() != nil {
			return false
		}
	}
	return true
}

func onlyTables(n *pg.Node) bool {
	if j := n.GetJoinExpr(); j != nil {
		return onlyTables(j.Larg) && onlyTables(j.Rarg)
	}
	return n.GetRangeVar() != nil
}

// selectedCredential marks column i of a query, in every part of a UNION.
func (w *walker) selectedCredential(n *pg.SelectStmt, i int) {
	if n == nil || !w.session.credentials.look() {
		return
	}
	for _, row := range n.ValuesLists {
		if !w.session.credentials.look() {
			return
		}
		if items := row.GetList().GetItems(); i < len(items) {
			w.credential(items[i])
		}
	}
	if i < len(n.TargetList) {
		w.credential(n.TargetList[i].GetResTarget().GetVal())
	}
	w.selectedCredential(n.Larg, i)
	w.selectedCredential(n.Rarg, i)
}

// texts marks every string and parameter in parts of a statement, one of which ends in a column of
// credentials.
func (w *walker) texts(parts ...any) {
	c := &w.session.credentials
	if c.whole == nil {
		c.whole = map[*pg.SelectStmt]bool{}
	}
	found := func(m any) bool {
		if !c.look() {
			return true
		}
		switch m := m.(type) {
		case *pg.A_Const:
			if isString(m) {
				c.literals = append(c.literals, m.Location)
			}
		case *pg.SelectStmt:
			c.whole[m] = true
		case *pg.ParamRef:
			c.params = append(c.params, m.Number)
		}
		return false
	}
	for _, p := range parts {
		switch p := p.(type) {
		case *pg.SelectStmt:
			find(&pg.Node{Node: &pg.Node_SelectStmt{SelectStmt: p}}, found)
		case *pg.WithClause:
			if p != nil {
				find(&pg.Node{Node: &pg.Node_WithClause{WithClause: p}}, found)
			}
		case []*pg.Node:
			for _, n := range p {
				find(n, found)
			}
		}
	}
}

// assignsColumn reports whether list holds SET password = column: the value is elsewhere in the statement.
func (w *walker) assignsColumn(list []*pg.Node) bool {
	for _, t := range list {
		if r := t.GetResTarget(); isCredentialName(r.GetName()) && find(r.Val, w.isColumn) {
			return true
		}
	}
	return false
}

func (w *walker) isColumn(m any) bool {
	_, ok := m.(*pg.ColumnRef)
	return ok || !w.session.look()
}

// insertCredentials marks the values that an INSERT with a column list gives to columns of credentials.
func (w *walker) insertCredentials(n *pg.InsertStmt, source *pg.SelectStmt) {
	var names []string
	for _, c := range n.Cols {
		names = append(names, c.GetResTarget().GetName())
	}
	w.columnCredentials(names, source, n.WithClause)
	if source != nil && w.assignsColumn(n.OnConflictClause.GetTargetList()) {
		w.texts(source, n.WithClause)
	}
}

func (w *walker) updateCredentials(n *pg.UpdateStmt) {
	if w.assignsColumn(n.TargetList) {
		w.texts(n.FromClause, n.WithClause)
	}
}

// mergeCredentials marks what MERGE inserts into columns of credentials, and all it may take from its
// source for them.
func (w *walker) mergeCredentials(n *pg.MergeStmt) {
	taken := false
	for _, c := range n.MergeWhenClauses {
		when := c.GetMergeWhenClause()
		taken = taken || w.assignsColumn(when.GetTargetList())
		for i, v := range when.GetValues() {
			if i < len(when.TargetList) && isCredentialName(when.TargetList[i].GetResTarget().GetName()) {
				w.credential(v)
				taken = taken || find(v, w.isColumn)
			}
		}
	}
	if taken {
		w.texts([]*pg.Node{n.SourceRelation}, n.WithClause)
	}
}

// aliasCredentials is for WITH x (password) AS (…), FROM (…) AS x (password), and CREATE VIEW x (password).
func (w *walker) aliasCredentials(names []*pg.Node, query *pg.Node) {
	if list, ok := parts(names); ok {
		w.columnCredentials(list, query.GetSelectStmt(), nil)
	}
}

func (w *walker) rangeSubselect(n *pg.RangeSubselect) {
	w.aliasCredentials(n.GetAlias().GetColnames(), n.Subquery)
}

// columnDef is for password text DEFAULT 'x', and the like.
func (w *walker) columnDef(n *pg.ColumnDef) {
	if !isCredentialName(n.Colname) {
		return
	}
	w.credential(n.RawDefault)
	for _, c := range n.Constraints {
		w.credential(c.GetConstraint().GetRawExpr())
	}
}

func (w *walker) functionParameter(n *pg.FunctionParameter) {
	if isCredentialName(n.Name) {
		w.credential(n.Defexpr)
	}
}

// columnDefault is for ALTER COLUMN password SET DEFAULT 'x'.
func (w *walker) columnDefault(n *pg.AlterTableCmd) {
	if n.Subtype == pg.AlterTableType_AT_ColumnDefault && isCredentialName(n.Name) {
		w.credential(n.Def)
	}
}

// beside is for coalesce(password, 'x') and starts_with(password, 'x').
func (w *walker) beside(args []*pg.Node) {
	if !slices.ContainsFunc(args, isCredentialColumn) {
		return
	}
	for _, a := range args {
		if c := a.GetTypeCast(); c != nil {
			a = c.Arg
		}
		if isString(a.GetAConst()) || a.GetParamRef() != nil {
			w.credential(a)
		}
	}
}

func isCredentialColumn(n *pg.Node) bool {
	names, ok := parts(n.GetColumnRef().GetFields())
	return ok && isCredentialName(names[len(names)-1])
}

// textFunctions give a text that tells what the first one was.
var textFunctions = map[string]bool{
	"lower": true, "upper": true, "btrim": true, "ltrim": true, "rtrim": true, "md5": true, "sha256": true, "sha512": true, "digest": true,
	"convert_to": true, "encode": true, "reverse": true,
}

// throughText returns the column whose text n is made from, as coalesce(lower(password), ”) is, or n.
func throughText(n *pg.Node) *pg.Node {
	for {
		var args []*pg.Node
		switch {
		case n.GetTypeCast() != nil:
			n = n.GetTypeCast().Arg
			continue
		case n.GetCollateClause() != nil:
			n = n.GetCollateClause().Arg
			continue
		case n.GetCoalesceExpr() != nil:
			args = n.GetCoalesceExpr().Args
		case n.GetFuncCall() != nil:
			names, _ := parts(n.GetFuncCall().Funcname)
			if _, name := qualified(names); textFunctions[name] {
				args = n.GetFuncCall().Args
			}
		}
		if len(args) == 0 {
			return n
		}
		n = args[0]
	}
}

// xmlExpr is for xmlelement(name password, 'x').
func (w *walker) xmlExpr(n *pg.XmlExpr) {
	if isCredentialName(n.Name) {
		for _, a := range n.Args {
			w.credential(a)
		}
	}
}

func (w *walker) coalesceExpr(n *pg.CoalesceExpr) { w.beside(n.Args) }

// caseExpr is for CASE password WHEN 'x'.
func (w *walker) caseExpr(n *pg.CaseExpr) {
	if !isCredentialColumn(n.Arg) {
		return
	}
	for _, c := range n.Args {
		w.credential(c.GetCaseWhen().GetExpr())
	}
}

// concatenated is for 'ALTER ROLE x PASSWORD ' || 'y'.
func (w *walker) concatenated(n *pg.A_Expr) {
	if len(n.Name) == 0 || n.Name[len(n.Name)-1].GetString_().GetSval() != "||" {
		return
	}
	before := n.Lexpr
	if x := before.GetAExpr(); x != nil {
		before = x.Rexpr
	}
	if opensCredential(before.GetAConst()) {
		w.credential(n.Rexpr)
	}
}

// formatted is for format('ALTER ROLE x PASSWORD %L', 'y').
func (w *walker) formatted(name string, n *pg.FuncCall) {
	if name != "format" && name != "concat" && name != "concat_ws" {
		return
	}
	opened := false
	for _, a := range n.Args {
		if opened {
			w.credential(a)
		}
		opened = opened || opensCredential(a.GetAConst())
	}
}
