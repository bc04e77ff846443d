package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/trail"
)

// The bounds of reading the trail. A search or story past them is refused with what to do.
const (
	maxFound = 1000      // events one search returns
	maxRead  = 2_000_000 // events one search looks at
	maxStory = 10_000    // events of one story
	maxBytes = 64 << 20  // of events that one search or story returns
)

// end is the position behind the last event.
func (h *head) end() int64 { return int64(h.epoch<<positionShift | h.tree.Size()) }

// visit calls do with every entry of the trail whose position is from on and before to, in order.
func visit(ctx context.Context, db querier, from, to int64, do func(position int64, raw []byte) error) error {
	return scan(ctx, db, from, to, func(r row) (bool, error) {
		return true, r.each(ctx, db, func(at int64, raw []byte) error {
			if at < from || at >= to {
				return nil
			}
			return do(at, raw)
		})
	})
}

// Search returns the events that a query selects, newest first.
func (s *Store) Search(ctx context.Context, q trail.Query) ([]trail.Found, error) {
	limit := q.Limit
	if limit <= 0 || limit > maxFound {
		limit = maxFound
	}
	if err := s.storeNow(ctx); err != nil {
		return nil, err
	}
	from, to, err := s.span(ctx, q)
	if err != nil {
		return nil, err
	}
	m := newMatcher(q)
	var found []trail.Found
	read := 0
	err = s.parts(ctx, m.words, from, to, func(first, last int64) (bool, error) {
		var part []trail.Found
		var sizes []int
		err := visit(ctx, s.reader, max(first, from), min(last, to), func(at int64, raw []byte) error {
			read++
			if len(part) > limit-len(found) { // only the newest are wanted
				part[0] = trail.Found{}
				m.bytes -= sizes[0]
				part, sizes = part[1:], sizes[1:]
			}
			before := m.bytes
			err := m.add(&part, at, raw)
			if m.bytes > before {
				sizes = append(sizes, m.bytes-before)
			}
			return err
		})
		slices.Reverse(part)
		found = append(found, part...)
		if len(found) < limit && read > maxRead {
			return false, tooBroad()
		}
		return len(found) < limit, err
	})
	if len(found) > limit {
		found = found[:limit]
	}
	return found, err
}

func tooBroad() error {
	return &countersign.Error{
		Kind:    countersign.ErrLimit,
		Message: sanitize.Const("the search was ended after two million events"),
		Hint:    sanitize.Const("narrow it by time, type, principal, resource, request or action"),
	}
}

func tooLarge() error {
	return &countersign.Error{
		Kind:    countersign.ErrLimit,
		Message: sanitize.Const("the events found have more than 64 MiB together"),
		Hint:    sanitize.Const("ask for fewer at a time, or export the trail"),
	}
}

// span returns the positions within which a query can find something.
func (s *Store) span(ctx context.Context, q trail.Query) (from, to int64, err error) {
	to = s.head.Load().end()
	if q.Before != 0 && q.Before < uint64(to) {
		to = int64(q.Before)
	}
	if !q.Since.IsZero() {
		if from, err = s.firstAt(ctx, q.Since.UnixMicro()); err != nil {
			return 0, 0, err
		}
	}
	if !q.Until.IsZero() && q.Until.UnixMicro() < math.MaxInt64 {
		end, err := s.firstAt(ctx, q.Until.UnixMicro()+1)
		if err != nil {
			return 0, 0, err
		}
		to = min(to, end)
	}
	return from, to, nil
}

// firstAt returns the position of the first event that is not before a time. Times never fall, so the
// rows are searched by halving.
func (s *Store) firstAt(ctx context.Context, micros int64) (int64, error) {
	low, high := int64(0), s.head.Load().end()
	for low < high {
		middle := low + (high-low)/2
		var position, at int64
		err := s.reader.QueryRowContext(ctx, `SELECT position, time FROM batch WHERE position >= ? AND position < ? ORDER BY position LIMIT 1`,
			middle, high).Scan(&position, &at)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			high = middle
		case err != nil:
			return 0, err
		case at < micros:
			low = position + 1
		default:
			high = middle
		}
	}
	// low is behind the last row that is too early, or in the middle of one.
	return nextRow(ctx, s.reader, low, s.head.Load().end())
}

// parts calls do with the runs of positions, newest first, in which all words may occur, until do returns false.
func (s *Store) parts(ctx context.Context, words []int64, from, to int64, do func(first, last int64) (bool, error)) error {
	indexed := int64(0)
	x := s.index.Load()
	if x != nil && len(words) > 0 {
		if err := x.db.QueryRowContext(ctx, `SELECT next FROM progress`).Scan(&indexed); err != nil {
			indexed = 0
		}
	}
	// What no index covers is read through, part by part.
	end := to
	for end > max(from, indexed<<partShift) {
		first := (end - 1) >> partShift << partShift
		more, err := do(first, end)
		if err != nil || !more {
			return err
		}
		if end = first; end > from {
			if end, err = s.lastEnd(ctx, end); err != nil {
				return err
			}
		}
	}
	if indexed == 0 || end <= from {
		return nil
	}
	return x.each(ctx, words, from>>partShift, min(indexed-1, (end-1)>>partShift), func(part int64) (bool, error) {
		return do(part<<partShift, (part+1)<<partShift)
	})
}

