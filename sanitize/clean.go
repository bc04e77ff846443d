package sanitize

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// Clean is text that is safe to store and to send. Its zero value is the empty text. Values come from
// a Sanitizer, or from the constructors in this file, whose inputs cannot carry anyone's data.
type Clean struct{ s string }

// String returns the text.
func (c Clean) String() string { return c.s }

// IsZero reports whether the text is empty; encoding/json's omitzero uses it.
func (c Clean) IsZero() bool { return c.s == "" }

// MarshalText gives the text to encoders.
func (c Clean) MarshalText() ([]byte, error) { return []byte(c.s), nil }

// UnmarshalText reads back what MarshalText wrote. It is for the store's and the trail's own records
// only: no type that decodes a request from outside may hold a Clean (tested in package api).
func (c *Clean) UnmarshalText(text []byte) error {
	c.s = string(text)
	return nil
}

// constant is unexported so that only untyped constants of a program's source convert to it.
type constant string

// Const returns the text of a constant in the source.
func Const(text constant) Clean { return Clean{string(text)} }

// Int returns n in decimal.
func Int(n int64) Clean { return Clean{strconv.FormatInt(n, 10)} }

// Hex returns b, a digest or random identifier, in lower-case hexadecimal.
func Hex(b []byte) Clean {
	var buf [64]byte // room for a digest, so that the text is all that is allocated
	return Clean{string(hex.AppendEncode(buf[:0], b))}
}

// Time returns t in UTC as RFC 3339 with microseconds.
func Time(t time.Time) Clean { return Clean{t.UTC().Format("2006-01-02T15:04:05.000000Z")} }

// Duration returns d as time.Duration prints it, rounded to milliseconds.
func Duration(d time.Duration) Clean { return Clean{d.Round(time.Millisecond).String()} }

// Join puts sep between parts.
func Join(sep constant, parts ...Clean) Clean {
	if len(parts) == 1 {
		return parts[0]
	}
	size := len(sep) * len(parts)
	for _, p := range parts {
		size += len(p.s)
	}
	var b strings.Builder
	b.Grow(size)
	for i, p := range parts {
		if i > 0 {
			b.WriteString(string(sep))
		}
		b.WriteString(p.s)
	}
	return Clean{b.String()}
}

// Format replaces each %s in format by the next argument. It panics when their numbers differ, which
// the tests of the caller find.
func Format(format constant, args ...Clean) Clean {
	rest := string(format)
	if places := strings.Count(rest, "%s"); places != len(args) {
		panic("sanitize: Format: " + strconv.Itoa(places) + " places for " + strconv.Itoa(len(args)) + " arguments")
	}
	size := len(rest)
	for _, a := range args {
		size += len(a.s)
	}
	var b strings.Builder
	b.Grow(size)
	for _, a := range args {
		before, after, _ := strings.Cut(rest, "%s")
		b.WriteString(before)
		b.WriteString(a.s)
		rest = after
	}
	b.WriteString(rest)
	return Clean{b.String()}
}
