package sanitize

import "strings"

// sqlKind is what a token of a statement is.
type sqlKind uint8

const (
	sqlEnd     sqlKind = iota
	sqlIdent           // name or keyword
	sqlQuoted          // "name", U&"name"
	sqlString          // 'x', N'x', $tag$x$tag$
	sqlEscape          // E'x'
	sqlUnicode         // U&'x'
	sqlBits            // B'x', X'x'
	sqlNumber          //
	sqlParam           // $1
	sqlComment         // -- x, /* x */
	sqlOther           // one byte of an operator or of punctuation
)

// sqlToken is one token of a statement, in bytes.
type sqlToken struct {
	kind       sqlKind
	start, end int
	// [bodyStart, bodyEnd) is what stands between the quotes or the marks of a comment.
	bodyStart, bodyEnd int
	// dollar marks a string in dollar quotes, in which nothing is escaped.
	dollar bool
	// broken marks a string that continues on another line, and comments one in whose line breaks
	// comments stand.
	broken, comments bool
	// unicodeEscape is the escape character of sqlUnicode and of U&"x".
	unicodeEscape byte
	// open marks a token whose end is missing; it reaches the end of the text.
	open bool
}

// literal reports whether the token is a string of some kind.
func (k sqlKind) literal() bool {
	return k == sqlString || k == sqlEscape || k == sqlUnicode || k == sqlBits
}

// sqlLexer finds the tokens of a statement as PostgreSQL's scanner does with standard_conforming_strings
// on. Strings that continue after a line break ('a'⏎'b') are one token, as they are one value.
type sqlLexer struct {
	t string
	i int
}

var (
	identStart = func() charset {
		c := chars("A-Za-z_")
		for b := 0x80; b < 0x100; b++ {
			c[b] = true
		}
		return c
	}()
	identPart = func() charset {
		c := identStart
		for b := '0'; b <= '9'; b++ {
			c[b] = true
		}
		c['$'] = true
		return c
	}()
	tagPart = func() charset {
		c := identPart
		c['$'] = false
		return c
	}()
	numberPart = chars("A-Za-z0-9_")
	spaceOrNUL = chars(" \t\r\n\v\f\x00")
)

// next returns the next token; at the end its kind is sqlEnd.
func (l *sqlLexer) next() sqlToken {
	t := l.t
	l.i = run(t, l.i, len(t), &spaceOrNUL)
	i := l.i
	if i >= len(t) {
		return sqlToken{start: i, end: i}
	}
	switch b := t[i]; {
	case b == '\'':
		return l.quoted(sqlString, i, i+1)
	case b == '"':
		return l.quoted(sqlQuoted, i, i+1)
	case b == '-' && strings.HasPrefix(t[i:], "--"):
		return l.lineComment()
	case b == '/' && strings.HasPrefix(t[i:], "/*"):
		return l.blockComment()
	case b == '$':
		return l.dollar()
	case digits[b], b == '.' && i+1 < len(t) && digits[t[i+1]]:
		return l.number()
	case identStart[b]:
		return l.ident()
	default:
		l.i++
		return sqlToken{kind: sqlOther, start: i, end: i + 1}
	}
}

// ident reads a name, or a string whose prefix begins like one.
func (l *sqlLexer) ident() sqlToken {
	t, i := l.t, l.i
	if i+1 < len(t) && t[i+1] == '\'' {
		switch t[i] {
		case 'e', 'E':
			return l.quoted(sqlEscape, i, i+2)
		case 'b', 'B', 'x', 'X':
			return l.quoted(sqlBits, i, i+2)
		case 'n', 'N':
			// The N is code: to the scanner it is the keyword NCHAR.
			return l.quoted(sqlString, i+1, i+2)
		}
	}
	if lower(t[i]) == 'u' && i+2 < len(t) && t[i+1] == '&' {
		switch t[i+2] {
		case '\'':
			return l.unicode(sqlUnicode)
		case '"':
			return l.unicode(sqlQuoted)
		}
	}
	l.i = run(t, i, len(t), &identPart)
	return sqlToken{kind: sqlIdent, start: i, end: l.i}
}

