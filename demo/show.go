package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

const width = 80

// show prints the story for a screen of 80 columns.
type show struct {
	out    io.Writer
	colour bool
	step   int
}

func newShow(out io.Writer) show {
	return show{out: out, colour: isTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	blue  = "36"
)

func (s *show) paint(code, text string) string {
	if !s.colour || code == "" || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *show) line(text string) { fmt.Fprintln(s.out, text) }

// title opens a step.
func (s *show) title(text string) {
	s.step++
	head := fmt.Sprintf("── %d  %s ", s.step, text)
	s.line("")
	s.line(s.paint(bold, head+strings.Repeat("─", max(0, width-utf8.RuneCountInString(head)))))
}

// say prints prose.
func (s *show) say(text string) {
	for _, l := range wrap(text, width-2) {
		s.line("  " + l)
	}
}

// prompt prints what somebody types.
func (s *show) prompt(who, text string) {
	s.line("")
	for i, l := range strings.Split(text, "\n") {
		if i == 0 {
			s.line("  " + s.paint(blue, who+">") + " " + s.paint(bold, l))
			continue
		}
		s.line("  " + strings.Repeat(" ", utf8.RuneCountInString(who)+2) + s.paint(bold, l))
	}
}

// output prints what a program answered. Tables are cut at the screen's edge, messages are wrapped.
func (s *show) output(lines ...string) {
	for _, l := range lines {
		code := dim
		if strings.HasPrefix(l, "ERROR") || strings.HasPrefix(l, "NOTICE") {
			code = ""
		}
		if isMessage(l) {
			indent := strings.Repeat(" ", 2+len(l)-len(strings.TrimLeft(l, " ")))
			for i, part := range wrap(l, width-2-len(indent)) {
				if i > 0 {
					part = "  " + part
				}
				s.line(indent + s.paint(code, part))
			}
			continue
		}
		l = strings.TrimRight(strings.ReplaceAll(l, "\t", "  "), " ")
		s.line(strings.TrimRight("  "+s.paint(code, cut(l, width-2)), " "))
	}
}

// valueColumn is where the command line's pages write their values.
const valueColumn = 16

// page prints a page that the command line made for a person. Longer lines go on below their value.
func (s *show) page(text string) {
	for l := range strings.SplitSeq(text, "\n") {
		for i, part := range fold(l, width-2) {
			if i > 0 {
				part = strings.Repeat(" ", valueColumn) + part
			}
			s.line(strings.TrimRight("  "+part, " "))
		}
	}
}

// fold breaks a line at a space within n characters, its rest to go below the value.
func fold(l string, n int) []string {
	var parts []string
	for room := n; ; room = n - valueColumn {
		r := []rune(l)
		if len(r) <= room {
			return append(parts, l)
		}
		at := room
		for at > valueColumn && r[at] != ' ' {
			at--
		}
		if at <= valueColumn {
			return append(parts, l) // a digest, which is pasted whole
		}
		parts = append(parts, string(r[:at]))
		l = strings.TrimLeft(string(r[at:]), " ")
	}
}

// good says that a step came out as told.
func (s *show) good(text string) {
	for i, l := range wrap(text, width-4) {
		mark := "  "
		if i == 0 {
			mark = s.paint(green, "✓ ")
		}
		s.line("  " + mark + s.paint(green, l))
	}
}

func isMessage(l string) bool {
	l = strings.TrimLeft(l, " ")
	for _, p := range []string{"ERROR:", "NOTICE:", "DETAIL:", "HINT:", "WARNING:", "countersign:", "why:", "next:"} {
		if strings.HasPrefix(l, p) {
			return true
		}
	}
	return false
}

func cut(l string, n int) string {
	if utf8.RuneCountInString(l) <= n {
		return l
	}
	return string([]rune(l)[:n-1]) + "…"
}

// wrap breaks text at spaces into lines of at most n characters; a longer word has a line to itself.
func wrap(text string, n int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= n:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
