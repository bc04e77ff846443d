package sql

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

const (
	catalogSchema = "pg_catalog"
	infoSchema    = "information_schema"
	toastSchema   = "pg_toast"
	tempSchema    = "pg_temp"
)

// searchPath is search_path as far as it decides where unqualified names are found.
type searchPath struct {
	schemas []string // in order, with pg_catalog where it is searched
	first   bool     // pg_catalog comes before every schema that people create things in
	only    bool     // and there is no other
	// uncertain: an earlier statement of the text changed the path, and to what is not known for sure.
	// Any schema's names may be meant.
	uncertain bool
}

// parsePath reads what SHOW search_path prints: names separated by commas, quoted where needed.
func parsePath(text string) searchPath {
	if text == "" {
		text = `"$user", public`
	}
	var p searchPath
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		var name string
		name, text = cutName(text)
		text = strings.TrimPrefix(strings.TrimSpace(text), ",")
		if name != "" {
			p.schemas = append(p.schemas, name)
		}
	}
	return completePath(p.schemas)
}

// cutName takes the first name off a path; a name without quotes is folded as the server does.
func cutName(text string) (name, rest string) {
	if text[0] != '"' {
		name, rest, _ = strings.Cut(text, ",")
		return strings.ToLower(strings.TrimSpace(name)), rest
	}
	for i := 1; i < len(text); i++ {
		if text[i] != '"' {
			continue
		}
		if i+1 < len(text) && text[i+1] == '"' {
			i++
			continue
		}
		return strings.ReplaceAll(text[1:i], `""`, `"`), text[i+1:]
	}
	return text[1:], ""
}

// completePath puts pg_catalog in front of schemas unless they name it.
func completePath(schemas []string) searchPath {
	p := searchPath{first: true, only: true}
	named := false
	for _, s := range schemas {
		switch s {
		case catalogSchema:
			p.first = p.only // nothing else came before
			named = true
		case "", tempSchema: // nothing is there; never searched for functions and operators
		default:
			p.only = false
		}
	}
	if !named {
		p.schemas = append(p.schemas, catalogSchema)
	}
	p.schemas = append(p.schemas, schemas...)
	return p
}

// session is what decides the meaning of names in a text.
type session struct {
	path     searchPath
	pathText string // as the settings gave it
	catalog  *Catalog
	prepared func(string) *Statement
	// inText holds the statements that the text itself prepared so far; nil for those it forgot.
	inText       map[string]*Statement
	asked        map[string]*Statement // what prepared said
	executes     int                   // EXECUTEs so far
	pathSet      bool                  // the text changed search_path
	forgotten    bool                  // all that were prepared before the text
	usesPrepared bool                  // the result depends on prepared
	valueRead    bool                  // and on the value of a literal
	constants    []*pg.A_Const
	looked       int // messages that find looked at, but for credentials
	credentials  credentials
}

func newSession(s Settings, c *Catalog) *session {
	return &session{path: parsePath(s.SearchPath), pathText: s.SearchPath, catalog: c, prepared: s.Prepared}
}

// changeSetting is for the statements after one that changes search_path, or may. A path of pg_catalog
// only needs nothing: fewer names are found than before.
func (s *session) changeSetting(set Setting) {
	if !set.All && set.Name != "" && set.Name != "search_path" {
		return
	}
	if !set.Known || set.Reset || !completePath(set.Values).only {
		s.path = searchPath{uncertain: true}
	}
	s.pathSet = true
}

// endTransaction is for the end of a transaction or of a part of it, which brings an older path back
// when the newer one was set in it.
func (s *session) endTransaction() {
	if s.pathSet || s.path.only {
		s.path = searchPath{uncertain: true}
	}
}

// schemasInPath returns the schemas of the path, with "$user" replaced and the temporary schema first.
func (s *session) schemasInPath() []string {
	list := []string{tempSchema}
	for _, name := range s.path.schemas {
		if name == "$user" {
			name = s.catalog.User
		}
		list = append(list, name)
	}
	return list
}

// schemasOf returns the schemas in which an unqualified name is looked for: those of the path, or when
// that is uncertain, every one that has the name.
func schemasOf[T any](s *session, known map[Name]T, name string) []string {
	if !s.path.uncertain {
		return s.schemasInPath()
	}
	schemas := []string{catalogSchema}
	for n := range known {
		if n.Name == name {
			schemas = append(schemas, n.Schema)
		}
	}
	return schemas
}

