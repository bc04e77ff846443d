package sanitize

import "strings"

// flag looks at a command's option at c.i-1 whose value is the next word or the next string of a list.
func (c *scanner) flag(i int) {
	t := c.t
	name := run(t, i, 2, &dashes)
	end := run(t, name, maxName, &flagName)
	switch {
	case end == name:
		return
	case name-i == 1:
		c.shortFlag(name, end)
		return
	case end >= len(t):
		return
	}
	p := classify(t[name:end])
	if p.none() {
		if t[name:end] == "user" && c.command == "curl" {
			c.userFlag(end)
		}
		return
	}
	v := run(t, end, maxGap, &blank)
	if v == end {
		v = nextArgument(t, end)
	}
	if v <= end || v >= len(t) || t[v] == '-' || t[v] == '=' {
		return
	}
	if open, start := openQuote(t, v); open != "" {
		c.credential(start, closeQuote(t, start, open), p)
		return
	}
	c.credential(v, wordEnd(t, v, len(t)), p)
}

var dashes = chars("-")

// nextArgument returns the start of the next string of a list whose string ends at i: ["--password", "x"].
func nextArgument(t string, i int) int {
	q := run(t, i, 8, &quoteChars)
	if q == i {
		return -1
	}
	comma := run(t, q, maxGap, &space)
	if comma >= len(t) || t[comma] != ',' {
		return -1
	}
	return run(t, comma+1, maxGap, &space)
}

// shortFlag looks at mysql -pSECRET, sshpass -p SECRET, curl -u user:SECRET.
func (c *scanner) shortFlag(name, end int) {
	t := c.t
	switch {
	case t[name] == 'p' && c.command == "sshpass", t[name] == 'a' && c.command == "redis":
		v := name + 1
		if v < len(t) && blank[t[v]] {
			v = run(t, v, maxGap, &blank)
		}
		c.argument(v)
	case t[name] == 'p' && c.command != "" && c.command != "curl" && c.command != "redis":
		if name+1 < len(t) && !space[t[name+1]] {
			c.argument(name + 1)
		}
	case c.mode&shell != 0 && (t[name] == 'p' || t[name] == 'P') && c.command != "curl" && !numeric(t, name+1):
		c.argument(name + 1)
	case t[name] == 'u' && end == name+1 && c.command == "curl":
		c.userFlag(end)
	}
}

// numeric reports whether the argument at i is a number, as a port is, or empty.
func numeric(t string, i int) bool {
	end := run(t, i, len(t), &digits)
	return end >= len(t) || space[t[end]]
}

// userFlag looks at the argument user:SECRET after i.
func (c *scanner) userFlag(i int) {
	t := c.t
	v := run(t, i, maxGap, &blank)
	if v < len(t) && (t[v] == '=' || t[v] == '"' || t[v] == '\'') {
		v++
	}
	colon := v
	for colon < len(t) && !space[t[colon]] && t[colon] != ':' && colon-v < maxName {
		colon++
	}
	if colon < len(t) && t[colon] == ':' && !strings.HasPrefix(t[colon:], "://") {
		c.argument(colon + 1)
	}
}

// argument records a command's argument at v as a password.
func (c *scanner) argument(v int) {
	if v >= len(c.t) {
		return
	}
	if open, start := openQuote(c.t, v); open != "" {
		c.secret(start, closeQuote(c.t, start, open), position{kind: Password})
		return
	}
	c.secret(v, wordEnd(c.t, v, len(c.t)), position{kind: Password})
}
