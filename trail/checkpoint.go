package trail

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxCheckpoint bounds the size of a signed checkpoint, in bytes.
const MaxCheckpoint = 64 << 10

// Checkpoint is a tree head in the form of c2sp.org/tlog-checkpoint.
type Checkpoint struct {
	Origin string // the log's name
	Size   uint64
	Root   tlog.Hash
	// Lines are extension lines: what the log must say of itself ("review_auth: token").
	Lines []string
}

// Text returns the signed text.
func (c Checkpoint) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%d\n%s\n", c.Origin, c.Size, c.Root)
	for _, l := range c.Lines {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	return b.String()
}

// Sign returns the checkpoint as a signed note.
func (c Checkpoint) Sign(signers ...note.Signer) ([]byte, error) {
	for _, l := range append([]string{c.Origin}, c.Lines...) {
		if l == "" || strings.ContainsFunc(l, func(r rune) bool { return r < 0x20 }) {
			return nil, fmt.Errorf("checkpoint line %q", l)
		}
	}
	return note.Sign(&note.Note{Text: c.Text()}, signers...)
}

var errCheckpoint = errors.New("malformed checkpoint")

// ParseCheckpointText reads the text of a checkpoint, without signatures.
func ParseCheckpointText(text string) (Checkpoint, error) {
	if len(text) > MaxCheckpoint || !strings.HasSuffix(text, "\n") {
		return Checkpoint{}, errCheckpoint
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 3 || lines[0] == "" {
		return Checkpoint{}, errCheckpoint
	}
	n, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || n < 0 || lines[1] != strconv.FormatInt(n, 10) {
		return Checkpoint{}, errCheckpoint
	}
	h, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(h) != tlog.HashSize {
		return Checkpoint{}, errCheckpoint
	}
	c := Checkpoint{Origin: lines[0], Size: uint64(n), Root: tlog.Hash(h)}
	for _, l := range lines[3:] {
		if l == "" {
			return Checkpoint{}, errCheckpoint
		}
		c.Lines = append(c.Lines, l)
	}
	return c, nil
}

// OpenCheckpoint reads a signed checkpoint. One of its signatures must be valid under a key among known
// whose name is the checkpoint's origin: a key of one log does not sign for another.
func OpenCheckpoint(signed []byte, known note.Verifiers) (Checkpoint, error) {
	if len(signed) > MaxCheckpoint {
		return Checkpoint{}, errCheckpoint
	}
	n, err := note.Open(signed, known)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := ParseCheckpointText(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	for _, s := range n.Sigs {
		if s.Name == c.Origin {
			return c, nil
		}
	}
	return Checkpoint{}, fmt.Errorf("checkpoint of %q is signed, but not by a key of that name", c.Origin)
}

// UnverifiedCheckpoint reads a signed checkpoint without looking at its signatures: for one that its
// holder has kept himself.
func UnverifiedCheckpoint(signed []byte) (Checkpoint, error) {
	if len(signed) > MaxCheckpoint {
		return Checkpoint{}, errCheckpoint
	}
	_, err := note.Open(signed, note.VerifierList())
	var un *note.UnverifiedNoteError
	if !errors.As(err, &un) {
		return Checkpoint{}, fmt.Errorf("%w: not a signed note", errCheckpoint)
	}
	return ParseCheckpointText(un.Note.Text)
}

// SplitCheckpoints cuts a file of signed checkpoints, one after another, into single ones.
func SplitCheckpoints(file []byte) [][]byte {
	var all [][]byte
	for text := string(file); strings.TrimSpace(text) != ""; {
		end := noteEnd(text)
		all = append(all, []byte(text[:end]))
		text = strings.TrimLeft(text[end:], "\n")
	}
	return all
}

// noteEnd returns the length of the first note in text: through the last of the signature lines that
// follow its first blank line.
func noteEnd(text string) int {
	i := strings.Index(text, "\n\n")
	if i < 0 {
		return len(text)
	}
	i += 2
	for strings.HasPrefix(text[i:], "— ") {
		n := strings.IndexByte(text[i:], '\n')
		if n < 0 {
			return len(text)
		}
		i += n + 1
	}
	return i
}
