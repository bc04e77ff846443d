package sql

import (
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign/sanitize"
)

// Limits on a text. Beyond them it is Unknown. They keep the parser, which recurses on the C stack
// where an overflow would end the process, within about a tenth of that stack, and bound the memory
// that one text takes to about 100 MB for a moment, and 1 MB for longer. The scanner takes time that
// grows with the square of a run of operator characters, of which +++… and /*/*/*… are made.
const (
	MaxBytes       = 1 << 20 // of the text
	MaxTokens      = 200_000 // words, numbers, operators, literals
	MaxDepth       = 1_000   // levels of nesting, as nesting counts them
	MaxStatements  = 10_000
	MaxObjects     = 1_000 // named by one statement
	MaxOperatorRun = 256   // operator characters in a row, also where they are quoted
	MaxExecutes    = 1_000 // EXECUTEs in a text
	MaxPrepared    = 100   // of so many statements that were prepared before it

	maxWhy = 64 // kept for one statement; further evidence adds its effect and no words
)

// scannable returns why a text must not even be given to the scanner, or nothing.
func scannable(text string) sanitize.Clean {
	switch {
	case len(text) > MaxBytes:
		return sanitize.Format("the text is longer than %s bytes", sanitize.Int(MaxBytes))
	case strings.IndexByte(text, 0) >= 0: // the scanner would stop reading there, P1
		return sanitize.Const("the text contains a NUL byte")
	case longestOperatorRun(text) > MaxOperatorRun:
		return sanitize.Format("the text has more than %s operator characters in a row", sanitize.Int(MaxOperatorRun))
	}
	return sanitize.Clean{}
}

func longestOperatorRun(text string) int {
	longest, run := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '~', '!', '@', '#', '^', '&', '|', '`', '?', '+', '-', '*', '/', '%', '<', '>', '=':
			run++
			longest = max(longest, run)
		default:
			run = 0
		}
	}
	return longest
}

// refuse returns why a text must not be given to the parser, or nothing.
func refuse(text string, s Settings) sanitize.Clean {
	if why := scannable(text); !why.IsZero() {
		return why
	}
	switch {
	case !s.UTF8:
		return sanitize.Const("the session's client_encoding is not UTF8")
	case !s.StandardConformingStrings:
		return sanitize.Const("the session's standard_conforming_strings is off")
	case !utf8.ValidString(text):
		return sanitize.Const("the text is not valid UTF-8")
	}
	if atMostTokens(text, MaxDepth) {
		return sanitize.Clean{} // every level takes a token
	}
	scan, err := pg.Scan(text)
	switch {
	case err != nil:
		return sanitize.Const("the text has a lexical error")
	case len(scan.Tokens) > MaxTokens:
		return sanitize.Format("the text has more than %s tokens", sanitize.Int(MaxTokens))
	case nesting(scan.Tokens) > MaxDepth:
		return sanitize.Format("the text may be nested more than %s levels deep", sanitize.Int(MaxDepth))
	}
	return sanitize.Clean{}
}

// atMostTokens reports, without knowing what is quoted, that text cannot have more than max tokens:
// a token starts with a byte that no word holds, or where a word starts.
func atMostTokens(text string, max int) bool {
	if len(text) <= max {
		return true
	}
	tokens, inWord := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v':
			inWord = false
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c >= 0x80:
			if !inWord {
				tokens++
			}
			inWord = true
		default:
			tokens++
			inWord = false
		}
		if tokens > max {
			return false
		}
	}
	return true
}

// nesting returns an upper bound for the depth of the tree that the parser makes of tokens.
//
// Depth comes from brackets, from CASE … END, and from what stands beside each other within them:
// chains of operators (a + b + c leans to the left), prefix operators, joins, and set operations. In
// one bracket a chain ends at a comma or semicolon, and at AND and OR, of which the parser makes flat
// lists; only a set operation holds lists with commas, and only NOT and JOIN hold AND and OR. An AND
// that belongs to a BETWEEN ends nothing.
func nesting(tokens []*pg.ScanToken) int {
	type bracket struct {
		isCase                 bool
		run, item, sets        int // tokens since AND or OR; NOT and JOIN since a comma; set operations
		maxRun, maxItem, inner int // the largest of each so far; of the brackets inside
		betweens               int
	}
	total := func(b bracket) int {
		return 1 + b.sets + max(b.item, b.maxItem) + max(b.run, b.maxRun) + b.inner
	}
	var open []bracket
	cur := bracket{}
	shut := func() {
		t := total(cur)
		cur, open = open[len(open)-1], open[:len(open)-1]
		cur.inner = max(cur.inner, t)
	}
	deepest := 0 // of the statements before
	previous := pg.Token_NUL
	for _, t := range tokens {
		if t.Token == pg.Token_SQL_COMMENT || t.Token == pg.Token_C_COMMENT {
			continue
		}
		switch tok := t.Token; {
		case tok == pg.Token_ASCII_40 || tok == pg.Token_ASCII_91: // ( [
			open, cur = append(open, cur), bracket{}
		case tok == pg.Token_CASE && previous != pg.Token_ASCII_46: // not t.case
			open, cur = append(open, cur), bracket{isCase: true}
		case tok == pg.Token_END_P && cur.isCase && previous != pg.Token_ASCII_46:
			shut()
		case tok == pg.Token_ASCII_41 || tok == pg.Token_ASCII_93: // ) ]
			for cur.isCase && len(open) > 0 {
				shut()
			}
			if len(open) > 0 {
				shut()
			}
		case tok == pg.Token_ASCII_59 && len(open) == 0: // ;
			deepest = max(deepest, total(cur))
			cur = bracket{}
		case tok == pg.Token_ASCII_44: // ,
			cur.maxRun, cur.maxItem = max(cur.run, cur.maxRun), max(cur.item, cur.maxItem)
			cur.run, cur.item, cur.betweens = 0, 0, 0
		case tok == pg.Token_AND && cur.betweens > 0:
			cur.betweens--
			cur.run++
		case tok == pg.Token_AND || tok == pg.Token_OR || cur.isCase && (tok == pg.Token_WHEN || tok == pg.Token_THEN || tok == pg.Token_ELSE):
			cur.maxRun, cur.run = max(cur.run, cur.maxRun), 0
		case tok == pg.Token_UNION || tok == pg.Token_INTERSECT || tok == pg.Token_EXCEPT:
			cur.sets++
		case tok == pg.Token_NOT || tok == pg.Token_NOT_LA || tok == pg.Token_JOIN:
			cur.item++
		default:
			if tok == pg.Token_BETWEEN {
				cur.betweens++
			}
			cur.run++
		}
		previous = t.Token
	}
	for len(open) > 0 {
		shut()
	}
	return max(deepest, total(cur))
}
