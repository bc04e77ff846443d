package sanitize

import "strings"

// maxGap is how many spaces may stand between a key, its separator and its value.
const maxGap = 32

var (
	blank      = chars(" \t")
	flagName   = chars("A-Za-z0-9_.-")
	valueClose = chars(",;)]}> \t\r\n\v\f:|&")
)

// key is the name before a separator.
type key struct {
	start, end int
	quoted     bool
	// quote is the quotation mark before the name when none follows it: 'Authorization: Bearer x'.
	quote string
	// lineStart means that nothing but indentation or a list's dash stands before the name.
	lineStart bool
	// query means that the name is one of a URL's query.
	query bool
}

// separator looks at the name before the ':' or '=' at c.i, and at the value after it.
func (c *scanner) separator() {
	t, i := c.t, c.i
	c.i++
	if c.mode&codeOnly != 0 {
		if strings.HasPrefix(t[i:], "://") {
			c.url(i)
		}
		return
	}
	if t[i] == ':' && i+1 < len(t) {
		switch t[i+1] {
		case '/':
			if strings.HasPrefix(t[i:], "://") {
				c.url(i)
				return
			}
		case ':':
			c.i++ // a cast or a scope
			return
		}
	}
	if c.mode&noKeys != 0 {
		return
	}
	for n := 0; n < 2 && c.i < len(t) && (t[c.i] == '=' || t[c.i] == '>'); n++ {
		c.i++
	}
	start := i
	if i > 0 && separatorChars[t[i-1]] {
		start = c.separators(i)
	}
	k, ok := keyBefore(t, start)
	if !ok {
		return
	}
	c.keyed(k, t[i] == ':' && c.i == i+1)
}

// separators returns the start of the run of ':' and '=' that the one at i is in.
func (c *scanner) separators(i int) int {
	start := runBack(c.t, i, maxSeparators, &separatorChars)
	if i-start < maxSeparators {
		return start
	}
	far := c.remembered()
	if i >= far.sepTo {
		far.sepFrom, far.sepTo = runBack(c.t, start, start, &separatorChars), run(c.t, i, len(c.t), &separatorChars)
	}
	return far.sepFrom
}

// maxSeparators is the length from which a run of separators is walked once and remembered.
const maxSeparators = 4

var separatorChars = chars(":=")

// keyed looks at the value after a key; c.i is just past the separator.
func (c *scanner) keyed(k key, colon bool) {
	t := c.t
	name := strings.TrimLeft(t[k.start:k.end], "-.")
	p := classify(name)
	if p.none() && k.query && (strings.EqualFold(name, "sig") || strings.HasSuffix(strings.ToLower(name), "signature")) {
		p = position{kind: Secret}
	}
	v := run(t, c.i, maxGap, &blank)
	if p.none() {
		if len(name) <= 5 {
			p = c.named(name, v)
		}
		if p.none() {
			c.personal(name, v)
			return
		}
	}
	if k.quoted {
		v = run(t, c.i, 4*maxGap, &space) // JSON may break the line
	}
	if v < len(t) {
		c.value(v, k, p, colon)
	}
}

// named follows pairs as {"name": "DB_PASSWORD", "value": "x"} and returns what the name said about
// the value.
func (c *scanner) named(name string, v int) position {
	t := c.t
	switch strings.ToLower(name) {
	case "name", "key":
		start := v
		if start < len(t) && (t[start] == '"' || t[start] == '\'') {
			start++
		}
		c.pending = classify(t[start:run(t, start, maxName, &flagName)])
		c.pending.weak = false
		c.pendingTo = v + 256
	case "value":
		if v < c.pendingTo {
			return c.pending
		}
	}
	return position{}
}

