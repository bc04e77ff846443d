package sql

import (
	"sync"
	"unsafe"
)

const (
	// maxCached is how many results a Classifier remembers at most.
	maxCached = 16_384
	// maxCachedText is the length of the longest text whose result is remembered: longer ones are
	// rarely sent twice, and would drive many others out.
	maxCachedText = 64 << 10
	// largeText is the length from which texts are classified one at a time, so that the memory taken
	// by parsing is bounded whatever the number of connections.
	largeText = 64 << 10
	// maxMoved is how many copies of a result a template keeps, for statements of as many lengths.
	maxMoved = 32
)

// Classifier classifies texts and remembers the results by exact text and settings, and where nothing
// depends on the values of the literals by template and settings; the least recently used go first. It
// is safe for concurrent use. Texts with EXECUTE of what was prepared before are not remembered: their
// meaning is the session's.
type Classifier struct {
	catalog  *Catalog
	maxBytes int
	large    sync.Mutex // held while a large text is classified

	mu      sync.Mutex // protects what follows
	results map[cacheKey]*cached
	newest  *cached // ends of the list in order of use
	oldest  *cached
	bytes   int
}

type cacheKey struct {
	text       string
	searchPath string
	conforming bool
	utf8       bool
	template   bool // text is a template's key
}

type cached struct {
	key          cacheKey
	result       Result
	size         int
	newer, older *cached

	// Of a template: how many bytes follow the statement, and results for statements that end elsewhere.
	behind int
	moved  []*moved
}

// moved is the result of another text for one whose statement ends elsewhere.
type moved struct {
	result    Result
	statement [1]Statement
}

func (e *cached) movedTo(end int) *moved {
	m := &moved{result: e.result, statement: [1]Statement(e.result.Statements)}
	m.statement[0].End = end
	m.result.Statements = m.statement[:]
	return m
}

// NewClassifier returns a Classifier for a server of which c is a snapshot (or nil), whose memory holds
// at most about maxBytes of texts and results.
func NewClassifier(c *Catalog, maxBytes int) *Classifier {
	return &Classifier{catalog: c, maxBytes: maxBytes, results: map[cacheKey]*cached{}}
}

// Classify is like the function Classify. The result is shared: it must not be changed.
func (k *Classifier) Classify(text []byte, s Settings) *Result {
	if r := k.remembered(text, s); r != nil {
		return r
	}
	var keyBytes [512]byte // most templates need no other memory
	var literals [32]literalAt
	t, templated := readTemplate(template{key: keyBytes[:0], literals: literals[:0]}, text)
	templated = templated && s.StandardConformingStrings && s.UTF8
	if templated {
		if r := k.byTemplate(text, &t, s); r != nil {
			return r
		}
	}
	entry := &cached{key: cacheKey{string(text), s.SearchPath, s.StandardConformingStrings, s.UTF8, false}}
	var session *session
	entry.result, session = k.classify(entry.key.text, s)
	if len(text) <= maxCachedText && (session == nil || !session.usesPrepared) {
		k.remember(entry)
	}
	if templated && session != nil && session.general(&entry.result, text, &t) {
		k.remember(&cached{
			key:    cacheKey{string(t.key), s.SearchPath, true, true, true},
			result: entry.result, behind: len(text) - entry.result.Statements[0].End,
		})
	}
	return &entry.result
}

// classify classifies large texts one at a time. What was prepared is asked for between two readings of
// such a text, when neither the lock nor a parse tree is held: the answer may take another large text to be
// classified.
func (k *Classifier) classify(text string, s Settings) (Result, *session) {
	if len(text) < largeText {
		return classify(text, s, k.catalog)
	}
	if s.Prepared == nil {
		return k.classifyLarge(text, s)
	}
	known := map[string]*Statement{}
	var missing []string
	asking := s
	asking.Prepared = func(name string) *Statement {
		if _, ok := known[name]; !ok {
			missing = append(missing, name)
		}
		return known[name]
	}
	r, session := k.classifyLarge(text, asking)
	if len(missing) == 0 {
		return r, session
	}
	for _, name := range missing {
		known[name] = s.Prepared(name)
	}
	return k.classifyLarge(text, asking)
}

func (k *Classifier) classifyLarge(text string, s Settings) (Result, *session) {
	k.large.Lock()
	defer k.large.Unlock()
	return classify(text, s, k.catalog)
}

