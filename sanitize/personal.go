package sanitize

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// canonical returns what makes v a value of its kind, so that spellings of one value share a pseudonym.
func canonical(kind Kind, v string) string {
	switch kind {
	case Email:
		return strings.ToLower(v)
	case PaymentCard, SSN:
		return keep(v, &digits)
	case Phone:
		if strings.HasPrefix(v, "+") {
			return "+" + keep(v, &digits)
		}
		return keep(v, &digits)
	case IBAN:
		return strings.ToUpper(keep(v, &alnum))
	default:
		return v
	}
}

func keep(v string, c *charset) string {
	b := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		if c[v[i]] {
			b = append(b, v[i])
		}
	}
	return string(b)
}

func (c *scanner) personalFound(a, b int, kind Kind) {
	c.found(a, b, kind, canonical(kind, c.t[a:b]))
	c.i = max(c.i, b)
}

// E-mail addresses: RFC 5321's limits, the usual bytes in the local part, a domain with a top level of
// letters.
const (
	maxLocal  = 64
	maxDomain = 253
)

var (
	localChars  = chars("A-Za-z0-9.!#$%&*+/=?^_`{|}~'-")
	localEdge   = chars("A-Za-z0-9_+-")
	domainChars = chars("A-Za-z0-9.-")
)

// notDomains end names that have the form of an address: units of systemd, and images for two densities.
var notDomains = map[string]bool{
	"service": true, "socket": true, "timer": true, "target": true, "slice": true, "scope": true, "mount": true,
	"path": true, "device": true, "swap": true, "png": true, "jpg": true, "jpeg": true, "gif": true, "svg": true, "webp": true,
}

// email looks at the address around the '@' at c.i.
func (c *scanner) email() {
	t, at := c.t, c.i
	c.i++
	if c.mode&codeOnly != 0 || at == c.userinfo {
		return
	}
	c.driverDSN(at)
	if c.withoutScheme(at) {
		return
	}
	start, end := localStart(t, at), domainEnd(t, at+1)
	if start == at || end < 0 || t[start:at] == "git" {
		return
	}
	c.personalFound(start, end, Email)
}

// localStart returns the start of the local part that ends at at.
func localStart(t string, at int) int {
	start := at
	for start > 0 && at-start < maxLocal {
		if b := t[start-1]; b < utf8.RuneSelf {
			if !localChars[b] {
				break
			}
			start--
			continue
		}
		r, size := utf8.DecodeLastRuneInString(t[max(0, start-utf8.UTFMax):start])
		if !unicode.Is(unicode.Latin, r) {
			break
		}
		start -= size
	}
	// A separator that the alphabet allows ends what is before it: key=alice@…, /alice@…, 'alice@….
	if cut := strings.LastIndexAny(t[start:at], "=/?&'`{|#!$%*^~"); cut >= 0 {
		start += cut + 1
		if t[start-1] == '%' && start+2 < at && anyHex[t[start]] && anyHex[t[start+1]] {
			start += 2
		}
	}
	if start > 0 && t[start-1] == '\\' && start+1 < at {
		start++ // the letter of an escape
	}
	for start < at && (t[start] < utf8.RuneSelf && !localEdge[t[start]] || t[start] == '-') {
		start++
	}
	if start < at && t[at-1] == '.' {
		return at
	}
	return start
}

// domainEnd returns the end of the domain that starts at i, or -1.
func domainEnd(t string, i int) int {
	end := run(t, i, maxDomain, &domainChars)
	for end > i && (t[end-1] == '.' || t[end-1] == '-') {
		end--
	}
	for {
		dot := strings.LastIndexByte(t[i:end], '.')
		if dot < 1 || t[i] == '-' {
			return -1
		}
		top := t[i+dot+1 : end]
		if len(top) >= 2 && len(top) <= 24 && allIn(top, &letters) {
			if notDomains[top] || strings.Contains(t[i:end], "..") || wordAt(t, end) {
				return -1
			}
			return end
		}
		if strings.HasPrefix(top, "xn--") && len(top) > 4 {
			return end
		}
		// alice@example.com.2 or .com-x: the address may end before.
		cut := run(top, 0, len(top), &letters)
		if cut >= 2 && cut < len(top) && top[cut] == '-' {
			return i + dot + 1 + cut
		}
		end = i + dot
	}
}

