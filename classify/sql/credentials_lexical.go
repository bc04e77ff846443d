package sql

import (
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign/sanitize"
)

// A lexicalReader finds credentials without a parse tree.
type lexicalReader struct {
	text    string
	tokens  []*pg.ScanToken // without comments
	spans   []sanitize.Span
	broken  bool // the text does not parse: names count as literals do
	all     bool // every literal counts
	escapes bool // plain quotes are read with standard_conforming_strings off
	foreign bool // what DO and AS run is not SQL's
	depth   int  // of the code in literals of code
	bareTo  int  // where the last value without quotes ends; none of what ends one stands before that
}

// code returns the credentials in the code that a literal holds: literals that follow PASSWORD or another
// such name, with or without an operator between, and literals that carry a password themselves. Of
// statements, which no variables are compared in, values without quotes are taken, too.
func (r *lexicalReader) code(t *pg.ScanToken, statements bool) []sanitize.Span {
	d := decode(r.text, int(t.Start), int(t.End), r.escapes)
	inner := lexicalReader{text: d.text, all: r.all, escapes: r.escapes, depth: r.depth + 1}
	scan, err := &pg.ScanResult{}, error(nil)
	if !r.escapes && scannable(d.text).IsZero() {
		scan, err = pg.Scan(d.text)
	}
	if r.escapes || err != nil || len(scan.Tokens) == 0 {
		inner.tokens = lex(d.text, r.escapes)
	} else {
		inner.tokens = withoutComments(scan.Tokens)
	}
	inner.read()
	if statements && tells(d.text) {
		for _, m := range valueInCode.FindAllStringSubmatchIndex(d.text, -1) {
			inner.add(int32(m[2]), int32(m[3]))
		}
	}
	spans := inner.spans[:0]
	for _, s := range inner.spans {
		if s = d.span(s); s.Start < s.End {
			spans = append(spans, s)
		}
	}
	return distinct(spans)
}

// valueInCode matches a value without quotes that is neither called nor qualified.
var valueInCode = regexp.MustCompile(`(?i)password\s*=\s*([^\s%_'"();,.=]+)(?:[\s;,)]|$)`)

// unparsedCredentials is for a text that does not parse, in which a name after PASSWORD was meant to be a
// literal, and nothing is known of the literals of a statement about accounts. Where a backslash may or may
// not escape a quote only what is inside a literal either way is hidden. told is false when even that
// cannot be told. Nothing past MaxBytes is looked at: the sanitizer shows less.
func unparsedCredentials(text string, s Settings) (spans []sanitize.Span, told bool) {
	text = text[:min(len(text), MaxBytes)]
	on := lexicalReader{text: text}
	scan, err := &pg.ScanResult{}, error(nil)
	if utf8.ValidString(text) && scannable(text).IsZero() {
		scan, err = pg.Scan(text)
	}
	if err != nil || len(scan.Tokens) == 0 {
		on.tokens = lex(text, false)
		on.all = on.accounts()
		on.broken = on.all
	} else {
		on.tokens = withoutComments(scan.Tokens)
		on.all, on.broken = on.accounts(), true
	}
	on.foreign = on.otherLanguage()
	on.read()
	if s.StandardConformingStrings || strings.IndexByte(text, '\\') < 0 {
		return distinct(on.spans), true
	}
	if !s.UTF8 || !utf8.ValidString(text) {
		return nil, false // a byte like a backslash may be half of a character
	}
	off := lexicalReader{text: text, tokens: lex(text, true), escapes: true}
	off.all = off.accounts()
	off.broken, off.foreign = off.all, off.otherLanguage()
	off.read()
	on.spans, off.spans = distinct(on.spans), distinct(off.spans)
	return distinct(append(on.within(&off), off.within(&on)...)), true
}