// parts returns the strings of a list of name parts; ok is false when it holds anything else.
func parts(list []*pg.Node) (names []string, ok bool) {
	for _, n := range list {
		s := n.GetString_()
		if s == nil {
			return names, false
		}
		names = append(names, s.Sval)
	}
	return names, len(names) > 0
}

// qualified splits name parts: database.schema.name, schema.name or name.
func qualified(names []string) (schema, name string) {
	switch len(names) {
	case 0:
		return "", ""
	case 1:
		return "", names[0]
	}
	return names[len(names)-2], names[len(names)-1]
}

// display joins the parts of a name for people and policies. A part that holds anything but letters,
// digits, _, $ and - is quoted, so that no quoted name looks like a qualified one.
func display(names ...string) string {
	var b strings.Builder
	for _, n := range names {
		if n == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		plain := true
		for i := 0; i < len(n); i++ {
			c := n[i]
			plain = plain && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c == '-' || c >= 0x80)
		}
		if plain {
			b.WriteString(n)
		} else {
			b.WriteString(`"` + strings.ReplaceAll(n, `"`, `""`) + `"`)
		}
	}
	return b.String()
}

// lookup says what a function, operator or type does. kind names it in the evidence.
//
// Without a catalog an unqualified name that pg_catalog has is taken for pg_catalog's, and the
// evidence says so; see the package's BUG notes.
func (w *walker) lookup(kind sanitize.Clean, names []string, vetted map[string]mark, known map[Name]countersign.Effects) (mark, sanitize.Clean) {
	schema, name := qualified(names)
	shown := sanitize.Name(display(schema, name))
	unvetted := mark{effects: countersign.Execute}
	why := sanitize.Format("%s %s is not on the list of vetted ones", kind, shown)
	switch {
	case schema == catalogSchema:
		if m, ok := vetted[name]; ok {
			return m, sanitize.Format("%s %s is known to do this", kind, shown)
		}
		return unvetted, why
	case schema == infoSchema:
		if m, ok := vetted[infoSchema+"."+name]; ok {
			return m, sanitize.Format("%s %s is known to do this", kind, shown)
		}
		return unvetted, why
	case schema != "" && w.session.catalog != nil:
		if e, ok := known[Name{schema, name}]; ok {
			return mark{effects: e}, sanitize.Format("%s %s does this, as the catalog snapshot says", kind, shown)
		}
		return unvetted, sanitize.Format("%s %s is not in the catalog snapshot", kind, shown)
	case schema != "":
		return unvetted, sanitize.Format("%s %s is outside pg_catalog and there is no catalog to look it up in", kind, shown)
	case w.session.catalog != nil:
		return w.lookupInPath(kind, name, shown, vetted, known)
	case !w.session.path.first:
		return unvetted, sanitize.Format("%s %s may be another schema's, for search_path may put one before pg_catalog", kind, shown)
	}
	m, ok := vetted[name]
	if !ok {
		return unvetted, why
	}
	if !w.session.path.only {
		w.assumed = true
	}
	return m, sanitize.Format("%s %s is known to do this", kind, shown)
}

// lookupInPath unites what all functions (operators, types) of that name in the search path do: which
// of them runs depends on the arguments' types.
func (w *walker) lookupInPath(kind sanitize.Clean, name string, shown sanitize.Clean, vetted map[string]mark, known map[Name]countersign.Effects) (mark, sanitize.Clean) {
	var found mark
	some := false
	for _, schema := range schemasOf(w.session, known, name) {
		if schema == catalogSchema {
			if m, ok := vetted[name]; ok {
				found = mark{found.effects | m.effects, m.set, m.bySetting}
				some = true
			}
			continue
		}
		if e, ok := known[Name{schema, name}]; ok {
			found.effects |= e
			found.set = true // not known; the worse
			some = true
		}
	}
	if !some {
		return mark{effects: countersign.Execute}, sanitize.Format("%s %s is not in the catalog snapshot", kind, shown)
	}
	return found, sanitize.Format("%s %s does this, as the catalog snapshot says", kind, shown)
}

func (c *Catalog) functions() map[Name]countersign.Effects {
	if c == nil {
		return nil
	}
	return c.Functions
}

func (c *Catalog) operators() map[Name]countersign.Effects {
	if c == nil {
		return nil
	}
	return c.Operators
}

func (c *Catalog) types() map[Name]countersign.Effects {
	if c == nil {
		return nil
	}
	return c.Types
}
