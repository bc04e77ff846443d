package sanitize

import "strings"

// maxQuoted is how far the end of a quoted value is looked for. A value without end there is taken to
// reach the end of its line: more is replaced than need be, never less.
const maxQuoted = 64 << 10

// openQuote returns the quotation mark of the value at v and where its content starts. In escaped text
// the mark has its backslashes before it.
func openQuote(t string, v int) (mark string, start int) {
	q := v
	for q < len(t) && t[q] == '\\' && q-v < 8 {
		q++
	}
	if q >= len(t) {
		return "", v
	}
	switch t[q] {
	case '"', '\'', '`':
		if q == v && strings.HasPrefix(t[q:], `"""`) || q == v && strings.HasPrefix(t[q:], `'''`) {
			return t[q : q+3], q + 3
		}
		return t[v : q+1], q + 1
	default:
		return "", v
	}
}

// literalQuote is openQuote for a word's literal, which in SQL may also be E'x', U&'x' or $tag$x$tag$.
func literalQuote(t string, v int) (mark string, start int) {
	switch {
	case t[v] == '$':
		tag := run(t, v+1, maxName, &word)
		if tag < len(t) && t[tag] == '$' {
			return t[v : tag+1], tag + 1
		}
	case strings.HasPrefix(t[v:], "U&'"), strings.HasPrefix(t[v:], "u&'"):
		return "'", v + 3
	case v+1 < len(t) && t[v+1] == '\'' && letters[t[v]]:
		return "'", v + 2
	}
	return openQuote(t, v)
}

// closeQuote returns the end of the content that starts at i and was opened by mark.
func closeQuote(t string, i int, mark string) int {
	limit := min(len(t), i+maxQuoted)
	if len(mark) >= 3 && mark[0] != '\\' || mark[0] == '$' {
		if end := strings.Index(t[i:limit], mark); end >= 0 {
			return i + end
		}
		return lineEnd(t, i)
	}
	quote, escapes := mark[len(mark)-1], len(mark)-1
	for at := i; at < limit; at++ {
		if t[at] != quote {
			continue
		}
		slashes := at - runBack(t, at, at-i, &backslash)
		switch {
		case quote == '\'' && escapes == 0 && at+1 < limit && t[at+1] == quote:
			at++ // a doubled quote, as SQL and YAML write it
		case escapes > 0 && slashes <= escapes:
			return at - slashes
		case escapes == 0 && slashes%2 == 0:
			return at
		}
	}
	return lineEnd(t, i)
}

