package sql

import (
	"regexp"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign/sanitize"
)

// A lexicalReader finds credentials without a parse tree.
type lexicalReader struct {
	text   string
	tokens []*pg.ScanToken // without comments
	spans  []sanitize.Span
	broken bool // the text does not parse: names count as literals do
	all    bool // every literal counts
	bareTo int  // where the last value without quotes ends; none of what ends one stands before that
}

// codeCredentials finds credentials in code inside a literal: literals that follow PASSWORD or another
// such name, with or without an operator between, and literals that carry a password themselves.
func codeCredentials(text string) []sanitize.Span {
	scan, err := pg.Scan(text)
	if err != nil {
		return brokenCredentials(text)
	}
	r := lexicalReader{text: text, tokens: withoutComments(scan.Tokens)}
	r.read()
	return r.spans
}

// unparsedCredentials is codeCredentials for a text that does not parse, in which a name after PASSWORD
// was meant to be a literal, and nothing is known of the literals of a statement about accounts.
func unparsedCredentials(text string) []sanitize.Span {
	scan, err := pg.Scan(text)
	if err != nil {
		return brokenCredentials(text)
	}
	r := lexicalReader{text: text, tokens: withoutComments(scan.Tokens), broken: true, all: accounts.MatchString(text)}
	r.read()
	return r.spans
}

// accounts matches the statements that set passwords.
var accounts = regexp.MustCompile(`(?is)\b(alter|create)\b\W.{0,64}?\b(role|user|group|server|subscription)\b|^\s*set\s+password\b`)

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
	pending := 0     // tokens more that may stand between the name and the literal
	opened := false  // by a literal that a password is to be put into: what follows it in the statement counts
	given := false   // a literal followed
	columns := false // a name of a credential stands in an INSERT
	inserts := false // in an INSERT
	for i, t := range r.tokens {
		word := r.word(i)
		switch {
		case isLiteral(t.Token):
			if r.all || opened || pending > 0 || tells(strings.TrimSuffix(word, "'")) {
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
			pending, opened, given, columns, inserts = 0, false, false, false, false
		case r.names(i):
			pending, columns = reach, inserts
			if r.broken {
				r.bare(i)
			}
		case strings.EqualFold(word, "insert"):
			inserts = true
		case columns && (strings.EqualFold(word, "select") || strings.EqualFold(word, "with")):
			opened, given = true, true
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
	for end < len(r.text) && !strings.ContainsRune(" \t\r\n\f\v;,)'\"", rune(r.text[end])) {
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

var (
	brokenLiteral = regexp.MustCompile(`(?i)(password|passwd|connection|secret|token)\W{0,8}?(e|u&|n)?'`)
	brokenBare    = regexp.MustCompile(`(?i)\b(password|passwd)(\s*:?=|\s+to\b)?\s*("[^"]*"?|[^\s"';,()=$]+)`)
)

// brokenCredentials is for texts that have no tokens, such as those with a quote missing: from the
// quote after PASSWORD to the next quote, or to the end. Of a statement about accounts the word after
// PASSWORD goes too, and everything from the first quote on.
func brokenCredentials(text string) []sanitize.Span {
	var spans []sanitize.Span
	if accounts.MatchString(text) {
		for _, m := range brokenBare.FindAllStringSubmatchIndex(text, -1) {
			spans = append(spans, sanitize.Span{Start: m[6], End: m[7], Kind: credentialKind})
		}
		if i := strings.IndexByte(text, '\''); i >= 0 {
			spans = append(spans, sanitize.Span{Start: i, End: len(text), Kind: credentialKind})
		}
	}
	for from := 0; ; {
		m := brokenLiteral.FindStringIndex(text[from:])
		if m == nil {
			return distinct(spans)
		}
		start, end := from+m[1]-1, len(text)
		if i := strings.IndexByte(text[start+1:], '\''); i >= 0 {
			end = start + 1 + i + 1
		}
		spans = append(spans, sanitize.Span{Start: start, End: end, Kind: credentialKind})
		from = end
	}
}
