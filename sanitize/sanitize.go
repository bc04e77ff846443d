package sanitize

import (
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxText is how many bytes of one text are kept. What is beyond it, up from the last white space
// before it, is replaced by a placeholder that tells its length; a text that long without white space is
// replaced as a whole.
const MaxText = 1 << 20

// Span is a part of a text, in bytes: [Start, End).
type Span struct {
	Start, End int
	Kind       Kind
}

// Options configure a Sanitizer.
type Options struct {
	// Key makes the pseudonyms in placeholders ([email:7f3a9c2e51b0]): equal values get equal ones. Without
	// it placeholders carry the kind only. Whoever may have texts sanitized and sees the results can test
	// guesses; see Kind.LowEntropy.
	Key []byte
	// Strict drops every literal, whether a detector knows it or not: of a statement every string, number
	// and comment; of any other text every quoted string, and every word that holds a digit. Names before a
	// ':' stay, as do types' lengths in a statement, which are code.
	Strict bool
}

// Sanitizer makes Clean text. It is immutable and safe for concurrent use.
type Sanitizer struct {
	key    []byte
	strict bool
}

// New returns a Sanitizer.
func New(o Options) *Sanitizer { return &Sanitizer{key: slices.Clone(o.Key), strict: o.Strict} }

// Text sanitizes text of no known grammar: structure first, then the detectors. A statement that no
// parser accepts is such a text.
func (s *Sanitizer) Text(raw string) Clean {
	text, _ := s.limited(raw, nil, formPlain, s.textFindings)
	return Clean{text}
}

// SQL sanitizes a statement that a PostgreSQL server would parse, with standard_conforming_strings on.
// credentials are the literals that the parser found in credential positions, as byte ranges that include
// the quotes. Only literals and comments are replaced, and what stands as an identifier and is known; a literal
// stays a literal and an identifier an identifier, so that the result parses as the statement does. An e-mail
// address that stands where the grammar wants a role is its name, and stays.
func (s *Sanitizer) SQL(raw string, credentials []Span) Clean {
	text, _ := s.limited(raw, s.credentialFindings(raw, credentials), formComment, s.sqlFindings)
	return Clean{text}
}

// InCode returns the spans in a statement's code, outside of literals and comments, that a detector
// knows: secrets and personal data used as names. SQL replaces them, but for the e-mail addresses of roles; a
// statement with any other should be refused unless the catalog knows the name, since nobody can review
// what he does not see.
func (s *Sanitizer) InCode(raw string) []Span {
	var spans []Span
	for _, f := range merge(codeFindings(raw)) {
		spans = append(spans, f.Span)
	}
	return spans
}

// Value sanitizes a value that stands under a name: a JSON key, a column, a parameter. A name such as
// "password" replaces the value whole.
func (s *Sanitizer) Value(name, raw string) Clean {
	if raw == "" || isPlaceholder(raw) {
		return Clean{raw}
	}
	if p := classify(name); !p.none() && (!p.weak || !digitsOnly(raw)) {
		kind := p.kind
		if k, end := matchToken(raw, 0); end == len(raw) {
			kind = k
		}
		return Clean{s.placeholder(kind, raw)}
	}
	if kind, ok := classifyPersonal(name); ok && len(raw) <= maxPersonal && isPersonal(kind, raw) {
		return Clean{s.placeholder(kind, canonical(kind, raw))}
	}
	if s.strict {
		return Clean{s.placeholder(StrictText, raw)}
	}
	return s.Text(raw)
}

// Find returns the spans of raw that Text would replace, in order, not overlapping.
func (s *Sanitizer) Find(raw string) []Span {
	_, found := s.limited(raw, nil, formPlain, s.textFindings)
	spans := make([]Span, len(found))
	for i, f := range found {
		spans[i] = f.Span
	}
	return spans
}

// Name returns a name chosen by an administrator or a client (a resource, group, login, database
// object): itself when it has at most 256 bytes of letters, digits, and ._-@:/ and no detector knows it; else
// what Text makes of it, type only. E-mail addresses stay: principals, roles and logins are named so, and
// nobody can review what he cannot see the requester of. What a client says about itself goes through Text.
func Name(raw string) Clean {
	if !isName(raw) {
		return New(Options{}).Text(raw)
	}
	if strings.IndexByte(raw, '.') >= 0 && digitsIn(raw) >= minDigits {
		return nameOfParts(raw)
	}
	return Clean{raw}
}

// minDigits is how many digits the shortest number has that is personal data wherever it stands. Beside a
// dot it is a fraction to the detectors, but not in the name of a table.
const minDigits = 9

func digitsIn(t string) int {
	n := 0
	for i := range len(t) {
		if digits[t[i]] {
			n++
		}
	}
	return n
}

// nameOfParts is Name for one whose parts between dots may hold what the whole does not.
func nameOfParts(raw string) Clean {
	parts := strings.Split(raw, ".")
	for i, part := range parts {
		if !isName(part) {
			parts[i] = New(Options{}).Text(part).String()
		}
	}
	return Clean{strings.Join(parts, ".")}
}

const maxNameBytes = 256

func isName(raw string) bool {
	if len(raw) > maxNameBytes || !utf8.ValidString(raw) {
		return false
	}
	for _, r := range raw {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-@:/", r) {
			return false
		}
	}
	for _, f := range scan(raw, noKeys, maxViews) {
		if f.Kind != Email {
			return false
		}
	}
	return true
}

