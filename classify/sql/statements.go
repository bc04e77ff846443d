package sql

import (
	"slices"
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

func (w *walker) selectStmt(n *pg.SelectStmt) {
	w.query()
	if n != w.ctx.values {
		w.effect(countersign.Read, sanitize.Const("returns rows"))
	}
	w.ctx.values = nil
	w.with(n.WithClause)
	w.ctx.plainCatalog = w.plainSettings(n)
	w.ctx.query = n
	if n == w.root {
		w.st.Tag, w.st.ReturnsRows = "SELECT", true
	}
	w.children()
	if n == w.root && w.selectsTo {
		w.st.Tag, w.st.ReturnsRows = "SELECT INTO", false
	}
}

// target records that a data-changing statement does e to relation n. A WITH query of that name is
// no target.
func (w *walker) target(n *pg.RangeVar, e countersign.Effects) {
	if n == nil {
		w.effect(countersign.Unknown, sanitize.Const("the statement names no table"))
		return
	}
	w.useRelation("table", n, e)
}

// returning is for the RETURNING list of a data-changing statement.
func (w *walker) returning(list []*pg.Node, tag string, root bool) {
	if len(list) > 0 {
		w.effect(countersign.Read, sanitize.Const("RETURNING gives rows back"))
		w.userData = true
	}
	if root {
		w.st.Tag, w.st.ReturnsRows = tag, len(list) > 0
	}
}

func (w *walker) insertStmt(n *pg.InsertStmt) {
	w.query()
	w.target(n.Relation, countersign.Write)
	w.returning(n.ReturningList, "INSERT", n == w.root)
	w.with(n.WithClause)
	source := n.SelectStmt.GetSelectStmt()
	if source != nil && len(source.ValuesLists) > 0 {
		w.ctx.values = source
	}
	w.insertCredentials(n, source)
	if n == w.root {
		if rows, ok := insertedRows(n, source); ok {
			w.st.Facts.Rows, w.st.Facts.RowsKnown = rows, true
		}
	}
}

// insertedRows returns how many rows an INSERT adds, when its text alone says so.
func insertedRows(n *pg.InsertStmt, source *pg.SelectStmt) (int64, bool) {
	switch {
	case n.OnConflictClause != nil || n.WithClause != nil:
		return 0, false
	case n.SelectStmt == nil: // DEFAULT VALUES
		return 1, true
	case source == nil || len(source.ValuesLists) == 0 || source.LimitCount != nil || source.LimitOffset != nil || source.WithClause != nil:
		return 0, false
	case len(source.ValuesLists) == 1 && find(source.ValuesLists[0], mayReturnSet):
		return 0, false // of a single row the server makes a SELECT, in which functions may return many
	}
	return int64(len(source.ValuesLists)), true
}

// mayReturnSet reports whether m calls a function that is not known to return one value.
func mayReturnSet(m any) bool {
	switch m := m.(type) {
	case *pg.FuncCall:
		names, ok := parts(m.Funcname)
		schema, name := qualified(names)
		f, vetted := vettedFunctions[name]
		return !ok || schema != "" && schema != catalogSchema || !vetted || f.set
	case *pg.A_Indirection:
		return true
	case *pg.ColumnRef:
		return true
	}
	return false
}

func (w *walker) updateStmt(n *pg.UpdateStmt) {
	w.query()
	w.ctx.query = n
	w.target(n.Relation, countersign.Write)
	w.returning(n.ReturningList, "UPDATE", n == w.root)
	w.updateCredentials(n)
	if w.alwaysTrue(n.WhereClause, n.Relation) {
		w.unbounded(sanitize.Const("UPDATE without a WHERE that limits it"), countersign.Write)
	}
	w.with(n.WithClause)
}

func (w *walker) deleteStmt(n *pg.DeleteStmt) {
	w.query()
	w.ctx.query = n
	w.target(n.Relation, countersign.Delete)
	w.returning(n.ReturningList, "DELETE", n == w.root)
	if w.alwaysTrue(n.WhereClause, n.Relation) {
		w.unbounded(sanitize.Const("DELETE without a WHERE that limits it"), countersign.Delete)
	}
	w.with(n.WithClause)
}

func (w *walker) mergeStmt(n *pg.MergeStmt) {
	w.query()
	w.ctx.query = n
	w.target(n.Relation, countersign.Write)
	w.returning(n.ReturningList, "MERGE", n == w.root)
	w.mergeCredentials(n)
	w.with(n.WithClause)
	always := w.alwaysTrue(n.JoinCondition, n.Relation)
	for _, c := range n.MergeWhenClauses {
		when := c.GetMergeWhenClause()
		if when == nil {
			continue // the walk below refuses it
		}
		if when.CommandType == pg.CmdType_CMD_DELETE {
			w.target(n.Relation, countersign.Delete)
		}
		changed := when.CommandType == pg.CmdType_CMD_DELETE || when.CommandType == pg.CmdType_CMD_UPDATE
		switch {
		case !changed || when.Condition != nil:
		case when.MatchKind == pg.MergeMatchKind_MERGE_WHEN_NOT_MATCHED_BY_SOURCE,
			when.MatchKind == pg.MergeMatchKind_MERGE_WHEN_MATCHED && always:
			w.unbounded(sanitize.Const("MERGE without a condition that limits it"), countersign.Write)
		}
	}
}

func (w *walker) mergeWhen(n *pg.MergeWhenClause) {
	switch n.CommandType {
	case pg.CmdType_CMD_INSERT, pg.CmdType_CMD_UPDATE, pg.CmdType_CMD_DELETE, pg.CmdType_CMD_NOTHING:
	default:
		w.effect(countersign.Unknown, sanitize.Const("an action of MERGE is not understood"))
	}
}

func (w *walker) unbounded(why sanitize.Clean, e countersign.Effects) {
	w.st.Facts.Unbounded = true
	w.effect(e, why)
}

// alwaysTrue reports whether condition cannot be seen to limit the rows of target: there is none, it
// names no column of the target, or it is true of every row by its form (id = id, true OR …).
func (w *walker) alwaysTrue(condition *pg.Node, target *pg.RangeVar) bool {
	if condition == nil || condition.Node == nil {
		return true
	}
	if b := condition.GetBoolExpr(); b != nil && b.Boolop != pg.BoolExprType_NOT_EXPR {
		some, all := false, true
		for _, a := range b.Args {
			t := w.alwaysTrue(a, target)
			some, all = some || t, all && t
		}
		return all || some && b.Boolop == pg.BoolExprType_OR_EXPR
	}
	if value, ok := truth(condition); ok && !value {
		return false
	}
	if x := condition.GetAExpr(); x != nil && sameColumn(x.Lexpr, x.Rexpr) {
		return true
	}
	tooMuch := false
	return !find(condition, func(m any) bool {
		tooMuch = !w.session.look()
		return tooMuch || limits(m, target)
	}) || tooMuch
}

// limits reports whether m refers to the target: by a column that is not another relation's, or by
// WHERE CURRENT OF.
func limits(m any, target *pg.RangeVar) bool {
	switch m := m.(type) {
	case *pg.ColumnRef:
		if len(m.Fields) < 2 || target == nil {
			return true
		}
		name := target.Relname
		if target.Alias != nil {
			name = target.Alias.Aliasname
		}
		return m.Fields[len(m.Fields)-2].GetString_().GetSval() == name
	case *pg.CurrentOfExpr:
		return true
	}
	return false
}

// sameColumn reports whether a and b are the same column, which compares equal unless it is null.
func sameColumn(a, b *pg.Node) bool {
	x, ok1 := parts(a.GetColumnRef().GetFields())
	y, ok2 := parts(b.GetColumnRef().GetFields())
	return ok1 && ok2 && display(x...) == display(y...)
}

func (w *walker) truncateStmt(n *pg.TruncateStmt) {
	w.ctx.use = countersign.Delete
	w.unbounded(sanitize.Const("TRUNCATE removes every row"), countersign.Delete)
	if n.Behavior == pg.DropBehavior_DROP_CASCADE {
		w.effect(countersign.Delete, sanitize.Const("CASCADE empties the tables that refer to these as well"))
	}
	w.tag("TRUNCATE TABLE", n)
}

func (w *walker) tag(tag string, n any) {
	if n == w.root {
		w.st.Tag = tag
	}
}

// alone reports whether n is the statement itself, which is when it does to the session what it says: what
// EXPLAIN explains and what a function's body holds does nothing yet. Only where alone is true may a visit
// set a field of Statement that the session is followed by. Elsewhere the statement is Unknown.
func (w *walker) alone(name string, n any) bool {
	if n == w.root {
		w.st.Tag = name
		return true
	}
	w.effect(countersign.Unknown, sanitize.Format("%s is not understood in this place", sanitize.Name(name)))
	return false
}

func (w *walker) explainStmt(n *pg.ExplainStmt) {
	if w.alone("EXPLAIN", n) {
		w.st.ReturnsRows = true
		w.explained = rootOf(n.Query)
	}
	w.effect(countersign.Read, sanitize.Const("EXPLAIN counts as what it explains"))
}

func (w *walker) prepareStmt(n *pg.PrepareStmt) {
	if !w.alone("PREPARE", n) {
		return
	}
	w.statementName(n.Name)
	inner := &walker{grammar: w.grammar, session: w.session}
	body := inner.statement(n.Query)
	body.Start, body.End = w.st.Start, w.st.End
	w.st.Prepare, w.st.PrepareBody = n.Name, &body
	w.absorb(inner)
	w.effect(countersign.Session, sanitize.Const("PREPARE counts as what it prepares"))
	w.session.prepare(n.Name, &body)
}

// The server keeps 63 bytes of a name, in its own encoding and by whole characters; the parser does so in
// UTF-8, in which a character has at most utf8.UTFMax bytes.
const shortestCut = 63 - (utf8.UTFMax - 1)

// statementName is for the name of a prepared statement: by one that was cut elsewhere by a server with
// another encoding EXECUTE would run another statement.
func (w *walker) statementName(name string) {
	if len(name) >= shortestCut && strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
		w.effect(countersign.Unknown, sanitize.Const("the name of the prepared statement may be longer than what the server keeps"))
	}
}

