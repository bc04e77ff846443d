package sanitize_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/countersign-dev/countersign/sanitize"
)

func TestClean(t *testing.T) {
	at := time.Date(2024, 1, 15, 10, 30, 0, 123456789, time.FixedZone("", 3600))
	for _, c := range []struct {
		got  sanitize.Clean
		want string
	}{
		{sanitize.Const("held"), "held"},
		{sanitize.Int(-5), "-5"},
		{sanitize.Hex([]byte{0, 255}), "00ff"},
		{sanitize.Time(at), "2024-01-15T09:30:00.123456Z"},
		{sanitize.Duration(1234567 * time.Microsecond), "1.235s"},
		{sanitize.Join(", ", sanitize.Int(1), sanitize.Int(2)), "1, 2"},
		{sanitize.Join(", "), ""},
		{sanitize.Format("%s of %s", sanitize.Int(1), sanitize.Int(2)), "1 of 2"},
	} {
		if c.got.String() != c.want || c.got.IsZero() != (c.want == "") {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Format with an argument too few did not panic")
		}
	}()
	sanitize.Format("%s and %s", sanitize.Int(1))
}

func TestCleanJSON(t *testing.T) {
	type record struct {
		A sanitize.Clean `json:"a"`
		B sanitize.Clean `json:"b,omitzero"`
	}
	data, err := json.Marshal(record{A: sanitize.Const(`x"y`)})
	if err != nil || string(data) != `{"a":"x\"y"}` {
		t.Fatalf("%s, %v", data, err)
	}
	var back record
	if err := json.Unmarshal(data, &back); err != nil || back.A != sanitize.Const(`x"y`) {
		t.Errorf("%v, %v", back, err)
	}
}
