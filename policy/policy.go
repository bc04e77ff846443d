// Package policy turns rules into a Decision. It is pure: a Set is an immutable value, and a decision is a
// function of the Set and its Input alone.
//
// It promises P5 as far as rules can: what no rule permits is denied, what cannot be evaluated is judged
// by its stricter answer, and `unknown` is permitted by a review rule that names it and by nothing else.
// The order of rules and files never matters. A file that says anything this package does not
// understand is refused whole, never in part.
//
// It does not promise that seats can be filled (package approval knows the people), and it does not
// count rows: it says the limits, and the gate holds them.
//
// # What a rule says
//
// Every part of a match that is written must hold; a part that is not written holds for everything.
// principal: kind, groups (its own, one is enough), names ("person:NAME", "agent:NAME"); every allow rule names a principal or
// says anyone: true. resource: name or names, kind, and any other key is a label. effects: each effect of
// the action is listed; any_effect, for review and deny, lists at least one. objects: for review and deny at least one is listed,
// and an unknown action is taken to reach them all; for allow and confirm each is listed, and there is at least one.
//
// A condition (when) is CEL over principal, resource, effects, objects, facts and shape, without regular
// expressions, of bounded cost. Reading facts.rows while facts.rows_known is false, or a label that is
// not there, is a failure, not a false: the stricter answer holds.
//
// In a review, resource.reviewers stands for the groups of the resource. Where it has none, the seat stays,
// and nobody can fill it.
//
// # How decisions combine
//
// A rule matches an action when every part of its match holds and its condition is true. Then:
//   - any matching deny decides;
//   - an allow or confirm rule that matches but for a condition that fails to evaluate denies; a deny or
//     review rule whose condition fails counts as matched;
//   - the seats of all matching review rules are concatenated, and a matching confirm is needed besides;
//   - a matching allow decides only when nothing stricter does;
//   - nothing matches: deny.
//
// Limits are those of every rule whose resource and principal match, whatever its effects, objects and
// condition say. Limits and deadlines take the minimum; a review or confirm rule that states no deadline
// stands for the default one.
package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/countersign-dev/countersign"
)

// File is one policy file. Its name stands in messages and is part of the digest.
type File struct {
	Name string
	Data []byte
}

// Features says what this build can do. A policy that uses anything else is refused at load, never
// ignored.
type Features struct {
	Passkey bool // reviews with a passkey exist
	Mask    bool // results can be masked; RuleInfo.Masks says with what
	Observe bool // rules can be observed instead of enforced; RuleInfo.ObserveUntil says until when
}

// The deadlines of a review or confirm rule that states none, and the longest that it may state.
const (
	DefaultExpires     = time.Hour
	DefaultClaimWithin = 15 * time.Minute
	MaxExpires         = 7 * 24 * time.Hour
	MaxClaimWithin     = 24 * time.Hour
)

// MaxSeats is the most signatures that one action may need; one that would need more is denied.
const MaxSeats = 16

// Set is the rules of all files. It is immutable and safe for concurrent use. The nil Set denies everything.
type Set struct {
	files   []File  // sorted by name
	rules   []*rule // sorted by name, so that nothing depends on their order in files
	encoded []byte
	digest  countersign.Digest

	// index holds, for each resource decided about, the rules that can match it. Readers load the map and
	// never change it; writers hold grow and store a changed copy.
	index atomic.Pointer[map[countersign.ResourceName]*candidates]
	grow  sync.Mutex
}

// Input is what is decided about. Principal, Resource and Facts may be nil: what is not known is never
// taken for harmless. An Input is not changed and not kept.
type Input struct {
	Principal *countersign.Principal
	Resource  *countersign.Resource
	Effects   countersign.Effects
	Objects   []countersign.Object
	Facts     *countersign.Facts
	Shape     string
}

// RuleInfo describes a rule.
type RuleInfo struct {
	Name    string              `json:"name"`
	File    string              `json:"file"`
	Line    int                 `json:"line"`
	Verdict countersign.Verdict `json:"verdict,omitempty"` // empty for a rule that only sets limits or masks
	When    string              `json:"when,omitempty"`
	Limits  countersign.Limits  `json:"limits,omitzero"`
	Masks   []string            `json:"masks,omitempty"`
	// ObserveUntil, when not zero, is the end of the time in which the rule is to be observed only. Decide
	// applies the rule all the same.
	ObserveUntil time.Time `json:"observe_until,omitzero"`
}

