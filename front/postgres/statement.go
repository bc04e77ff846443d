package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

// statement is a text with what is known of it: of a query string, or prepared under a name.
type statement struct {
	text       countersign.Raw
	types      []uint32 // of parameters, as Parse declares them; 0 where the server finds out
	learned    []uint32 // the same, as the server told in a ParameterDescription
	result     *sql.Result
	shown      sanitize.Clean
	understood bool
	path       string // the search path under which it was classified
	bySQL      bool   // PREPARE made it; the text is that of the PREPARE
	among      bool   // and of other statements

	// permit is that of a text which is not understood, from Parse to the first Bind (P5).
	permit *gate.Permit
	signed *countersign.Action // what permit is for
	// frame is the Parse as it was forwarded; nil when SQL PREPARE made the statement.
	frame []byte
	kept  int // bytes taken for it
	// doubt: code that cannot be seen ran since, and may have put another statement under the name.
	doubt bool
}

// single returns the one statement of a text that has exactly one.
func (s *statement) single() *sql.Statement {
	if s.result != nil && len(s.result.Statements) == 1 {
		return &s.result.Statements[0]
	}
	return nil
}

func (s *statement) at(i int) *sql.Statement {
	if s.result == nil || i >= len(s.result.Statements) {
		return nil
	}
	return &s.result.Statements[i]
}

func (s *statement) any(is func(*sql.Statement) bool) bool {
	if s.result == nil {
		return false
	}
	for i := range s.result.Statements {
		if is(&s.result.Statements[i]) {
			return true
		}
	}
	return false
}

func (s *statement) commits() bool {
	return s.any(func(st *sql.Statement) bool { return st.Tx == sql.TxCommit || st.Tx == sql.TxPrepare })
}

// changes reports whether it changes what later text means: settings, names of statements, the block.
func (s *statement) changes() bool {
	return s.any(func(st *sql.Statement) bool {
		return st.Tx != sql.TxNone || st.Declares != "" || len(st.Sets) > 0 || st.Prepare != "" || st.Deallocate != "" || st.DiscardAll ||
			st.Closes != "" || st.ClosesAll
	})
}

// byName reports whether what it runs or reads stands under a name that another message may change.
func (s *statement) byName() bool {
	return s.any(func(st *sql.Statement) bool { return st.Execute != "" || st.Fetches != "" })
}

// takesCopy reports whether it reads COPY data from the client.
func (s *statement) takesCopy() bool {
	return s.any(func(st *sql.Statement) bool { return st.Copy == sql.CopyFromClient })
}

// endsFailed reports whether a server whose transaction has failed would still run it.
func (s *statement) endsFailed() bool {
	if s.result == nil {
		return false
	}
	if s.result.Empty {
		return true
	}
	st := s.at(0)
	if st == nil {
		return false
	}
	switch st.Tx {
	case sql.TxCommit, sql.TxRollback, sql.TxRollbackTo, sql.TxPrepare:
		return true
	default:
		return false
	}
}

// recentTexts remembers the last few query strings of a connection with what is known of them, since
// drivers send the same ones (BEGIN, COMMIT, SELECT 1) again and again.
type recentTexts struct {
	list [16]*statement
	next int
}

func (r *recentTexts) find(text []byte, known *sql.Result) *statement {
	for _, s := range r.list {
		if s != nil && s.result == known && bytes.Equal(s.text, text) {
			return s
		}
	}
	return nil
}

func (r *recentTexts) add(s *statement) {
	r.list[r.next] = s
	r.next = (r.next + 1) % len(r.list)
}

// understand classifies a text as the session would run it now. The statement returned keeps a copy of it.
func (c *conn) understand(ctx context.Context, text []byte) (*statement, error) {
	if err := c.freshPath(ctx); err != nil {
		return nil, err
	}
	r := c.front.classifier.Classify(text, sql.Settings{
		StandardConformingStrings: c.state.conforming() && c.state.pathKnown,
		UTF8:                      c.state.utf8(),
		SearchPath:                c.state.path,
		Prepared:                  c.prepared,
	})
	if s := c.recent.find(text, r); s != nil {
		return s, nil
	}
	s := &statement{
		text: slices.Clone(text), result: r,
		understood: understands(r),
		shown:      c.front.sanitizer.SQL(string(text), r.Credentials),
		path:       c.state.path,
	}
	if len(text) <= 4<<10 {
		c.recent.add(s)
	}
	return s, nil
}

