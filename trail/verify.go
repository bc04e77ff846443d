package trail

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign"
)

// Chunk is a run of entries as a copy holds them, or a gap.
type Chunk struct {
	First  uint64   // number of the first
	Raw    [][]byte // stored entries; they may be kept until Verify returns
	Leaves [][]byte // their leaves, where the copy keeps those too; else nil
	// Missing, when Raw is empty, is how many entries from First on are not there or cannot be read. Their leaves may be.
	Missing uint64
	Why     error // of a gap
}

// Source is a copy of one log. Nothing that it says is trusted.
type Source interface {
	// Origin is the name that the copy gives the log.
	Origin() string
	// Size is the number of entries that the copy claims to hold.
	Size() uint64
	// Chunks yields all entries from a number on, in order, gaps as such. An error means that the copy cannot be read at all.
	// Chunks and ReadHashes are called from different goroutines.
	Chunks(from uint64) iter.Seq2[Chunk, error]
	// ReadHashes gives the hashes that the copy holds.
	tlog.HashReader
}

// Options say what a copy is compared with.
type Options struct {
	// Checkpoints are signed checkpoints of this log or of others, kept outside the copy. Those of
	// other logs are passed over.
	Checkpoints [][]byte
	// Inside are checkpoints that lie in the copy. They are checked, but anchor nothing.
	Inside [][]byte
	// Verifiers are the trusted keys. When nil, signatures are not checked and the report says so.
	Verifiers note.Verifiers
}

// ProblemKind says what is wrong.
type ProblemKind string

// The kinds of problem.
const (
	Changed    ProblemKind = "changed"     // not what the log recorded under that number
	Removed    ProblemKind = "removed"     // not there
	Moved      ProblemKind = "moved"       // recorded by the log, under another number
	RolledBack ProblemKind = "rolled back" // the copy ends before a checkpoint does
	Damaged    ProblemKind = "damaged"     // cannot be read
	BadHash    ProblemKind = "bad hash"    // the event is right, a hash kept beside it is not
	BadErasure ProblemKind = "bad erasure" // a value is gone: this build erases none
	Unsigned   ProblemKind = "unsigned"    // a grant was used that the log does not show to be signed
	BadAnchor  ProblemKind = "bad anchor"  // a checkpoint cannot be used
)

// Problem is one thing that is wrong with a copy. Number to Last are the events concerned.
type Problem struct {
	Kind   ProblemKind
	Number uint64
	Last   uint64
	// The event as the copy shows it, when it is one event and can be read.
	ID   ID
	Type countersign.EventType
	Time time.Time
	What string // a sentence for people
}

func (p Problem) String() string {
	where := fmt.Sprintf("event %d", p.Number)
	if p.Last > p.Number {
		where = fmt.Sprintf("events %d to %d", p.Number, p.Last)
	}
	if p.Kind == BadAnchor {
		where = "checkpoint"
	}
	if p.ID != (ID{}) {
		where += fmt.Sprintf(" (%s, %s, %s)", p.Type, p.ID, p.Time.Format("2006-01-02T15:04:05.000000Z"))
	}
	return fmt.Sprintf("%s: %s: %s", p.Kind, where, p.What)
}

// Report is what Verify found.
type Report struct {
	Origin string
	Size   uint64
	Root   tlog.Hash // over what the copy holds
	// Anchored: at least one checkpoint from outside holds, the largest covering AnchoredSize events.
	Anchored     bool
	AnchoredSize uint64
	// Problems lists what is wrong, at most MaxProblems; More is how many were found besides.
	Problems []Problem
	More     int
	// Notes are what the reader should know of the verification itself.
	Notes []string
	// Earlier are the reports on the logs that came before this one in the same store, oldest first.
	Earlier []Report
}

// MaxProblems bounds the list in a report.
const MaxProblems = 100

// OK reports whether nothing is wrong, in the earlier logs either.
func (r *Report) OK() bool {
	for i := range r.Earlier {
		if !r.Earlier[i].OK() {
			return false
		}
	}
	return len(r.Problems) == 0
}

// Verdict is the result in a few words.
func (r *Report) Verdict() string {
	switch {
	case len(r.Problems) == 1 && r.More == 0:
		return "1 problem"
	case len(r.Problems) > 0:
		return fmt.Sprintf("%d problems", len(r.Problems)+r.More)
	case !r.OK():
		return "problems in an earlier log"
	case r.Anchored && r.AnchoredSize == r.Size:
		return "consistent, anchored"
	case r.Anchored:
		return fmt.Sprintf("consistent, anchored up to event %d", int64(r.AnchoredSize)-1)
	default:
		return "consistent, not anchored"
	}
}

func (r *Report) problem(p Problem) {
	if p.Last < p.Number {
		p.Last = p.Number
	}
	if len(r.Problems) >= MaxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, p)
}

// anchor is a checkpoint to compare with.
type anchor struct {
	Checkpoint
	outside bool
}

// Verify recomputes every leaf from the bodies that the copy holds, and the tree from the leaves, and
// compares them with the hashes in the copy and with the checkpoints. An error means that the copy
// could not be read; everything that is wrong with what was read is in the report.
func Verify(src Source, o Options) (Report, error) {
	r := Report{Origin: src.Origin(), Size: src.Size()}
	anchors := r.anchors(o)
	sizes := make([]uint64, 0, len(anchors))
	for _, a := range anchors {
		sizes = append(sizes, a.Size)
	}
	p, err := pass(src, sizes)
	v := &verification{src: src, pass: p, report: &r}
	if errors.Is(err, errHole) {
		r.Notes = append(r.Notes, "what follows the missing events was not looked at")
		v.remaining()
		return r, nil
	}
	if err != nil {
		return r, err
	}
	r.Root = p.tree.Root()
	if p.tree.Size() != r.Size {
		return r, fmt.Errorf("the copy says it holds %d events and gave %d", r.Size, p.tree.Size())
	}
	v.compare(anchors)
	v.remaining()
	for _, f := range append(p.gaps.list, p.damaged.list...) {
		if f.number < r.AnchoredSize {
			r.Anchored, r.AnchoredSize = false, 0 // the hashes fit, the events are not all there
			break
		}
	}
	return r, nil
}

// anchors opens the checkpoints that concern this log.
func (r *Report) anchors(o Options) []anchor {
	var all []anchor
	other := 0
	open := func(signed []byte, outside bool) {
		c, err := UnverifiedCheckpoint(signed)
		if err == nil && c.Origin != r.Origin {
			other++
			return
		}
		if err == nil && o.Verifiers != nil {
			c, err = OpenCheckpoint(signed, o.Verifiers)
		}
		if err != nil {
			r.problem(Problem{Kind: BadAnchor, What: describeBadAnchor(err, outside)})
			return
		}
		all = append(all, anchor{c, outside})
	}
	for _, c := range o.Checkpoints {
		open(c, true)
	}
	if other > 0 && len(all) == 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("none of the %d checkpoints given is of the log %s", other, r.Origin))
	}
	for _, c := range o.Inside {
		open(c, false)
	}
	if o.Verifiers == nil && len(all) > 0 {
		r.Notes = append(r.Notes, "no trusted keys were given: signatures were not checked")
	}
	return all
}

func describeBadAnchor(err error, outside bool) string {
	which := "a checkpoint in the copy "
	if outside {
		which = "a checkpoint given "
	}
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		return which + "is not signed by a trusted key"
	case errors.As(err, &invalid):
		return which + "has an invalid signature of a trusted key"
	default:
		return which + "cannot be used: " + err.Error()
	}
}