// within returns the spans of r as far as they are inside the literals of other, which cuts the text
// otherwise; of those that stand in code in a literal, as far as other has them too. A value without quotes
// stays.
func (r *lexicalReader) within(other *lexicalReader) []sanitize.Span {
	var out []sanitize.Span
	literals := make([]sanitize.Span, 0, len(other.tokens))
	for _, t := range other.tokens {
		if isLiteral(t.Token) {
			literals = append(literals, sanitize.Span{Start: int(t.Start), End: int(t.End)})
		}
	}
	common := func(s sanitize.Span, list []sanitize.Span) {
		i := sort.Search(len(list), func(i int) bool { return list[i].End > s.Start })
		for ; i < len(list) && list[i].Start < s.End; i++ {
			out = append(out, sanitize.Span{Start: max(s.Start, list[i].Start), End: min(s.End, list[i].End), Kind: s.Kind})
		}
	}
	for _, s := range r.spans {
		i := sort.Search(len(r.tokens), func(i int) bool { return int(r.tokens[i].End) > s.Start })
		switch {
		case i == len(r.tokens) || !isLiteral(r.tokens[i].Token):
			if !strings.ContainsAny(r.text[s.Start:s.End], " \t\r\n\f\v;'\"") {
				out = append(out, s)
			}
		case int(r.tokens[i].Start) == s.Start:
			common(s, literals)
		default:
			common(s, other.spans)
		}
	}
	return out
}

// accounts reports whether a statement seems to set a password: whatever literals it has may be one.
func (r *lexicalReader) accounts() bool {
	const far = 16 // tokens between ALTER and ROLE
	is := func(i int, words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(r.word(i), w) })
	}
	begins := true
	for i := range r.tokens {
		if begins && is(i, "set") && is(i+1, "password") {
			return true
		}
		begins = r.word(i) == ";"
		if !is(i, "alter", "create") {
			continue
		}
		for j := i + 1; j < min(i+far, len(r.tokens)) && r.word(j) != ";"; j++ {
			if is(j, "role", "user", "group", "server", "subscription") {
				return true
			}
		}
	}
	return false
}

// otherLanguage reports whether the text names a language whose literals are not SQL's.
func (r *lexicalReader) otherLanguage() bool {
	for i := range r.tokens {
		if strings.EqualFold(r.word(i), "language") && isForeign(strings.Trim(r.word(i+1), `'"`)) {
			return true
		}
	}
	return false
}

// runs reports whether the literal that is token i is run as code, where the words before it say so.
func (r *lexicalReader) runs(i int) bool {
	is := func(i int, w string) bool { return strings.EqualFold(r.word(i), w) }
	return is(i-1, "do") || is(i-1, "as") || is(i-1, "execute") || is(i-2, "language") && is(i-3, "do")
}

func withoutComments(tokens []*pg.ScanToken) []*pg.ScanToken {
	var kept []*pg.ScanToken
	for _, t := range tokens {
		if t.Token != pg.Token_SQL_COMMENT && t.Token != pg.Token_C_COMMENT {
			kept = append(kept, t)
		}
	}
	return kept
}

func (r *lexicalReader) word(i int) string {
	if i < 0 || i >= len(r.tokens) {
		return ""
	}
	return r.text[r.tokens[i].Start:r.tokens[i].End]
}

func (r *lexicalReader) add(start, end int32) {
	r.spans = append(r.spans, sanitize.Span{Start: int(start), End: int(end), Kind: credentialKind})
}

// reach is how many tokens may stand between the name of a credential and its literal.
const reach = 3

