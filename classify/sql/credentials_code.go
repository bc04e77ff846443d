package sql

import (
	"strconv"
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign/sanitize"
)

// A literal that is run as code is never hidden as a whole: nobody can judge what he does not see. It is
// read as code, and what it holds in credential positions is hidden.

// maxCodeDepth is how deep code is read that stands in literals of code.
const maxCodeDepth = 4

// codeArguments are the functions that run an argument as SQL, and which: firstCode for the first alone,
// allCode for every one, afterConnection for every one but a connection in front.
var codeArguments = map[string]int{
	"query_to_xml": firstCode, "query_to_xmlschema": firstCode, "query_to_xml_and_xmlschema": firstCode, "ts_stat": firstCode,
	"ts_rewrite": allCode, "crosstab": allCode, "crosstab2": allCode, "crosstab3": allCode, "crosstab4": allCode, "crosstabn": allCode,
	"dblink": afterConnection, "dblink_exec": afterConnection, "dblink_open": afterConnection, "dblink_send_query": afterConnection,
	"schedule": allCode, "schedule_in_database": allCode, "pg_background_launch": allCode,
	"run_command_on_workers": allCode, "run_command_on_shards": allCode, "run_command_on_placements": allCode,
	"run_command_on_all_nodes": allCode, "run_command_on_coordinator": allCode,
}

const (
	firstCode = iota + 1
	allCode
	afterConnection
)

// runsArguments notes the literals that function name runs.
func (w *walker) runsArguments(name string, n *pg.FuncCall) {
	how := codeArguments[name]
	for i, arg := range n.Args {
		if how == allCode || how == firstCode && i == 0 || how == afterConnection && (i > 0 || len(n.Args) == 1) {
			w.code(arg)
		}
	}
}

// code notes the literals of which n is made, but for one that a credential is put into another by.
func (w *walker) code(n *pg.Node) {
	for w.session.look() {
		switch {
		case n.GetNamedArgExpr() != nil:
			n = n.GetNamedArgExpr().Arg
		case n.GetTypeCast() != nil:
			n = n.GetTypeCast().Arg
		case n.GetCollateClause() != nil:
			n = n.GetCollateClause().Arg
		case isConcatenation(n.GetAExpr()):
			if x := n.GetAExpr(); !opensCredential(lastOperand(x.Lexpr).GetAConst()) {
				w.code(x.Rexpr)
			}
			n = n.GetAExpr().Lexpr
		default:
			if c := n.GetAConst(); isString(c) {
				w.session.credentials.queries = append(w.session.credentials.queries, c.Location)
			}
			return
		}
	}
}

func isConcatenation(x *pg.A_Expr) bool {
	return x != nil && len(x.Name) > 0 && x.Name[len(x.Name)-1].GetString_().GetSval() == "||"
}

func lastOperand(n *pg.Node) *pg.Node {
	if x := n.GetAExpr(); x != nil {
		return x.Rexpr
	}
	return n
}

// decoded is what a literal says, and where it stands: at[i] is the place in the text of byte i, and at[len]
// that of the literal's end.
type decoded struct {
	text string
	at   []int
}

func (d *decoded) span(s sanitize.Span) sanitize.Span {
	return sanitize.Span{Start: d.at[s.Start], End: d.at[s.End], Kind: s.Kind}
}

// decode reads the literal [start, end) of text. escapes: a backslash escapes in plain quotes too.
func decode(text string, start, end int, escapes bool) decoded {
	i, unicode := start, false
	switch c := text[start]; {
	case c == '$':
		tag := strings.IndexByte(text[start+1:end], '$') + 2
		inner := min(start+tag, end)
		last := end
		if end-tag >= inner && text[end-tag:end] == text[start:inner] {
			last = end - tag
		}
		d := decoded{text: text[inner:last], at: make([]int, 0, last-inner+1)}
		for i := inner; i <= last; i++ {
			d.at = append(d.at, i)
		}
		return d
	case c == 'u' || c == 'U':
		unicode, escapes = true, false
		i++
	case c == 'e' || c == 'E':
		escapes = true
	}
	if text[start] != '\'' {
		i++
	}
	var b strings.Builder
	d := decoded{at: make([]int, 0, end-i)}
	put := func(s string, from int) {
		b.WriteString(s)
		for range len(s) {
			d.at = append(d.at, from)
		}
	}
	for i = min(i+1, end); i < end; {
		switch c := text[i]; {
		case c == '\'' && i+1 < end && text[i+1] == '\'':
			put("'", i)
			i += 2
		case c == '\'': // the end, or where the next line goes on
			next := i + 1
			for next < end && text[next] != '\'' {
				if text[next] == '-' { // a comment between the lines
					next += max(strings.IndexAny(text[next:end], "\r\n"), 0)
				}
				next++
			}
			if next >= end {
				d.text, d.at = b.String(), append(d.at, i)
				return d
			}
			i = next + 1
		case c == '\\' && (escapes || unicode):
			s, n := unescape(text[i+1:end], unicode)
			put(s, i)
			i += 1 + n
		default:
			put(text[i:i+1], i)
			i++
		}
	}
	d.text, d.at = b.String(), append(d.at, end)
	return d
}

