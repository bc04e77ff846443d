package main

import (
	"strings"
	"testing"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/api"
	"github.com/countersign-dev/countersign/sanitize"
)

// Who signs sees the session that the statement will run in.
func TestRequestPageShowsTheContext(t *testing.T) {
	var b strings.Builder
	requestPage(&page{w: &b}, api.Request{View: countersign.View{Context: []countersign.ShownSetting{
		{Name: sanitize.Const("datestyle"), Value: sanitize.Const("ISO, DMY")}, {Name: sanitize.Const("search_path")},
	}}}, time.Now())
	for _, want := range []string{"IN A SESSION WITH\n", "  datestyle = ISO, DMY\n", "  search_path = \"\"\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, b.String())
		}
	}
}
