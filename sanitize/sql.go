package sanitize

import (
	"strings"
	"sync"
)

// maxBodies is how deep the texts of programs may nest: DO inside the body of a function.
const maxBodies = 4

// sqlScanner finds what is to be replaced in one statement string.
type sqlScanner struct {
	t      string
	strict bool
	bodies int // how many more texts of programs inside this one are read as such
	out    []finding
	pos    sqlPositions
	roles  sqlRoles
	code   int // where the code that has not been looked at begins
	body   bool
	shell  bool // the literal being looked at is a command line
	last   literalAt
	inner  scanner // for what is inside a literal or between literals
	open   bool    // the text ends inside a literal or comment
	other  foreign // whether the statement names another language than SQL's
	odd    bool    // something begins as no statement does
	// positionsOnly looks for credential positions and for nothing else.
	positionsOnly bool
}

// maxEmbedded is how much of a text is read as the statement that a word in it seems to begin.
const maxEmbedded = 64 << 10

// statement looks for literals in credential positions in the statement that seems to begin at i: in a
// log, or in a literal whose content is run elsewhere.
func (c *scanner) statement(i int) {
	if c.mode&^inView != 0 || i < c.sqlTo {
		return
	}
	c.sqlTo = min(len(c.t), i+maxEmbedded)
	sub := sqlScanner{t: c.t[i:c.sqlTo], positionsOnly: true}
	sub.run()
	for _, f := range sub.out {
		c.found(f.Start+i, f.End+i, f.Kind, f.value)
	}
}

// literalAt is the last literal, for 'x' = password.
type literalAt struct {
	token   sqlToken
	content string
}

// sqlFindings returns what SQL replaces in t. Where the text ends inside a literal or comment, or begins
// as no statement does, no parser would accept it, and everything that Text would replace goes too.
func (s *Sanitizer) sqlFindings(t string) []finding {
	found, whole, odd := scanSQL(t, s.strict, maxBodies)
	if !whole || odd {
		found = append(found, s.textFindings(t)...)
	}
	return found
}

// scanSQL reports with the findings whether every literal and comment has an end, and whether something
// begins as no statement does.
func scanSQL(t string, strict bool, bodies int) (found []finding, whole, odd bool) {
	c := sqlScanners.Get().(*sqlScanner)
	*c = sqlScanner{t: t, strict: strict, bodies: bodies}
	c.run()
	found, whole, odd = c.out, !c.open, c.odd
	*c = sqlScanner{}
	sqlScanners.Put(c)
	return found, whole, odd
}

// sqlScanners are used again, as scanners are.
var sqlScanners = sync.Pool{New: func() any { return new(sqlScanner) }}

func (c *sqlScanner) run() {
	lex := sqlLexer{t: c.t}
	begins := true
	for {
		tok := lex.next()
		if tok.kind == sqlEnd {
			break
		}
		c.open = c.open || tok.open
		switch {
		case tok.kind == sqlComment:
		case tok.kind == sqlOther && c.t[tok.start] == ';':
			begins = c.pos.depth <= 0
		case begins:
			begins = false
			c.roles.begin(c.t[tok.start:tok.end])
			c.odd = c.odd || !beginsStatement(c.t[tok.start:tok.end])
		}
		c.token(&tok)
	}
	c.flush(len(c.t))
}

// statementWords begin the statements of PostgreSQL's grammar.
var statementWords = func() map[string]bool {
	all := map[string]bool{"(": true}
	for _, w := range strings.Fields(`abort alter analyse analyze begin call checkpoint close cluster comment commit copy create
		deallocate declare delete discard do drop end execute explain fetch grant import insert listen load lock merge move notify
		prepare reassign refresh reindex release reset return revoke rollback savepoint security select set show start table
		truncate unlisten update vacuum values with`) {
		all[w] = true
	}
	return all
}()

func beginsStatement(w string) bool {
	var buf [maxKeyword]byte
	return len(w) <= maxKeyword && statementWords[string(lowered(w, &buf))]
}

func (c *sqlScanner) token(tok *sqlToken) {
	switch tok.kind {
	case sqlComment:
		c.flush(tok.start)
		c.comment(tok)
		c.code = tok.end
		return // a comment may stand anywhere and says nothing about what is around it
	case sqlString, sqlEscape, sqlUnicode, sqlBits:
		c.flush(tok.start)
		c.literal(tok)
		c.code = tok.end
	case sqlQuoted:
		c.flush(tok.start)
		c.quotedName(tok)
		c.code = tok.end
	case sqlIdent:
		c.name(c.t[tok.start:tok.end], false)
	case sqlNumber:
		c.number(tok)
	case sqlParam:
		c.pos.number(sqlParam)
	case sqlOther:
		c.pos.other(c.t[tok.start])
		c.roles.other(c.t[tok.start])
		c.body = false
	}
}

