package policy

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Limits on what a file may hold, so that no file can make loading slow or large.
const (
	maxFiles     = 256
	maxFileBytes = 1 << 20
	maxRules     = 2000
	maxListItems = 64
	maxTextBytes = 300
	maxNameBytes = 256
	maxErrors    = 50 // of one file; a file with more is broken in one way many times
)

// reader decodes one file strictly: what it does not know is an error, never ignored.
type reader struct {
	file string
	rule string // the rule being read, for messages
	test string // or the test
	errs Errors
}

// fail records an error at n.
func (r *reader) fail(n *yaml.Node, key, hint, format string, args ...any) {
	if len(r.errs) >= maxErrors {
		return
	}
	e := &Error{File: r.file, Rule: r.rule, Test: r.test, Key: key, Message: fmt.Sprintf(format, args...), Hint: hint}
	if n != nil {
		e.Line, e.Column = n.Line, n.Column
	}
	r.errs = append(r.errs, e)
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\s*)?line (\d+): `)

// document parses data into its one document, or records why not and returns nil.
func (r *reader) document(data []byte, hint string) *yaml.Node {
	switch {
	case len(data) > maxFileBytes:
		r.fail(nil, "", "split it", "the file has %d bytes; at most %d are read", len(data), maxFileBytes)
		return nil
	case !utf8.Valid(data):
		r.fail(nil, "", "save it as UTF-8", "the file is not UTF-8")
		return nil
	}
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && (len(doc.Content) == 0 || isNull(doc.Content[0])) {
		r.fail(nil, "", hint, "the file is empty")
		return nil
	}
	if err == nil {
		if err = dec.Decode(&second); errors.Is(err, io.EOF) {
			return r.plain(doc.Content[0])
		}
	}
	if err == nil {
		r.fail(&second, "", "put it into a file of its own", "the file holds a second document")
		return nil
	}
	r.syntax(err)
	return nil
}

// syntax records what the YAML parser said, with the line taken out of its text.
func (r *reader) syntax(err error) {
	text, at := err.Error(), (*yaml.Node)(nil)
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, convErr := strconv.Atoi(m[1])
		if convErr == nil {
			at = &yaml.Node{Line: line}
		}
		text = text[len(m[0]):]
	}
	r.fail(at, "", "", "not valid YAML: %s", strings.TrimPrefix(text, "yaml: "))
}

// plain refuses what makes a file mean something else than it shows: aliases, merge keys, tags.
func (r *reader) plain(n *yaml.Node) *yaml.Node {
	before := len(r.errs)
	r.checkPlain(n)
	if len(r.errs) > before {
		return nil
	}
	return n
}

func (r *reader) checkPlain(n *yaml.Node) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.fail(n, "", "write it out", "anchors and aliases are not allowed")
		return
	case n.Tag == "!!merge":
		r.fail(n, "", "write the keys out", "merge keys are not allowed")
		return
	case n.Style&yaml.TaggedStyle != 0:
		r.fail(n, "", "leave the tag out", "the tag %s is not allowed", n.Tag)
		return
	}
	for _, c := range n.Content {
		r.checkPlain(c)
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// pair is one key of a mapping with its value.
type pair struct {
	key   string
	at    *yaml.Node // the key
	value *yaml.Node
}

// pairs returns the keys of the mapping n, which stands under the key of that name. A key that is there
// twice is an error and is returned once.
func (r *reader) pairs(n *yaml.Node, key string) ([]pair, bool) {
	if n.Kind != yaml.MappingNode {
		r.fail(n, key, "", "%s is %s; it must be a mapping of keys to values", key, kindOf(n))
		return nil, false
	}
	list := make([]pair, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode || k.Tag != "!!str" {
			r.fail(k, key, "put it in quotes if a text is meant", "a key of %s is %s; it must be a text", key, kindOf(k))
			continue
		}
		if j := slices.IndexFunc(list, func(p pair) bool { return p.key == k.Value }); j >= 0 {
			r.fail(k, k.Value, "remove one", "%s is there twice, first on line %d", quoted(k.Value), list[j].at.Line)
			continue
		}
		list = append(list, pair{key: k.Value, at: k, value: n.Content[i+1]})
	}
	return list, true
}

// unknown records that a key is none of those known.
func (r *reader) unknown(p pair, where string, known ...string) {
	r.fail(p.at, p.key, "known here: "+strings.Join(known, ", "), "unknown key %s in %s", quoted(p.key), where)
}

// items returns the elements of the list n.
func (r *reader) items(n *yaml.Node, key string, most int) []*yaml.Node {
	switch {
	case n.Kind != yaml.SequenceNode:
		r.fail(n, key, "write "+key+": [a, b]", "%s is %s; it must be a list", key, kindOf(n))
		return nil
	case len(n.Content) == 0:
		r.fail(n, key, "name at least one or remove the key", "%s is an empty list", key)
		return nil
	case len(n.Content) > most:
		r.fail(n, key, "", "%s has %d items; at most %d are allowed", key, len(n.Content), most)
		return nil
	}
	return n.Content
}

// text returns a string of printable characters on one line.
func (r *reader) text(n *yaml.Node, key string, most int) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode || n.Tag != "!!str":
		hint := ""
		if n.Kind == yaml.ScalarNode && !isNull(n) {
			hint = "put it in quotes"
		}
		r.fail(n, key, hint, "%s is %s; it must be a text", key, kindOf(n))
		return "", false
	case n.Value == "":
		r.fail(n, key, "", "%s is empty", key)
		return "", false
	case len(n.Value) > most:
		r.fail(n, key, "", "%s has %d bytes; at most %d are allowed", key, len(n.Value), most)
		return "", false
	case strings.ContainsFunc(n.Value, func(c rune) bool { return !unicode.IsPrint(c) }):
		r.fail(n, key, "write it on one line", "%s holds a line break or a character that cannot be printed", key)
		return "", false
	}
	return n.Value, true
}

// texts returns a list of distinct strings.
func (r *reader) texts(n *yaml.Node, key string) []string {
	var list []string
	for _, item := range r.items(n, key, maxListItems) {
		s, ok := r.text(item, key, maxNameBytes)
		if !ok {
			continue
		}
		if slices.Contains(list, s) {
			r.fail(item, key, "remove one", "%s names %s twice", key, quoted(s))
			continue
		}
		list = append(list, s)
	}
	return list
}

// boolean returns true or false.
func (r *reader) boolean(n *yaml.Node, key string) bool {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
		var b bool
		if err := n.Decode(&b); err == nil {
			return b
		}
	}
	r.fail(n, key, "write true or false", "%s is %s; it must be true or false", key, kindOf(n))
	return false
}

// yes reads a key that means something only when true.
func (r *reader) yes(n *yaml.Node, key string) {
	before := len(r.errs)
	if !r.boolean(n, key) && len(r.errs) == before {
		r.fail(n, key, "remove the key", "%s: false says nothing", key)
	}
}

// integer returns a whole number within bounds.
func (r *reader) integer(n *yaml.Node, key string, least, most int64) int64 {
	var i int64
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Decode(&i) != nil {
		r.fail(n, key, "", "%s is %s; it must be a whole number%s", key, kindOf(n), bounds(least, most))
		return least
	}
	if i < least || i > most {
		r.fail(n, key, "", "%s is %d; it must be a whole number%s", key, i, bounds(least, most))
		return least
	}
	return i
}

func bounds(least, most int64) string {
	if most >= maxLimit {
		return fmt.Sprintf(" from %d on", least)
	}
	return fmt.Sprintf(" from %d to %d", least, most)
}

// duration returns a time span within bounds.
func (r *reader) duration(n *yaml.Node, key string, most time.Duration) time.Duration {
	s, ok := r.text(n, key, 32)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		r.fail(n, key, "write it like 90s, 15m or 1h", "%s is %s; it must be a time span", key, quoted(s))
		return 0
	}
	if d < time.Second || d > most {
		r.fail(n, key, "", "%s is %s; it must be from 1s to %s", key, s, short(most))
		return 0
	}
	return d
}

// short prints a duration without its zero parts: 168h, not 168h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "empty"
	case n.Kind == yaml.ScalarNode:
		switch n.Tag {
		case "!!bool":
			return "the boolean " + clip(n.Value)
		case "!!int", "!!float":
			return "the number " + clip(n.Value)
		case "!!timestamp":
			return "the date " + clip(n.Value)
		}
		return "the text " + quoted(n.Value)
	}
	return "something else"
}

func quoted(s string) string { return strconv.Quote(clip(s)) }

// clip shortens s for a message.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
