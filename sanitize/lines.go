package sanitize

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// MaxLine is how long a line that Lines reads may be. A longer one is replaced by a placeholder that
// tells its length, and is not held in memory.
const MaxLine = MaxText

// Lines copies r to w line for line, each as Text gives it, and calls findings, which may be nil, for every
// span that it replaces; lines count from 1, and spans are of the line as it was read. Private keys in PEM
// that span lines are replaced on each of them. What else spans lines is seen line by line. It writes out
// what it has whenever r would block, and returns the first error of r or w; io.EOF is none.
func (s *Sanitizer) Lines(r io.Reader, w io.Writer, findings func(line int, sp Span)) error {
	in, out := bufio.NewReaderSize(r, lineBuffer), bufio.NewWriterSize(w, lineBuffer)
	l := lineSanitizer{Sanitizer: s, findings: findings}
	for {
		err := l.read(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(fmt.Errorf("read line %d: %w", l.number+1, err), out.Flush())
		}
		ended := err != nil
		if l.length > 0 || !ended {
			l.number++
			if _, err := out.WriteString(l.clean()); err != nil {
				return fmt.Errorf("write line %d: %w", l.number, err)
			}
		}
		if ended || !lineBuffered(in) {
			if err := out.Flush(); err != nil {
				return fmt.Errorf("write line %d: %w", l.number, err)
			}
		}
		if ended {
			return nil
		}
	}
}

const lineBuffer = 64 << 10

// lineBuffered reports whether a whole line can be read without waiting for more.
func lineBuffered(in *bufio.Reader) bool {
	waiting, err := in.Peek(in.Buffered())
	return err == nil && bytes.IndexByte(waiting, '\n') >= 0
}

// lineSanitizer holds the line that Lines is at.
type lineSanitizer struct {
	*Sanitizer
	findings func(line int, sp Span)
	number   int
	line     []byte // with its end, when it is no longer than MaxLine; else its last part
	length   int    // of the whole line, with its end
	inKey    bool   // a private key began on an earlier line
}

// read reads the next line. Of one that is too long it keeps the last part.
func (l *lineSanitizer) read(in *bufio.Reader) error {
	l.line, l.length = l.line[:0], 0
	for {
		part, err := in.ReadSlice('\n')
		l.length += len(part)
		if len(l.line)+len(part) > MaxLine+len("\r\n") {
			l.line = l.line[:0]
		}
		l.line = append(l.line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// clean returns the line as it is written, with its end.
func (l *lineSanitizer) clean() string {
	body := bytes.TrimSuffix(bytes.TrimSuffix(l.line, []byte("\n")), []byte("\r"))
	end := string(l.line[len(body):])
	text := string(body)
	length := l.length - len(end)
	if length > MaxLine {
		l.inKey = opensKey(text)
		l.report([]finding{{Span: Span{0, length, LongLine}}})
		return lengthPlaceholder(LongLine, length) + end
	}
	if l.inKey && l.keyLine(text) {
		return l.placeholder(PrivateKey, text) + end
	}
	clean, found := l.limited(text, nil, formPlain, l.textFindings)
	l.report(found)
	l.inKey = l.inKey && strings.TrimSpace(text) == "" || opensKey(text)
	return clean + end
}

// keyLine reports whether a line belongs to the private key that is open, and notes when the key ends.
func (l *lineSanitizer) keyLine(text string) bool {
	ends := strings.Contains(text, pemEnd)
	if !ends && !pemLine(strings.TrimSpace(text)) {
		return false
	}
	l.inKey = !ends || opensKey(text)
	l.report([]finding{{Span: Span{0, len(text), PrivateKey}}})
	return true
}

func (l *lineSanitizer) report(found []finding) {
	if l.findings == nil {
		return
	}
	for _, f := range found {
		l.findings(l.number, f.Span)
	}
}

// opensKey reports whether a private key begins in text and does not end in it.
func opensKey(text string) bool {
	begin := strings.LastIndex(text, pemBegin)
	if begin < 0 {
		return false
	}
	body := pemKeyAt(text, begin, pemBegin)
	return body > 0 && !strings.Contains(text[body:], pemEnd)
}