// prepared tells the classifier what EXECUTE of a name would run.
func (c *conn) prepared(name string) *sql.Statement {
	s := c.statements[name]
	if s == nil || s.doubt {
		return nil
	}
	if !s.executes() { // EXECUTE of an EXECUTE is unknown whatever that one runs
		c.classifyWith(s, nil)
	}
	return s.single()
}

func (s *statement) executes() bool {
	return s.any(func(st *sql.Statement) bool { return st.Execute != "" })
}

// classifyAgain takes account of a search path that has changed since a statement was prepared: the server
// resolves its names anew.
func (c *conn) classifyAgain(s *statement) { c.classifyWith(s, c.prepared) }

func (c *conn) classifyWith(s *statement, prepared func(string) *sql.Statement) {
	if s.path == c.state.path && c.state.pathKnown && !s.executes() {
		return
	}
	if s.among {
		// What stood before it in its text decided what it means, too.
		s.result, s.path, s.understood = &sql.Result{Effects: countersign.Unknown}, c.state.path, false
		return
	}
	r := c.front.classifier.Classify(s.text, sql.Settings{
		StandardConformingStrings: c.state.conforming() && c.state.pathKnown,
		UTF8:                      c.state.utf8(), SearchPath: c.state.path, Prepared: prepared,
	})
	if s.bySQL {
		st := &sql.Statement{}
		if len(r.Statements) == 1 {
			st = &r.Statements[0]
		}
		r = preparedBySQL(s, st).result
	}
	s.result, s.path = r, c.state.path
	s.understood = understands(r)
}

// understands reports whether a text may reach the server's parser without being signed.
func understands(r *sql.Result) bool {
	return r.Empty || r.Parsed && r.Effects != 0 && !r.Effects.Any(countersign.Unknown)
}

// freshPath asks the server for the settings that decide how a text is read, when something may have
// changed them. The server's own reports come with ReadyForQuery, too late for the rest of a pipeline. In a
// failed transaction the server does not answer, and runs nothing either.
func (c *conn) freshPath(ctx context.Context) error {
	s := &c.state
	if !s.pathStale || c.status == 'E' {
		return nil
	}
	if err := c.settle(ctx); err != nil || c.discarding {
		return err
	}
	s.pathKnown = false
	list := []asking{{askPath, nil}, {askConforming, nil}, {askEncoding, nil}}
	if s.asked == nil {
		list = append(list, asking{askSettings, nil})
	}
	rows, err := c.answers(ctx, list)
	if err != nil {
		return err
	}
	s.context = nil
	if len(rows) != len(list) {
		return nil
	}
	if len(rows) > 3 && !s.learn(rows[3]) {
		return nil
	}
	for _, row := range rows[:3] {
		if len(row) != 1 || row[0] == nil {
			return nil
		}
	}
	s.path, s.pathKnown, s.pathStale = *rows[0][0], true, false
	s.reported["standard_conforming_strings"], s.reported["client_encoding"] = *rows[1][0], *rows[2][0]
	return nil
}

// asking is a question with its parameters.
type asking struct {
	question question
	params   []string
}

// answers asks the server questions of the gateway's own, when nothing else is owed, and returns the one row of
// each; fewer when it would not say.
func (c *conn) answers(ctx context.Context, list []asking) ([][]*string, error) {
	c.relay.own = c.relay.own[:0]
	wasUnsynced := c.unsynced
	for _, q := range list {
		if err := c.ask(q.question, q.params...); err != nil {
			return nil, err
		}
	}
	if wasUnsynced {
		if err := c.forwardFlush(); err != nil {
			return nil, err
		}
	} else if err := c.ownSync(); err != nil {
		return nil, err
	}
	if err := c.drain(ctx); err != nil {
		return nil, err
	}
	rows := make([][]*string, 0, len(list))
	for _, body := range c.relay.own {
		row, err := decodeRow(body)
		if err != nil {
			return nil, upstreamError(errUpstreamWords)
		}
		rows = append(rows, row)
	}
	c.relay.own = c.relay.own[:0]
	return rows, nil
}

// maxHidden is how many bytes more than it is shown a text may have before reviewers are told.
const maxHidden = 128

