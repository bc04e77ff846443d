package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/gate"
)

// What an Execute does counts when it runs, not when it was bound: a name that it frees, takes or changes is
// another name for all that follows in the same write.
func TestLateExecuteChangesWhatNamesMean(t *testing.T) {
	t.Parallel()
	for name, script := range map[string][]string{
		"DEALLOCATE": {
			"P|x|SELECT 1 ; S", "Q|BEGIN", "P|d|DEALLOCATE x ; B|p|d ; S",
			"E|p|0 ; P|x|DELETE FROM items ; B||x ; E||0 ; S", "Q|COMMIT",
		},
		"DEALLOCATE ALL": {
			"P|x|SELECT 1 ; S", "Q|BEGIN", "P|d|DEALLOCATE ALL ; B|p|d ; S",
			"E|p|0 ; P|x|DELETE FROM items ; B||x ; E||0 ; S", "Q|COMMIT",
		},
		"PREPARE": {
			"Q|BEGIN", "P|d|PREPARE x AS SELECT 1 ; B|p|d ; S",
			"P|x|DELETE FROM items ; E|p|0 ; S", "Q|ROLLBACK", "Q|EXECUTE x",
		},
		"Parse": {
			"P|x|SELECT 1 ; S", "Q|BEGIN", "P|d|EXECUTE x ; B|p|d ; S",
			"C|S|x ; P|x|DELETE FROM items ; E|p|0 ; S", "Q|COMMIT",
		},
		"Parse, other pipeline": {
			"P|x|SELECT 1 ; S", "Q|BEGIN", "P|d|EXECUTE x ; B|p|d ; S",
			"C|S|x ; P|x|DELETE FROM items ; S", "E|p|0 ; S", "Q|COMMIT",
		},
		"search_path": {
			"Q|BEGIN", "P|d|SET LOCAL search_path = pg_temp ; B|p|d ; P||EXECUTE nothing ; S",
			"E|p|0 ; P||DELETE FROM items ; B|| ; E||0 ; S", "Q|COMMIT",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{})
			said := dialRaw(t, r.url("&options=-c%20countersign.hold%3D200ms")).play(script)
			if got := r.outside("SELECT count(*) FROM items"); got != "1000" || strings.Contains(said, "DELETE 1000") {
				t.Errorf("%s rows are left\n%s", got, said)
			}
		})
	}
}

// A name that is taken stays with the statement before; the connection goes on as with the server.
func TestTakenNameKeepsItsStatement(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	said := dialRaw(t, r.url("&options=-c%20countersign.hold%3D200ms")).play([]string{
		"P|x|SELECT 41 ; S", "P|x|DELETE FROM items ; S", "B||x ; E||0 ; S",
		"P|x|SELECT 1 ; P|x|DELETE FROM items ; B||x ; E||0 ; S", "B||x ; E||0 ; S",
	})
	if strings.Count(said, "E ERROR 42P05") != 2 || strings.Count(said, `\x0241"`) != 2 {
		t.Errorf("said: %s", said)
	}
}

// A COMMIT that was bound early is under way from its Execute on: a connection lost then leaves it in doubt.
func TestLateCommitIsUnderWay(t *testing.T) {
	t.Parallel()
	c := &conn{}
	p := &portal{stmt: read("COMMIT"), action: session()}
	c.block.open = true
	c.runs(p)
	if !c.block.commitSent || !c.changing || c.generation != 1 {
		t.Errorf("commitSent %t, changing %t, generation %d", c.block.commitSent, c.changing, c.generation)
	}
}

// The hash of a block tells the order in which its statements ran.
func TestBlockHashFollowsTheRun(t *testing.T) {
	t.Parallel()
	c := &conn{}
	c.block.open = true
	p := &portal{stmt: read("SELECT 1"), action: session()}
	c.block.note(p.action)
	p.hash = c.block.hash
	bound := c.block.hash
	c.runs(p)
	if c.block.hash != bound {
		t.Error("run at once, it counts twice")
	}
	c.block.note(session())
	between := c.block.hash
	c.runs(p)
	if c.block.hash == between {
		t.Error("run after another, it does not count")
	}
}

// What was signed or allowed at Bind is refused at Execute when policy denies it by then.
func TestExecuteIsJudgedByThePolicyOfNow(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{"signed": "DELETE FROM items", "allowed": "INSERT INTO log VALUES ('late')"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{})
			c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D10s"))
			if name == "signed" {
				r.sign(1)
			}
			c.play([]string{"Q|BEGIN", "P|d|" + statement + " ; B|p|d ; S"})
			r.SetPolicy(strings.Replace(openPolicy, "any_effect: [destroy]", "any_effect: [destroy, delete, write]", 1))
			said := c.play([]string{"E|p|0 ; S", "Q|COMMIT"})
			if !strings.Contains(said, "E ERROR "+codeDenied) {
				t.Errorf("said: %s", said)
			}
			if got := r.outside("SELECT count(*) FROM items") + " " + r.outside("SELECT count(*) FROM log"); got != "1000 0" {
				t.Errorf("it ran: %s", got)
			}
		})
	}
}

// A text that is not understood is signed at Parse; when what it was signed in has changed, it is signed anew.
func TestPermitOfParseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D10s"))
	r.sign(2)
	if said := c.play([]string{"P|s|EXECUTE nope ; S"}); strings.Contains(said, "E ERROR") {
		t.Fatal(said)
	}
	said := c.play([]string{"Q|PREPARE nope AS DELETE FROM log", "Q|SET countersign.hold = '200ms'", "B||s ; E||0 ; S"})
	if !strings.Contains(said, "E ERROR "+codePending) {
		t.Errorf("signed as an unknown name, it ran what was prepared since: %s", said)
	}
	recs, err := r.Store.Requests(context.Background(), gate.Filter{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	if len(recs) != 3 {
		t.Errorf("%d requests, not one for each meaning of the name and one for what changed it", len(recs))
	}
}

// Bound in the context it was parsed in, one signature does for both.
func TestPermitOfParseServesItsBind(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	c := dialRaw(t, r.url("&options=-c%20countersign.hold%3D10s"))
	r.sign(1)
	said := c.play([]string{"P|s|EXECUTE nope ; B||s ; E||0 ; S"})
	if !strings.Contains(said, "E ERROR 26000") {
		t.Errorf("said: %s", said)
	}
}

// read is a statement as it is prepared.
func read(text string) *statement {
	r := sql.NewClassifier(nil, 1<<20).Classify([]byte(text), sql.Settings{StandardConformingStrings: true, UTF8: true})
	return &statement{text: countersign.Raw(text), result: r, understood: true}
}

func session() *countersign.Action { return &countersign.Action{Effects: countersign.Session} }