// quoted reads the quoted token that starts at start and whose content starts at body.
func (l *sqlLexer) quoted(kind sqlKind, start, body int) sqlToken {
	tok := sqlToken{kind: kind, start: start, bodyStart: body}
	for {
		end, ok := closeSQL(l.t, body, l.t[body-1], kind == sqlEscape)
		if !ok {
			tok.bodyEnd, tok.end, tok.open = len(l.t), len(l.t), true
			break
		}
		tok.bodyEnd, tok.end = end, end+1
		if kind == sqlQuoted {
			break
		}
		// A string goes on in the next one when a line break, and nothing else, is between them.
		next, comments, ok := continued(l.t, tok.end)
		if !ok {
			break
		}
		tok.broken, tok.comments = true, tok.comments || comments
		body = next + 1
	}
	l.i = tok.end
	return tok
}

// closeSQL returns the position of the quotation mark that ends the content starting at i.
func closeSQL(t string, i int, mark byte, escapes bool) (int, bool) {
	for ; i < len(t); i++ {
		switch {
		case escapes && t[i] == '\\':
			i++
		case t[i] == mark:
			if i+1 < len(t) && t[i+1] == mark {
				i++
				continue
			}
			return i, true
		}
	}
	return len(t), false
}

// continued returns the position of the quotation mark that continues the string that ended at i, and
// whether comments stand between.
func continued(t string, i int) (next int, comments, ok bool) {
	broken := false
	for {
		next = run(t, i, len(t), &space)
		broken = broken || strings.ContainsAny(t[i:next], "\r\n")
		if !strings.HasPrefix(t[next:], "--") {
			return next, comments, broken && next < len(t) && t[next] == '\''
		}
		comments = true
		i = next
		for i < len(t) && t[i] != '\n' && t[i] != '\r' {
			i++
		}
	}
}

// unicode reads U&'x' and U&"x" with the UESCAPE clause that may follow.
func (l *sqlLexer) unicode(kind sqlKind) sqlToken {
	tok := l.quoted(kind, l.i, l.i+3)
	tok.unicodeEscape = '\\'
	t := l.t
	i := run(t, tok.end, len(t), &space)
	const clause = "uescape"
	if i+len(clause) < len(t) && strings.EqualFold(t[i:i+len(clause)], clause) {
		i = run(t, i+len(clause), len(t), &space)
		if i+2 < len(t) && t[i] == '\'' && t[i+2] == '\'' {
			tok.unicodeEscape = t[i+1]
			tok.end = i + 3
			l.i = tok.end
		}
	}
	return tok
}

func (l *sqlLexer) lineComment() sqlToken {
	i := l.i
	for l.i = i + 2; l.i < len(l.t) && l.t[l.i] != '\n' && l.t[l.i] != '\r'; l.i++ {
	}
	return sqlToken{kind: sqlComment, start: i, end: l.i, bodyStart: i + 2, bodyEnd: l.i}
}

func (l *sqlLexer) blockComment() sqlToken {
	t := l.t
	tok := sqlToken{kind: sqlComment, start: l.i, bodyStart: l.i + 2}
	depth := 0
	for i := l.i; i+1 < len(t); i++ {
		switch {
		case t[i] == '/' && t[i+1] == '*':
			depth++
			i++
		case t[i] == '*' && t[i+1] == '/':
			depth--
			i++
			if depth == 0 {
				tok.bodyEnd, tok.end, l.i = i-1, i+1, i+1
				return tok
			}
		}
	}
	tok.bodyEnd, tok.end, tok.open, l.i = len(t), len(t), true, len(t)
	return tok
}

// dollar reads $1, $tag$x$tag$, or a lone dollar sign.
func (l *sqlLexer) dollar() sqlToken {
	t, i := l.t, l.i
	if end := run(t, i+1, len(t), &digits); end > i+1 {
		l.i = end
		return sqlToken{kind: sqlParam, start: i, end: end}
	}
	tag := i + 1
	if tag < len(t) && identStart[t[tag]] {
		tag = run(t, tag, len(t), &tagPart)
	}
	if tag >= len(t) || t[tag] != '$' {
		l.i++
		return sqlToken{kind: sqlOther, start: i, end: i + 1}
	}
	tok := sqlToken{kind: sqlString, start: i, bodyStart: tag + 1, dollar: true}
	if end := strings.Index(t[tag+1:], t[i:tag+1]); end >= 0 {
		tok.bodyEnd = tag + 1 + end
		tok.end = tok.bodyEnd + tag + 1 - i
	} else {
		tok.bodyEnd, tok.end, tok.open = len(t), len(t), true
	}
	l.i = tok.end
	return tok
}

