package postgres

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/sanitize"
)

func TestShownParameters(t *testing.T) {
	c := &conn{front: &Front{sanitizer: sanitize.New(sanitize.Options{})}}
	s := &statement{result: &sql.Result{CredentialParams: []int{2}}}
	text := func(v string) countersign.Param { return countersign.Param{Type: oidText, Value: countersign.Raw(v)} }
	shown := func(params ...countersign.Param) string {
		return c.withParams(sanitize.Const("SELECT"), s, params).String()
	}
	for _, tt := range []struct {
		params []countersign.Param
		want   string
	}{
		{[]countersign.Param{text("4711")}, "SELECT\n-- parameters: $1 = 4711"},
		{[]countersign.Param{text("a"), text("hunter2"), text("ana@example.org")}, "SELECT\n-- parameters: $1 = a $2 = [password] $3 = [email]"},
		{[]countersign.Param{{Null: true}, {Null: true}, {Type: oidInt4, Format: 1, Value: countersign.Raw{0, 0, 1, 0}}}, "SELECT\n-- parameters: $1 = NULL $2 = NULL $3 = 256"},
		{[]countersign.Param{{Type: 17, Format: 1, Value: countersign.Raw{1, 2}}}, "SELECT\n-- parameters: $1 = [2 bytes of type 17]"},
	} {
		if got := shown(tt.params...); got != tt.want {
			t.Errorf("shown %q, want %q", got, tt.want)
		}
	}
	if got := shown(slices.Repeat([]countersign.Param{text("x")}, 50)...); !strings.HasSuffix(got, " $49 = x $50 = x") {
		t.Errorf("fifty end in %q", got[len(got)-30:])
	}
	if got := shown(slices.Repeat([]countersign.Param{text("x")}, 60)...); !strings.HasSuffix(got, " $50 = x and 10 more") {
		t.Errorf("sixty end in %q", got[len(got)-30:])
	}
}

// A Bind that is decoded into the parameters of another holds nothing of that one.
func TestBindIsDecodedAfresh(t *testing.T) {
	body := []byte("p\x00s\x00\x00\x01\x00\x01\x00\x02\xff\xff\xff\xff\x00\x00\x00\x01x\x00\x00")
	want, err := decodeBind(body, nil)
	if err != nil {
		t.Fatal(err)
	}
	used := []countersign.Param{{Type: 25, Value: countersign.Raw("old")}, {Type: 25, Format: 3, Null: true}}
	if got, err := decodeBind(body, used); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded %#v, %v; want %#v", got, err, want)
	}
	if got, err := decodeBind(body, used[:1]); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded %#v, %v; want %#v", got, err, want)
	}
}
