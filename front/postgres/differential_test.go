package postgres

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// allPolicy lets everything through that is understood, so that the front must behave as the server does.
const allPolicy = `version: 1
rules:
  - name: all
    match: {principal: {anyone: true}, resource: {env: prod}, effects: [read, session, write, schema, delete, destroy, export, execute, privilege]}
    then: {allow: true}
`

// conversations are played to the server directly and through the front. What comes back must be the
// same, message for message, and so must be what the tables hold afterwards.
var conversations = map[string][]string{
	"simple":                      {"Q|SELECT 1", "Q|SELECT id, name FROM items WHERE id < 4"},
	"empty query":                 {"Q|", "Q|;", "P||  ; B|| ; D|P| ; E||0 ; S"},
	"several statements":          {"Q|SELECT 1; SELECT 2; INSERT INTO log VALUES ('a'); SELECT 3"},
	"several, one fails":          {"Q|INSERT INTO log VALUES ('a'); SELECT 1/0; INSERT INTO log VALUES ('b')", "Q|SELECT * FROM log"},
	"error":                       {"Q|SELECT 1/0", "Q|SELECT 2"},
	"block":                       {"Q|BEGIN", "Q|INSERT INTO log VALUES ('a')", "Q|COMMIT", "Q|SELECT * FROM log"},
	"block rolled back":           {"Q|BEGIN", "Q|INSERT INTO log VALUES ('a')", "Q|ROLLBACK", "Q|SELECT * FROM log"},
	"failed block":                {"Q|BEGIN", "Q|INSERT INTO log VALUES ('a')", "Q|SELECT 1/0", "Q|SELECT 1", "Q|INSERT INTO log VALUES ('b')", "Q|COMMIT", "Q|SELECT * FROM log"},
	"failed block, empty":         {"Q|BEGIN", "Q|SELECT 1/0", "Q|", "Q|ROLLBACK"},
	"failed block, extended":      {"Q|BEGIN", "Q|SELECT 1/0", "P||SELECT 1 ; B|| ; E||0 ; S", "P||ROLLBACK ; B|| ; E||0 ; S", "Q|SELECT 1"},
	"savepoints":                  {"Q|BEGIN", "Q|SAVEPOINT a", "Q|SELECT 1/0", "Q|ROLLBACK TO a", "Q|INSERT INTO log VALUES ('x')", "Q|RELEASE a", "Q|COMMIT"},
	"begin twice":                 {"Q|BEGIN", "Q|BEGIN", "Q|COMMIT", "Q|COMMIT"},
	"block in one string":         {"Q|BEGIN; INSERT INTO log VALUES ('q'); COMMIT", "Q|BEGIN; INSERT INTO log VALUES ('r'); SELECT 1/0", "Q|COMMIT"},
	"extended":                    {"P||SELECT id FROM items WHERE id = $1|23 ; B|||7 ; D|P| ; E||0 ; S"},
	"named":                       {"P|s|SELECT name FROM items WHERE id = $1|23 ; D|S|s ; S", "B||s|1 ; E||0 ; B||s|2 ; E||0 ; S", "C|S|s ; S", "B||s|1 ; E||0 ; S"},
	"name taken":                  {"P|s|SELECT 1 ; S", "P|s|SELECT 2 ; S", "B||s ; E||0 ; S"},
	"portal name taken":           {"P||SELECT 1 ; B|p| ; B|p| ; E|p|0 ; S"},
	"no such statement":           {"B||nowhere ; E||0 ; S", "D|S|nowhere ; S", "Q|SELECT 1"},
	"no such portal":              {"E|nowhere|0 ; S", "D|P|nowhere ; S"},
	"unnamed gone after query":    {"P||SELECT 1 ; S", "Q|SELECT 2", "B|| ; E||0 ; S"},
	"row limit":                   {"P||SELECT id FROM items ORDER BY id ; B|| ; E||2 ; E||2 ; H", "E||3 ; S", "E||1 ; S"},
	"row limit in block":          {"Q|BEGIN", "P||SELECT id FROM items ORDER BY id LIMIT 5 ; B|p| ; E|p|2 ; S", "E|p|2 ; S", "E|p|2 ; S", "E|p|2 ; S", "Q|COMMIT", "E|p|1 ; S"},
	"pipeline":                    {"P||INSERT INTO log VALUES ($1) ; B|||a ; E||0 ; B|||b ; E||0 ; P||SELECT count(*) FROM log ; B|| ; E||0 ; S"},
	"pipeline of syncs":           {"P||SELECT 1 ; B|| ; E||0 ; S ; P||SELECT 2 ; B|| ; E||0 ; S ; Q|SELECT 3 ; P||SELECT 4 ; B|| ; E||0 ; S"},
	"pipeline fails":              {"P||INSERT INTO log VALUES ($1) ; B|||a ; E||0 ; P||SELECT 1/0 ; B|| ; E||0 ; P||INSERT INTO log VALUES ('c') ; B|| ; E||0 ; S", "Q|SELECT * FROM log"},
	"pipeline fails, goes on":     {"P||SELECT 1/$1 ; B|||0 ; E||0 ; P||SELECT 1 ; S ; P||SELECT 2 ; B|| ; E||0 ; S", "P||SELECT 1/$1 ; B|||0 ; E||0 ; H", "raw|Q|SELECT 5\x00 ; S"},
	"pipeline with block":         {"P||BEGIN ; B|| ; E||0 ; P||INSERT INTO log VALUES ('p') ; B|| ; E||0 ; P||COMMIT ; B|| ; E||0 ; S", "Q|SELECT * FROM log"},
	"pipeline in block fails":     {"P||BEGIN ; B|| ; E||0 ; P||INSERT INTO log VALUES ('p') ; B|| ; E||0 ; P||SELECT 1/0 ; B|| ; E||0 ; S", "P||COMMIT ; B|| ; E||0 ; S", "Q|SELECT * FROM log"},
	"failed parse":                {"P||SELECT * FROM nowhere ; B|| ; E||0 ; S", "P|s|SELECT * FROM nowhere ; S", "B||s ; E||0 ; S"},
	"failed parse drops unnamed":  {"P||SELECT 1 ; S", "P||SELECT * FROM nowhere ; S", "B|| ; E||0 ; S"},
	"skipped parse keeps unnamed": {"P||SELECT 1 ; S", "P|x|SELECT * FROM nowhere ; P||SELECT 2 ; S", "B|| ; E||0 ; S"},
	"skipped close":               {"P|s|SELECT 1 ; S", "P|x|SELECT * FROM nowhere ; C|S|s ; S", "B||s ; E||0 ; S"},
	"wrong parameters":            {"P||SELECT $1::int|23 ; B|||nonsense ; E||0 ; S", "P||SELECT $1::int|23 ; B|| ; E||0 ; S"},
	"null parameter":              {"P||SELECT $1::int|23 ; B|||NULL ; E||0 ; S"},
	"flush":                       {"P||SELECT 1 ; H", "B|| ; H", "D|P| ; H", "E||0 ; H", "S"},
	"query amid a pipeline":       {"P||INSERT INTO log VALUES ('z') ; B|| ; E||0 ; Q|SELECT * FROM log", "Q|SELECT 1"},
	"prepare and execute":         {"Q|PREPARE s AS SELECT 1", "Q|EXECUTE s", "B||s ; E||0 ; S", "Q|DEALLOCATE s", "B||s ; E||0 ; S"},
	"protocol statement by SQL":   {"P|s|SELECT 1 ; S", "Q|EXECUTE s", "Q|DEALLOCATE s", "D|S|s ; S"},
	"cursor":                      {"Q|BEGIN", "Q|DECLARE c CURSOR FOR SELECT id FROM items ORDER BY id", "Q|FETCH 2 FROM c", "Q|FETCH 2 FROM c", "Q|CLOSE c", "Q|COMMIT"},
	"settings":                    {"Q|SET TimeZone = 'Asia/Tokyo'", "Q|SHOW TimeZone", "Q|BEGIN", "Q|SET LOCAL TimeZone = 'UTC'", "Q|COMMIT"},
	"copy out":                    {"Q|COPY (SELECT id FROM items WHERE id < 4 ORDER BY id) TO STDOUT", "P||COPY (SELECT id FROM items WHERE id < 4 ORDER BY id) TO STDOUT ; B|| ; D|P| ; E||0 ; S"},
	"copy in":                     {"Q|COPY log FROM STDIN", "d|one ; d|two ; c ; Q|SELECT * FROM log"},
	"copy in fails":               {"Q|COPY items FROM STDIN", "d|notanumber	x ; c ; Q|SELECT 1"},
	"copy in given up":            {"Q|COPY log FROM STDIN", "d|one ; f|changed my mind ; Q|SELECT * FROM log"},
	"copy in block":               {"Q|BEGIN", "Q|COPY log FROM STDIN", "d|one ; c ; Q|COMMIT", "Q|SELECT * FROM log"},
	"stray copy messages":         {"d|x ; c ; Q|SELECT 1"},
	"malformed":                   {"raw|B|xxx ; S", "raw|P|xxx ; S", "raw|D|Yxxx\x00 ; S", "raw|E|xx ; S", "raw|Q|SELECT 1\x00; SELECT 2\x00 ; Q|SELECT 1"},
	"unknown message":             {"raw|y|what"},
	"notify":                      {"Q|LISTEN here", "Q|NOTIFY here", "Q|UNLISTEN here"},
	"notice":                      {"Q|DROP TABLE IF EXISTS nowhere", "Q|CREATE TABLE IF NOT EXISTS log (x int)"},
	"close and describe":          {"P|a|SELECT 1 AS x ; D|S|a ; B|p|a ; D|P|p ; C|P|p ; C|S|a ; C|S|never ; S"},
	"commit and chain":            {"Q|BEGIN", "Q|INSERT INTO log VALUES ('1')", "Q|COMMIT AND CHAIN", "Q|INSERT INTO log VALUES ('2')", "Q|ROLLBACK", "Q|SELECT * FROM log"},
}

// pids differ between connections, and NOTIFY tells them.
var pidOfNotify = regexp.MustCompile(`A ".*?here`)

func TestConversationsAreTheServersOwn(t *testing.T) {
	r := newRig(t, rigOptions{policy: allPolicy})
	for name, script := range conversations {
		t.Run(name, func(t *testing.T) {
			run := func(url string) (string, string) {
				r.outside("TRUNCATE log")
				c := dialRaw(t, url)
				said := c.play(script)
				c.conn.Close()
				return pidOfNotify.ReplaceAllString(said, "A here"), r.outside("SELECT line FROM log ORDER BY line")
			}
			want, wantRows := run(r.direct)
			got, gotRows := run(r.url(""))
			if strings.Contains(strings.Join(script, " "), "COPY") {
				// The front asks for COPY data in its own words: it does not know the columns.
				want, got = columns.ReplaceAllString(want, "G"), columns.ReplaceAllString(got, "G")
			}
			if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("through the front (+) it is not as direct (-):\n%s", diff)
			}
			if gotRows != wantRows {
				t.Errorf("the table holds %q, direct %q", gotRows, wantRows)
			}
		})
	}
}

var columns = regexp.MustCompile(`G ".*"`)
