package demo

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestWrap(t *testing.T) {
	got := wrap("who asks, and for whom  it is", 10)
	if want := []string{"who asks,", "and for", "whom it is"}; !slices.Equal(got, want) {
		t.Errorf("wrap = %q; want %q", got, want)
	}
}

func TestFold(t *testing.T) {
	value := strings.Repeat("word ", 30)
	parts := fold("  name          "+value, 40)
	if len(parts) < 2 || strings.Join(strings.Fields(strings.Join(parts, " ")), " ") != "name "+strings.TrimSpace(value) {
		t.Errorf("fold lost something: %q", parts)
	}
	for i, p := range parts {
		if room := 40 - min(i, 1)*valueColumn; utf8.RuneCountInString(p) > room {
			t.Errorf("part %d is longer than %d: %q", i, room, p)
		}
	}
	digest := "  digest        " + strings.Repeat("0", 64)
	if got := fold(digest, 40); !slices.Equal(got, []string{digest}) {
		t.Errorf("a digest was folded: %q", got)
	}
}

func TestCut(t *testing.T) {
	if got := cut("ααααα", 3); got != "αα…" {
		t.Errorf("cut = %q", got)
	}
	if got := cut("ααα", 3); got != "ααα" {
		t.Errorf("cut = %q", got)
	}
}
