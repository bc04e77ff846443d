package sql

import (
	"slices"
	"sort"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// Classify tells what text would do in a session with settings s, on a server of which c is a snapshot.
// Without a catalog (nil) names outside pg_catalog count as plain tables.
func Classify(text string, s Settings, c *Catalog) Result {
	r, _ := classify(text, s, c)
	return r
}

// classify is Classify; it also returns the session in which text was walked, nil when it was not, which
// knows what the result depends on.
func classify(text string, s Settings, c *Catalog) (Result, *session) {
	if why := refuse(text, s); !why.IsZero() {
		return notUnderstood(text, s, why), nil
	}
	tree, err := pg.Parse(text)
	if err != nil {
		// The parser's message quotes the text.
		return notUnderstood(text, s, sanitize.Const("the text has a syntax error, or its grammar is newer than PostgreSQL 17's")), nil
	}
	if len(tree.Stmts) > MaxStatements {
		return notUnderstood(text, s, sanitize.Format("the text has more than %s statements", sanitize.Int(MaxStatements))), nil
	}
	r := Result{Parsed: true, Reason: reason(text)}
	if r.Shape, err = pg.Fingerprint(text); err != nil {
		return notUnderstood(text, s, sanitize.Const("the text has no fingerprint")), nil
	}
	if len(tree.Stmts) == 0 {
		r.Empty, r.Effects = true, countersign.Session
		r.Why = []countersign.Evidence{{Effect: countersign.Session, Why: sanitize.Const("there is no statement")}}
		r.Facts.CatalogOnly = true
		return r, nil
	}
	session := newSession(s, c)
	r.Statements = make([]Statement, 0, len(tree.Stmts))
	for _, raw := range tree.Stmts {
		w := &walker{grammar: understood, session: session}
		st := w.statement(raw.Stmt)
		st.Start, st.End = extent(text, raw)
		r.Statements = append(r.Statements, st)
		for _, set := range st.Sets { // of use to the statements that follow
			session.changeSetting(set)
		}
	}
	r.refuseSecretNames(text)
	r.unite()
	r.Credentials = session.credentials.spans(text)
	r.CredentialParams = session.credentials.paramNumbers(0)
	r.sayHidden()
	return r, session
}

var detectors = sanitize.New(sanitize.Options{})

// refuseSecretNames makes every statement Unknown whose names hold what looks like a secret: it is
// replaced before anybody sees the text, and nobody can judge what he does not see.
func (r *Result) refuseSecretNames(text string) {
	for _, span := range detectors.InCode(text) {
		if span.Kind.Personal() {
			continue
		}
		i := sort.Search(len(r.Statements), func(i int) bool { return r.Statements[i].End > span.Start })
		for ; i < len(r.Statements) && r.Statements[i].Start < span.End; i++ {
			for st := &r.Statements[i]; st != nil; st = st.PrepareBody {
				w := walker{st: st}
				w.effect(countersign.Unknown, sanitize.Const("a name in it holds what looks like a secret; name it otherwise"))
				st.Facts.CatalogOnly = false
			}
		}
	}
}

// holdsSecretNames reports whether refuseSecretNames would find something in text.
func holdsSecretNames(text string) bool {
	return slices.ContainsFunc(detectors.InCode(text), func(span sanitize.Span) bool { return !span.Kind.Personal() })
}

// notUnderstood is the result for a text that is not parsed.
func notUnderstood(text string, s Settings, why sanitize.Clean) Result {
	r := Result{
		Effects: countersign.Unknown,
		Why:     []countersign.Evidence{{Effect: countersign.Unknown, Why: why}},
		Reason:  reason(text),
	}
	spans, told := unparsedCredentials(text, s)
	if !told {
		r.Why = append(r.Why, countersign.Evidence{
			Effect: countersign.Unknown,
			Why:    sanitize.Const("where its literals end cannot be told, so no value is hidden for its place alone"),
		})
	}
	r.Credentials = spans
	r.sayHidden()
	return r
}

// maxHidden is how many bytes of credentials reviewers need not be told of.
const maxHidden = 128

// sayHidden adds to the evidence how much of the text is hidden as credentials, when code could be.
func (r *Result) sayHidden() {
	n := 0
	for _, s := range r.Credentials {
		n += s.End - s.Start
	}
	if n > maxHidden {
		r.Why = append(slices.Clip(r.Why), countersign.Evidence{
			Effect: r.Effects, Why: sanitize.Format("%s bytes of the text are hidden as credentials", sanitize.Int(int64(n))),
		})
	}
}

// statement walks one statement and sums up what it does.
func (w *walker) statement(n *pg.Node) Statement {
	st := Statement{searchPath: w.session.pathText}
	params := len(w.session.credentials.params)
	w.st = &st
	w.root = rootOf(n)
	w.query()
	w.node(n)
	if st.Effects == 0 {
		w.effect(countersign.Unknown, sanitize.Const("the statement is not understood"))
	}
	w.addAssumptions()
	w.session.credentials.allParameters(n)
	st.CredentialParams = w.session.credentials.paramNumbers(params)
	st.Facts.Statements = 1
	st.Facts.CatalogOnly = !st.Effects.Privileged() && !w.userData
	if len(st.Sets) > 0 {
		st.Set = &st.Sets[0]
	}
	return st
}

// addAssumptions says what the classification took for granted, there being no catalog.
func (w *walker) addAssumptions() {
	why := plainAssumed
	switch {
	case w.assumed:
		why = namesAssumed
	case !w.plain:
		return
	}
	w.st.Why = append(w.st.Why, countersign.Evidence{Effect: w.st.Effects, Why: why})
}

var (
	plainAssumed = sanitize.Const("there is no catalog: names outside pg_catalog are taken for plain tables")
	namesAssumed = sanitize.Const("there is no catalog: functions, operators and types named without a schema are taken for pg_catalog's, and names outside pg_catalog for plain tables")
)

// unite sums up the statements of a text.
func (r *Result) unite() {
	if len(r.Statements) == 1 {
		st := &r.Statements[0]
		r.Effects, r.Objects, r.Facts, r.Why = st.Effects, st.Objects, st.Facts, st.Why
		return
	}
	all := &walker{st: &Statement{}}
	r.Facts = countersign.Facts{Statements: len(r.Statements), CatalogOnly: true}
	known, some := true, false
	for i := range r.Statements {
		st := &r.Statements[i]
		all.absorbStatement(st)
		r.Facts.Unbounded = r.Facts.Unbounded || st.Facts.Unbounded
		r.Facts.CatalogOnly = r.Facts.CatalogOnly && st.Facts.CatalogOnly
		r.Facts.Rows += st.Facts.Rows
		known = known && (st.Facts.RowsKnown || st.Effects == countersign.Session)
		some = some || st.Facts.RowsKnown
	}
	r.Facts.RowsKnown = known && some
	if !r.Facts.RowsKnown {
		r.Facts.Rows = 0
	}
	all.addAssumptions()
	r.Effects, r.Objects, r.Why = all.st.Effects, all.st.Objects, all.st.Why
}

// extent returns where a statement stands in text, without the space around it.
func extent(text string, raw *pg.RawStmt) (start, end int) {
	start, end = int(raw.StmtLocation), len(text)
	if raw.StmtLen > 0 {
		end = start + int(raw.StmtLen)
	}
	start += len(text[start:end]) - len(strings.TrimLeft(text[start:end], " \t\n\r\f\v;"))
	end = start + len(strings.TrimRight(text[start:end], " \t\n\r\f\v"))
	return start, end
}

// reason returns what the requester says in a comment before the first statement: /* reason: … */.
func reason(text string) string {
	for {
		text = strings.TrimLeft(text, " \t\n\r\f\v;")
		switch {
		case strings.HasPrefix(text, "--"):
			end := strings.IndexAny(text, "\r\n")
			if end < 0 {
				return ""
			}
			text = text[end:]
		case strings.HasPrefix(text, "/*"):
			end := commentEnd(text)
			if end < 0 {
				return ""
			}
			inside := strings.TrimSpace(text[2 : end-2])
			if value, ok := strings.CutPrefix(inside, "reason:"); ok {
				return strings.TrimSpace(value)
			}
			text = text[end:]
		default:
			return ""
		}
	}
}

// commentEnd returns where the comment that text begins with ends; comments nest. -1: it does not end.
func commentEnd(text string) int {
	depth := 0
	for i := 0; i+1 < len(text); i++ {
		switch text[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