func (l *sqlLexer) number() sqlToken {
	t, i := l.t, l.i
	end := run(t, i, len(t), &numberPart)
	if end < len(t) && t[end] == '.' && !strings.HasPrefix(t[end:], "..") {
		end = run(t, end+1, len(t), &numberPart)
	}
	if end < len(t) && (t[end] == '-' || t[end] == '+') && lower(t[end-1]) == 'e' && digits[t[i]] && !strings.HasPrefix(t[i:], "0x") {
		if exponent := run(t, end+1, len(t), &digits); exponent > end+1 {
			end = exponent
		}
	}
	l.i = end
	return sqlToken{kind: sqlNumber, start: i, end: end}
}

// decode returns the content of a literal or quoted name with its quoting undone.
func (tok *sqlToken) decode(t string) view {
	body := t[tok.bodyStart:tok.bodyEnd]
	b := newView(len(body))
	mark := byte('\'')
	if tok.kind == sqlQuoted {
		mark = '"'
	}
	for i := 0; i < len(body); {
		switch c := body[i]; {
		case tok.dollar:
			b.add(c, i)
			i++
		case c == mark && i+1 < len(body) && body[i+1] == mark:
			b.add(c, i)
			i += 2
		case c == mark:
			// The string ends here and continues on another line.
			next, _, _ := continued(body, i+1)
			i = next + 1
		case c == '\\' && tok.kind == sqlEscape && i+1 < len(body):
			i = b.sqlEscape(body, i)
		case tok.unicodeEscape != 0 && c == tok.unicodeEscape && i+1 < len(body):
			i = b.unicodeEscape(body, i)
		default:
			b.add(c, i)
			i++
		}
	}
	return b.done(len(body))
}

// sqlEscape decodes the escape of an E'x' at t[i] and returns its end.
func (b *viewBuilder) sqlEscape(t string, i int) int {
	c := t[i+1]
	if octal := run(t, i+1, 3, &octals); octal > i+1 {
		v := 0
		for _, d := range []byte(t[i+1 : octal]) {
			v = v<<3 | int(d-'0')
		}
		b.add(byte(v), i)
		return octal
	}
	if c == 'x' {
		end := run(t, i+2, 2, &anyHex)
		if r, _ := hexRune(t, i+2, end-i-2); end > i+2 {
			b.add(byte(r), i)
			return end
		}
	}
	switch c {
	case 'u', 'U':
		before := len(b.text)
		if end := b.escape(t, i); end > i+1 {
			return end
		}
		b.text, b.from = b.text[:before], b.from[:before]
	case 'b', 'f', 'n', 'r', 't':
		c = plainEscapes[c]
	}
	b.add(c, i)
	return i + 2
}

var octals = chars("0-7")

// unicodeEscape decodes the escape of a U&'x' at t[i] and returns its end.
func (b *viewBuilder) unicodeEscape(t string, i int) int {
	switch {
	case t[i+1] == t[i]:
		b.add(t[i], i)
		return i + 2
	case t[i+1] == '+':
		if r, end := hexRune(t, i+2, 6); end > 0 {
			b.addRune(r, i)
			return end
		}
	default:
		if r, end := hexRune(t, i+1, 4); end > 0 {
			b.addRune(r, i)
			return end
		}
	}
	b.add(t[i], i)
	return i + 1
}

// content returns what a literal or quoted name says.
func (tok *sqlToken) content(t string) string {
	if tok.plain(t) {
		return t[tok.bodyStart:tok.bodyEnd]
	}
	v := tok.decode(t)
	return v.text
}

// plain reports whether the token's content is its own decoded form.
func (tok *sqlToken) plain(t string) bool {
	if tok.dollar {
		return true
	}
	body := t[tok.bodyStart:tok.bodyEnd]
	switch {
	case strings.IndexByte(body, '\'') >= 0 && tok.kind != sqlQuoted, tok.kind == sqlQuoted && strings.IndexByte(body, '"') >= 0:
		return false
	case tok.unicodeEscape != 0:
		return strings.IndexByte(body, tok.unicodeEscape) < 0
	default:
		return tok.kind != sqlEscape || strings.IndexByte(body, '\\') < 0
	}
}