// absorb adds what another walker found to w.
func (w *walker) absorb(inner *walker) {
	w.absorbStatement(inner.st)
	w.userData = w.userData || inner.userData
}

func (w *walker) absorbStatement(st *Statement) {
	for _, ev := range st.Why {
		switch ev.Why {
		case plainAssumed:
			w.plain = true
		case namesAssumed:
			w.assumed = true
		default:
			w.effect(ev.Effect, ev.Why)
		}
	}
	w.st.Effects |= st.Effects
	for _, o := range st.Objects {
		w.cleanObject(o.Kind, o.Name, o.Effects)
	}
	w.st.Facts.Unbounded = w.st.Facts.Unbounded || st.Facts.Unbounded
}

func (w *walker) executeStmt(n *pg.ExecuteStmt) {
	w.tag("EXECUTE", n)
	w.query()
	if w.st.Execute != "" {
		w.effect(countersign.Unknown, sanitize.Const("more than one EXECUTE is not understood in one statement"))
	}
	w.st.Execute = n.Name
	w.statementName(n.Name)
	body := w.session.execute(n.Name)
	w.executeCredentials(n, body)
	switch {
	case body == nil && w.session.executesTooMuch():
		w.effect(countersign.Unknown, sanitize.Format("the text has more than %s EXECUTEs, or of more than %s statements of the session",
			sanitize.Int(MaxExecutes), sanitize.Int(MaxPrepared)))
		return
	case body == nil:
		w.effect(countersign.Unknown, sanitize.Format("EXECUTE of %s, which is not known in this session", sanitize.Name(display(n.Name))))
		return
	case body.searchPath != w.session.pathText || w.session.path.uncertain:
		w.effect(countersign.Unknown, sanitize.Format("EXECUTE of %s, which was prepared under another search_path", sanitize.Name(display(n.Name))))
		return
	}
	if body.controls() {
		// Only the protocol can prepare these, and what follows them would be misjudged.
		w.effect(countersign.Unknown, sanitize.Const("EXECUTE of a statement that controls the transaction, cursors or other statements"))
	}
	w.absorbStatement(body)
	w.userData = w.userData || !body.Facts.CatalogOnly
	w.selectsTo = false
	if n == w.root {
		w.st.ReturnsRows, w.st.Copy = body.ReturnsRows, body.Copy
		w.st.Facts.Rows, w.st.Facts.RowsKnown = body.Facts.Rows, body.Facts.RowsKnown
	}
	for _, set := range body.Sets {
		if n != w.root { // EXPLAIN runs it or not, CREATE TABLE AS with or without data
			set.Known, set.Values = false, nil
		}
		w.st.Sets = append(w.st.Sets, set)
	}
}

