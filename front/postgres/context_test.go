package postgres

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/classify/sql"
)

// begin dials with settings given at the start, and a short wait.
func (r *rig) begin(settings string) *raw {
	r.t.Helper()
	return dialRaw(r.t, r.url("&options="+strings.ReplaceAll(url.QueryEscape(strings.TrimSpace("-c countersign.hold=200ms "+settings)), "+", "%20")))
}

// signOnly signs the one request that waits.
func (r *rig) signOnly() countersign.View {
	r.t.Helper()
	list := r.Pending(1)
	if len(list) != 1 {
		r.t.Fatalf("%d requests", len(list))
	}
	if err := r.Sign("ben", list[0].Request.ID, approval.Approve); err != nil {
		r.t.Fatal(err)
	}
	return list[0].View
}

// P3: what is signed in one session runs in another only when what decides its meaning is the same, whether
// the client gave it at the start, the role or the database has it so, or SET changed it.
func TestStartIsBound(t *testing.T) {
	t.Parallel()
	const text = "Q|DELETE FROM items WHERE name < '04/03/2026'"
	for name, other := range map[string]string{
		"options": "-c datestyle=ISO,MDY", "another setting": "-c datestyle=ISO,DMY -c bytea_output=escape",
		"a zone": "-c datestyle=ISO,DMY -c timezone=Asia/Tokyo", "an isolation": "-c datestyle=ISO,DMY -c default_transaction_isolation=serializable",
		"none": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{})
			r.begin("-c datestyle=ISO,DMY").play([]string{text})
			view := r.signOnly()
			if i := slices.IndexFunc(view.Context, func(s countersign.ShownSetting) bool { return s.Name.String() == "datestyle" }); i < 0 || view.Context[i].Value.String() != "ISO, DMY" {
				t.Errorf("the reviewer is shown %v", view.Context)
			}
			if !slices.IsSortedFunc(view.Context, func(a, b countersign.ShownSetting) int { return strings.Compare(a.Name.String(), b.Name.String()) }) {
				t.Errorf("not sorted: %v", view.Context)
			}
			if said := r.begin(other).play([]string{text}); !strings.Contains(said, codePending) {
				t.Errorf("under %q: %s", other, said)
			}
			// What changes no meaning does not stand in the way.
			if said := r.begin("-c datestyle=ISO,DMY -c statement_timeout=60000 -c application_name=x").play([]string{text}); !strings.Contains(said, "DELETE 0") {
				t.Errorf("under the same: %s", said)
			}
		})
	}
	t.Run("the role's own", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, rigOptions{})
		r.begin("").play([]string{text})
		r.signOnly()
		r.outside("ALTER ROLE CURRENT_USER SET array_nulls = off")
		if said := r.begin("").play([]string{text}); !strings.Contains(said, codePending) {
			t.Errorf("said: %s", said)
		}
	})
}

// A set_config that stands in a text may run or not: only the server knows what is in force.
func TestSetConfigIsAskedFor(t *testing.T) {
	t.Parallel()
	const text = "Q|DELETE FROM items WHERE name = ANY ('{NULL,x}')"
	for _, setting := range []string{"array_nulls", "enable_seqscan"} {
		for i, last := range [][]string{
			{"Q|SELECT set_config('%s', 'on', false) WHERE false"},
			{"Q|EXPLAIN SELECT set_config('%s', 'on', false)"},
			{"Q|SELECT CASE WHEN 1 = 0 THEN set_config('%s', 'on', false) END"},
			{"P||SELECT set_config('%s', 'on', false) ; B|| ; S"},
			{"Q|BEGIN", "Q|SELECT set_config('%s', 'on', false)", "Q|ROLLBACK"},
			{"Q|SELECT set_config('%s', 'on', true)"},
		} {
			t.Run(fmt.Sprintf("%s %d", setting, i), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, rigOptions{})
				on := func() string { return fmt.Sprintf("Q|SELECT set_config('%s', 'on', false)", setting) }
				r.begin("").play([]string{on(), text})
				r.signOnly()
				script := []string{fmt.Sprintf("Q|SET %s = 'off'", setting)}
				for _, line := range last {
					if strings.Contains(line, "%s") {
						line = fmt.Sprintf(line, setting)
					}
					script = append(script, line)
				}
				if said := r.begin("").play(append(script, "Q|SHOW "+setting, text)); !strings.Contains(said, `\x03off`) || !strings.Contains(said, codePending) {
					t.Errorf("said: %s", said)
				}
				if said := r.begin("").play([]string{on(), text}); !strings.Contains(said, "DELETE 0") {
					t.Errorf("where it is in force: %s", said)
				}
			})
		}
	}
}