func (k *Classifier) remembered(text []byte, s Settings) *Result {
	k.mu.Lock()
	defer k.mu.Unlock()
	entry := k.results[cacheKey{string(text), s.SearchPath, s.StandardConformingStrings, s.UTF8, false}]
	if entry == nil {
		return nil
	}
	k.use(entry)
	return &entry.result
}

// byTemplate returns the result for text that is remembered under its template t, or nil.
func (k *Classifier) byTemplate(text []byte, t *template, s Settings) *Result {
	k.mu.Lock()
	entry := k.results[cacheKey{string(t.key), s.SearchPath, true, true, true}]
	var r *Result
	if entry != nil {
		k.use(entry)
		r = k.endingAt(entry, len(text)-entry.behind)
	}
	k.mu.Unlock()
	if r == nil || t.joined && holdsSecretNames(string(text)) {
		return nil
	}
	return r
}

// endingAt returns the result of a template's entry for a text whose statement ends at end.
func (k *Classifier) endingAt(entry *cached, end int) *Result {
	if entry.result.Statements[0].End == end {
		return &entry.result
	}
	for _, m := range entry.moved {
		if m.statement[0].End == end {
			return &m.result
		}
	}
	m := entry.movedTo(end)
	if len(entry.moved) < maxMoved {
		entry.moved = append(entry.moved, m)
		const size = int(unsafe.Sizeof(*m)) + 16
		entry.size += size
		k.bytes += size
		k.forget()
	}
	return &m.result
}

func (k *Classifier) remember(entry *cached) {
	entry.size = sizeOf(entry)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.results[entry.key] != nil || entry.size > k.maxBytes { // another goroutine was faster
		return
	}
	k.results[entry.key] = entry
	k.link(entry)
	k.bytes += entry.size
	k.forget()
}

// forget drops what was least recently used until the rest is within the limits.
func (k *Classifier) forget() {
	for k.bytes > k.maxBytes || len(k.results) > maxCached {
		last := k.oldest
		k.unlink(last)
		delete(k.results, last.key)
		k.bytes -= last.size
	}
}

func (k *Classifier) use(entry *cached) {
	if entry != k.newest {
		k.unlink(entry)
		k.link(entry)
	}
}

// link makes entry the newest.
func (k *Classifier) link(entry *cached) {
	entry.older, entry.newer = k.newest, nil
	if k.newest != nil {
		k.newest.newer = entry
	} else {
		k.oldest = entry
	}
	k.newest = entry
}

func (k *Classifier) unlink(entry *cached) {
	if entry.newer != nil {
		entry.newer.older = entry.older
	} else {
		k.newest = entry.older
	}
	if entry.older != nil {
		entry.older.newer = entry.newer
	} else {
		k.oldest = entry.newer
	}
	entry.newer, entry.older = nil, nil
}

// sizeOf estimates the memory that an entry takes, with its place in the map.
func sizeOf(e *cached) int {
	const perString = 32
	size := int(unsafe.Sizeof(*e)) + 128 + len(e.key.text) + len(e.key.searchPath)
	size += 48*len(e.result.Credentials) + 8*len(e.result.CredentialParams) + len(e.result.Reason) + perString
	for i := range e.result.Statements {
		size += statementSize(&e.result.Statements[i])
	}
	if len(e.result.Statements) > 1 { // the union shares no memory with them
		for _, o := range e.result.Objects {
			size += int(unsafe.Sizeof(o)) + len(o.Name.String())
		}
		for _, ev := range e.result.Why {
			size += int(unsafe.Sizeof(ev)) + len(ev.Why.String())
		}
	}
	return size
}

func statementSize(st *Statement) int {
	size := int(unsafe.Sizeof(*st))
	for _, o := range st.Objects {
		size += int(unsafe.Sizeof(o)) + len(o.Name.String())
	}
	for _, ev := range st.Why {
		size += int(unsafe.Sizeof(ev)) + len(ev.Why.String())
	}
	for _, set := range st.Sets {
		size += int(unsafe.Sizeof(set)) + len(set.Name)
		for _, v := range set.Values {
			size += len(v) + 16
		}
	}
	size += 8 * len(st.CredentialParams)
	if st.PrepareBody != nil {
		size += statementSize(st.PrepareBody)
	}
	return size
}
