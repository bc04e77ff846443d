package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// page writes text for people: headings, rows of a name and a value, blocks of code.
type page struct {
	w    io.Writer
	bold bool
}

func (s *sys) page() *page {
	return &page{w: s.out, bold: s.outTTY && s.getenv("NO_COLOR") == ""}
}

const nameWidth = 14

func (p *page) strong(text string) string {
	if !p.bold {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

func (p *page) title(text string) { fmt.Fprintln(p.w, p.strong(visible(text))) }

func (p *page) section(name string) { fmt.Fprintf(p.w, "\n%s\n", p.strong(name)) }

// row writes a name and its value; nothing when the value is empty.
func (p *page) row(name, value string) {
	if value == "" {
		return
	}
	if len(name) >= nameWidth {
		name += " "
	}
	lines := strings.Split(visible(value), "\n")
	fmt.Fprintf(p.w, "  %-*s%s\n", nameWidth, name, lines[0])
	for _, l := range lines[1:] {
		fmt.Fprintf(p.w, "  %-*s%s\n", nameWidth, "", l)
	}
}

func (p *page) line(text string) { fmt.Fprintf(p.w, "  %s\n", visible(text)) }

// code writes text as a block with a bar, so that it is plain where it begins and ends.
func (p *page) code(text string) {
	for l := range strings.SplitSeq(visible(strings.TrimRight(text, "\n")), "\n") {
		fmt.Fprintf(p.w, "  │ %s\n", l)
	}
}

// table writes aligned columns under a heading.
func (p *page) table(head []string, rows [][]string) {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(head, "\t"))
	for _, r := range rows {
		for i, cell := range r {
			r[i] = oneLine(cell)
		}
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	_ = tw.Flush() // into memory
	first, rest, _ := strings.Cut(b.String(), "\n")
	fmt.Fprintln(p.w, p.strong(strings.TrimRight(first, " ")))
	for l := range strings.Lines(rest) {
		fmt.Fprintln(p.w, strings.TrimRight(l, " \n"))
	}
}

// clock is a time of day, with the date when that is not today.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// about is a duration as people say it.
func about(d time.Duration) string {
	d = d.Abs()
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days", int(d.Hours())/24)
	}
}
