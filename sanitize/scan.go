package sanitize

import (
	"strings"
	"sync"
)

// mode says what of a text is looked at.
type mode uint8

const (
	// codeOnly is for code outside of literals: detectors of secrets and of bare numbers, no structure.
	codeOnly mode = 1 << iota
	// literalsOnly is for the text of programs: structure counts only where the value is a quoted
	// literal, so that an expression is never taken for a value.
	literalsOnly
	// noKeys is for names: detectors, and URLs, but no keys and values.
	noKeys
	// shell is for a command line: a short option may carry a password whatever command it is for.
	shell
	// inView marks a decoded copy of a text.
	inView
)

// maxViews is how many encodings inside one another are undone: percent or JSON escapes, base64, hex.
const maxViews = 3

// finding is a Span with what is needed to replace it.
type finding struct {
	Span
	value string // what the pseudonym is made of; "" means the text of the span
	form  form
}

// form is how a placeholder is written, so that what it stands in stays valid.
type form uint8

const (
	formPlain   form = iota
	formJSON         // in double quotes, for a JSON number
	formJSON2        // in escaped double quotes, for one in JSON inside a string
	formURL          // with %5B and %5D, for a URL's userinfo
	formSQL          // as an SQL literal
	formSQL2         // as an SQL literal inside an SQL literal: quotes doubled
	formSQL4         // inside two of them
	formIdent        // as a quoted SQL identifier
	formComment      // in an SQL comment
)

// scanner finds what is to be replaced in one text, in one pass over its bytes. Every matcher looks at
// a bounded window, or moves the scanner past what it has looked at, so that the time is linear in the
// length of the text.
type scanner struct {
	t    string
	base int // added to the spans given out
	mode mode
	// views is how many more encodings may be undone.
	views int
	out   []finding

	i         int  // the next byte to look at
	at        int  // the first '@' at or after some earlier i; see nextAt
	userinfo  int  // the '@' that ends a URL's userinfo, which makes no e-mail address
	encodedTo int  // the end of the last run looked at for base64 and hex
	stdTo     int  // the end of the part of it in the standard alphabet
	urlTo     int  // and in the URL-safe one
	tries     int  // decodings begun in that run
	jsonSpent int  // bytes of embedded JSON that were read in vain
	sqlTo     int  // the end of what was read as a statement
	phoneTo   int  // a number before this follows a word for a telephone
	far       *far // what far looks have found, or nil
	command   string
	pending   position // {"name": "DB_PASSWORD", "value": …}
	pendingTo int
	awsKey    bool
	escapes   bool // the text has backslashes
	percents  bool // the text has percent escapes
}

// far remembers what looks that go far back or ahead have found, so that none goes that way twice. Few texts
// need one.
type far struct {
	sepFrom, sepTo int       // the last long run of separators
	argumentsTo    int       // the end of the last call whose strings were recorded
	vain           int       // bytes of long values that turned out to be none; see spare
	plain          [2]inText // what base64 decoded to, in the standard alphabet and in the URL-safe one
}

func (c *scanner) remembered() *far {
	if c.far == nil {
		c.far = new(far)
	}
	return c.far
}

// What the scanner does at a byte.
const (
	classOther = iota
	classWord
	classSeparator // ':' and '='
	classAt
	classPlus
	classParen
	classDash
	classDollar
	classBracket
	classPercent
	classBackslash
	classLess
	classNewline
)

var classOf = func() (c [256]uint8) {
	for b := range c {
		if word[b] {
			c[b] = classWord
		}
	}
	for b, class := range map[byte]uint8{
		':': classSeparator, '=': classSeparator, '@': classAt, '+': classPlus, '(': classParen, '-': classDash,
		'$': classDollar, '[': classBracket, '{': classBracket, '%': classPercent, '\\': classBackslash, '<': classLess, '\n': classNewline,
	} {
		c[b] = class
	}
	return c
}()

// scan returns the findings in t, unordered, perhaps overlapping.
func scan(t string, m mode, views int) []finding {
	if len(t) < minText {
		return nil
	}
	c := scanners.Get().(*scanner)
	found := c.scan(t, m, views)
	*c = scanner{}
	scanners.Put(c)
	return found
}

// scanners are used again: one is needed for every name and value, and is too large to be made each time. None
// holds on to a text.
var scanners = sync.Pool{New: func() any { return new(scanner) }}

// scan is the function of that name on a scanner that is used again.
func (c *scanner) scan(t string, m mode, views int) []finding {
	if len(t) < minText {
		return nil
	}
	*c = scanner{t: t, mode: m, views: views, at: -1, userinfo: -1}
	c.run()
	return c.out
}

func (c *scanner) run() {
	t := c.t
	for c.i < len(t) {
		switch classOf[t[c.i]] {
		case classOther:
			c.i++
		case classWord:
			c.word()
		case classSeparator:
			c.separator()
		case classAt:
			c.email()
		case classPlus, classParen:
			c.phone()
		case classDash:
			c.dash()
		case classDollar:
			c.hash()
		case classBracket:
			c.bracket()
		case classPercent:
			c.percent()
		case classBackslash:
			c.backslash()
		case classLess:
			c.element()
		case classNewline:
			c.command = ""
			c.i++
		}
	}
	if c.awsKey {
		c.awsSecrets()
	}
	c.unescaped()
}

// found records a finding at [a, b) of c.t.
func (c *scanner) found(a, b int, kind Kind, value string) {
	c.out = append(c.out, finding{Span: Span{c.base + a, c.base + b, kind}, value: value})
}

