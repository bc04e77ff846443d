package sql

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// settingEffect says what a change of a setting does: Session when it is on the list of harmless ones,
// else Privilege. RESET brings back what every new connection starts with, so it is Session, but for
// the role.
func (s *session) settingEffect(set Setting) (countersign.Effects, sanitize.Clean) {
	shown := sanitize.Name(display(set.Name))
	switch {
	case set.All:
		return countersign.Session, sanitize.Const("resets the session's settings")
	case set.Name == "":
		return countersign.Privilege, sanitize.Const("changes a setting whose name is computed")
	case set.Name == "role" || set.Name == "session_authorization":
		return countersign.Privilege, sanitize.Const("changes the role that the session acts as")
	case set.Reset:
		return countersign.Session, sanitize.Format("resets setting %s", shown)
	case strings.HasPrefix(set.Name, "countersign."):
		return countersign.Session, sanitize.Format("sets %s, which the gateway keeps for itself", shown)
	case set.Name == "search_path":
		return s.pathEffect(set)
	}
	values, listed := harmless[set.Name]
	switch {
	case !listed:
		return countersign.Privilege, sanitize.Format("setting %s is not on the list of harmless ones", shown)
	case values == nil:
		return countersign.Session, sanitize.Format("sets %s for this session", shown)
	case !set.Known:
		return countersign.Privilege, sanitize.Format("the new value of setting %s is not in the text", shown)
	}
	if len(set.Values) == 1 && slices.Contains(values, strings.ToLower(set.Values[0])) {
		return countersign.Session, sanitize.Format("sets %s for this session", shown)
	}
	return countersign.Privilege, sanitize.Format("this value of setting %s is not on the list of harmless ones", shown)
}

// pathEffect is for a new search_path: harmless when it is empty or pg_catalog only, or when a catalog
// resolves what it will make names mean.
func (s *session) pathEffect(set Setting) (countersign.Effects, sanitize.Clean) {
	switch {
	case set.Known && completePath(set.Values).only:
		return countersign.Session, sanitize.Const("search_path becomes pg_catalog only")
	case set.Known && s.catalog != nil:
		return countersign.Session, sanitize.Const("sets search_path, which the catalog snapshot resolves")
	case set.Known:
		return countersign.Privilege, sanitize.Const("a new search_path may make names mean other things, and there is no catalog to see")
	}
	return countersign.Privilege, sanitize.Const("the new search_path is not in the text")
}

func (w *walker) setStmt(n *pg.VariableSetStmt) {
	if n != w.root {
		// Stored: ALTER ROLE … SET, ALTER SYSTEM, CREATE FUNCTION … SET.
		w.effect(countersign.Privilege, sanitize.Const("stores a setting for later sessions or calls"))
		w.settingCredential(n)
		return
	}
	w.st.Tag = "SET"
	if n.Kind == pg.VariableSetKind_VAR_RESET || n.Kind == pg.VariableSetKind_VAR_RESET_ALL {
		w.st.Tag = "RESET"
	}
	if n.Kind == pg.VariableSetKind_VAR_SET_MULTI {
		switch n.Name {
		case "TRANSACTION", "SESSION CHARACTERISTICS", "TRANSACTION SNAPSHOT":
			w.effect(countersign.Session, sanitize.Const("sets the transaction's mode"))
		default:
			w.effect(countersign.Unknown, sanitize.Const("a form of SET is not understood"))
		}
		return
	}
	set := Setting{Name: strings.ToLower(n.Name), Local: n.IsLocal}
	switch n.Kind {
	case pg.VariableSetKind_VAR_SET_VALUE:
		set.Values, set.Known = w.settingValues(n)
	case pg.VariableSetKind_VAR_SET_DEFAULT, pg.VariableSetKind_VAR_RESET:
		set.Reset, set.Known = true, true
	case pg.VariableSetKind_VAR_RESET_ALL:
		set.Reset, set.Known, set.All = true, true, true
	default: // FROM CURRENT, and whatever comes
	}
	w.set(set)
	w.settingCredential(n)
}

// set records a changed setting.
func (w *walker) set(set Setting) {
	e, why := w.session.settingEffect(set)
	w.effect(e, why)
	if set.Name != "" {
		w.object("setting", display(set.Name), e)
	}
	w.st.Sets = append(w.st.Sets, set)
}

// settingValues returns the values that SET gives.
func (w *walker) settingValues(n *pg.VariableSetStmt) (values []string, known bool) {
	for _, a := range n.Args {
		v, ok := w.session.value(a.GetAConst())
		if !ok {
			return nil, false
		}
		values = append(values, v)
	}
	if strings.EqualFold(n.Name, "search_path") && len(values) == 1 && strings.TrimSpace(values[0]) == "" {
		values = []string{} // SET search_path = ''
	}
	return values, true
}

