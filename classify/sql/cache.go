package sql

import "sync"

// Classifier classifies texts and remembers the results by exact text and settings. It is safe for
// concurrent use.
type Classifier struct {
	catalog  *Catalog
	maxBytes int

	mu      sync.Mutex
	results map[cacheKey]*Result // guarded by mu
	bytes   int                  // guarded by mu
}

type cacheKey struct {
	text       string
	searchPath string
	conforming bool
	utf8       bool
}

// NewClassifier returns a Classifier for a server of which c is a snapshot (or nil), remembering at
// most about maxBytes.
func NewClassifier(c *Catalog, maxBytes int) *Classifier {
	return &Classifier{catalog: c, maxBytes: maxBytes, results: map[cacheKey]*Result{}}
}

// Classify is like the function Classify. The result is shared: it must not be changed.
func (k *Classifier) Classify(text []byte, s Settings) *Result {
	k.mu.Lock()
	r := k.results[cacheKey{string(text), s.SearchPath, s.StandardConformingStrings, s.UTF8}]
	k.mu.Unlock()
	if r != nil {
		return r
	}
	fresh := Classify(string(text), s, k.catalog)
	return &fresh
}