// action makes the Action of a statement with its parameters.
func (c *conn) action(s *statement, params []countersign.Param) *countersign.Action {
	r := s.result
	a := &countersign.Action{
		Resource: c.sess.Resource().Name, Front: Name,
		Text: s.text, Params: params, Context: c.bound(s),
		Shown: s.shown, Effects: r.Effects, Objects: r.Objects, Facts: r.Facts, Why: r.Why, Shape: r.Shape,
	}
	if r.Empty {
		a.Effects = countersign.Session
	}
	if a.Effects == 0 {
		a.Effects = countersign.Unknown
	}
	a.Facts.InTransaction = c.block.open
	if hidden := len(s.text) - len(s.shown.String()); hidden > maxHidden {
		// What looks like a value could be code: whoever signs must know that there is more than he sees.
		a.Why = append(slices.Clone(a.Why), countersign.Evidence{
			Effect: a.Effects, Why: sanitize.Format("the text is %s bytes longer than what is shown of it", sanitize.Int(int64(hidden))),
		})
	}
	c.define(a, s)
	if len(params) > 0 {
		a.Shown = c.withParams(a.Shown, s, params)
	}
	a.Justification = c.justification(r, s.text)
	return a
}

func (c *conn) justification(r *sql.Result, text []byte) countersign.Justification {
	var j countersign.Justification
	clean := func(v string) sanitize.Clean {
		if v == "" {
			return sanitize.Clean{}
		}
		return c.front.sanitizer.Text(v)
	}
	reason := r.Reason
	if reason == "" && len(c.own) > 0 {
		reason = c.own[ownReason]
	}
	j.Reason = clean(reason)
	if len(c.own) > 0 {
		j.Ticket, j.Run = clean(c.own[ownTicket]), clean(c.own[ownRun])
	}
	if trace := traceOf(text); j.Run.IsZero() && trace != "" {
		j.Run = sanitize.Name(trace)
	}
	return j
}

// traceOf returns the trace that a sqlcommenter comment names: traceparent='00-TRACE-SPAN-01'.
func traceOf(text []byte) string {
	const key = "traceparent='"
	i := bytes.LastIndex(text, []byte(key))
	if i < 0 || bytes.LastIndex(text[:i], []byte("/*")) < 0 {
		return ""
	}
	v := text[i+len(key):]
	if len(v) < 36 || v[2] != '-' || v[35] != '-' {
		return ""
	}
	for _, ch := range v[3:35] {
		if !strings.ContainsRune("0123456789abcdef", rune(ch)) {
			return ""
		}
	}
	return string(v[3:35])
}

// shownParams is how many parameters people see.
const shownParams = 50

// paramNames are what stands before the parameters that are shown.
var paramNames = func() (names [shownParams]sanitize.Clean) {
	for i := range names {
		names[i] = sanitize.Format(" $%s = ", sanitize.Int(int64(i+1)))
	}
	return names
}()

// withParams adds the parameters of s to what people see of it.
func (c *conn) withParams(shown sanitize.Clean, s *statement, params []countersign.Param) sanitize.Clean {
	parts := make([]sanitize.Clean, 0, 16) // for seven parameters; more are rare
	parts = append(parts, shown, sanitize.Const("\n-- parameters:"))
	for i := range params {
		if i == shownParams {
			parts = append(parts, sanitize.Format(" and %s more", sanitize.Int(int64(len(params)-i))))
			break
		}
		parts = append(parts, paramNames[i], c.shownParam(s, params, i))
	}
	return sanitize.Join("", parts...)
}

func (c *conn) shownParam(s *statement, params []countersign.Param, i int) sanitize.Clean {
	p := &params[i]
	switch text, ok := readable(p); {
	case p.Null:
		return sanitize.Const("NULL")
	case slices.Contains(s.result.CredentialParams, i+1):
		return c.front.sanitizer.Value("password", "x"+text)
	case ok:
		return c.front.sanitizer.Value("", text)
	default:
		return sanitize.Format("[%s bytes of type %s]", sanitize.Int(int64(len(p.Value))), sanitize.Int(int64(p.Type)))
	}
}

