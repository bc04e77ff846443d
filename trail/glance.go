package trail

import (
	"encoding/binary"
	"time"
)

// Glance is a look at a stored entry in place, for those who search many. Its slices point into the entry.
type Glance struct {
	Type   []byte
	Time   time.Time
	fields int
	rest   []byte
}

// GlanceAt looks at a stored entry.
func GlanceAt(raw []byte) (Glance, error) {
	h, err := parseHead(raw)
	if err != nil {
		return Glance{}, err
	}
	return Glance{
		Type:   h.raw[fixedSize+1 : len(h.raw)-1],
		Time:   time.UnixMicro(int64(binary.BigEndian.Uint64(h.raw[1+idSize:]))).UTC(),
		fields: h.fields,
		rest:   h.rest,
	}, nil
}

// Each calls visit with the name and the value of each field that is not erased, until it returns false.
func (g Glance) Each(visit func(name, value []byte) bool) {
	rest := g.rest
	for range g.fields {
		f, after, err := cutField(rest)
		if err != nil {
			return
		}
		if !f.erased && !visit(f.name, f.value) {
			return
		}
		rest = after
	}
}