// personal looks for a value under a name of personal data.
func (c *scanner) personal(name string, v int) {
	kind, ok := classifyPersonal(name)
	if !ok || c.mode&literalsOnly != 0 {
		return
	}
	t := c.t
	if v < len(t) && (t[v] == '"' || t[v] == '\'' || t[v] == '\\') {
		v = run(t, v, 3, &quoteChars)
	}
	end := run(t, v, maxPersonal, &personalChars)
	for end > v && !alnum[t[end-1]] {
		end--
	}
	if isPersonal(kind, t[v:end]) {
		c.found(v, end, kind, canonical(kind, t[v:end]))
	}
}

const maxPersonal = 48

var (
	quoteChars    = chars(`"'\`)
	personalChars = chars("A-Z0-9 +()./-")
)

// isPersonal reports whether a value under the name of a kind can be of it.
func isPersonal(kind Kind, v string) bool {
	n := 0
	for i := 0; i < len(v); i++ {
		if digits[v[i]] {
			n++
		} else if letters[v[i]] && kind != IBAN {
			return false
		}
	}
	switch kind {
	case SSN:
		return n == 9
	case Phone:
		return n >= 7 && n <= 15
	case PaymentCard:
		return n >= 12 && n <= 19
	default:
		return n >= 10 && len(v) >= 15 && letters[v[0]]
	}
}

// maxEscapes is how many backslashes before a quotation mark are taken for its own: JSON inside a string
// of JSON, and so on, four times, has 15.
const maxEscapes = 16

// keyBefore finds the name that ends before the separators at i, which may be quoted.
func keyBefore(t string, i int) (key, bool) {
	end := runBack(t, i, maxGap, &blank)
	if end > 1 && t[end-1] == ']' && quoteChars[t[end-2]] {
		end-- // params["password"] = …
	}
	k := key{end: end}
	if end > 0 && (t[end-1] == '"' || t[end-1] == '\'' || t[end-1] == '`') {
		k.quoted = true
		k.end = runBack(t, k.end-1, maxEscapes, &backslash)
	}
	k.start = runBack(t, k.end, maxName, &flagName)
	if k.start == k.end {
		return key{}, false
	}
	before := k.start
	if !k.quoted && before > 0 {
		switch t[before-1] {
		case '"', '\'', '`':
			b := before - 1
			for b > 0 && t[b-1] == '\\' && before-b < 8 {
				b--
			}
			k.quote = t[b:before]
		case '?', '&':
			k.query = true
		}
	}
	for before > 0 && before > k.start-maxGap && (blank[t[before-1]] || t[before-1] == '-') {
		before--
	}
	k.lineStart = before == 0 || t[before-1] == '\n'
	return k, true
}

// value records the value at v, which a key of position p names.
func (c *scanner) value(v int, k key, p position, colon bool) {
	t := c.t
	if strings.HasPrefix(t[v:], pemBegin) {
		return // the detector takes all of it
	}
	if open, start := openQuote(t, v); open != "" {
		end := closeQuote(t, start, open)
		if p.weak && (digitsOnly(t[start:end]) || colon && !k.quoted && !k.lineStart && !plausible(t[start:min(end, start+maxWeak)])) &&
			c.spare(end-start) {
			return // prose: unexpected token: ')'
		}
		c.credential(start, end, p)
		return
	}
	if c.mode&literalsOnly != 0 {
		return
	}
	switch t[v] {
	case '[':
		if placeholderAt(t, v) < 0 {
			c.list(v+1, p)
			return
		}
	case '{':
		if v+1 == len(t) || t[v+1] == '"' || t[v+1] == '\'' || t[v+1] == '}' || space[t[v+1]] {
			return // an object; its keys are looked at as they come
		}
	case '|', '>':
		if colon && !k.quoted && c.block(v, k, p) {
			return
		}
	}
	if p.kind == Authorization {
		c.authorization(v, k, p, colon)
		return
	}
	if call := run(t, v, maxName, &flagName); call > v && call < len(t) && t[call] == '(' {
		if open, _ := openQuote(t, call+1); open != "" {
			c.arguments(call+1, p)
			return
		}
	}
	if p.weak && !c.believable(t[v:wordEnd(t, v, maxWeak)], k, colon) {
		return
	}
	c.secret(v, unquotedEnd(t, v, k, colon, p.kind == Cookie), p)
}