var backslash = chars(`\`)

func lineEnd(t string, i int) int {
	if nl := strings.IndexByte(t[i:], '\n'); nl >= 0 {
		return i + nl
	}
	return len(t)
}

// unquotedEnd returns the end of the unquoted value at v.
func unquotedEnd(t string, v int, k key, colon, header bool) int {
	switch {
	case header && !k.quoted && (colon || k.quote != ""):
		return headerEnd(t, v, k.quote)
	case k.quoted:
		// A number or a bare word in JSON or in a program's notation.
		end := pastPlaceholder(t, v)
		for end < len(t) && !space[t[end]] && t[end] != ',' && t[end] != '}' && t[end] != ']' && end-v < maxQuoted {
			end++
		}
		return end
	case k.query:
		end := pastPlaceholder(t, v)
		for end < len(t) && !space[t[end]] && !queryEnd[t[end]] {
			end++
		}
		return end
	case k.lineStart && v > 0 && blank[t[v-1]]:
		if end := wholeLine(t, v); end > v {
			return end
		}
	}
	return wordEnd(t, v, len(t))
}

var queryEnd = chars("&#\"'<>`\\")

// headerEnd returns the end of a header's value: the end of the line, or the mark that the header
// as a whole is quoted by, or a quotation mark that closes what the value did not open.
func headerEnd(t string, v int, mark string) int {
	if mark != "" {
		return min(closeQuote(t, v, mark), lineEnd(t, v))
	}
	if v < len(t) && t[v] == '[' && placeholderAt(t, v) < 0 { // a Go map of headers
		if end := strings.IndexByte(t[v:lineEnd(t, v)], ']'); end > 0 {
			return v + end
		}
	}
	inner := byte(0)
	for i := v; i < len(t); i++ {
		switch b := t[i]; b {
		case '\n', '\r':
			return i
		case '\\':
			i++
		case '"', '\'':
			switch {
			case inner == b:
				inner = 0
			case inner == 0 && t[i-1] == '=':
				inner = b
			case inner == 0 && (i+1 == len(t) || valueClose[t[i+1]]):
				return i
			}
		}
	}
	return len(t)
}

// wholeLine returns the end of a value that is the rest of its line, as in YAML and ini files, or -1 when
// the line goes on with other keys.
func wholeLine(t string, v int) int {
	end := lineEnd(t, v)
	if end-v > maxQuoted {
		return -1
	}
	line := t[v:end]
	if c := strings.Index(line, " #"); c >= 0 {
		line = line[:c]
	}
	line = strings.TrimRight(line, " \t\r")
	words := false
	for i := 0; i < len(line); i++ {
		words = words || blank[line[i]]
		if words && line[i] == '=' && word[line[i-1]] {
			return -1
		}
	}
	return v + len(line)
}

// wordEnd returns the end of an unquoted value in running text: the next blank, or a mark that separates
// it from the next key, or a quotation mark or bracket that closes what the value stands in.
// It looks at no more than limit bytes.
func wordEnd(t string, v, limit int) int {
	start := pastPlaceholder(t, v)
	end := start
	limit = max(end, min(len(t), v+min(limit, len(t))))
scan:
	for end < limit && !space[t[end]] {
		switch b := t[end]; b {
		case '\\':
			if q := run(t, end, 8, &backslash); q < len(t) && (t[q] == '"' || t[q] == '\'') && closes(t, q) {
				break scan
			}
			end = min(end+2, limit)
			continue
		case '"', '\'', '`':
			if closes(t, end) {
				break scan
			}
		case '&', ';', ',', '|':
			if keyFollows(t, end+1) {
				break scan
			}
		case '<':
			if strings.HasPrefix(t[end:], "</") {
				break scan
			}
		}
		end++
	}
	for least := max(start, v+1, end-maxTrailing); end > least && trailing(t[v:end]); {
		end--
	}
	return end
}

const maxTrailing = 8

// trailing reports whether the last byte of a value belongs to what is around the value: punctuation, or
// a bracket that was opened before.
func trailing(v string) bool {
	switch v[len(v)-1] {
	case ',', ';':
		return true
	case ')':
		return strings.IndexByte(v, '(') < 0
	case ']':
		return strings.IndexByte(v, '[') < 0
	case '}':
		return strings.IndexByte(v, '{') < 0
	case '>':
		return strings.IndexByte(v, '<') < 0
	default:
		return false
	}
}

// pastPlaceholder returns the end of the placeholder at v, or v.
func pastPlaceholder(t string, v int) int {
	if v < len(t) {
		return max(v, placeholderAt(t, v))
	}
	return v
}

// closes reports whether the quotation mark at i ends something.
func closes(t string, i int) bool { return i+1 >= len(t) || valueClose[t[i+1]] || t[i+1] == '\\' }

// keyFollows reports whether a name and a separator stand at i.
func keyFollows(t string, i int) bool {
	i = run(t, i, 4, &keyLead)
	end := run(t, i, maxName, &flagName)
	if end == i || end >= len(t) {
		return end >= len(t)
	}
	return t[end] == '=' || t[end] == ':' || (t[end] == '"' || t[end] == '\'') && end+1 < len(t) && t[end+1] == ':'
}

var keyLead = chars(" \"'")