func (r *lexicalReader) read() {
	pending := 0      // tokens more that may stand between the name and the literal
	opened := false   // by a literal that a password is to be put into: what follows it in the statement counts
	given := false    // a literal followed
	columns := false  // a name of a credential stands in an INSERT
	inserts := false  // in an INSERT
	taken := false    // a query gives to columns of credentials
	executes := false // in an EXECUTE, or after a function that runs its arguments: literals are code
	for i, t := range r.tokens {
		word := r.word(i)
		switch {
		case isLiteral(t.Token):
			switch {
			case opened && !taken || pending > 0:
				r.add(t.Start, t.End)
			case (executes || r.runs(i)) && r.depth < maxCodeDepth:
				if !r.foreign {
					r.spans = append(r.spans, r.code(t, executes)...)
				}
			case r.all || taken || tells(strings.TrimSuffix(word, "'")):
				r.add(t.Start, t.End)
			}
			given = given || opened
			opened = opened || opens(word)
			pending = 0
		case word == ";":
			if opened && !given && !r.all {
				// A variable: where it got its value nobody knows.
				r.all, r.bareTo = true, 0
				r.read()
				return
			}
			pending, opened, given, columns, inserts, executes, taken = 0, false, false, false, false, false, false
		case r.names(i):
			pending, columns = reach, inserts
			if r.broken {
				r.bare(i)
			}
		case strings.EqualFold(word, "insert"):
			inserts = true
		case strings.EqualFold(word, "execute"), r.word(i+1) == "(" && codeArguments[strings.ToLower(word)] != 0:
			executes, pending = true, 0
		case columns && (strings.EqualFold(word, "select") || strings.EqualFold(word, "with")):
			opened, given, taken = true, true, true
		default:
			pending--
		}
	}
}

// names reports whether token i says that what follows is a credential.
func (r *lexicalReader) names(i int) bool {
	word := r.word(i)
	return isCredentialName(strings.Trim(word, `"`)) || strings.EqualFold(word, "connection") || r.identifiedBy(i)
}

// identifiedBy is for other databases' CREATE USER x IDENTIFIED BY 'y'.
func (r *lexicalReader) identifiedBy(i int) bool {
	return strings.EqualFold(r.word(i), "by") && strings.EqualFold(r.word(i-1), "identified")
}

// bare marks the name that stands where the value of a credential would, token i being the credential's
// name: everything up to white space, for a password without quotes is any number of tokens. What is
// called or qualified is code, and so are keywords after names that may be columns'.
func (r *lexicalReader) bare(i int) {
	password := strings.EqualFold(r.word(i), "password") || r.identifiedBy(i)
	i++
	assigned := false
	for n := 0; n < 2 && i < len(r.tokens); n++ {
		if w := r.word(i); w != "=" && w != ":=" && w != ":" && !strings.EqualFold(w, "to") {
			break
		}
		assigned = true
		i++
	}
	if i >= len(r.tokens) || isLiteral(r.tokens[i].Token) {
		return
	}
	t := r.tokens[i]
	switch {
	case r.all && password && t.KeywordKind != pg.KeywordKind_RESERVED_KEYWORD:
	case t.Token != pg.Token_IDENT && t.Token != pg.Token_UIDENT && !(assigned && t.KeywordKind == pg.KeywordKind_UNRESERVED_KEYWORD):
		return
	case r.word(i+1) == "(" || r.word(i+1) == ".":
		return
	}
	span := wordSpan(r.tokens, i)
	if span.End <= r.bareTo {
		return // password=password=…
	}
	end := span.End
	for end < len(r.text) && !strings.ContainsRune(" \t\r\n\f\v;,)'\"", rune(r.text[end])) && !strings.HasPrefix(r.text[end:], "/*") {
		end++
	}
	r.bareTo = end
	r.add(t.Start, int32(end))
}

// opening matches a text that a password is to be put into: 'ALTER ROLE x PASSWORD %L', '… PASSWORD '.
var opening = regexp.MustCompile(`(?i)(password|passwd|passphrase|secret|token|api_?key|access_?key)["']?\s*(=>|:?=|:|to\b)?\s*(e|u&|n)?'*\s*(%|\$\d|'*$)`)

// opens reports whether opening matches; each of its words has one of the letters.
func opens(text string) bool {
	return strings.ContainsAny(text, "sSſtTyY") && opening.MatchString(text)
}