// finder finds what is to be replaced in a text, unordered, perhaps overlapping.
type finder func(t string) []finding

// limited replaces what find finds, in no more of raw than gives MaxText bytes. rest is the form of the
// placeholder for what is left out. It returns the findings as spans of raw.
func (s *Sanitizer) limited(raw string, first []finding, rest form, find finder) (string, []finding) {
	if !utf8.ValidString(raw) {
		return s.repaired(raw, first, rest, find)
	}
	for keep := MaxText; ; {
		found := slices.Clone(first)
		if len(raw) > keep {
			end := strings.LastIndexAny(raw[:keep], " \t\r\n") + 1
			found = append(found, finding{Span: Span{end, len(raw), Rest}, form: rest})
		}
		text, all := s.settle(raw, found, find)
		if len(text) <= MaxText {
			return text, all
		}
		for keep /= 2; keep >= len(raw); keep /= 2 { // less than before
		}
	}
}

// repaired is limited for a text that is not UTF-8: it is made so before anything is looked for, so that
// what is found does not depend on bytes that the result will not have.
func (s *Sanitizer) repaired(raw string, first []finding, rest form, find finder) (string, []finding) {
	v := validUTF8(raw)
	found := slices.Clone(first)
	for i, f := range found {
		found[i].Start, found[i].End = v.at(f.Start), v.at(f.End)
	}
	text, all := s.limited(v.text, found, rest, find)
	for i, f := range all {
		all[i].Start, all[i].End = v.source(f.Start, f.End)
	}
	return text, all
}

// maxRounds is how often a result is looked at again. Each round makes a result in which more is replaced;
// a text that still has findings then was made to, and is replaced whole.
const maxRounds = 16

// settle replaces what find finds until it finds nothing in the result, so that sanitizing the result
// again changes nothing. It returns the findings as spans of raw.
func (s *Sanitizer) settle(raw string, found []finding, find finder) (string, []finding) {
	text := raw
	var edits []edit
	if len(found) > 0 {
		found = merge(found)
		text, edits = s.apply(raw, found)
	}
	for range maxRounds {
		more := find(text)
		if len(more) == 0 {
			return text, found
		}
		if len(edits) > 0 {
			more = merge(more) // so that inSource passes over every edit once
		}
		for _, f := range more {
			found = append(found, inSource(f, edits))
		}
		found = merge(found)
		text, edits = s.apply(raw, found)
	}
	all := finding{Span: Span{0, len(raw), StrictText}}
	if jsonText(raw) {
		all.form = formJSON
	}
	return all.form.write(s.placeholder(StrictText, raw)), []finding{all}
}