// unescape reads what follows a backslash, and returns what it stands for and its length.
func unescape(s string, unicode bool) (string, int) {
	if s == "" {
		return `\`, 0
	}
	number := func(from, digits, base int) (string, int) {
		n := from
		for n < len(s) && n < from+digits && strings.IndexByte("0123456789abcdefABCDEF", s[n]) >= 0 && (base > 8 || s[n] < '8') {
			n++
		}
		v, err := strconv.ParseUint(s[from:n], base, 32)
		if err != nil {
			return s[:1], 1
		}
		if base == 8 || digits == 2 {
			return string([]byte{byte(v)}), n
		}
		return string(rune(v)), n
	}
	if unicode {
		if s[0] == '+' {
			return number(1, 6, 16)
		}
		if s[0] == '\\' || s[0] == '\'' {
			return s[:1], 1
		}
		return number(0, 4, 16)
	}
	switch c := s[0]; {
	case c == 'n':
		return "\n", 1
	case c == 't':
		return "\t", 1
	case c == 'r':
		return "\r", 1
	case c == 'b':
		return "\b", 1
	case c == 'f':
		return "\f", 1
	case c == 'x':
		return number(1, 2, 16)
	case c == 'u':
		return number(1, 4, 16)
	case c == 'U':
		return number(1, 8, 16)
	case c >= '0' && c <= '7':
		return number(0, 3, 8)
	}
	_, n := utf8.DecodeRuneInString(s)
	return s[:n], n
}

// lex cuts a text into tokens as PostgreSQL's scanner does, but for comments, which it leaves out, and also
// where that one gives up: a literal or comment without an end goes to the end of the text. escapes: plain
// quotes are read with standard_conforming_strings off.
func lex(text string, escapes bool) []*pg.ScanToken {
	var tokens []*pg.ScanToken
	add := func(start, end int, kind pg.Token) int {
		tokens = append(tokens, &pg.ScanToken{Start: int32(start), End: int32(end), Token: kind})
		return end
	}
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == ' ' || c >= '\t' && c <= '\r':
			i++
		case strings.HasPrefix(text[i:], "--"):
			if n := strings.IndexAny(text[i:], "\r\n"); n >= 0 {
				i += n
			} else {
				i = len(text)
			}
		case strings.HasPrefix(text[i:], "/*"):
			if n := commentEnd(text[i:]); n >= 0 {
				i += n
			} else {
				i = len(text)
			}
		case c == '\'':
			i = add(i, quoteEnd(text, i, escapes), pg.Token_SCONST)
		case (c == 'e' || c == 'E') && i+1 < len(text) && text[i+1] == '\'':
			i = add(i, quoteEnd(text, i+1, true), pg.Token_SCONST)
		case (c == 'u' || c == 'U') && strings.HasPrefix(text[i+1:], "&'"):
			i = add(i, quoteEnd(text, i+2, false), pg.Token_USCONST)
		case (c == 'u' || c == 'U') && strings.HasPrefix(text[i+1:], `&"`):
			i = add(i, nameEnd(text, i+2), pg.Token_UIDENT)
		case strings.IndexByte("bBxX", c) >= 0 && i+1 < len(text) && text[i+1] == '\'':
			i = add(i, quoteEnd(text, i+1, false), pg.Token_BCONST)
		case c == '"':
			i = add(i, nameEnd(text, i), pg.Token_IDENT)
		case c == '$':
			end, literal := dollarEnd(text, i)
			kind := pg.Token_PARAM
			if literal {
				kind = pg.Token_SCONST
			}
			i = add(i, end, kind)
		case wordByte(c) && (c < '0' || c > '9'):
			end := i + 1
			for end < len(text) && (wordByte(text[end]) || text[end] == '$') {
				end++
			}
			i = add(i, end, pg.Token_IDENT)
		case wordByte(c):
			end := i + 1
			for end < len(text) && (wordByte(text[end]) || text[end] == '.') {
				end++
			}
			i = add(i, end, pg.Token_ICONST)
		default:
			i = add(i, i+1, pg.Token(c))
		}
	}
	return tokens
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c >= 0x80
}

// quoteEnd returns the end of the literal whose quote is at i, with those on the next lines that go on it.
func quoteEnd(text string, i int, escapes bool) int {
	for i++; i < len(text); i++ {
		switch {
		case text[i] == '\\' && escapes:
			i++
		case text[i] != '\'':
		case i+1 < len(text) && text[i+1] == '\'':
			i++
		default:
			next, line := i+1, false
			for next < len(text) && (text[next] == ' ' || text[next] >= '\t' && text[next] <= '\r') {
				line = line || text[next] == '\n' || text[next] == '\r'
				next++
			}
			if !line || next == len(text) || text[next] != '\'' {
				return i + 1
			}
			i = next
		}
	}
	return len(text)
}

func nameEnd(text string, i int) int {
	if n := strings.IndexByte(text[i+1:], '"'); n >= 0 {
		return i + 1 + n + 1 // a doubled quote begins another name, which comes to the same
	}
	return len(text)
}

// dollarEnd returns the end of what a dollar begins: a literal, or a parameter or the sign itself.
func dollarEnd(text string, i int) (end int, literal bool) {
	end = i + 1
	for end < len(text) && wordByte(text[end]) {
		end++
	}
	if end == len(text) || text[end] != '$' || end > i+1 && text[i+1] >= '0' && text[i+1] <= '9' {
		return end, false
	}
	tag := text[i : end+1]
	if n := strings.Index(text[end+1:], tag); n >= 0 {
		return end + 1 + n + len(tag), true
	}
	return len(text), true
}