// lastEnd returns the position behind the last event before end, or 0: the positions between two logs are empty.
func (s *Store) lastEnd(ctx context.Context, end int64) (int64, error) {
	var behind int64
	err := s.reader.QueryRowContext(ctx, `SELECT position + count FROM batch WHERE position < ? ORDER BY position DESC LIMIT 1`, end).Scan(&behind)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return min(end, behind), err
}

// each calls do with the indexed parts that hold all words, the newest first.
func (x *index) each(ctx context.Context, words []int64, from, to int64, do func(part int64) (bool, error)) error {
	query := `SELECT part FROM term AS t WHERE word = ? AND part BETWEEN ? AND ?` +
		strings.Repeat(` AND EXISTS (SELECT 1 FROM term WHERE word = ? AND part = t.part)`, len(words)-1) +
		` ORDER BY part DESC`
	args := []any{words[0], from, to}
	for _, w := range words[1:] {
		args = append(args, w)
	}
	rows, err := x.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	for rows.Next() {
		var part int64
		if err := rows.Scan(&part); err != nil {
			return err
		}
		if more, err := do(part); err != nil || !more {
			return err
		}
	}
	return rows.Err()
}

// matcher judges entries by a query.
type matcher struct {
	typ    string // exact, or a prefix that ends with a dot
	fields map[string]string
	text   []byte
	words  []int64 // what the index can say, the most telling first
	bytes  int     // of what matched so far
}

func newMatcher(q trail.Query) *matcher {
	m := &matcher{typ: q.Type, fields: map[string]string{}, text: []byte(q.Text)}
	for _, f := range []struct{ name, value string }{
		{countersign.FieldAction, q.Action},
		{countersign.FieldRequest, q.Request},
		{countersign.FieldSession, q.Session},
		{countersign.FieldPrincipal, q.Principal},
		{countersign.FieldResource, q.Resource},
	} {
		if f.value != "" {
			m.fields[f.name] = f.value
			m.words = append(m.words, word(f.name, f.value))
		}
	}
	if m.typ != "" {
		m.words = append(m.words, word(wordType, m.typ))
	}
	return m
}

// add appends the entry to found when it matches.
func (m *matcher) add(found *[]trail.Found, at int64, raw []byte) error {
	g, err := trail.GlanceAt(raw)
	if err != nil {
		return err
	}
	if m.typ != "" && string(g.Type) != m.typ && !(strings.HasSuffix(m.typ, ".") && strings.HasPrefix(string(g.Type), m.typ)) {
		return nil
	}
	matched, text := 0, len(m.text) == 0
	g.Each(func(name, value []byte) bool {
		if want, ok := m.fields[string(name)]; ok && string(value) == want {
			matched++
		}
		text = text || bytes.Contains(value, m.text)
		return true
	})
	if matched < len(m.fields) || !text {
		return nil
	}
	if m.bytes += len(raw); m.bytes > maxBytes {
		return tooLarge()
	}
	e, err := trail.ParseEntry(raw)
	if err != nil {
		return err
	}
	*found = append(*found, trail.Found{Number: uint64(at), Entry: e})
	return nil
}

// Story returns every event about an action, a request or a session, oldest first. The story of an
// action holds that of its request, and the story of a request that of its actions.
func (s *Store) Story(ctx context.Context, id string) ([]trail.Found, error) {
	var field string
	switch {
	case strings.HasPrefix(id, "act_"):
		field = countersign.FieldAction
	case strings.HasPrefix(id, "req_"):
		field = countersign.FieldRequest
	case strings.HasPrefix(id, "ses_"):
		field = countersign.FieldSession
	default:
		return nil, nil
	}
	if err := s.storeNow(ctx); err != nil {
		return nil, err
	}
	all := map[uint64]trail.Found{}
	type key struct{ field, value string }
	asked := map[key]bool{}
	for ask := []key{{field, id}}; len(ask) > 0; ask = ask[1:] {
		k := ask[0]
		if asked[k] {
			continue
		}
		asked[k] = true
		list, err := s.about(ctx, k.field, k.value)
		if err != nil {
			return nil, err
		}
		for _, f := range list {
			all[f.Number] = f
			if field == countersign.FieldSession {
				continue
			}
			for _, next := range []string{countersign.FieldRequest, countersign.FieldAction} {
				if v := f.Get(next).String(); v != "" {
					ask = append(ask, key{next, v})
				}
			}
		}
		if len(all) > maxStory {
			return nil, tooLong()
		}
	}
	story := make([]trail.Found, 0, len(all))
	for _, f := range all {
		story = append(story, f)
	}
	slices.SortFunc(story, func(a, b trail.Found) int { return int(int64(a.Number) - int64(b.Number)) })
	return story, nil
}

func tooLong() error {
	return &countersign.Error{
		Kind:    countersign.ErrLimit,
		Message: sanitize.Const("the story has more than ten thousand events"),
		Hint:    sanitize.Const("search for parts of it, by session or request and time"),
	}
}

// about returns all events with that value in a field.
func (s *Store) about(ctx context.Context, field, value string) ([]trail.Found, error) {
	m := &matcher{fields: map[string]string{field: value}, words: []int64{word(field, value)}}
	var found []trail.Found
	to := s.head.Load().end()
	err := s.parts(ctx, m.words, 0, to, func(first, last int64) (bool, error) {
		err := visit(ctx, s.reader, first, min(last, to), func(at int64, raw []byte) error { return m.add(&found, at, raw) })
		if len(found) > maxStory {
			return false, tooLong()
		}
		return true, err
	})
	return found, err
}