// Load reads files into a Set. Its error is Errors: everything that is wrong, at once.
func Load(files []File, f Features) (*Set, error) {
	sorted := slices.Clone(files)
	slices.SortStableFunc(sorted, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	s := &Set{}
	errs := checkFiles(sorted)
	if len(errs) == 0 {
		for _, file := range sorted {
			s.files = append(s.files, File{Name: file.Name, Data: slices.Clone(file.Data)})
			rules, fileErrs := loadFile(file, f)
			s.rules = append(s.rules, rules...)
			errs = append(errs, fileErrs...)
		}
		errs = append(errs, checkRules(s.rules)...)
	}
	if len(errs) > 0 {
		errs.sort()
		return nil, errs
	}
	slices.SortFunc(s.rules, func(a, b *rule) int { return strings.Compare(a.info.Name, b.info.Name) })
	s.encoded = encode(s.files)
	s.digest = sha256.Sum256(s.encoded)
	s.index.Store(&map[countersign.ResourceName]*candidates{})
	return s, nil
}

func checkFiles(files []File) Errors {
	var errs Errors
	if len(files) == 0 {
		return Errors{{File: "policy", Message: "there is no policy file", Hint: "write one; countersign init makes a starter"}}
	}
	if len(files) > maxFiles {
		errs = append(errs, &Error{File: "policy", Message: fmt.Sprintf("there are %d files; at most %d are read", len(files), maxFiles)})
	}
	for i, file := range files {
		switch {
		case file.Name == "" || len(file.Name) > maxNameBytes:
			errs = append(errs, &Error{File: fmt.Sprintf("%q", clip(file.Name)), Message: fmt.Sprintf("a file's name has 1 to %d bytes", maxNameBytes)})
		case i > 0 && files[i-1].Name == file.Name:
			errs = append(errs, &Error{File: file.Name, Message: "the file is given twice"})
		}
	}
	return errs
}

// checkRules finds what is wrong between files.
func checkRules(rules []*rule) Errors {
	var errs Errors
	if len(rules) > maxRules {
		errs = append(errs, &Error{File: "policy", Message: fmt.Sprintf("there are %d rules; at most %d are read", len(rules), maxRules)})
	}
	first := map[string]*rule{}
	for _, r := range rules {
		other, ok := first[r.info.Name]
		if !ok {
			first[r.info.Name] = r
			continue
		}
		errs = append(errs, &Error{
			File: r.info.File, Line: r.info.Line, Rule: r.info.Name, Key: "name",
			Message: fmt.Sprintf("the name is taken by the rule at %s:%d", other.info.File, other.info.Line),
			Hint:    "give each rule its own name",
		})
	}
	return errs
}

// Digest is SHA-256 of Encode. That of the nil Set is zero.
func (s *Set) Digest() countersign.Digest {
	if s == nil {
		return countersign.Digest{}
	}
	return s.digest
}

// Encode returns the files in the form that Decode reads: encodingHeader, then the number of files, then for each file,
// sorted by name, the length of its name, its name, the length of its data, its data. Numbers are big-endian uint64.
func (s *Set) Encode() []byte {
	if s == nil {
		return nil
	}
	return slices.Clone(s.encoded)
}

const encodingHeader = "countersign/policy/v1\n"

func encode(files []File) []byte {
	out := []byte(encodingHeader)
	out = binary.BigEndian.AppendUint64(out, uint64(len(files)))
	for _, f := range files {
		out = binary.BigEndian.AppendUint64(out, uint64(len(f.Name)))
		out = append(out, f.Name...)
		out = binary.BigEndian.AppendUint64(out, uint64(len(f.Data)))
		out = append(out, f.Data...)
	}
	return out
}

var errEncoding = errors.New("not an encoded policy")

// Decode loads what Encode returned. It fails when this build lacks what the policy uses.
func Decode(data []byte, f Features) (*Set, error) {
	rest, ok := cutPrefix(data, encodingHeader)
	if !ok || len(rest) < 8 {
		return nil, errEncoding
	}
	count := binary.BigEndian.Uint64(rest)
	rest = rest[8:]
	if count > maxFiles {
		return nil, errEncoding
	}
	files := make([]File, count)
	for i := range files {
		var name []byte
		if name, rest, ok = field(rest); !ok {
			return nil, errEncoding
		}
		if files[i].Data, rest, ok = field(rest); !ok {
			return nil, errEncoding
		}
		files[i].Name = string(name)
	}
	if len(rest) > 0 {
		return nil, errEncoding
	}
	s, err := Load(files, f)
	if err != nil {
		return nil, fmt.Errorf("the stored policy does not load: %w", err)
	}
	return s, nil
}

func cutPrefix(data []byte, prefix string) ([]byte, bool) {
	if len(data) < len(prefix) || string(data[:len(prefix)]) != prefix {
		return nil, false
	}
	return data[len(prefix):], true
}

// field takes one length-prefixed value off data.
func field(data []byte) (value, rest []byte, ok bool) {
	if len(data) < 8 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint64(data)
	data = data[8:]
	if n > uint64(len(data)) {
		return nil, nil, false
	}
	return data[:n], data[n:], true
}

// Rules describes the rules, sorted by name.
func (s *Set) Rules() []RuleInfo {
	if s == nil {
		return nil
	}
	list := make([]RuleInfo, len(s.rules))
	for i, r := range s.rules {
		list[i] = r.info
		list[i].Masks = slices.Clone(r.info.Masks)
	}
	return list
}
