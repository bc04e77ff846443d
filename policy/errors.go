package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing wrong in one place of a policy or test file.
type Error struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`   // 1-based; 0 when the whole file is meant
	Column  int    `json:"column,omitempty"` // 1-based; 0 when unknown
	Rule    string `json:"rule,omitempty"`
	Test    string `json:"test,omitempty"` // in a file of tests, instead of Rule
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do
}

// Error returns "file:line: rule NAME: message (what to do)".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Rule != "" {
		fmt.Fprintf(&b, "rule %s: ", e.Rule)
	}
	if e.Test != "" {
		fmt.Fprintf(&b, "test %q: ", e.Test)
	}
	b.WriteString(e.Message)
	if e.Hint != "" {
		fmt.Fprintf(&b, " (%s)", e.Hint)
	}
	return b.String()
}

// Errors is everything wrong in a set of files, sorted by place. It is never empty when it is an error.
type Errors []*Error

// Error returns one line for each error.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each error to errors.As.
func (es Errors) Unwrap() []error {
	list := make([]error, len(es))
	for i, e := range es {
		list[i] = e
	}
	return list
}

func (es Errors) sort() {
	slices.SortStableFunc(es, func(a, b *Error) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Message, b.Message),
		)
	})
}
