package sanitize

import "strings"

const (
	pemBegin = "-----BEGIN "
	pemEnd   = "-----END "
	pemDash  = "-----"
	// maxPEM is how much a private key may span: an 8192 bit key in PEM has some 6,400 bytes.
	maxPEM = 64 << 10
)

var (
	pemLabel = chars("A-Z0-9 ")
	pemBody  = chars("A-Za-z0-9+/=")
)

// pemKeyAt returns the end of the line "-----BEGIN … PRIVATE KEY-----" that starts at i, or -1. Public
// keys and certificates are no secrets.
func pemKeyAt(t string, i int, begin string) int {
	if !strings.HasPrefix(t[i:], begin) {
		return -1
	}
	label := run(t, i+len(begin), maxName, &pemLabel)
	if !strings.HasPrefix(t[label:], pemDash) || !strings.Contains(t[i:label], "PRIVATE KEY") {
		return -1
	}
	return label + len(pemDash)
}

// pem records the private key whose begin is at i.
func (c *scanner) pem(i int) {
	t := c.t
	body := pemKeyAt(t, i, pemBegin)
	if body < 0 {
		c.i = i + len(pemBegin)
		return
	}
	end := pemBlockEnd(t, body)
	if strings.ContainsAny(t[body:end], `"'`) {
		c.pemPieces(i, end)
	} else {
		c.found(i, end, PrivateKey, "")
	}
	c.i = end
}

// pemBlockEnd returns the end of the block whose body starts at i: past its END line, or, when that is
// missing, past the last line that can be of it.
func pemBlockEnd(t string, i int) int {
	window := t[:min(len(t), i+maxPEM)]
	for at := i; ; at++ { // of six dashes the last five may begin a line
		dash := strings.Index(window[at:], pemDash)
		if dash < 0 {
			break
		}
		at += dash
		if stop := pemKeyAt(t, at, pemEnd); stop > 0 {
			return stop
		}
		if strings.HasPrefix(t[at:], pemBegin) {
			window = t[:at]
			break
		}
	}
	end := i
	for line := i; line < len(window); {
		stop := lineEnd(window, line)
		if text := strings.TrimSpace(t[line:stop]); line > i && text != "" && !pemLine(text) {
			break
		}
		if q := strings.IndexAny(t[line:stop], `"'`); q >= 0 {
			return line + q
		}
		end = stop
		line = stop + 1
	}
	return len(strings.TrimRight(t[:end], " \t\r\n"))
}

// pemLine reports whether a line can stand inside a PEM block: base64, perhaps behind a log's prefix, or
// one of the old headers.
func pemLine(line string) bool {
	if strings.HasPrefix(line, "Proc-Type:") || strings.HasPrefix(line, "DEK-Info:") || strings.HasPrefix(line, "Comment:") || strings.HasPrefix(line, "Version:") {
		return true
	}
	line = strings.TrimRight(line, "\",'+;\\ \t\r")
	line = strings.TrimSuffix(line, `\n`)
	last := runBack(line, len(line), len(line), &pemBody)
	return last < len(line) && (last == 0 || len(line)-last >= 16)
}

// pemPieces records the parts of a key that stands in several strings of a program or of a JSON list, so
// that the strings stay strings.
func (c *scanner) pemPieces(i, end int) {
	t := c.t
	for i < end {
		q := i
		for q < end && t[q] != '"' && t[q] != '\'' {
			q++
		}
		piece := strings.TrimSpace(t[i:q])
		if strings.Contains(piece, pemDash) || longRun(piece) {
			c.found(i, q, PrivateKey, "")
		}
		i = q + 1
	}
}

// longRun reports whether piece has 8 bytes of base64 in a row.
func longRun(piece string) bool {
	for i := 0; i < len(piece); i++ {
		end := run(piece, i, 8, &pemBody)
		if end-i == 8 {
			return true
		}
		i = end
	}
	return false
}