// controls reports whether st does something by a name to the transaction, to prepared statements or to
// cursors, which the fields of st tell and those of an EXECUTE would not.
func (st *Statement) controls() bool {
	return st.Tx != TxNone || st.Prepare != "" || st.Execute != "" || st.Deallocate != "" || st.DiscardAll ||
		st.Declares != "" || st.Fetches != "" || st.Closes != "" || st.ClosesAll
}

// executeCredentials marks the arguments that body takes as credentials; all when body is not known.
func (w *walker) executeCredentials(n *pg.ExecuteStmt, body *Statement) {
	for i, p := range n.Params {
		if body == nil || slices.Contains(body.CredentialParams, i+1) {
			w.credential(p)
		}
	}
}

func (w *walker) deallocateStmt(n *pg.DeallocateStmt) {
	if !w.alone("DEALLOCATE", n) {
		return
	}
	w.effect(countersign.Session, sanitize.Const("forgets a prepared statement"))
	w.statementName(n.Name)
	w.st.Deallocate, w.st.DiscardAll = n.Name, n.Isall
	w.session.forget(n.Name, n.Isall)
}

func (s *session) prepare(name string, body *Statement) {
	if s.inText == nil {
		s.inText = map[string]*Statement{}
	}
	s.inText[name] = body
}

func (s *session) forget(name string, all bool) {
	if all {
		s.inText, s.forgotten = nil, true
		return
	}
	s.prepare(name, nil)
}

func (s *session) executesTooMuch() bool {
	return s.executes > MaxExecutes || len(s.asked) >= MaxPrepared
}

// execute returns what EXECUTE of name runs, or nil, also past MaxExecutes and MaxPrepared.
func (s *session) execute(name string) *Statement {
	if s.executes++; s.executes > MaxExecutes {
		return nil
	}
	if body, ok := s.inText[name]; ok {
		return body
	}
	s.usesPrepared = true
	if s.forgotten || s.prepared == nil {
		return nil
	}
	body, asked := s.asked[name]
	if !asked && len(s.asked) < MaxPrepared {
		if s.asked == nil {
			s.asked = map[string]*Statement{}
		}
		body = s.prepared(name)
		s.asked[name] = body
	}
	return body
}
