package sanitize

import (
	"encoding/base64"
	"encoding/hex"
	"sort"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// view is a decoded copy of a text that knows where each of its bytes comes from.
type view struct {
	text string
	// from[k] is the start of the source of byte k, and from[len(text)] the end of the source.
	from []int32
}

// source returns the part of the source that [a, b) of the view was decoded from, whole escapes only.
func (v *view) source(a, b int) (int, int) {
	end := b
	for end < len(v.text) && b > 0 && v.from[end] == v.from[b-1] {
		end++
	}
	return int(v.from[a]), int(v.from[end])
}

// at returns where the byte i of the source is in the view.
func (v *view) at(i int) int {
	return sort.Search(len(v.text), func(k int) bool { return int(v.from[k]) >= i })
}

// validUTF8 puts U+FFFD in place of every run of bytes that are not UTF-8.
func validUTF8(t string) view {
	b := newView(len(t))
	for i := 0; i < len(t); {
		r, size := utf8.DecodeRuneInString(t[i:])
		if r != utf8.RuneError || size > 1 {
			for k := range size {
				b.add(t[i+k], i+k)
			}
			i += size
			continue
		}
		start := i
		for i < len(t) && r == utf8.RuneError && size == 1 {
			i++
			r, size = utf8.DecodeRuneInString(t[i:])
		}
		b.addRune(utf8.RuneError, start)
	}
	return b.done(len(t))
}

type viewBuilder struct {
	text []byte
	from []int32
}

func newView(size int) *viewBuilder {
	return &viewBuilder{text: make([]byte, 0, size), from: make([]int32, 0, size+1)}
}

func (b *viewBuilder) add(c byte, from int) {
	b.text = append(b.text, c)
	b.from = append(b.from, int32(from))
}

func (b *viewBuilder) addRune(r rune, from int) {
	start := len(b.text)
	b.text = utf8.AppendRune(b.text, r)
	for range len(b.text) - start {
		b.from = append(b.from, int32(from))
	}
}

func (b *viewBuilder) done(end int) view {
	return view{string(b.text), append(b.from, int32(end))}
}

// unescape undoes the escapes of JSON and of its relatives in programming languages. What is no escape
// stays.
func unescape(t string) view {
	b := newView(len(t))
	for i := 0; i < len(t); {
		if t[i] != '\\' || i+1 == len(t) {
			b.add(t[i], i)
			i++
			continue
		}
		i = b.escape(t, i)
	}
	return b.done(len(t))
}

var plainEscapes = map[byte]byte{
	'n': '\n', 'r': '\r', 't': '\t', 'b': '\b', 'f': '\f', 'v': '\v', '"': '"', '\'': '\'', '\\': '\\', '/': '/',
}

// escape decodes the escape at t[i] and returns its end.
func (b *viewBuilder) escape(t string, i int) int {
	c := t[i+1]
	if plain, ok := plainEscapes[c]; ok {
		b.add(plain, i)
		return i + 2
	}
	switch c {
	case 'x':
		if r, end := hexRune(t, i+2, 2); end > 0 {
			b.add(byte(r), i)
			return end
		}
	case 'u':
		if r, end := hexRune(t, i+2, 4); end > 0 {
			if utf16.IsSurrogate(r) && strings.HasPrefix(t[end:], `\u`) {
				if low, stop := hexRune(t, end+2, 4); stop > 0 {
					r, end = utf16.DecodeRune(r, low), stop
				}
			}
			b.addRune(r, i)
			return end
		}
	case 'U':
		if r, end := hexRune(t, i+2, 8); end > 0 {
			b.addRune(r, i)
			return end
		}
	}
	b.add('\\', i)
	return i + 1
}

// hexRune reads n hexadecimal digits at i.
func hexRune(t string, i, n int) (r rune, end int) {
	if run(t, i, n, &anyHex) != i+n {
		return 0, -1
	}
	for _, d := range []byte(t[i : i+n]) {
		switch {
		case d <= '9':
			r = r<<4 | rune(d-'0')
		default:
			r = r<<4 | rune(lower(d)-'a'+10)
		}
	}
	return r, i + n
}

// unpercent undoes the escapes of URLs and of forms, in which a plus sign is a blank.
func unpercent(t string) view {
	b := newView(len(t))
	for i := 0; i < len(t); {
		if t[i] == '%' {
			if r, end := hexRune(t, i+1, 2); end > 0 {
				b.add(byte(r), i)
				i = end
				continue
			}
		}
		if t[i] == '+' {
			b.add(' ', i)
		} else {
			b.add(t[i], i)
		}
		i++
	}
	return b.done(len(t))
}

// unescaped looks at the text once more with its escapes undone, when it has any.
func (c *scanner) unescaped() {
	if c.views == 0 || c.mode&codeOnly != 0 {
		return
	}
	if c.escapes {
		v := unescape(c.t)
		c.inView(&v, 0)
	}
	if c.percents {
		v := unpercent(c.t)
		c.inView(&v, 0)
	}
}

// inView records what is found in a view of the part of c.t that begins at start.
func (c *scanner) inView(v *view, start int) {
	for _, f := range scan(v.text, c.mode|inView, c.views-1) {
		a, b := v.source(f.Start, f.End)
		if f.value == "" {
			f.value = v.text[f.Start:f.End]
		}
		switch f.form {
		case formJSON:
			f.form = formJSON2
		case formJSON2:
			f.form = formPlain
		}
		f.Start, f.End = c.base+start+a, c.base+start+b
		c.out = append(c.out, f)
	}
}

const (
	minEncodedWord = 12 // a run of base64 or hex of interest has at least one word of this length
	minBase64      = 15 // eleven bytes, a social security number
	minHex         = 22
	maxTries       = 16 // decodings in one run of base64 bytes
	probe          = 16 // bytes decoded before the rest is
)

var base64Any = chars("A-Za-z0-9+/_-")

// encoded looks for findings inside base64 or hexadecimal that holds the word [i, end); what holds one is
// replaced as a whole.
func (c *scanner) encoded(i, end int) {
	if c.views == 0 {
		return
	}
	t := c.t
	if i >= c.encodedTo {
		c.encodedTo = run(t, end, len(t), &base64Any)
		c.tries = 0
	}
	if end-i >= minHex && c.hexadecimal(i, end) {
		return
	}
	if i >= c.stdTo {
		c.stdTo = run(t, end, c.encodedTo-end, &base64Std)
	}
	if i >= c.urlTo {
		c.urlTo = run(t, end, c.encodedTo-end, &dashed)
	}
	stdEnd, urlEnd := c.stdTo, c.urlTo
	stdStart := runBack(t, i, maxBackRun, &base64Std)
	urlStart := runBack(t, i, maxBackRun, &dashed)
	if c.base64(stdStart, stdEnd, 0) || c.base64(i, stdEnd, 0) && stdStart != i {
		return
	}
	if urlEnd != stdEnd || urlStart != stdStart {
		_ = c.base64(urlStart, urlEnd, 1) || c.base64(i, urlEnd, 1)
	}
}

// maxBackRun is how far before a word the run of base64 that it is in may begin.
const maxBackRun = 128

// inText remembers that runs of base64 that end at to decoded to text in which nothing was found, and at
// which of the four places of a group they began: one that begins later at the same place is the end of
// that text.
type inText struct {
	to    int
	place [4]bool
}

// base64 looks inside [a, b) of c.t.
func (c *scanner) base64(a, b, alphabet int) bool {
	if b-a < minBase64 || c.tries >= maxTries {
		return false
	}
	if c.far != nil && c.far.plain[alphabet].to == b && c.far.plain[alphabet].place[a%4] {
		return false
	}
	if !startsBase64(c.t[a : a+minBase64]) {
		return false
	}
	c.tries++
	plain, ok := decodeBase64(c.t[a:b])
	if !ok {
		return false
	}
	known := &c.remembered().plain[alphabet]
	if known.to != b {
		*known = inText{to: b}
	}
	known.place[a%4] = true
	return c.holds(plain, a, run(c.t, b, 2, &padding))
}

// hexadecimal looks inside the hexadecimal digits of the word [i, end).
func (c *scanner) hexadecimal(i, end int) bool {
	t := c.t
	if t[i] == '0' && lower(t[i+1]) == 'x' {
		i += 2
	}
	b := i + (end-i)/2*2
	if !allIn(t[i:min(b, i+probe)], &anyHex) || !textIn(unhex(t[i:min(b, i+probe)])) || !allIn(t[i:b], &anyHex) {
		return false
	}
	if i >= 2 && (t[i-1] == 'x' || t[i-1] == 'X') && (t[i-2] == '\\' || t[i-2] == '0') {
		return c.holds(string(unhex(t[i:b])), i-2, end)
	}
	return c.holds(string(unhex(t[i:b])), i, end)
}

func unhex(t string) []byte {
	b, err := hex.DecodeString(t)
	if err != nil {
		return nil
	}
	return b
}

// holds records [a, b) when plain, which was decoded from it, is text that holds a finding.
func (c *scanner) holds(plain string, a, b int) bool {
	if !textIn([]byte(plain)) {
		return false
	}
	if strings.IndexByte(plain, 0) >= 0 {
		plain = strings.ReplaceAll(plain, "\x00", "") // UTF-16
	}
	inner := scan(plain, c.mode|inView, c.views-1)
	if len(inner) == 0 {
		return false
	}
	first := inner[0]
	for _, f := range inner[1:] {
		if first.Kind.Personal() && !f.Kind.Personal() {
			first = f
		}
	}
	value := ""
	if first.Start == 0 && first.End == len(plain) {
		value = plain // the same pseudonym as that of the value in clear
		if first.value != "" {
			value = first.value
		}
	}
	c.found(a, b, first.Kind, value)
	c.i = max(c.i, b)
	return true
}

// startsBase64 reports whether head, minBase64 bytes, decodes as the whole must. Most words are passed over here.
func startsBase64(head string) bool {
	var src, plain [minBase64]byte
	copy(src[:], head)
	enc := base64.RawStdEncoding
	if strings.ContainsAny(head, "-_") {
		enc = base64.RawURLEncoding
	}
	n, err := enc.Decode(plain[:], src[:])
	return err == nil && textIn(plain[:n])
}

// decodeBase64 decodes standard or URL-safe base64 without padding, when it decodes to text.
func decodeBase64(t string) (string, bool) {
	if len(t)%4 == 1 {
		t = t[:len(t)-1]
	}
	enc := base64.RawStdEncoding
	if strings.ContainsAny(t, "-_") {
		enc = base64.RawURLEncoding
	}
	plain, err := enc.DecodeString(t)
	if err != nil || !textIn(plain) {
		return "", false
	}
	return string(plain), true
}

// textIn reports whether b is text: UTF-8, perhaps cut off at the end, without control characters other
// than white space and the NULs of UTF-16.
func textIn(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	for i := 0; i < len(b); {
		switch c := b[i]; {
		case c < ' ' && c != '\n' && c != '\r' && c != '\t' && c != 0, c == 0x7f:
			return false
		case c < utf8.RuneSelf:
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return i > 0 && len(b)-i < utf8.UTFMax && !utf8.FullRune(b[i:])
		}
		i += size
	}
	return true
}