// merge orders findings and unites those that overlap: the kind is that of the larger, or of equal ones
// that which says more.
func merge(found []finding) []finding {
	slices.SortStableFunc(found, func(a, b finding) int {
		if a.Start != b.Start {
			return a.Start - b.Start
		}
		return b.End - a.End
	})
	out := found[:0]
	for _, f := range found {
		n := len(out)
		if n == 0 || f.Start >= out[n-1].End {
			out = append(out, f)
			continue
		}
		last := &out[n-1]
		switch {
		case last.Kind == Rest:
		case f.Start == last.Start && f.End == last.End:
			if f.Kind.says() > last.Kind.says() {
				last.Kind, last.value = f.Kind, f.value
			}
			last.form = max(last.form, f.form)
		case f.End > last.End:
			last.End, last.value = f.End, ""
		}
		if f.Kind == Rest && last.Kind != Rest {
			last.Kind, last.form = Rest, formPlain
		}
	}
	return out
}

// edit is a placeholder in a result and the part of the source that it stands for.
type edit struct{ start, end, from, to int }

// apply puts placeholders in place of found, which is in order.
func (s *Sanitizer) apply(raw string, found []finding) (string, []edit) {
	var b strings.Builder
	edits := make([]edit, 0, len(found))
	at := 0
	for _, f := range found {
		b.WriteString(raw[at:f.Start])
		value := f.value
		if value == "" {
			value = raw[f.Start:f.End]
		}
		start := b.Len()
		p := f.form.write(s.placeholder(f.Kind, value))
		if p[0] == '\'' {
			p = apart(raw, f.Start, f.End, p)
		}
		b.WriteString(p)
		edits = append(edits, edit{start, b.Len(), f.Start, f.End})
		at = f.End
	}
	b.WriteString(raw[at:])
	return b.String(), edits
}

// apart puts a blank between an SQL literal and a literal directly beside it, with which it would be one.
func apart(raw string, start, end int, p string) string {
	if start > 0 && raw[start-1] == '\'' {
		p = " " + p
	}
	if end < len(raw) && raw[end] == '\'' {
		p += " "
	}
	return p
}

// inSource returns f, a finding in a result, as one in the source. A finding that holds placeholders, or
// parts of them, stands for all that they stand for.
func inSource(f finding, edits []edit) finding {
	first := sort.Search(len(edits), func(i int) bool { return edits[i].end > f.Start })
	shift := 0
	if first > 0 {
		shift = edits[first-1].to - edits[first-1].end
	}
	a, b := f.Start+shift, f.End+shift
	for _, e := range edits[first:] {
		if e.start >= f.End {
			break
		}
		a, b = min(a, e.from), max(e.to, f.End+e.to-e.end)
		f.value = ""
	}
	f.Start, f.End = a, b
	return f
}

// write puts a placeholder into the form.
func (f form) write(p string) string {
	switch f {
	case formJSON:
		return `"` + p + `"`
	case formJSON2:
		return `\"` + p + `\"`
	case formURL:
		return escapedOpen + p[1:len(p)-1] + escapedClose
	case formSQL:
		return "'" + p + "'"
	case formSQL4:
		return "''''" + p + "''''"
	case formSQL2:
		return "''" + p + "''"
	case formComment:
		return "/*" + p + "*/"
	case formIdent:
		return `"` + p + `"`
	default:
		return p
	}
}

func (s *Sanitizer) textFindings(t string) []finding {
	found := scan(t, 0, maxViews)
	if s.strict {
		found = append(found, strictText(t)...)
	}
	return found
}
