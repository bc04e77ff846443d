package sql

import (
	"bytes"

	"github.com/countersign-dev/countersign"
)

// Limits on the texts that have a template.
const (
	maxTemplateText   = 4 << 10        // bytes
	maxTemplateString = MaxOperatorRun // bytes between quotes, any of which may be operator characters
	maxTemplateTokens = MaxDepth / 2   // so that they nest too little for MaxDepth whatever the literals are
)

// The marks that stand for literals in a template. No text that has one holds these bytes.
const (
	integerMark = 1 // what PostgreSQL's scanner takes for an integer of 32 bits
	numberMark  = 2 // what it takes for any other number
	stringMark  = 3 // a string in plain quotes
)

// A template is a text with marks in place of its literals, and its literals. Texts of one template are
// the same to PostgreSQL's scanner but for the values of those tokens, in one session that reads strings
// as the standard says.
//
// What is not certain has no template: readTemplate knows the bytes and places it accepts.
type template struct {
	key      []byte
	literals []literalAt
	// joined: more than space, punctuation or a comparison stands beside a number, so that it could be
	// part of what looks like a secret in the names of the text (sk-ant-…-12).
	joined bool
}

// literalAt is a literal as it stands in a text, quotes included.
type literalAt struct {
	start, end int
	kind       byte
}

// What a byte is outside of strings and quoted names. All others are refused.
const (
	byteRefused = iota
	byteSpace
	byteWord // letters and _
	byteDigit
	byteQuote
	byteName // "
	byteParam
	byteOther
)

var byteKinds = func() (kinds [256]uint8) {
	for c := byte(' '); c <= '~'; c++ {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_':
			kinds[c] = byteWord
		case c >= '0' && c <= '9':
			kinds[c] = byteDigit
		default:
			kinds[c] = byteOther
		}
	}
	kinds[' '], kinds['\t'], kinds['\n'] = byteSpace, byteSpace, byteSpace
	kinds['\''], kinds['"'], kinds['$'] = byteQuote, byteName, byteParam
	kinds['\\'] = byteRefused
	return kinds
}()

func isSpace(c byte) bool { return byteKinds[c] == byteSpace }

// inWord reports whether c may go on a word that a digit or letter began.
func inWord(c byte) bool {
	return byteKinds[c] == byteWord || byteKinds[c] == byteDigit || c == '$' || c >= 0x80
}

// readTemplate returns the template of text in the memory that t, an empty one, brings. ok tells whether
// there is one, and a literal in it.
func readTemplate(t template, text []byte) (_ template, ok bool) {
	if len(text) > maxTemplateText {
		return t, false
	}
	before := byte(' ') // the byte before i; a quote is the end of a string or name
	for i, end := 0, 0; i < len(text); i = end {
		c, mark := text[i], byte(0)
		end = i + 1
		switch byteKinds[c] {
		case byteSpace:
		case byteWord:
			for end < len(text) && (byteKinds[text[end]] == byteWord || byteKinds[text[end]] == byteDigit) {
				end++
			}
		case byteDigit:
			if end, mark = number(text, i); mark == 0 || !mayPrecedeNumber(before) {
				return t, false
			}
			t.joined = t.joined || !standsAlone(text, i, end)
		case byteQuote:
			if end, mark = plainString(text, i), stringMark; end < 0 || !mayPrecedeString(before) {
				return t, false
			}
		case byteName:
			if end = quotedName(text, i); end < 0 || before == '&' { // U&"x"
				return t, false
			}
		case byteParam:
			if end = parameter(text, i); end < 0 || inWord(before) {
				return t, false
			}
		case byteOther:
			if c == '-' && before == '-' || c == '*' && before == '/' { // a comment
				return t, false
			}
			// A URL, in which everything up to the next space may be a secret.
			t.joined = t.joined || c == '/' && before == ':'
		default:
			return t, false
		}
		if mark == 0 {
			t.key = append(t.key, text[i:end]...)
		} else {
			t.key = append(t.key, mark)
			t.literals = append(t.literals, literalAt{i, end, mark})
		}
		before = text[end-1]
	}
	return t, len(t.literals) > 0
}

// standsAlone reports whether no detector of secrets can take the number [start, end) for a part of
// something longer. What detectors know holds a letter, and neither space nor any of "(),;=<>", but for
// URLs, and for what holds a $ or -- and has no template.
func standsAlone(text []byte, start, end int) bool {
	if start > 0 && (text[start-1] == '-' || text[start-1] == '+') {
		start--
	}
	return (start == 0 || separates(text[start-1])) && (end == len(text) || separates(text[end]))
}

