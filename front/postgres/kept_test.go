package postgres

import (
	"fmt"
	"strings"
	"testing"
)

// What a client keeps prepared and bound is taken from the front's memory, and given back.
func TestPreparedStatementsAndPortalsAreBounded(t *testing.T) {
	t.Parallel()
	const size = 10 << 10
	big := "SELECT '" + strings.Repeat("x", size) + "'"
	for name, tc := range map[string]struct {
		one   string
		end   []string
		begin string
	}{
		"Parse, Close":        {one: "P|s%d|" + big + " ; S", end: []string{"C|S|s%d ; S"}},
		"Parse, DEALLOCATE":   {one: "P|s%d|" + big + " ; S", end: []string{"Q|DEALLOCATE s%d"}},
		"PREPARE, DEALLOCATE": {one: "Q|PREPARE s%d AS " + big, end: []string{"Q|DEALLOCATE s%d"}},
		"Bind, Close":         {begin: "Q|BEGIN", one: "P||SELECT length($1::text) ; B|s%d||" + strings.Repeat("y", size) + " ; S", end: []string{"C|P|s%d ; S"}},
		"Bind, CLOSE":         {begin: "Q|BEGIN", one: "P||SELECT length($1::text) ; B|s%d||" + strings.Repeat("y", size) + " ; S", end: []string{"Q|CLOSE s%d"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{limits: Limits{Kept: 20 * size}})
			c := dialRaw(t, r.url(""))
			if tc.begin != "" {
				c.play([]string{tc.begin})
			}
			kept := 0
			for ; kept < 30; kept++ {
				if said := c.play([]string{fmt.Sprintf(tc.one, kept)}); strings.Contains(said, "E ERROR "+codeMemory) {
					break
				}
				if used := r.front.memory.used.Load(); used < int64(kept)*size || used > 20*size {
					t.Fatalf("%d bytes are taken for %d of them", used, kept+1)
				}
			}
			if kept < 5 || kept == 30 {
				t.Errorf("%d were kept", kept)
			}
			if tc.begin != "" {
				c.play([]string{"Q|ROLLBACK"})
			} else {
				for i := range kept {
					for _, step := range tc.end {
						c.play([]string{fmt.Sprintf(step, i)})
					}
				}
			}
			c.play([]string{"Q|SELECT 1"})
			if used := r.front.memory.used.Load(); used != 0 {
				t.Errorf("%d bytes are taken for nothing", used)
			}
			// In a loop nothing adds up, and a connection that ends gives all back.
			for i := range 30 {
				if tc.begin != "" {
					c.play([]string{tc.begin})
				}
				said := c.play([]string{fmt.Sprintf(tc.one, i), fmt.Sprintf(tc.end[0], i), "Q|ROLLBACK"})
				if strings.Contains(said, "E ERROR") {
					t.Fatalf("turn %d: %.500s", i, said)
				}
			}
			c.play([]string{"P|left|" + big + " ; B||left ; H"})
			c.conn.Close()
			eventually(t, "all is given back", func() bool { return r.front.memory.used.Load() == 0 })
		})
	}
}

// Each PREPARE of a text keeps the whole of it, and all of them together are within the bound.
func TestManyPreparesOfOneTextAreBounded(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	r := newRig(t, rigOptions{limits: Limits{Kept: limit}})
	c := dialRaw(t, r.url(""))
	text := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "PREPARE s%d AS SELECT 'something'; ", i)
		}
		return b.String()
	}
	if said := c.play([]string{"Q|" + text(200)}); !strings.Contains(said, "E ERROR "+codeMemory) {
		t.Errorf("200 PREPAREs of %d bytes, which keep the square of that: %.300s", len(text(200)), said)
	}
	if said := c.play([]string{"Q|" + text(20)}); strings.Contains(said, "E ERROR") {
		t.Errorf("20 PREPAREs: %.300s", said)
	}
	if used := r.front.memory.used.Load(); used > limit {
		t.Errorf("%d bytes are taken; want at most %d", used, limit)
	}
}

// A Parse that the server refuses, and one that takes the place of another, keep nothing.
func TestRefusedParseKeepsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url(""))
	c.play([]string{"P|a|SELECT nothing FROM nowhere ; S", "P|b|SELECT 1 ; S", "P|b|SELECT 2 ; S", "C|S|b ; S"})
	for range 3 {
		c.play([]string{"P||SELECT 1 ; B|| ; S", "P||SELECT 1 ; P||SELECT 2 ; S"})
	}
	c.play([]string{"Q|SELECT 1"})
	if used := r.front.memory.used.Load(); used != 0 {
		t.Errorf("%d bytes are taken for nothing", used)
	}
}
