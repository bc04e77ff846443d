package sql

import (
	"slices"
	"sort"
	"strconv"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// What is known of a text is remembered for every text that differs from it in literals only, so a
// classification must know whether it took anything from the value of a constant. No other file of this
// package looks at one: its kind is the same in all those texts and may decide anything, but a value passes
// through session.value, which notes that. What tells and opens ask need not be noted: they are false of
// every literal that a template stands for, see sensitiveWords.

// value returns the text of a string, number or truth value, and notes that the result depends on it.
func (s *session) value(n *pg.A_Const) (string, bool) {
	switch v := n.GetVal().(type) {
	case *pg.A_Const_Sval:
		s.valueRead = true
		return v.Sval.GetSval(), true
	case *pg.A_Const_Ival:
		s.valueRead = true
		return strconv.Itoa(int(v.Ival.GetIval())), true
	case *pg.A_Const_Fval:
		s.valueRead = true
		return v.Fval.GetFval(), true
	case *pg.A_Const_Boolval:
		return strconv.FormatBool(v.Boolval.GetBoolval()), true // a keyword of the text, and no literal
	}
	return "", false
}

// truth returns the value of TRUE or FALSE.
func truth(n *pg.Node) (value, ok bool) {
	b, ok := n.GetAConst().GetVal().(*pg.A_Const_Boolval)
	return ok && b.Boolval.GetBoolval(), ok
}

// isString reports whether n is a string constant.
func isString(n *pg.A_Const) bool {
	_, ok := n.GetVal().(*pg.A_Const_Sval)
	return ok
}

// canHoldCredential reports whether n is a constant of any kind but NULL, TRUE and FALSE.
func canHoldCredential(n *pg.A_Const) bool {
	_, ok := n.GetVal().(*pg.A_Const_Boolval)
	return n.GetVal() != nil && !ok
}

// literal returns the text of a string constant, looking through a cast to a text type.
func (s *session) literal(n *pg.Node) (string, bool) {
	if cast := n.GetTypeCast(); cast != nil {
		names, ok := parts(cast.GetTypeName().GetNames())
		if !ok || len(cast.TypeName.ArrayBounds) > 0 {
			return "", false
		}
		switch schema, name := qualified(names); {
		case schema != "" && schema != catalogSchema:
			return "", false
		case name == "text" || name == "varchar" || name == "regclass" || name == "name":
			n = cast.Arg
		default:
			return "", false
		}
	}
	if !isString(n.GetAConst()) {
		return "", false
	}
	return s.value(n.GetAConst())
}

// constant takes note of a constant, which may carry a password itself.
func (w *walker) constant(n *pg.A_Const) {
	s := w.session
	if len(s.constants) < maxConstants {
		s.constants = append(s.constants, n)
	}
	if v, ok := n.GetVal().(*pg.A_Const_Sval); ok && tells(v.Sval.GetSval()) {
		s.credentials.literals = append(s.credentials.literals, n.Location)
	}
}

// opensCredential reports whether n is a string that a password is to be put into, or behind.
func opensCredential(n *pg.A_Const) bool {
	v, ok := n.GetVal().(*pg.A_Const_Sval)
	return ok && opens(v.Sval.GetSval())
}

// maxConstants is how many constants of a text are kept for standFor.
const maxConstants = maxTemplateText / 2

// standFor reports whether each of the literals of text became a constant of the tree, and nothing else:
// not a number in a name's or type's place, not an option. A constant stands where its literal does, or
// where the minus before it does.
func (s *session) standFor(text []byte, literals []literalAt) bool {
	slices.SortFunc(s.constants, func(a, b *pg.A_Const) int { return int(a.Location - b.Location) })
	for _, l := range literals {
		word := string(text[l.start:l.end])
		if s.constantAt(l.start, l.kind, word) {
			continue
		}
		minus := l.start - 1
		for minus >= 0 && isSpace(text[minus]) {
			minus--
		}
		if minus < 0 || text[minus] != '-' || l.kind == stringMark || !s.constantAt(minus, l.kind, "-"+word) {
			return false
		}
	}
	return true
}

// constantAt reports whether a constant stands at start that is of the kind of a literal, and whose value
// is what word says.
func (s *session) constantAt(start int, kind byte, word string) bool {
	i := sort.Search(len(s.constants), func(i int) bool { return int(s.constants[i].Location) >= start })
	for ; i < len(s.constants) && int(s.constants[i].Location) == start; i++ {
		same := false
		switch v := s.constants[i].GetVal().(type) {
		case *pg.A_Const_Ival:
			n, err := strconv.Atoi(word)
			same = kind == integerMark && err == nil && n == int(v.Ival.GetIval())
		case *pg.A_Const_Fval:
			same = kind == numberMark && word == v.Fval.GetFval()
		case *pg.A_Const_Sval:
			same = kind == stringMark && word == "'"+v.Sval.GetSval()+"'"
		}
		if same {
			return true
		}
	}
	return false
}
