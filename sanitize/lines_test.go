package sanitize_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/countersign-dev/countersign/sanitize"
)

func lines(t *testing.T, s *sanitize.Sanitizer, raw string) (string, []string) {
	t.Helper()
	var out strings.Builder
	var found []string
	err := s.Lines(strings.NewReader(raw), &out, func(line int, sp sanitize.Span) {
		found = append(found, fmt.Sprintf("%d:%d-%d %s", line, sp.Start, sp.End, sp.Kind))
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), found
}

func TestLines(t *testing.T) {
	raw := "one\r\npassword=hunter2 x\n\nalice@example.com bob@example.org\r\nlast"
	got, found := lines(t, plain, raw)
	if want := "one\r\npassword=[password] x\n\n[email] [email]\r\nlast"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if want := []string{"2:9-16 password", "4:0-17 email", "4:18-33 email"}; !slices.Equal(found, want) {
		t.Errorf("findings %v, want %v", found, want)
	}
}

// TestLinesKey: a private key is replaced on each of its lines, with a log's prefix before them, and the
// lines around it stay.
func TestLinesKey(t *testing.T) {
	key := fakePEM("RSA PRIVATE KEY")
	n := strings.Count(key, "\n") + 1
	for name, c := range map[string]struct{ raw, want string }{
		"whole":    {"before\n" + key + "\nafter\n", "before\n" + rep("[private-key]\n", n) + "after\n"},
		"cut off":  {"before\n" + key[:200] + "\n2024-01-15 INFO: next line of the log\nafter\n", "before\n" + rep("[private-key]\n", 4) + "2024-01-15 INFO: next line of the log\nafter\n"},
		"prefixed": {strings.ReplaceAll(key, "\n", "\nsrv1 app[12]: ") + "\nafter", "[private-key]\n" + rep("[private-key]\n", n-1) + "after"},
		"one line": {`{"k":"` + strings.ReplaceAll(key, "\n", `\n`) + `"}` + "\nafter\n", `{"k":"[private-key]"}` + "\nafter\n"},
	} {
		got, _ := lines(t, plain, c.raw)
		if got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
		if again, _ := lines(t, plain, got); again != got {
			t.Errorf("%s: not the same again", name)
		}
	}
}

func TestLinesTooLong(t *testing.T) {
	long := "password=" + rep("x y ", sanitize.MaxLine/4)
	got, found := lines(t, plain, "a\n"+long+"\r\nb\n")
	if want := fmt.Sprintf("a\n[line:%d bytes]\r\nb\n", len(long)); got != want {
		t.Errorf("got %.80q, want %q", got, want)
	}
	if want := []string{fmt.Sprintf("2:0-%d line", len(long))}; !slices.Equal(found, want) {
		t.Errorf("findings %v", found)
	}
	// A key that begins at the end of such a line is seen.
	key := strings.Split(fakePEM("PRIVATE KEY"), "\n")
	got, _ = lines(t, plain, rep("x", sanitize.MaxLine)+" "+key[0]+"\n"+strings.Join(key[1:], "\n")+"\n")
	if strings.Contains(got, key[1]) {
		t.Errorf("key body survives: %.200q", got)
	}
}

// TestLinesMemory: a line without end takes a fixed amount of memory.
func TestLinesMemory(t *testing.T) {
	const size = 64 << 20
	var out strings.Builder
	if err := plain.Lines(io.LimitReader(zeros{}, size), &out, nil); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("[line:%d bytes]", size); out.String() != want {
		t.Errorf("got %.80q, want %q", out.String(), want)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// TestLinesFlush: what is complete is written before the reader blocks.
func TestLinesFlush(t *testing.T) {
	r, w := io.Pipe()
	got := make(chan string, 8)
	done := make(chan error, 1)
	go func() { done <- plain.Lines(r, chanWriter(got), nil) }()
	if _, err := io.WriteString(w, "token=abc12345\npart"); err != nil {
		t.Fatal(err)
	}
	if line := <-got; line != "token=[token]\n" {
		t.Errorf("%q", line)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if line := <-got; line != "part" {
		t.Errorf("%q", line)
	}
}

type chanWriter chan string

func (c chanWriter) Write(p []byte) (int, error) {
	c <- string(p)
	return len(p), nil
}

func TestLinesErrors(t *testing.T) {
	broken := errors.New("broken")
	err := plain.Lines(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("ab\n"))), io.Discard, nil)
	if !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("read: %v", err)
	}
	if err := plain.Lines(strings.NewReader("a\nb\n"), failWriter{broken}, nil); !errors.Is(err, broken) {
		t.Errorf("write: %v", err)
	}
}

type failWriter struct{ err error }

func (f failWriter) Write([]byte) (int, error) { return 0, f.err }