func separates(c byte) bool {
	switch c {
	case '(', ')', ',', ';', '=', '<', '>':
		return true
	}
	return isSpace(c)
}

// mayPrecedeNumber reports whether a number may begin after c: .5 and what goes on a string or a name
// are left alone.
func mayPrecedeNumber(c byte) bool { return c != '.' && c != '\'' && c != '"' && !inWord(c) }

// mayPrecedeString reports whether a plain string may begin after c: not E'x', U&'x', 1'x' or "x"'x'.
func mayPrecedeString(c byte) bool { return mayPrecedeNumber(c) && c != '&' }

// number returns the end of the number at i, and its mark, or 0 when it is not certain what the scanner
// takes it for: 1., 1e5, 0x1, 1_000, 1a.
func number(text []byte, i int) (end int, mark byte) {
	const maxDigits, maxInt32 = 18, "2147483647"
	end = digitsEnd(text, i)
	switch n := end - i; {
	case end < len(text) && text[end] == '.':
		fraction := end + 1
		if end = digitsEnd(text, fraction); end == fraction {
			return end, 0
		}
		mark = numberMark
	case n < len(maxInt32):
		mark = integerMark
	case n > maxDigits || text[i] == '0':
		return end, 0
	case n == len(maxInt32) && string(text[i:end]) <= maxInt32:
		mark = integerMark
	default:
		mark = numberMark
	}
	if end < len(text) && (text[end] == '.' || inWord(text[end])) {
		return end, 0
	}
	return end, mark
}

func digitsEnd(text []byte, i int) int {
	for i < len(text) && byteKinds[text[i]] == byteDigit {
		i++
	}
	return i
}

// parameter returns the end of the parameter at i, or -1 when a $ stands for something else.
func parameter(text []byte, i int) int {
	end := digitsEnd(text, i+1)
	if end == i+1 || end < len(text) && inWord(text[end]) {
		return -1
	}
	return end
}

// quotedName returns the end of the name whose quote is at i, or -1. A doubled quote begins another name,
// which comes to the same: both are part of the template.
func quotedName(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return i + 1
		case byteKinds[c] == byteRefused || c == '\t' || c == '\n':
			return -1
		}
	}
	return -1
}

// plainString returns the end of the string whose quote is at i, or -1 when it is not one that goes into a
// template: printable ASCII without quotes and backslashes, not continued by another string, and without
// any of sensitiveWords.
func plainString(text []byte, i int) int {
	start := i + 1
	for i = start; ; i++ {
		if i == len(text) || i-start > maxTemplateString {
			return -1
		}
		c := text[i]
		if c == '\'' {
			break
		}
		if byteKinds[c] == byteRefused || c == '\t' || c == '\n' || sensitive(text[i:]) {
			return -1
		}
	}
	next := i + 1
	for next < len(text) && isSpace(text[next]) {
		next++
	}
	if next < len(text) && text[next] == '\'' {
		return -1
	}
	return i + 1
}

// sensitiveWords are words of which every string holds one that tells or opens a credential.
var sensitiveWords = [...]string{"pass", "secret", "token", "key"}

// sensitive reports whether text begins with one of sensitiveWords.
func sensitive(text []byte) bool {
	switch text[0] | 0x20 {
	case 'p', 's', 't', 'k':
	default:
		return false
	}
	for _, w := range sensitiveWords {
		if len(text) >= len(w) && bytes.EqualFold(text[:len(w)], []byte(w)) {
			return true
		}
	}
	return false
}

// general reports whether r, the result for text, is the result for every text of t, but for where its
// statement ends, and unless a detector of secrets says otherwise when t.joined.
func (s *session) general(r *Result, text []byte, t *template) bool {
	c := &s.credentials
	switch {
	case !r.Parsed, len(r.Statements) != 1, r.Effects.Any(countersign.Unknown):
		return false
	case s.valueRead, s.usesPrepared:
		return false
	case len(c.literals)+len(c.bodies)+len(c.queries)+len(c.foreign)+len(c.words)+len(c.named)+len(c.params) > 0, c.all:
		return false
	case !atMostTokens(string(t.key), maxTemplateTokens):
		return false
	}
	return r.Statements[0].PrepareBody == nil && s.standFor(text, t.literals)
}