// arguments records the strings among the arguments of a call that begin at i: password = crypt('x', salt).
func (c *scanner) arguments(i int, p position) {
	t := c.t
	depth, end := 1, min(len(t), i+maxArguments)
	for i < end && depth > 0 && t[i] != '\n' {
		switch t[i] {
		case '(':
			depth++
		case ')':
			depth--
		case '"', '\'', '\\', '`':
			if open, start := openQuote(t, i); open != "" {
				stop := closeQuote(t, start, open)
				if c.far == nil || i >= c.far.argumentsTo {
					c.secret(start, stop, p)
				}
				i = run(t, stop, len(open), &backslash)
			}
		}
		i++
	}
	far := c.remembered()
	far.argumentsTo = max(far.argumentsTo, i)
}

const maxArguments = 1024

// maxWeak is how much of a value under a weak name is looked at to believe or reject it.
const maxWeak = 128

// believable reports whether an unquoted value under a weak name is a secret.
func (c *scanner) believable(v string, k key, colon bool) bool {
	if colon && !k.quoted {
		return plausible(v)
	}
	return !allIn(v, &numberChars) && (k.query || !strings.ContainsAny(v, "({")) || len(v) > 16
}

var numberChars = chars("0-9.+-")

// digitsOnly reports whether v is a short number, as counts and indexes are.
func digitsOnly(v string) bool { return len(v) <= 3 && allIn(v, &digits) }

// credential records the quoted value [a, b). Of an authorization the scheme stays.
func (c *scanner) credential(a, b int, p position) {
	if p.kind == Authorization {
		if next, single := authScheme(c.t[:b], a); next > a {
			a = next
			if word := run(c.t[:b], a, b-a, &nonSpace); single && c.spare(b-word) {
				b = word
			}
		}
	}
	c.secret(a, b, p)
}

// authorization records the unquoted value of an Authorization header.
func (c *scanner) authorization(v int, k key, p position, colon bool) {
	next, single := authScheme(c.t, v)
	if single {
		c.secret(next, wordEnd(c.t, next, len(c.t)), p)
		return
	}
	c.secret(next, unquotedEnd(c.t, v, k, colon, true), p)
}

var nonSpace = func() (c charset) {
	for b := range c {
		c[b] = !space[b]
	}
	return c
}()

// authScheme returns where the credentials begin in an Authorization header's value at v, and whether
// they are a single word.
func authScheme(t string, v int) (next int, single bool) {
	scheme := run(t, v, maxName, &flagName)
	next = run(t, scheme, maxGap, &blank)
	if next == scheme || next >= len(t) {
		return v, false
	}
	switch strings.ToLower(t[v:scheme]) {
	case "bearer", "basic", "token", "negotiate", "apikey", "bot":
		return next, true
	case "digest", "aws4-hmac-sha256", "hawk", "oauth", "ntlm", "dpop", "signature", "sharedkey", "sharedkeylite":
		return next, false
	default:
		return v, false
	}
}

// list records the elements of the list that begins at i.
func (c *scanner) list(i int, p position) {
	t := c.t
	for i < len(t) {
		i = run(t, i, len(t), &listGap)
		if i >= len(t) || t[i] == ']' || t[i] == '{' || t[i] == '[' {
			break
		}
		open, start := openQuote(t, i)
		if open == "" {
			end := i
			for end < len(t) && t[end] != ',' && t[end] != ']' && t[end] != '\n' {
				end = max(end+1, pastPlaceholder(t, end))
			}
			c.credential(i, end, p)
			i = end
			continue
		}
		end := closeQuote(t, start, open)
		c.credential(start, end, p)
		i = run(t, end, len(open), &backslash) + 1
	}
	c.i = max(c.i, min(i, len(t)))
}

var listGap = chars(", \t\r\n")

