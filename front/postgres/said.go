package postgres

import (
	"strings"
	"unicode/utf8"

	"github.com/countersign-dev/countersign/sanitize"
)

// said is what the server reported, for the trail: its SQLSTATE and the fixed part of its message. What the
// server quotes is often a value, of the statement or of stored data, that no detector can know as one (P7);
// so is what code of the database raises. DETAIL, HINT and CONTEXT are never kept. The client itself gets all.
func (c *conn) said() sanitize.Clean {
	r := &c.relay.report
	return sanitize.Join(": ", sanitize.Name(r.code), c.front.sanitizer.Text(withoutValues(*r)))
}

const left = "[…]"

// quotes are the marks that the server quotes with in its languages, each opening one before those that end it.
var quotes = map[rune]string{
	'"': `"`, '\'': "'", '`': "'`", '«': "»", '»': "«", '‹': "›", '›': "‹", '„': "“”", '“': "”", '”': "”", '‚': "‘’",
	'‘': "’", '’': "’", '「': "」", '『': "』",
}

const marks = "\"'`«»‹›„“”‚‘’「」『』"

// withoutValues drops what lies between the first mark and the last, since a value may hold marks itself, and
// all that follows where the last does not end what the first began; and all that follows a colon.
func withoutValues(r report) string {
	if raised(r) || !utf8.ValidString(r.message) {
		return left
	}
	m := r.message
	if first := strings.IndexAny(m, marks); first >= 0 {
		last := strings.LastIndexAny(m, marks)
		open, _ := utf8.DecodeRuneInString(m[first:])
		end, size := utf8.DecodeRuneInString(m[last:])
		rest := ""
		if last > first && strings.ContainsRune(quotes[open], end) {
			rest = m[last+size:]
		}
		m = m[:first] + left + rest
	}
	if before, _, found := strings.Cut(m, ": "); found {
		m = before + ": " + left
	}
	return m
}

// raised reports whether the words are those of code in the database rather than the server's own.
func raised(r report) bool {
	if strings.HasPrefix(r.code, "P0") || r.routine == "" {
		return true
	}
	return r.routine == "exec_stmt_raise" || strings.HasPrefix(r.routine, "PLy_") ||
		strings.HasPrefix(r.routine, "plperl_") || strings.HasPrefix(r.routine, "pltcl_")
}