// name takes a name, and notes whether the literal that comes is a program's text: AS 'x', DO 'x', DO
// LANGUAGE plpgsql 'x'.
func (c *sqlScanner) name(w string, quoted bool) {
	before := c.pos.word
	c.roles.name(w, quoted)
	reverse := c.pos.name(w, quoted)
	if !reverse.none() {
		c.credential(&c.last.token, c.last.content, reverse)
	}
	switch {
	case quoted:
	case strings.EqualFold(w, "as"), strings.EqualFold(w, "do"):
		c.body = true
		return
	case c.body && (strings.EqualFold(w, "language") || strings.EqualFold(before, "language")):
		return
	}
	c.body = false
}

// comment looks inside a comment, between the marks of comments nested in it, so that every comment
// still ends where it did.
func (c *sqlScanner) comment(tok *sqlToken) {
	if c.positionsOnly {
		return
	}
	body := c.t[tok.bodyStart:tok.bodyEnd]
	if c.strict {
		if text := strings.TrimSpace(body); text != "" && !isPlaceholder(text) {
			c.found(tok.bodyStart, tok.bodyEnd, StrictComment, "", formPlain)
		}
		return
	}
	at := tok.bodyStart
	for at < tok.bodyEnd {
		piece := c.t[at:tok.bodyEnd]
		end, skip := len(piece), 0
		if strings.HasPrefix(c.t[tok.start:], "/*") {
			for i := 0; i+1 < len(piece); i++ {
				if piece[i] == '/' && piece[i+1] == '*' || piece[i] == '*' && piece[i+1] == '/' {
					end, skip = i, 2
					break
				}
			}
		}
		c.inside(c.inner.scan(piece[:end], 0, maxViews), at)
		at += end + skip
	}
}

// inside records findings in a part of the text that begins at start.
func (c *sqlScanner) inside(found []finding, start int) {
	for _, f := range found {
		f.Start += start
		f.End += start
		c.out = append(c.out, f)
	}
}

func (c *sqlScanner) found(a, b int, kind Kind, value string, f form) {
	c.out = append(c.out, finding{Span{a, b, kind}, value, f})
}

// literal looks at a string: all of it goes in a credential position, else what is found inside.
func (c *sqlScanner) literal(tok *sqlToken) {
	var v view
	content := c.t[tok.bodyStart:tok.bodyEnd]
	if !tok.plain(c.t) {
		v = tok.decode(c.t)
		content = v.text
	}
	col := c.pos.at(false)
	c.shell = c.pos.last == sqlIdent && strings.EqualFold(c.pos.word, "program") // COPY … FROM PROGRAM 'x'
	body := c.body
	c.body = c.body && strings.EqualFold(c.pos.word, "language")
	before := c.pos.call()
	c.pos.literal(content, tok.kind)
	c.last = literalAt{*tok, content}
	switch {
	case content == "" || isPlaceholder(content):
	case c.positionsOnly && wordBefore(c.t, tok.start):
		return // an apostrophe: the password's
	case c.credential(tok, content, col), c.pairs(tok, content, before), c.positionsOnly:
		return
	case body && !c.body && c.bodies > 0:
		c.program(tok, content, &v)
	case c.strict:
		c.whole(tok, StrictText, "")
	default:
		c.text(tok, content, &v)
	}
	if tok.broken {
		// A token that fills a line is one, whatever the line before ends in.
		c.inside(c.inner.scan(c.t[tok.bodyStart:tok.bodyEnd], noKeys, 0), tok.bodyStart)
	}
}

// credential replaces a literal whose position says that it must go.
func (c *sqlScanner) credential(tok *sqlToken, content string, col column) bool {
	switch {
	case content == "" || isPlaceholder(content):
		return false
	case !col.position.none():
		kind := col.kind
		if k, end := matchToken(content, 0); end == len(content) {
			kind = k
		}
		c.whole(tok, kind, content)
		return true
	case col.personal != "" && len(content) <= maxPersonal && isPersonal(col.personal, content):
		c.whole(tok, col.personal, canonical(col.personal, content))
		return true
	default:
		return false
	}
}

// pairs replaces an array of names and values when a secret is among them: json_object('{password,x}').
func (c *sqlScanner) pairs(tok *sqlToken, content, function string) bool {
	if !strings.HasPrefix(content, "{") || !pairFunctions[strings.ToLower(function)] {
		return false
	}
	for rest, more := content, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, ",")
		if p := classify(strings.Trim(name, `{}" `)); !p.none() && more {
			c.whole(tok, p.kind, content)
			return true
		}
	}
	return false
}