// Numbers: digit groups joined by one separator each.
const maxGroups = 6

type groups struct {
	n     int
	start [maxGroups]int
	end   [maxGroups]int
	sep   byte // between the first two; groups joined by another end the sequence
}

func (g *groups) size(k int) int { return g.end[k] - g.start[k] }

// sizes reports whether the first groups have the sizes given.
func (g *groups) sizes(want ...int) bool {
	if g.n < len(want) {
		return false
	}
	for k, w := range want {
		if g.size(k) != w {
			return false
		}
	}
	return true
}

var groupSeparator = chars(" .+-")

func digitGroups(t string, i int) (g groups) {
	for g.n < maxGroups {
		end := run(t, i, 20, &digits)
		g.start[g.n], g.end[g.n] = i, end
		if wordAt(t, end) {
			return g // the group goes on with letters, so it is no number
		}
		g.n++
		if end+1 >= len(t) || !groupSeparator[t[end]] || !digits[t[end+1]] {
			return g
		}
		sep := t[end]
		if sep == '+' {
			sep = ' ' // a blank in a query
		}
		if g.n == 1 {
			g.sep = sep
		}
		if sep != g.sep {
			return g
		}
		i = end + 1
	}
	return g
}

// number looks at the number that starts the word [i, end).
func (c *scanner) number(i, end int) {
	t := c.t
	if !allIn(t[i:end], &digits) || joinedBefore(t, i) {
		return
	}
	g := digitGroups(t, i)
	if g.n == 0 {
		return
	}
	kind, k := g.kind(t)
	if kind == "" && i < c.phoneTo && c.mode&codeOnly == 0 {
		kind, k = g.phoneInContext(t)
	}
	if kind == "" || joinedAfter(t, g.end[k-1]) {
		return
	}
	if c.mode&codeOnly != 0 && g.sep != '-' && k > 1 {
		return // numbers side by side are no literal
	}
	c.personalFound(i, g.end[k-1], kind)
}

// joinedBefore and joinedAfter report whether a number is part of something longer: a UUID, a version, a
// decimal fraction.
func joinedBefore(t string, i int) bool {
	if i == 0 {
		return false
	}
	switch t[i-1] {
	case '-', '.', ':', '/', '+', '#', '_':
		if t[i-1] == '/' || t[i-1] == ':' {
			return i > 1 && digits[t[i-2]]
		}
		return i > 1 && word[t[i-2]] || t[i-1] == '.'
	default:
		return false
	}
}

func joinedAfter(t string, i int) bool {
	if i >= len(t) {
		return false
	}
	switch t[i] {
	case '-':
		return wordAt(t, i+1)
	case '.', ':', '/':
		return i+1 < len(t) && digits[t[i+1]]
	default:
		return word[t[i]]
	}
}

// kind returns what the first groups are, and how many of them.
func (g *groups) kind(t string) (Kind, int) {
	switch {
	case g.size(0) >= 12 && g.size(0) <= 19:
		if isCard(t[g.start[0]:g.end[0]], false) {
			return PaymentCard, 1
		}
	case g.n == 1:
		return "", 0
	case g.sep == ' ' || g.sep == '-':
		if k := g.cardGroups(); k > 0 && isCard(keep(t[g.start[0]:g.end[k-1]], &digits), true) {
			return PaymentCard, k
		}
	}
	if g.sep == '-' && g.sizes(3, 2, 4) && isSSN(t[g.start[0]:]) {
		return SSN, 3
	}
	if k := g.nationalPhone(t); k > 0 {
		return Phone, k
	}
	return "", 0
}

func (g *groups) cardGroups() int {
	switch {
	case g.sizes(4, 4, 4, 4, 3):
		return 5
	case g.sizes(4, 4, 4, 4):
		return 4
	case g.sizes(4, 6, 5), g.sizes(4, 6, 4):
		return 3
	default:
		return 0
	}
}

