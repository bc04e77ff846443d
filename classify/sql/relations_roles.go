package sql

import (
	"reflect"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// maxLooked is how many messages of one text are looked at again, besides the walk: queries inside one
// another are once for each.
const maxLooked = 300_000

// look reports whether one more message may be looked at. Who may not takes the worse for granted.
func (s *session) look() bool {
	s.looked++
	return s.looked <= maxLooked
}

// hidesSettings reports whether the query that reads r, pg_roles or pg_user, names the columns it shows,
// and none of them holds the settings that are stored for a role.
func (w *walker) hidesSettings(r *pg.RangeVar) bool {
	if w.ctx.query == nil || len(r.GetAlias().GetColnames()) > 0 {
		return false
	}
	name := r.Relname
	if r.Alias != nil {
		name = r.Alias.Aliasname
	}
	return !findMessage(reflect.ValueOf(w.ctx.query), func(m any) bool {
		if !w.session.look() {
			return true
		}
		switch m := m.(type) {
		case *pg.ColumnRef:
			return showsSettings(m.Fields, name)
		case *pg.A_Indirection: // of a row: (r).rolconfig, (f(r)).*
			for _, field := range m.Indirection {
				if field.GetAStar() != nil || isSettingsColumn(field.GetString_().GetSval()) {
					return true
				}
			}
		case *pg.FuncCall: // rolconfig(r)
			names, ok := parts(m.Funcname)
			return !ok || isSettingsColumn(names[len(names)-1])
		case *pg.JoinExpr:
			return m.IsNatural || m.Alias != nil || m.JoinUsingAlias != nil || namesSettings(m.UsingClause)
		}
		return false
	})
}

func isSettingsColumn(name string) bool { return name == "rolconfig" || name == "useconfig" }

func namesSettings(list []*pg.Node) bool {
	for _, n := range list {
		if isSettingsColumn(n.GetString_().GetSval()) {
			return true
		}
	}
	return false
}

// showsSettings reports whether a column may show the settings of relation name: by the column that holds
// them, by all columns, or by the row as a whole.
func showsSettings(fields []*pg.Node, name string) bool {
	last := fields[len(fields)-1]
	if last.GetAStar() == nil {
		s := last.GetString_().GetSval()
		return s == name || isSettingsColumn(s)
	}
	return len(fields) == 1 || fields[len(fields)-2].GetString_().GetSval() == name
}
