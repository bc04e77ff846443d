package sanitize

import "strings"

// phoneReach is how far a number may stand from the word that announces a telephone.
const phoneReach = 24

func isPhoneWord(w string) bool {
	var buf [maxKeyword]byte
	if len(w) > maxKeyword {
		return false
	}
	switch string(lowered(w, &buf)) {
	case "phone", "tel", "telephone", "mobile", "fax", "whatsapp", "msisdn", "telefon", "mobil":
		return true
	default:
		return false
	}
}

// phone looks at an international number at c.i ("+49 30 123456"), or at one that begins with a
// bracketed area code ("(415) 555-2671").
func (c *scanner) phone() {
	t, i := c.t, c.i
	c.i++
	if i+1 >= len(t) || !digits[t[i+1]] && t[i+1] != '(' || i > 0 && (word[t[i-1]] || t[i-1] == '+') {
		return
	}
	if t[i] == '(' {
		if c.mode&codeOnly == 0 && bracketedNANP(t, i) {
			c.personalFound(i, i+14-compact(t, i), Phone)
		}
		return
	}
	end, n, seps := internationalEnd(t, i+1)
	if n < 8 || n > 15 || seps == 0 && n < 10 || joinedAfter(t, end) || !countryCode(keep(t[i+1:end], &digits)) {
		return
	}
	if c.mode&codeOnly != 0 {
		if seps == 0 {
			c.personalFound(i+1, end, Phone) // the sign is an operator
		}
		return
	}
	c.personalFound(i, end, Phone)
}

// internationalEnd returns the end of the digits and separators from i, the number of digits, and of
// separators.
func internationalEnd(t string, i int) (end, n, seps int) {
	end = i
	for at := i; at < len(t) && at-i < 24; at++ {
		switch b := t[at]; {
		case digits[b]:
			n++
			end = at + 1
		case b == ' ' || b == '-' || b == '.' || b == '(' || b == ')' || b == '/':
			if at > i && !digits[t[at-1]] && t[at-1] != '(' && t[at-1] != ')' && t[at-1] != ' ' {
				return end, n, seps
			}
			seps++
		default:
			return end, n, seps
		}
	}
	return end, n, seps
}

// bracketedNANP reports whether "(415) 555-2671" or "(415)555-2671" stands at i.
func bracketedNANP(t string, i int) bool {
	window := t[i:min(len(t), i+15)]
	if len(window) < 13 || window[4] != ')' {
		return false
	}
	rest := window[5:]
	if rest[0] == ' ' {
		rest = rest[1:]
	}
	if len(rest) < 8 || rest[3] != '-' && rest[3] != '.' && rest[3] != ' ' || len(rest) > 8 && word[rest[8]] {
		return false
	}
	return isNANP(window[1:4], rest[:3]) && allIn(rest[4:8], &digits)
}

// compact is 1 when no blank follows the bracket.
func compact(t string, i int) int {
	if t[i+5] == ' ' {
		return 0
	}
	return 1
}

// isNANP reports whether an area code and an exchange can be in the North American plan.
func isNANP(area, exchange string) bool {
	return allIn(area, &digits) && allIn(exchange, &digits) && area[0] >= '2' && exchange[0] >= '2' &&
		area[1] != '9' && area[1:] != "11" && exchange[1:] != "11"
}

// nationalPhone returns how many groups make a national number whose separators make it plausible: North
// America, the United Kingdom, France.
func (g *groups) nationalPhone(t string) int {
	if g.sep == '-' || g.sep == '.' {
		if g.sizes(3, 3, 4) && isNANP(t[g.start[0]:g.end[0]], t[g.start[1]:g.end[1]]) {
			return 3
		}
		if g.sizes(1, 3, 3, 4) && t[g.start[0]] == '1' && isNANP(t[g.start[1]:g.end[1]], t[g.start[2]:g.end[2]]) {
			return 4
		}
	}
	head := t[g.start[0]:g.end[0]]
	if len(head) < 2 || head[0] != '0' || g.sep == '.' && len(head) != 2 {
		return 0
	}
	switch {
	case g.sizes(2, 2, 2, 2, 2) && g.n == 5 && head[1] != '0' && g.edge(t):
		return 5
	case g.sizes(3, 4, 4) && strings.Contains("020 023 024 028 029", head):
		return 3
	case g.sizes(5, 6) && (head[1] == '1' && head[2] >= '2' || head[1] == '7'), g.sizes(5, 3, 3) && head[1] == '7':
		return map[int]int{6: 2, 3: 3}[g.size(1)]
	case g.sizes(4, 3, 4) && (head[1] == '1' && head[2] != '0' || head[1] == '8' || head[1] == '3'):
		return 3
	default:
		return 0
	}
}

// edge reports whether the groups are not a part of a dump of bytes, whose next pair has letters.
func (g *groups) edge(t string) bool {
	after := g.end[g.n-1]
	before := g.start[0]
	return !(after+2 < len(t) && t[after] == g.sep && anyHex[t[after+1]] && anyHex[t[after+2]]) &&
		!(before > 2 && t[before-1] == g.sep && anyHex[t[before-2]] && anyHex[t[before-3]])
}

// phoneInContext accepts any number of a telephone's length after a word that announces one.
func (g *groups) phoneInContext(t string) (Kind, int) {
	n := len(keep(t[g.start[0]:g.end[g.n-1]], &digits))
	if n < 7 || n > 15 {
		return "", 0
	}
	return Phone, g.n
}

// countryCode reports whether number begins with a code that the ITU has assigned.
func countryCode(number string) bool {
	switch number[0] {
	case '1':
		return len(number) == 11 && number[1] >= '2' && number[4] >= '2'
	case '7':
		return len(number) == 11
	case '2':
		return number[1] != '8'
	case '3':
		return true
	case '4':
		return number[1] != '2' || number[2] == '0' || number[2] == '1' || number[2] == '3'
	case '5', '6', '8', '9':
		return true
	default:
		return false
	}
}