// cardRanges are the issuers' number ranges (ISO/IEC 7812) with the lengths in use. A bare number of 19
// digits counts only where the range is narrow: row ids are numbers of 19 digits too.
var cardRanges = []struct {
	low, high int // of the first six digits
	lengths   string
	bare19    bool
}{
	{222100, 272099, "\x10", false},             // Mastercard
	{300000, 305999, "\x0e\x10\x13", true},      // Diners Club
	{309500, 309599, "\x0e\x10\x13", true},      // Diners Club
	{340000, 349999, "\x0f", false},             // American Express
	{352800, 358999, "\x10\x13", true},          // JCB
	{360000, 369999, "\x0e\x13", false},         // Diners Club
	{370000, 379999, "\x0f", false},             // American Express
	{380000, 399999, "\x0e\x10\x13", false},     // Diners Club
	{400000, 499999, "\x10\x13", false},         // Visa
	{500000, 509999, "\x10", false},             // Maestro, Elo
	{510000, 559999, "\x10", false},             // Mastercard
	{560000, 589999, "\x10", false},             // Maestro
	{601100, 601199, "\x10\x13", true},          // Discover
	{620000, 629999, "\x10\x11\x12\x13", false}, // UnionPay
	{630000, 639999, "\x10", false},             // Maestro
	{644000, 659999, "\x10\x13", false},         // Discover
	{670000, 679999, "\x10", false},             // Maestro
	{810000, 817199, "\x10\x11\x12\x13", false}, // UnionPay
}

const minCard = 14

// isCard reports whether number, digits only, is a card's: its range and length, and Luhn's sum.
func isCard(number string, grouped bool) bool {
	if len(number) < minCard || len(number) > 19 || !luhn(number) {
		return false
	}
	head := 0
	for i := range 6 {
		head = head*10 + int(number[i]-'0')
	}
	for _, r := range cardRanges {
		if head >= r.low && head <= r.high && strings.IndexByte(r.lengths, byte(len(number))) >= 0 {
			return len(number) < 17 || grouped || r.bare19
		}
	}
	return false
}

func luhn(number string) bool {
	sum := 0
	for i := 0; i < len(number); i++ {
		d := int(number[len(number)-1-i] - '0')
		if i%2 == 1 {
			d *= 2
			if d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// isSSN reports whether t starts with a number that the Social Security Administration may have given
// out, or the IRS as an ITIN.
func isSSN(t string) bool {
	area, group, serial := t[0:3], t[4:6], t[7:11]
	return area != "000" && area != "666" && group != "00" && serial != "0000" &&
		(area[0] != '9' || group >= "50" && group != "89" && group != "93")
}

// iban looks for an account number (ISO 13616) at i: the country's length, and the remainder mod 97.
func (c *scanner) iban(i int) {
	t := c.t
	if !upperNum[t[i]] || !upperNum[t[i+1]] || digits[t[i]] || digits[t[i+1]] || !digits[t[i+2]] || !digits[t[i+3]] {
		return
	}
	want := ibanLengths[t[i:i+2]]
	if want == 0 {
		return
	}
	var number [34]byte
	n, at := 0, i
	for at < len(t) && n < want {
		switch {
		case upperNum[t[at]]:
			number[n] = t[at]
			n++
		case (t[at] == ' ' || t[at] == '-' || t[at] == '+') && n%4 == 0 && at > i && upperNum[t[at-1]]:
		default:
			return
		}
		at++
	}
	if n < want || wordAt(t, at) || !mod97(number[:n]) {
		return
	}
	c.personalFound(i, at, IBAN)
}

func mod97(number []byte) bool {
	sum := 0
	for k := range number {
		b := number[(k+4)%len(number)]
		if digits[b] {
			sum = (sum*10 + int(b-'0')) % 97
		} else {
			sum = (sum*100 + int(b-'A') + 10) % 97
		}
	}
	return sum == 1
}

// ibanLengths are the lengths of the SWIFT IBAN registry.
var ibanLengths = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28,
	"CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
	"FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28,
	"IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
	"LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28,
	"NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24,
	"SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26,
	"UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}