// secret records a value in a credential position, unless it is clearly none or a placeholder already.
// The kind is that of the detector that knows all of it, if one does.
func (c *scanner) secret(a, b int, p position) bool {
	if a >= b {
		return false
	}
	v := c.t[a:b]
	if isPlaceholder(v) || (isExample(v) || p.directory && (v[0] == '/' || v[0] == '~')) && c.spare(b-a) {
		return false
	}
	kind := p.kind
	if k, end := matchToken(v, 0); end == len(v) {
		kind = k
	}
	c.found(a, b, kind, "")
	if b-a > longValue {
		c.i = max(c.i, b) // what is in it goes anyway, and is not looked at again
	}
	return true
}

// longValue is the length from which a value's inside is not looked at.
const longValue = 256

// maxVain is how often as much as the whole text may be looked at as long values that turn out to be none.
// A text in which more is was made to take long, and the values in it are replaced whatever they are.
const maxVain = 4

// spare reports whether a value of n bytes may be passed over because it is clearly none. What is inside
// it is looked at again.
func (c *scanner) spare(n int) bool {
	if n <= longValue {
		return true
	}
	far := c.remembered()
	far.vain += n
	return far.vain <= maxVain*len(c.t)
}

// word looks at the word that starts at c.i.
func (c *scanner) word() {
	t, i := c.t, c.i
	end := i + 1
	for end < len(t) && word[t[end]] {
		end++
	}
	c.i = end
	if c.token(i) {
		return
	}
	if digits[t[i]] {
		c.number(i, end)
	} else if end-i >= 4 && digits[t[i+2]] && c.mode&codeOnly == 0 {
		c.iban(i)
	}
	if c.mode&codeOnly != 0 {
		return
	}
	if end-i >= minEncodedWord {
		c.encoded(i, end)
	}
	c.hint(i, end)
}

// token looks for a token of a known form at i, and moves past it.
func (c *scanner) token(i int) bool {
	kind, end := matchToken(c.t, i)
	if end < 0 {
		return false
	}
	c.found(i, end, kind, "")
	c.awsKey = c.awsKey || kind == AWSAccessKey
	c.i = max(c.i, end)
	return true
}

// hint acts on words that say what comes next.
func (c *scanner) hint(i, end int) {
	w := c.t[i:end]
	switch len(w) {
	case 2, 3, 4, 5, 6, 7, 8, 9, 10, 11:
	default:
		return
	}
	switch lower(w[0]) {
	case 'p', 't', 'm', 'f', 'w':
		if isPhoneWord(w) {
			c.phoneTo = end + phoneReach
			return
		}
	}
	switch lower(w[0]) {
	case 'p', 'b', 's':
		c.keyword(i, end)
	}
	switch w[0] {
	case 'i', 'I', 's', 'S', 'u', 'U', 'w', 'W':
		switch w {
		case "insert", "select", "update", "with", "INSERT", "SELECT", "UPDATE", "WITH", "Insert", "Select", "Update", "With":
			c.statement(i)
		}
	}
	switch w[0] {
	case 'm', 'c', 's', 'r':
		switch w {
		case "mysql", "mysqldump", "mysqladmin", "mariadb", "curl", "sshpass", "redis":
			c.command = w
		}
	}
}

// dash looks for PEM blocks and flags.
func (c *scanner) dash() {
	t, i := c.t, c.i
	c.i++
	switch {
	case strings.HasPrefix(t[i:], pemBegin):
		c.pem(i)
	case c.mode&(codeOnly|noKeys|literalsOnly) == 0 && !wordBefore(t, i) && (i == 0 || t[i-1] != '-'):
		c.flag(i)
	}
	for c.i < len(t) && t[c.i] == '-' && c.i < i+64 {
		if strings.HasPrefix(t[c.i:], pemBegin) {
			return
		}
		c.i++
	}
}

// bracket passes over placeholders and reads embedded JSON.
func (c *scanner) bracket() {
	if end := placeholderAt(c.t, c.i); end > 0 {
		c.i = end
		return
	}
	if c.mode&(codeOnly|literalsOnly|noKeys) == 0 && c.json() {
		return
	}
	c.i++
}

func (c *scanner) percent() {
	t, i := c.t, c.i
	if end := placeholderAt(t, i); end > 0 {
		c.i = end
		return
	}
	if i+2 < len(t) && anyHex[t[i+1]] && anyHex[t[i+2]] {
		c.percents = true
	}
	c.i++
}

// backslash passes over the letter of an escape, so that what follows it starts a word; it may also be
// no escape (DOMAIN\name), so what starts with the letter is looked at too.
func (c *scanner) backslash() {
	t, i := c.t, c.i
	c.escapes = true
	c.i++
	if i+1 >= len(t) {
		return
	}
	switch t[i+1] {
	case 'n', 'r', 't', 'b', 'f', 'v':
		if !c.token(i + 1) {
			c.i = i + 2
		}
	case 'u':
		if i+6 <= len(t) && allIn(t[i+2:i+6], &anyHex) {
			c.i = i + 6
		}
	case 'x':
		// \x41, or a bytea: the run of digits after it is looked at as a word.
		c.i = i + 2
	}
}

// nextAt returns the position of the first '@' at or after i, or len(t).
func (c *scanner) nextAt(i int) int {
	if c.at < i {
		at := strings.IndexByte(c.t[i:], '@')
		if at < 0 {
			c.at = len(c.t)
		} else {
			c.at = i + at
		}
	}
	return c.at
}