// A cursor's query runs when it is read, and so does what it sets.
func TestSetConfigOfACursor(t *testing.T) {
	t.Parallel()
	const text = "Q|DELETE FROM items WHERE name = ANY ('{NULL,x}')"
	r := newRig(t, rigOptions{policy: strings.Replace(openPolicy, "write, schema", "write, schema, privilege", 1)})
	r.begin("").play([]string{text})
	r.signOnly()
	said := r.begin("").play([]string{
		"Q|DECLARE c CURSOR WITH HOLD FOR SELECT set_config('array_nulls', 'off', false) FROM generate_series(1, 2)", "Q|FETCH 1 FROM c", text,
	})
	if !strings.Contains(said, codePending) {
		t.Errorf("said: %s", said)
	}
	c := r.begin("")
	said = c.play([]string{"Q|BEGIN", "P||SELECT set_config('search_path', 'pg_catalog', false) FROM generate_series(1, 2) ; B|p| ; E|p|1 ; H", "S", "Q|SELECT count(*) FROM items"})
	if !strings.Contains(said, "E ERROR 42P01") {
		t.Errorf("said: %s", said)
	}
}

// Where it is not certain that a setting outlives its transaction, it is asked for again after that.
func TestSetConfigThatMayBeLocal(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{setup: []string{
		"CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE sql AS $$SELECT 'shadow'$$",
	}, policy: strings.Replace(openPolicy, "session, write, schema", "session, write, schema, privilege", 1)})
	r.outside("ALTER ROLE CURRENT_USER SET search_path = " + r.role + ", pg_catalog")
	said := r.begin("").play([]string{
		"Q|BEGIN", "P||SELECT pg_catalog.set_config('search_path', 'pg_catalog', $1)|16 ; B|||true ; E||0 ; S", "Q|SELECT lower('A'::varchar)", "Q|COMMIT",
		"Q|SELECT lower('A'::varchar)",
	})
	if strings.Contains(said, "shadow") || strings.Count(said, "E ERROR "+codePending) != 1 {
		t.Errorf("said: %s", said)
	}
}

// What cannot be named, or is too much to follow, fits no earlier signature.
func TestSettingsThatAreLost(t *testing.T) {
	t.Parallel()
	const text = "Q|DELETE FROM items WHERE id < 0"
	r := newRig(t, rigOptions{policy: strings.Replace(openPolicy, "write, schema", "write, schema, privilege", 1)})
	computed := "Q|SELECT set_config(lower('X.Y'), 'z', false)"
	r.begin("").play([]string{computed, text})
	r.signOnly()
	if said := r.begin("").play([]string{computed, text}); !strings.Contains(said, codePending) {
		t.Errorf("said: %s", said)
	}
	var s sessionState
	for i := range 10_000 {
		s.doubt(fmt.Sprintf("x.y%d", i))
	}
	if len(s.touched) > maxTouched || s.lost == "" {
		t.Errorf("%d settings are followed, lost %q", len(s.touched), s.lost)
	}
}

// Names that lead to each other do not lead the gateway around.
func TestCursorsThatReadEachOther(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := r.begin("")
	said := c.play([]string{
		"Q|BEGIN", "Q|DECLARE b CURSOR FOR SELECT 1", "Q|DECLARE a CURSOR FOR SELECT 1; FETCH b", "Q|CLOSE b",
		"Q|DECLARE b CURSOR FOR SELECT 1; FETCH a", "Q|CLOSE a", "Q|DECLARE a CURSOR FOR SELECT 1; FETCH b", "Q|FETCH a", "Q|FETCH b", "Q|ROLLBACK",
		"Q|SET countersign.reason = 'x'", "P|a|SELECT 1 ; P|b|EXECUTE a ; C|S|a ; P|a|EXECUTE b ; S", "Q|EXECUTE a", "Q|EXECUTE b", "Q|SELECT 42",
	})
	if !strings.Contains(said, `\x0242"`) {
		t.Errorf("said: %s", said)
	}
}

