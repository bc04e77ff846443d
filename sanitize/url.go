package sanitize

import "strings"

// A URL is looked at from its "://": the userinfo before, and paths that are secrets by themselves.

const maxScheme = 32

var (
	schemeChars = chars("A-Za-z0-9+.-")
	urlStop     = chars(" \t\r\n\v\f\"<>`\\")
	hostStop    = chars("/?#")
)

// secretPaths are URLs whose path is the credential; the part after the prefix is replaced.
var secretPaths = []struct{ host, path string }{
	{"hooks.slack.com", "/services/"},
	{"hooks.slack.com", "/workflows/"},
	{"hooks.slack.com", "/triggers/"},
	{"discord.com", "/api/webhooks/"},
	{"discordapp.com", "/api/webhooks/"},
	{".webhook.office.com", "/webhookb2/"},
	{"api.telegram.org", "/bot"},
}

// url looks at the URL whose "://" is at i.
func (c *scanner) url(i int) {
	t := c.t
	c.i = i + 3
	if runBack(t, i, maxScheme, &schemeChars) == i {
		return
	}
	start := i + 3
	host := start
	if at := c.userinfoEnd(start); at >= 0 {
		c.userinfo = at
		c.password(start, at)
		host = at + 1
	}
	c.secretPath(host)
}

// maxUserinfo is how far the '@' of a URL is looked for.
const maxUserinfo = 2048

// userinfoEnd returns the '@' that ends the userinfo of the authority at start, or -1.
func (c *scanner) userinfoEnd(start int) int {
	t := c.t
	if c.nextAt(start) >= start+maxUserinfo {
		return -1
	}
	at, colon, slash := -1, -1, -1
	end := start
	for ; end < len(t) && end-start < maxUserinfo && !urlStop[t[end]]; end++ {
		switch {
		case t[end] == '@':
			at = end
		case hostStop[t[end]] && slash < 0:
			if at >= 0 {
				return at
			}
			slash = end
			// A password may hold a slash that should have been escaped; a port number does not.
			if colon < 0 || allIn(t[colon+1:slash], &digits) {
				return -1
			}
		case t[end] == ':' && colon < 0:
			colon = end
			if end > start && t[start] == '[' {
				return -1 // an IPv6 address
			}
		}
	}
	return at
}

// password records the password of the userinfo [start, at); a userinfo without one is recorded when
// it looks made by a machine.
func (c *scanner) password(start, at int) {
	t := c.t
	replaced := false
	for i := start; i < at; i++ {
		if end := placeholderAt(t, i); end > 0 {
			replaced, i = true, end-1
		} else if t[i] == ':' {
			c.urlSecret(i+1, at, position{kind: Password})
			return
		}
	}
	if !replaced && at-start >= 16 && mixed(t[start:at]) && allIn(t[start:at], &dashed) {
		c.urlSecret(start, at, position{kind: Token})
	}
}

// urlSecret records a secret whose placeholder must be valid in a userinfo.
func (c *scanner) urlSecret(a, b int, p position) {
	if c.secret(a, b, p) {
		c.out[len(c.out)-1].form = formURL
	}
}

// secretPath looks for a path that is a credential of the host at i.
func (c *scanner) secretPath(i int) {
	t := c.t
	host := run(t, i, 253, &schemeChars)
	if host >= len(t) || t[host] != '/' {
		return
	}
	for _, s := range secretPaths {
		if !strings.HasSuffix(t[i:host], s.host) || !strings.HasPrefix(t[host:], s.path) {
			continue
		}
		start := host + len(s.path)
		end := run(t, start, len(t), &pathChars)
		if end-start >= 8 {
			c.found(start, end, WebhookURL, "")
			c.i = end
		}
		return
	}
}

var pathChars = chars("A-Za-z0-9_:/@=-")

// driverDSN looks at user:password@tcp(host:3306)/db, as Go's MySQL driver writes it; the '@' is at i.
func (c *scanner) driverDSN(i int) {
	t := c.t
	if !strings.HasPrefix(t[i:], "@tcp(") && !strings.HasPrefix(t[i:], "@unix(") {
		return
	}
	start := i
	for start > 0 && i-start < maxName*4 && !urlStop[t[start-1]] && t[start-1] != '\'' && t[start-1] != '=' {
		start--
	}
	if colon := strings.IndexByte(t[start:i], ':'); colon >= 0 {
		c.secret(start+colon+1, i, position{kind: Password})
	}
}

// withoutScheme looks at //user:password@host, a URL without its scheme; the '@' is at at.
func (c *scanner) withoutScheme(at int) bool {
	t := c.t
	from := max(0, at-maxBareUserinfo)
	start := from + strings.LastIndexByte(t[from:at], '/') + 1
	if start < from+2 || t[start-2] != '/' {
		return false
	}
	if strings.IndexByte(t[start:at], ':') < 0 || strings.IndexByte(t[start:at], '@') >= 0 || run(t, start, at-start, &bareUserinfo) < at {
		return false
	}
	c.password(start, at)
	return true
}

// maxBareUserinfo is how far before an '@' the "//" of a URL without a scheme is looked for.
const maxBareUserinfo = 256

var bareUserinfo = func() (c charset) {
	for b := range c {
		c[b] = !urlStop[b] && b != '\''
	}
	return c
}()
