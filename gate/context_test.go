package gate_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/gatetest"
)

// P3, P7: reviewers see all of the context that they sign, and no secret in it.
func TestTheViewShowsTheContext(t *testing.T) {
	w := gatetest.New(t, gatetest.Options{})
	s := w.Session(gatetest.Agent("deploy-bot"))
	s.BeginBlock()
	a := gatetest.Action("UPDATE orders", countersign.Write)
	long := strings.Repeat("x", 5000)
	a.Context = []countersign.Setting{
		{Name: "app.password", Value: countersign.Raw("hunter2hunter2")},
		{Name: "datestyle", Value: countersign.Raw("ISO, DMY")},
		{Name: "search_path", Value: countersign.Raw(long)},
		{Name: "transaction", Value: countersign.Raw("none")},
	}
	admit(s, a, time.Minute)
	view := w.Pending(1)[0].View
	shown := map[string]string{}
	var names []string
	for _, v := range view.Context {
		shown[v.Name.String()] = v.Value.String()
		names = append(names, v.Name.String())
	}
	if !slices.Equal(names, []string{"app.password", "block", "datestyle", "search_path", "transaction"}) {
		t.Errorf("shown: %q", names)
	}
	if shown["datestyle"] != "ISO, DMY" || shown["transaction"] != "none" || shown["block"] == "" || strings.Contains(shown["app.password"], "hunter2") || len(shown["search_path"]) > 100 {
		t.Errorf("shown: %q", shown)
	}
	other := view
	other.Context = slices.Clone(view.Context)
	other.Context[2].Value = view.Context[4].Value
	if other.ViewDigest() == view.ViewDigest() {
		t.Error("the view's digest leaves the context out")
	}
}