// block records the lines of a YAML block scalar whose indicator stands at v.
func (c *scanner) block(v int, k key, p position) bool {
	t := c.t
	eol := run(t, v, 4, &blockIndicator)
	eol = run(t, eol, maxGap, &blank)
	if eol < len(t) && t[eol] == '\r' {
		eol++
	}
	if eol >= len(t) || t[eol] != '\n' {
		return false
	}
	indent := k.start - (strings.LastIndexByte(t[max(0, k.start-256):k.start], '\n') + 1 + max(0, k.start-256))
	start, end := -1, eol+1
	for line := eol + 1; line < len(t); {
		stop := len(t)
		if nl := strings.IndexByte(t[line:], '\n'); nl >= 0 {
			stop = line + nl
		}
		text := run(t, line, len(t), &blank)
		if text < stop && text-line <= indent {
			break
		}
		if text < stop {
			if start < 0 {
				start = text
				if strings.HasPrefix(t[start:], pemBegin) {
					return true // the detector takes all of it
				}
			}
			end = stop
		}
		line = stop + 1
	}
	if start < 0 {
		return false
	}
	c.secret(start, end, p)
	c.i = max(c.i, end)
	return true
}

var blockIndicator = chars("|>+-")

// keyword looks for a value in quotes or after a blank that a word alone announces: PASSWORD 'x',
// IDENTIFIED BY 'x', Bearer x, Basic x.
func (c *scanner) keyword(i, end int) {
	t := c.t
	next := run(t, end, maxGap, &space)
	if next == end || next >= len(t) || c.mode&noKeys != 0 {
		return
	}
	w := t[i:end]
	switch {
	case strings.EqualFold(w, "by") || len(w) >= 8 && classify(w).kind == Password:
		if strings.EqualFold(w, "by") && !endsInFold(t[max(0, i-16):i], "identified ") {
			return
		}
		if open, start := literalQuote(t, next); open != "" && open != "`" {
			c.secret(start, closeQuote(t, start, open), position{kind: Password})
		}
	case strings.EqualFold(w, "bearer"):
		stop := run(t, next, len(t), &bearerChars)
		if stop-next >= 16 && mixed(t[next:min(stop, next+maxProof)]) {
			c.secret(next, stop, position{kind: Token})
			c.i = max(c.i, stop)
		}
	case strings.EqualFold(w, "basic"):
		stop := run(t, next, maxBasic, &base64Std)
		if plain, ok := decodeBase64(t[next:stop]); ok && strings.Contains(plain, ":") {
			stop = run(t, stop, 2, &padding)
			c.secret(next, stop, position{kind: Authorization})
			c.i = max(c.i, stop)
		}
	}
}

const maxBasic = 1024

var (
	bearerChars = chars("A-Za-z0-9._~+/=-")
	padding     = chars("=")
)

func endsInFold(t, suffix string) bool {
	return len(t) >= len(suffix) && strings.EqualFold(t[len(t)-len(suffix):], suffix)
}

// element looks at the XML element or attribute-less tag at c.i: <password>x</password>.
func (c *scanner) element() {
	t, i := c.t, c.i
	c.i++
	if c.mode != 0 && c.mode != inView || i+1 >= len(t) || !letters[t[i+1]] {
		return
	}
	end := run(t, i+1, maxName, &elementName)
	if end >= len(t) || t[end] != '>' {
		return
	}
	p := classify(t[i+1 : end])
	if p.none() {
		return
	}
	v := run(t, end+1, maxGap, &space)
	if strings.HasPrefix(t[v:], cdata) {
		v += len(cdata)
	}
	stop := v
	for stop < len(t) && t[stop] != '<' && !strings.HasPrefix(t[stop:], "]]>") && stop-v < maxQuoted {
		stop++
	}
	if stop-v == maxQuoted || strings.HasPrefix(t[stop:], "</") || strings.HasPrefix(t[stop:], "]]>") {
		c.credential(v, stop, p)
	}
}

var elementName = chars("A-Za-z0-9_.:-")

const cdata = "<![CDATA["