// settingFunction is for set_config and current_setting.
func (w *walker) settingFunction(function string, n *pg.FuncCall) {
	name, known := "", false
	if len(n.Args) > 0 && !n.FuncVariadic && !slices.ContainsFunc(n.Args, isNamedArg) {
		name, known = w.session.literal(n.Args[0])
	}
	name = strings.ToLower(name)
	switch {
	case function != "set_config":
		if !known || isSecretSetting(name) {
			w.userData = true
			w.effect(countersign.Read|countersign.Secret, sanitize.Const("shows a setting that may hold a secret, or whose name is computed"))
		}
		return
	case !known:
		w.set(Setting{})
		return
	}
	set, certain := Setting{Name: name}, false
	if len(n.Args) == 3 {
		set.Local, certain = truth(n.Args[2])
		if value, ok := w.session.literal(n.Args[1]); ok {
			set.Values, set.Known = []string{value}, true
		}
	}
	if set.Known && name == "search_path" {
		set.Values = splitPath(set.Values[0])
	}
	w.set(set)
	if !certain || !w.runsOnce(n) {
		last := &w.st.Sets[len(w.st.Sets)-1]
		last.Known, last.Values = false, nil
	}
}

// runsOnce reports whether a call runs exactly once when the statement has completed: it is an item of a
// SELECT that gives one row, whatever there is.
func (w *walker) runsOnce(n *pg.FuncCall) bool {
	s, ok := w.root.(*pg.SelectStmt)
	if !ok {
		return false
	}
	if w.once == nil {
		w.once = map[*pg.FuncCall]bool{}
		oneRow := s.Op == pg.SetOperation_SETOP_NONE && s.WithClause == nil && s.WhereClause == nil && s.HavingClause == nil &&
			s.LimitCount == nil && s.LimitOffset == nil && s.IntoClause == nil &&
			len(s.FromClause)+len(s.ValuesLists)+len(s.GroupClause)+len(s.WindowClause)+len(s.DistinctClause)+len(s.SortClause)+len(s.LockingClause) == 0
		for _, t := range s.TargetList {
			val := t.GetResTarget().GetVal()
			oneRow = oneRow && !find(val, func(m any) bool { return mayReturnSet(m) || !w.session.look() })
			if call := val.GetFuncCall(); call != nil {
				w.once[call] = true
			}
		}
		if !oneRow {
			clear(w.once)
		}
	}
	return w.once[n]
}

func isNamedArg(n *pg.Node) bool { return n.GetNamedArgExpr() != nil }

// splitPath reads a search_path given as one text.
func splitPath(text string) []string {
	values := []string{}
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		var name string
		name, text = cutName(text)
		text = strings.TrimPrefix(strings.TrimSpace(text), ",")
		values = append(values, name)
	}
	return values
}

// secretSettings are the server's own that hold passwords or commands with them.
var secretSettings = map[string]bool{
	"all": true, "primary_conninfo": true, "ssl_passphrase_command": true, "archive_command": true,
	"restore_command": true, "archive_cleanup_command": true, "recovery_end_command": true,
}

// isSecretSetting reports whether a setting's value may be a secret: one of the server's that is known
// for it, or an application's or extension's whose name says so.
func isSecretSetting(name string) bool {
	name = strings.ToLower(name)
	return secretSettings[name] || strings.Contains(name, ".") && isCredentialName(name)
}

func (w *walker) showStmt(n *pg.VariableShowStmt) {
	w.st.ReturnsRows = w.alone("SHOW", n)
	w.effect(countersign.Session, sanitize.Const("shows a setting"))
	if isSecretSetting(n.Name) {
		w.userData = true
		w.effect(countersign.Read|countersign.Secret, sanitize.Format("setting %s may hold a secret", sanitize.Name(display(strings.ToLower(n.Name)))))
	}
}

func (w *walker) discardStmt(n *pg.DiscardStmt) {
	if !w.alone("DISCARD", n) {
		return
	}
	switch n.Target {
	case pg.DiscardMode_DISCARD_ALL:
		w.st.Tag = "DISCARD ALL"
		w.st.DiscardAll = true
		w.session.forget("", true)
		w.st.Sets = append(w.st.Sets, Setting{Reset: true, Known: true, All: true})
	case pg.DiscardMode_DISCARD_PLANS, pg.DiscardMode_DISCARD_SEQUENCES, pg.DiscardMode_DISCARD_TEMP:
	default:
		w.effect(countersign.Unknown, sanitize.Const("a form of DISCARD is not understood"))
	}
	w.effect(countersign.Session, sanitize.Const("forgets this session's state"))
}