// pairFunctions take an array of names and values.
var pairFunctions = map[string]bool{"json_object": true, "jsonb_object": true, "hstore": true}

// whole replaces a literal by one that holds nothing but a placeholder.
func (c *sqlScanner) whole(tok *sqlToken, kind Kind, value string) {
	if tok.open || c.positionsOnly {
		// What is around may be no statement, and need not become one.
		c.found(tok.bodyStart, tok.bodyEnd, kind, value, formPlain)
		return
	}
	c.found(tok.start, tok.end, kind, value, formSQL)
}

// text looks inside a literal that holds data.
func (c *sqlScanner) text(tok *sqlToken, content string, v *view) {
	how := mode(0)
	if c.shell {
		how = shell
	}
	found := append(c.inner.scan(content, how, maxViews), pathSecrets(content)...)
	switch {
	case tok.comments && len(scan(c.t[tok.bodyStart:tok.bodyEnd], 0, maxViews)) > 0:
		// Something is in the literal, or in a comment between its lines.
		kind := Secret
		if len(found) > 0 {
			kind = found[0].Kind
		}
		c.whole(tok, kind, content)
	case len(found) == 0:
	case tok.kind == sqlUnicode || tok.kind == sqlBits:
		// What a placeholder is made of could be an escape there, and is no bit.
		c.whole(tok, found[0].Kind, content)
	default:
		c.mapped(tok, found, content, v)
	}
}

// pathSecrets finds what a path in JSON compares to a secret: $.password ? (@ == "x").
func pathSecrets(content string) []finding {
	if !strings.HasPrefix(content, "$") {
		return nil
	}
	path, _, filtered := strings.Cut(content, "?")
	name := strings.Trim(path[strings.LastIndexByte(path, '.')+1:], `" `)
	p := classify(name)
	if !filtered || p.none() || !allIn(name, &flagName) {
		return nil
	}
	var found []finding
	for i := len(path); i < len(content); i++ {
		if content[i] != '"' {
			continue
		}
		end := closeQuote(content, i+1, `"`)
		if v := content[i+1 : end]; v != "" && !isPlaceholder(v) {
			found = append(found, finding{Span: Span{i + 1, end, p.kind}})
		}
		i = end
	}
	return found
}

// mapped records findings in the content of a literal.
func (c *sqlScanner) mapped(tok *sqlToken, found []finding, content string, v *view) {
	for _, f := range found {
		if f.value == "" {
			f.value = content[f.Start:f.End]
		}
		if v.from != nil {
			f.Start, f.End = v.source(f.Start, f.End)
		}
		switch {
		case tok.dollar:
		case f.form == formSQL:
			f.form = formSQL2
		case f.form == formSQL2:
			f.form = formSQL4
		}
		f.Start += tok.bodyStart
		f.End += tok.bodyStart
		c.out = append(c.out, f)
	}
}

// program looks inside the text of a function or of DO. It is code: only its own literals and comments
// are replaced.
func (c *sqlScanner) program(tok *sqlToken, content string, v *view) {
	var found []finding
	whole := false
	if !c.other.language(c.t) {
		found, whole, _ = scanSQL(content, c.strict, c.bodies-1)
	}
	if !whole {
		found = append(found, scan(content, literalsOnly, maxViews)...)
	}
	if tok.kind == sqlUnicode && len(found) > 0 {
		c.whole(tok, found[0].Kind, content)
		return
	}
	c.mapped(tok, merge(found), content, v)
}

// foreign remembers whether a text, which is looked through once, names a language whose quotes are not
// SQL's.
type foreign struct{ known, is bool }

func (f *foreign) language(t string) bool {
	if f.known {
		return f.is
	}
	f.known = true
	lower := strings.ToLower(t)
	for _, name := range [...]string{"plpython", "plperl", "pltcl", "plv8", "plr", "pljava", "plsh", "pllua"} {
		f.is = f.is || strings.Contains(lower, name)
	}
	return f.is
}

// quotedName looks at a quoted name, which is replaced when a detector knows something in it; a secret
// tells more than personal data beside it. The address that is a role's name stays: a reviewer must see to
// whom a GRANT goes.
func (c *sqlScanner) quotedName(tok *sqlToken) {
	content := tok.content(c.t)
	role := c.roles.next
	c.name(content, true)
	if c.positionsOnly {
		return
	}
	known, ok := mostTelling(c.inner.scan(content, 0, maxViews))
	whole := known.Start == 0 && known.End == len(content)
	switch {
	case !ok, role && whole && known.Kind == Email:
	case whole && known.value != "":
		c.found(tok.start, tok.end, known.Kind, known.value, formIdent)
	default:
		c.found(tok.start, tok.end, known.Kind, content, formIdent)
	}
}