// readable returns a parameter as text, where its bytes are one.
func readable(p *countersign.Param) (string, bool) {
	const maxShown = 4096
	v := p.Value
	if p.Format == 0 {
		if len(v) > maxShown || !utf8.Valid(v) {
			return "", false
		}
		return string(v), true
	}
	switch {
	case p.Type == oidBool && len(v) == 1:
		return strconv.FormatBool(v[0] != 0), true
	case p.Type == oidInt2 && len(v) == 2:
		return strconv.Itoa(int(int16(binary.BigEndian.Uint16(v)))), true
	case (p.Type == oidInt4) && len(v) == 4:
		return strconv.Itoa(int(int32(binary.BigEndian.Uint32(v)))), true
	case p.Type == oidInt8 && len(v) == 8:
		return strconv.FormatInt(int64(binary.BigEndian.Uint64(v)), 10), true
	case slices.Contains([]uint32{oidText, oidVarchar, oidBpchar, oidName, oidJSON, oidXML}, p.Type) && len(v) <= maxShown && utf8.Valid(v):
		return string(v), true
	case p.Type == oidJSONB && len(v) > 1 && len(v) <= maxShown && utf8.Valid(v[1:]):
		return string(v[1:]), true
	}
	return "", false
}

// The types whose binary form is shown to people.
const (
	oidBool    = 16
	oidName    = 19
	oidInt8    = 20
	oidInt2    = 21
	oidInt4    = 23
	oidText    = 25
	oidJSON    = 114
	oidXML     = 142
	oidBpchar  = 1042
	oidVarchar = 1043
	oidJSONB   = 3802
)

// remember keeps what a completed statement prepared, and forgets what it dropped.
func (c *conn) remember(e *expected, st *sql.Statement) {
	switch {
	case st.Prepare != "":
		s := preparedBySQL(e.stmt, st)
		s.path = c.state.path
		s.kept = len(s.text)
		c.kept += s.kept
		c.front.memory.owe(s.kept)
		c.forget(c.statements[st.Prepare])
		c.statements[st.Prepare] = s
	case st.DiscardAll:
		for name, s := range c.statements {
			if name != "" {
				c.forget(s)
				delete(c.statements, name)
			}
		}
		if st.Tag == "DISCARD ALL" {
			c.forget(c.statements[""])
			clear(c.statements)
			clear(c.cursors)
			c.state.sets, c.state.context, c.state.pathStale = nil, nil, true // what set_config touched is asked for
		}
	case st.Deallocate != "":
		c.forget(c.statements[st.Deallocate])
		delete(c.statements, st.Deallocate)
	}
	if st.Declares != "" && e.permit != nil {
		c.opened(e, st)
	}
	if st.Closes != "" || st.ClosesAll {
		c.closed(e, st)
	}
}

// preparedBySQL is the statement that PREPARE leaves under its name.
func preparedBySQL(from *statement, st *sql.Statement) *statement {
	s := &statement{text: from.text, shown: from.shown, bySQL: true, result: &sql.Result{Effects: countersign.Unknown}}
	s.among = from.single() == nil
	if body := st.PrepareBody; body != nil {
		s.result = &sql.Result{
			Statements: []sql.Statement{*body}, Effects: body.Effects, Objects: body.Objects, Facts: body.Facts,
			Why: body.Why, Shape: from.result.Shape, Parsed: true,
		}
		s.understood = understands(s.result)
	}
	return s
}

// doubt notes that code which cannot be seen runs for s: it may prepare, drop, open and set anything. The
// cursor that s reads stays, since what runs cannot be closed.
func (c *conn) doubt(s *statement) {
	read := ""
	if st := s.single(); st != nil {
		read = st.Fetches
	}
	for name := range c.cursors {
		if name != read {
			delete(c.cursors, name)
		}
	}
	for name, s := range c.statements {
		if name != "" {
			s.doubt = true
		}
	}
	c.block.doubted = c.block.open
	c.state.pathStale = true
	c.state.context = nil
}

// finishUnused settles the permit of a text held at Parse that no Bind used.
func (s *statement) finishUnused() {
	if s.permit != nil {
		s.permit.Finish(gate.Outcome{State: approval.Done, Rows: -1})
		s.permit, s.signed = nil, nil
	}
}

// signedFor reports whether the permit of the Parse is one for a: nothing that a signature is bound to, and
// nothing that policy looks at, is another now (P3).
func (s *statement) signedFor(a *countersign.Action) bool {
	var anyone countersign.Principal // the same one for both
	return bytes.Equal(s.signed.Canonical(anyone), a.Canonical(anyone)) && s.signed.Effects == a.Effects &&
		s.signed.Facts.InTransaction == a.Facts.InTransaction
}
