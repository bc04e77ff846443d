package postgres

import (
	"fmt"
	"strings"
	"testing"
)

const bytePolicy = `version: 1
rules:
  - name: readers
    match: {principal: {anyone: true}, resource: {env: prod}, effects: [read, session]}
    then: {allow: true, limit: {bytes: 2000}}
  - name: writers
    match: {principal: {anyone: true}, resource: {env: prod}, effects: [read, session, write]}
    then: {allow: true, limit: {rows: 10}}
`

// What the server says in an error counts as the result that it is.
func TestErrorsCountAsBytes(t *testing.T) {
	t.Parallel()
	const leak = "SELECT string_agg(name, ',')::int FROM items"
	for name, script := range map[string][]string{
		"simple":   {"Q|" + leak},
		"extended": {"P||" + leak + " ; B|| ; E||0 ; S"},
		"cursor":   {"Q|BEGIN", "Q|DECLARE c CURSOR FOR " + leak, "Q|FETCH 1 FROM c", "Q|ROLLBACK"},
		"in parts": {"Q|SELECT string_agg(name, ',') FROM items WHERE id < 30; SELECT string_agg(name, ',')::int FROM items"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{policy: bytePolicy})
			c := dialRaw(t, r.url(""))
			said := c.play(script)
			if len(said) > 4000 || !strings.Contains(said, "E ERROR 22P02 countersign: ") {
				t.Errorf("%d bytes: %.3000s", len(said), said)
			}
			if said := c.play([]string{"Q|SELECT 'x'::int"}); !strings.Contains(said, `invalid input syntax for type integer: "x"`) {
				t.Errorf("a short error: %s", said)
			}
		})
	}
}

// Words that belong to no statement are cut field by field, and stay well formed.
func TestLongFieldsAreCut(t *testing.T) {
	long := report{severity: "ERROR", code: "23503", message: strings.Repeat("é", maxField), detail: "short", hint: strings.Repeat("h", 9*maxField)}
	got := decodeReport(clip(appendReport(nil, msgError, long))[headerLen:])
	if got.code != long.code || got.detail != "short" || len(got.message) > maxField+30 || len(got.hint) > maxField+30 ||
		!strings.HasSuffix(got.message, "é [cut by countersign]") {
		t.Errorf("%+v", got)
	}
	if clip(appendReport(nil, msgError, report{code: "1", message: "m"})) != nil {
		t.Error("a short one is changed")
	}
	r := newRig(t, rigOptions{policy: openPolicy})
	said := dialRaw(t, r.url("")).play([]string{"P||SELECT 1 FROM \"" + strings.Repeat("x", 5000) + "\" WHERE '" + strings.Repeat("y", 5000) + "'::int = 1 ; S"})
	if len(said) > 3*maxField {
		t.Errorf("%d bytes: %s", len(said), said)
	}
}

// A change whose rows are past the limit says what became of it.
func TestCutChangeSaysWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	const update = "UPDATE items SET name = 'cut' RETURNING id"
	for name, script := range map[string][]string{
		"simple":     {"Q|" + update},
		"extended":   {"P||" + update + " ; B|| ; E||0 ; S"},
		"flushed":    {"P||" + update + " ; B|| ; E||0 ; H", "S"},
		"in a block": {"Q|BEGIN", "Q|" + update, "Q|COMMIT"},
		"read":       {"Q|SELECT id, repeat('x', 500) FROM items"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{policy: bytePolicy})
			c := dialRaw(t, r.url(""))
			hint := ""
			for _, line := range script {
				for _, step := range strings.Split(line, " ; ") {
					c.send(encodeStep(t, step))
				}
				if strings.HasSuffix(line, "H") {
					continue // its answers are read with those of the Sync
				}
				for _, m := range c.until(msgReady) {
					if r := decodeReport(m.body); m.typ == msgError && r.code == codeResultLimit {
						hint = r.hint
					}
				}
			}
			changed := r.outside("SELECT count(*) FROM items WHERE name = 'cut'")
			committed, rolledBack := strings.Contains(hint, fateCommitted.String()), strings.Contains(hint, fateRolledBack.String())
			if name == "read" {
				if hint == "" || committed || rolledBack {
					t.Errorf("of a read: %q", hint)
				}
				return
			}
			if committed == rolledBack || committed != (changed != "0") {
				t.Errorf("%s rows are changed, and the hint is %q", changed, hint)
			}
			if name == "in a block" && committed {
				t.Error(fmt.Sprint("committed within a block: ", hint))
			}
		})
	}
}