// mostTelling returns the first secret found, or else what was found first.
func mostTelling(found []finding) (finding, bool) {
	if len(found) == 0 {
		return finding{}, false
	}
	for _, f := range found {
		if !f.Kind.Personal() {
			return f, true
		}
	}
	return found[0], true
}

// number looks at a number: bare numbers that a detector knows are found in the code around.
func (c *sqlScanner) number(tok *sqlToken) {
	text := c.t[tok.start:tok.end]
	col := c.pos.at(true)
	start := tok.start
	if c.pos.sign && c.t[start-1] == '-' {
		start-- // SET x = -1: the grammar has no place for a string after the sign
	}
	structural := c.pos.structural(text)
	c.pos.number(sqlNumber)
	switch {
	case structural, c.positionsOnly:
	case !col.position.none() && !col.weak:
		c.found(tok.start, tok.end, col.kind, text, formSQL)
	case col.personal != "" && isPersonal(col.personal, text):
		c.found(tok.start, tok.end, col.personal, text, formSQL)
	case c.strict:
		c.found(start, tok.end, StrictNumber, "", formSQL)
	}
}

// flush looks at the code up to end.
func (c *sqlScanner) flush(end int) {
	if c.code < end && !c.positionsOnly {
		for _, f := range inGap(c.inner.scan(c.t[c.code:end], codeOnly, 0), c.t, c.code, end) {
			if f.form != formSQL || f.Kind.Personal() {
				c.out = append(c.out, f)
			}
		}
	}
	c.code = end
}

// inGap makes what detectors found in the code t[a:b] findings in t. A number stays a literal; what else
// there is becomes a quoted name.
func inGap(found []finding, t string, a, b int) []finding {
	out := found[:0]
	from, to := 0, 0 // the last name that was replaced; it is one finding, however many are in it
	for _, f := range found {
		f.Start += a
		f.End += a
		if from <= f.Start && f.End <= to {
			continue
		}
		inName := f.Start > a && identPart[t[f.Start-1]] || f.End < b && identPart[t[f.End]]
		switch {
		case f.form == formURL:
		case f.Kind.Personal():
			if inName {
				continue
			}
			f.form = formSQL
		default:
			f.Start = a + runBack(t[a:f.Start], f.Start-a, f.Start-a, &identPart)
			f.End = run(t[:b], f.End, b-f.End, &identPart)
			f.form, f.value = formIdent, ""
			from, to = f.Start, f.End
		}
		out = append(out, f)
	}
	return out
}

// codeFindings returns what a detector knows in a statement's names.
func codeFindings(t string) []finding {
	var found []finding
	lex := sqlLexer{t: t}
	code := 0
	for {
		tok := lex.next()
		if tok.kind == sqlEnd || tok.kind == sqlComment || tok.kind == sqlQuoted || tok.kind.literal() {
			found = append(found, gapNames(t, code, tok.start)...)
			code = tok.end
		}
		if tok.kind == sqlEnd {
			return found
		}
		if tok.kind == sqlQuoted {
			if f, ok := mostTelling(scan(tok.content(t), 0, maxViews)); ok {
				f.Start, f.End = tok.start, tok.end
				found = append(found, f)
			}
		}
	}
}

// gapNames returns what is found in the code t[a:b], but not its numbers: they are literals.
func gapNames(t string, a, b int) []finding {
	var found []finding
	for _, f := range inGap(scan(t[a:b], codeOnly, 0), t, a, b) {
		if !f.Kind.Personal() {
			found = append(found, f)
		}
	}
	for _, f := range scan(t[a:b], noKeys, 0) {
		if f.Kind == Email {
			f.Start += a
			f.End += a
			found = append(found, f)
		}
	}
	return found
}

func (s *Sanitizer) credentialFindings(raw string, credentials []Span) []finding {
	var found []finding
	for _, c := range credentials {
		if c.Start < 0 || c.End > len(raw) || c.Start >= c.End {
			continue
		}
		if !c.Kind.Known() {
			c.Kind = Password
		}
		f := finding{Span: c, form: formSQL}
		lex := sqlLexer{t: raw[c.Start:c.End]}
		if tok := lex.next(); tok.kind.literal() && tok.end == c.End-c.Start && !tok.open {
			v := tok.decode(lex.t)
			f.value = v.text
			if isPlaceholder(v.text) || v.text == "" {
				continue
			}
		}
		found = append(found, f)
	}
	return found
}
