package sql

import (
	"strings"
	"unicode"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

func (w *walker) copyStmt(n *pg.CopyStmt) {
	w.query()
	alone := w.alone("COPY", n)
	if n.IsFrom {
		if n.Relation != nil {
			w.useRelation("table", n.Relation, countersign.Write)
		}
		w.effect(countersign.Write, sanitize.Const("COPY FROM adds rows"))
	} else {
		if n.Relation != nil {
			w.useRelation("table", n.Relation, countersign.Read|countersign.Export)
		}
		w.effect(countersign.Read|countersign.Export, sanitize.Const("COPY TO moves data out in bulk"))
		w.userData = true
	}
	moved := countersign.Export
	if n.IsFrom {
		moved = countersign.Write
	}
	switch {
	case n.IsProgram:
		w.effect(countersign.Execute|moved, sanitize.Const("COPY runs a program on the server's host"))
		w.object("program", program(n.Filename), countersign.Execute|moved)
	case n.Filename != "":
		w.effect(countersign.Execute|moved, sanitize.Const("COPY uses a file on the server's host"))
		w.object("file", n.Filename, countersign.Execute|moved)
	case !alone:
	case n.IsFrom:
		w.st.Copy = CopyFromClient
	default:
		w.st.Copy = CopyToClient
	}
}

// program returns the name of the program that a command line runs, without what is assigned before it
// and its arguments, which may be secrets.
func program(command string) string {
	for _, word := range strings.Fields(command) {
		if strings.Contains(word, "=") {
			continue
		}
		end := strings.IndexFunc(word, func(r rune) bool {
			return r != '/' && r != '.' && r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		})
		if end > 0 {
			word = word[:end]
		}
		if end != 0 && !strings.HasPrefix(word, "-") {
			return word
		}
		break
	}
	return "a shell command"
}

func (w *walker) transactionStmt(n *pg.TransactionStmt) {
	if !w.alone("a statement that controls the transaction", n) {
		return
	}
	w.st.Savepoint, w.st.Chain = n.SavepointName, n.Chain
	e := countersign.Session
	switch n.Kind {
	case pg.TransactionStmtKind_TRANS_STMT_BEGIN, pg.TransactionStmtKind_TRANS_STMT_START:
		w.st.Tx, w.st.Tag = TxBegin, "BEGIN"
	case pg.TransactionStmtKind_TRANS_STMT_COMMIT:
		w.st.Tx, w.st.Tag = TxCommit, "COMMIT"
	case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK:
		w.st.Tx, w.st.Tag = TxRollback, "ROLLBACK"
	case pg.TransactionStmtKind_TRANS_STMT_SAVEPOINT:
		w.st.Tx, w.st.Tag = TxSavepoint, "SAVEPOINT"
	case pg.TransactionStmtKind_TRANS_STMT_RELEASE:
		w.st.Tx, w.st.Tag = TxRelease, "RELEASE"
	case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO:
		w.st.Tx, w.st.Tag = TxRollbackTo, "ROLLBACK"
	case pg.TransactionStmtKind_TRANS_STMT_PREPARE:
		w.st.Tx, w.st.Tag, e = TxPrepare, "PREPARE TRANSACTION", countersign.Unknown
	case pg.TransactionStmtKind_TRANS_STMT_COMMIT_PREPARED:
		w.st.Tx, w.st.Tag, e = TxCommitPrepared, "COMMIT PREPARED", countersign.Unknown
	case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_PREPARED:
		w.st.Tx, w.st.Tag, e = TxRollbackPrepared, "ROLLBACK PREPARED", countersign.Unknown
	default:
		e = countersign.Unknown
	}
	if e == countersign.Unknown {
		w.effect(countersign.Unknown, sanitize.Const("two-phase commit decides what other sessions did"))
		return
	}
	w.effect(e, sanitize.Const("controls the transaction"))
	if w.st.Tx == TxCommit || w.st.Tx == TxRollback || w.st.Tx == TxRollbackTo {
		w.session.endTransaction()
	}
}

const accessShareLock = 1 // LOCK … IN ACCESS SHARE MODE: what every SELECT takes

func (w *walker) lockStmt(n *pg.LockStmt) {
	w.tag("LOCK TABLE", n)
	e := countersign.Write
	if n.Mode == accessShareLock {
		e = countersign.Session
	}
	w.effect(e, sanitize.Const("locks tables"))
	for _, r := range n.Relations {
		if v := r.GetRangeVar(); v != nil {
			w.object("table", display(v.Schemaname, v.Relname), e)
		} else {
			w.unknown(nil)
		}
	}
}

func (w *walker) declareStmt(n *pg.DeclareCursorStmt) {
	w.effect(countersign.Session, sanitize.Const("DECLARE counts as the cursor's query"))
	if n != w.explained && w.alone("DECLARE CURSOR", n) {
		w.st.Declares, w.st.Hold = n.Portalname, n.Options&cursorHold != 0
	}
}

// cursorHold is the parser's CURSOR_OPT_HOLD.
const cursorHold = 0x0020

func (w *walker) closeStmt(n *pg.ClosePortalStmt) {
	if !w.alone("CLOSE CURSOR", n) {
		return
	}
	w.st.Closes, w.st.ClosesAll = n.Portalname, n.Portalname == ""
	w.effect(countersign.Session, sanitize.Const("closes a cursor"))
}

func (w *walker) fetchStmt(n *pg.FetchStmt) {
	w.userData = true
	if !w.alone("FETCH", n) {
		return
	}
	w.st.Fetches = n.Portalname
	if n.Ismove {
		w.st.Tag = "MOVE"
		w.effect(countersign.Read, sanitize.Const("MOVE runs a cursor's query on"))
		return
	}
	w.st.ReturnsRows = true
	w.effect(countersign.Read, sanitize.Const("FETCH reads from a cursor; what its query does counted when it was declared"))
}

func (w *walker) createTableAsStmt(n *pg.CreateTableAsStmt) {
	w.aliasCredentials(n.GetInto().GetColNames(), n.Query)
	switch n.Objtype {
	case pg.ObjectType_OBJECT_TABLE:
		w.tag("CREATE TABLE AS", n)
	case pg.ObjectType_OBJECT_MATVIEW:
		w.tag("CREATE MATERIALIZED VIEW", n)
		w.ctx.kind = "materialized view"
	default:
		w.unknown(nil)
	}
}

func (w *walker) doStmt(n *pg.DoStmt) {
	w.tag("DO", n)
	w.effect(countersign.Execute, sanitize.Const("DO runs code that is not looked into"))
	w.bodyCredentials(n.Args)
}

func (w *walker) callStmt(n *pg.CallStmt) {
	w.query()
	w.st.ReturnsRows = w.alone("CALL", n)
	w.userData = true
	w.effect(countersign.Execute, sanitize.Const("CALL runs a procedure"))
}

func (w *walker) vacuumStmt(n *pg.VacuumStmt) {
	tag := "ANALYZE"
	if n.IsVacuumcmd {
		tag = "VACUUM"
	}
	w.defines(tag, n, adminEffect, sanitize.Const("maintenance: rewrites storage or statistics"))
	w.ctx.use = adminEffect
}
