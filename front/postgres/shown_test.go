package postgres

import (
	"fmt"
	"strings"
	"testing"
)

// What is taken for a credential by its place may be code. Whoever signs is told how much he does not see.
func TestReviewersAreToldWhatIsHidden(t *testing.T) {
	code := strings.Repeat("DELETE FROM t;", 40)
	for text, told := range map[string]bool{
		"DELETE FROM items WHERE name = 'ok'":                                                            false,
		fmt.Sprintf("DELETE FROM items WHERE name = 'host=h password=''a %s'' '", code):                  true,
		fmt.Sprintf("DELETE FROM items WHERE name = '%s'", code):                                         false,
		fmt.Sprintf("DELETE FROM items WHERE name = 'ok' /* token='%s' */ WHERE id = 1", code+"0123abc"): true,
	} {
		r := newRig(t, rigOptions{})
		c := r.connect("&default_query_exec_mode=simple_protocol&options=-c%20countersign.hold%3D200ms")
		if _, err := c.Exec(t.Context(), text); err == nil {
			t.Fatal("a delete ran unsigned")
		}
		view := r.Pending(1)[0].View
		said := false
		for _, e := range view.Why {
			said = said || strings.Contains(e.Why.String(), "longer than what is shown")
		}
		if said != told {
			t.Errorf("shown: %s\nevidence: %v", view.Text, view.Why)
		}
	}
}