// countersign.* is outside what is signed, unless the statement may read it.
func TestOwnSettingsThatAreRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	const text = "Q|DELETE FROM items WHERE id < current_setting('countersign.reason')::int"
	r.begin("").play([]string{"Q|SET countersign.reason = '3'", text})
	r.signOnly()
	if said := r.begin("").play([]string{"Q|SET countersign.reason = '900'", text}); !strings.Contains(said, codePending) {
		t.Errorf("under another reason: %s", said)
	}
	if said := r.begin("").play([]string{"Q|SET countersign.reason = '3'", text}); !strings.Contains(said, "DELETE 2") {
		t.Errorf("under the same reason: %s", said)
	}
	const read = "Q|DELETE FROM items WHERE name = current_setting('countersign.run', true)"
	r.begin("").play([]string{read})
	for _, rec := range r.Pending(2) {
		_ = r.Sign("ben", rec.Request.ID, approval.Approve) // the one of before has waited longer than its client
	}
	if said := r.begin("").play([]string{"Q|SELECT set_config('countersign.run', 'item ' || 8, false)", read}); !strings.Contains(said, codePending) {
		t.Errorf("under a computed value: %s", said)
	}
	const plain = "Q|DELETE FROM items WHERE id = 7"
	c := r.begin("")
	c.play([]string{plain})
	for _, rec := range r.Pending(2) {
		if err := r.Sign("ben", rec.Request.ID, approval.Approve); err != nil {
			t.Fatal(err)
		}
	}
	if said := c.play([]string{"Q|SET countersign.reason = 'because'", plain}); !strings.Contains(said, "DELETE 1") {
		t.Errorf("a reason given later: %s", said)
	}
}

func TestOwnSettingsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url(""))
	for _, set := range []string{
		"Q|SET countersign.anything = 'x'", "Q|SELECT set_config('countersign.anything', 'x', false)",
		"Q|SET countersign.reason = '" + strings.Repeat("x", 2001) + "'", "P||SET countersign.ticket = '" + strings.Repeat("x", 257) + "' ; B|| ; E||0 ; S",
	} {
		if said := c.play([]string{set}); !strings.Contains(said, "E ERROR "+codeBadParameter) {
			t.Errorf("%.40s: %s", set, said)
		}
	}
	if said := c.play([]string{"Q|SET countersign.reason = '" + strings.Repeat("x", 2000) + "'", "Q|RESET countersign.reason"}); strings.Contains(said, "E ERROR") {
		t.Errorf("said: %s", said)
	}
	var o opening
	if err := o.decode(startup("user", "u", "countersign.run", strings.Repeat("x", 257))[8:]); err == nil {
		t.Error("a long run is taken at the start")
	}
	cn := &conn{}
	for i := range 2 * maxSets {
		cn.setting(&sql.Statement{Tag: "SET"}, &sql.Setting{Name: fmt.Sprintf("x.y%d", i), Known: true, Values: []string{strings.Repeat("v", 1<<20)}})
	}
	kept := 0
	for name, v := range cn.state.sets {
		kept += len(name) + len(v.value)
	}
	if kept > maxSets*(maxName+maxSetting) || cn.state.lost == "" {
		t.Errorf("%d bytes of settings are kept, lost %q", kept, cn.state.lost)
	}
}

// Every setting that a client may change without a signature is part of the context, or on the closed list of
// those that change no meaning.
func TestEverySettingIsAccountedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := r.begin("")
	c.play([]string{"Q|SELECT 1"})
	r.front.mu.Lock()
	defer r.front.mu.Unlock()
	var state *sessionState
	for _, known := range r.front.clients {
		state = &known.state
	}
	for name := range maps.Keys(settable) {
		if !state.followed(name) && !meaningless[name] {
			t.Errorf("%s may be given at the start, and is not bound", name)
		}
	}
	for name := range meaningless {
		if slices.Contains(askedNames, name) {
			t.Errorf("%s is asked for without need", name)
		}
	}
	if len(askedNames) < 20 || len(state.asked) != len(askedNames) {
		t.Errorf("asked for %v, answered %d", askedNames, len(state.asked))
	}
}
