package sanitize

import "strings"

// strictText finds what strict mode drops from text of no known grammar: every quoted string that is no
// key, and every word that holds a digit, with the dots, dashes and colons inside it.
func strictText(t string) []finding {
	var found []finding
	q := strictQuotes{t: t, json: jsonText(t)}
	for i := 0; i < len(t); {
		if end := placeholderAt(t, i); end > 0 {
			i = end
			continue
		}
		switch b := t[i]; {
		case b == '"' || b == '\'' || b == '`':
			end := q.end(i)
			if end > i+1 && !isPlaceholder(t[i+1:end]) && !isKey(t, i, end) {
				found = append(found, finding{Span: Span{i + 1, end, StrictText}})
			}
			i = max(i, end) + 1
		case word[b] || b == '-' && q.json:
			end := strictWord(t, i)
			if hasDigit(t[i:end]) {
				found = append(found, finding{Span: Span{i, end, StrictNumber}, form: q.number(i, end)})
			}
			i = end
		default:
			i++
		}
	}
	return found
}

func jsonText(t string) bool {
	i := run(t, 0, len(t), &space)
	return i < len(t) && (t[i] == '{' || t[i] == '[')
}

func hasDigit(t string) bool { return strings.ContainsAny(t, "0123456789") }

// strictWord returns the end of the word at i: a timestamp, a version or an address is one word.
func strictWord(t string, i int) int {
	end := run(t, i+1, len(t), &word)
	for wordAt(t, end+1) {
		switch t[end] {
		case '.', '-', '+':
		case ':':
			if !digits[t[end-1]] || !digits[t[end+1]] {
				return end
			}
		default:
			return end
		}
		end = run(t, end+1, len(t), &word)
	}
	return end
}

// isKey reports whether the string whose quotes are at i and end is a name before a ':' or '='.
func isKey(t string, i, end int) bool {
	next := run(t, end+1, maxGap, &blank)
	return next < len(t) && (t[next] == ':' || t[next] == '=') && end-i <= maxName &&
		allIn(t[i+1:end], &flagName) && !hasDigit(t[i+1:end])
}

// strictQuotes finds the ends of quoted strings.
type strictQuotes struct {
	t    string
	json bool
	// none is set for a mark of which no closing one is left, so that none is looked for again.
	none [256]bool
}

// end returns the position of the mark that closes the string opened at i, or i when there is none. An
// apostrophe inside a word opens and closes nothing. A double quote that nothing closes reaches the end.
func (q *strictQuotes) end(i int) int {
	t, mark := q.t, q.t[i]
	if q.none[mark] || mark != '"' && wordBefore(t, i) {
		return i
	}
	for end := i + 1; end < len(t); end++ {
		switch {
		case t[end] == '\\' && mark == '"':
			end++
		case t[end] == mark && (mark == '"' || !wordAt(t, end+1)):
			return end
		}
	}
	q.none[mark] = true
	if mark == '"' {
		return len(t)
	}
	return i
}

// number returns the form of a number's placeholder: in JSON a string.
func (q *strictQuotes) number(i, end int) form {
	if !q.json {
		return formPlain
	}
	before := runBack(q.t, i, i, &space)
	after := run(q.t, end, len(q.t), &space)
	if before > 0 && strings.IndexByte(":,[", q.t[before-1]) >= 0 && after < len(q.t) && strings.IndexByte(",]}", q.t[after]) >= 0 {
		return formJSON
	}
	return formPlain
}
