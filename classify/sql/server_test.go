package sql

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/localpg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func connect(t *testing.T, statements ...string) *pgx.Conn {
	t.Helper()
	name := pgtest.Database(t, statements...)
	conn, err := pgx.Connect(context.Background(), pgtest.Server(t).URL(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// Every name that a real server has built in stands in the lists with a mark, made by hand or "-".
func TestListsAreComplete(t *testing.T) {
	conn := connect(t)
	for list, c := range map[string]struct{ text, query string }{
		"functions": {functionsText, `SELECT DISTINCT CASE nspname WHEN 'pg_catalog' THEN '' ELSE nspname || '.' END || proname FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname IN ('pg_catalog', 'information_schema')`},
		"operators": {operatorsText, `SELECT DISTINCT oprname::text FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace`},
		"relations": {relationsText, `SELECT nspname || '.' || relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('pg_catalog', 'information_schema') AND relkind NOT IN ('i', 't')`},
		"types":     {typesText, `SELECT typname::text FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm') AND typelem = 0`},
	} {
		marks := map[string]string{}
		for _, line := range listLines(c.text) {
			fields := strings.Fields(line)
			marks[fields[0]] = fields[1]
		}
		byName := func(a, b string) int { return strings.Compare(strings.Fields(a)[0], strings.Fields(b)[0]) }
		if !slices.IsSortedFunc(listLines(c.text), byName) {
			t.Errorf("%s: not sorted", list)
		}
		rows, err := conn.Query(context.Background(), c.query)
		if err != nil {
			t.Fatal(err)
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if len(names) < 50 {
			t.Errorf("%s: the server has only %d", list, len(names))
		}
		for _, name := range names {
			if marks[name] == "" || marks[name] == "?" {
				t.Errorf("%s: %s is marked %q; run vetted/generate.go and mark it", list, name, marks[name])
			}
		}
	}
}

// volatileReads are the functions that the server calls volatile, so that they may change something,
// and that were looked at one by one and only read: the clock, chance, waiting, sizes, and the state of
// the server, of its files' names and of its transactions.
var volatileReads = strings.Fields(`
	clock_timestamp current_query currtid2 currval gen_random_uuid lastval pg_blocking_pids pg_collation_actual_version
	pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system pg_current_logfile
	pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn pg_database_collation_actual_version
	pg_database_size pg_get_backend_memory_contexts pg_get_multixact_members pg_get_shmem_allocations
	pg_get_wal_replay_pause_state pg_get_wal_resource_managers pg_indexes_size pg_is_in_recovery
	pg_is_wal_replay_paused pg_isolation_test_session_is_blocked pg_jit_available pg_last_committed_xact
	pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status
	pg_notification_queue_usage pg_partition_ancestors pg_partition_tree pg_prepared_xact pg_relation_size
	pg_replication_origin_progress pg_replication_origin_session_is_setup pg_replication_origin_session_progress
	pg_safe_snapshot_blocking_pids pg_sequence_last_value pg_show_replication_origin_status pg_sleep pg_sleep_for
	pg_sleep_until pg_stat_get_recovery_prefetch pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit
	pg_stat_get_xact_function_calls pg_stat_get_xact_function_self_time pg_stat_get_xact_function_total_time
	pg_stat_get_xact_numscans pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched
	pg_stat_get_xact_tuples_hot_updated pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_returned
	pg_stat_get_xact_tuples_updated pg_stat_have_stats pg_table_size pg_tablespace_size pg_total_relation_size
	pg_xact_commit_timestamp pg_xact_commit_timestamp_origin pg_xact_status random timeofday txid_status`)

// A function that the server calls volatile is not vetted as reading by accident.
func TestVolatileFunctions(t *testing.T) {
	conn := connect(t)
	rows, err := conn.Query(context.Background(), `SELECT DISTINCT proname::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v'`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 150 {
		t.Errorf("only %d volatile functions", len(names))
	}
	for _, name := range names {
		if vettedFunctions[name].effects == countersign.Read && !slices.Contains(volatileReads, name) {
			t.Errorf("%s is volatile, and vetted as reading", name)
		}
	}
}

// readOnlySchema gives the statements of testdata something to run on.
var readOnlySchema = []string{
	"CREATE TABLE customers (id int, email text, name text, token text)",
	"CREATE TABLE t (id int, n int, a int, b int, c text, d timestamptz, e text, j jsonb, x xml, z int[])",
	"CREATE TABLE u (id int, a int, x int)", "CREATE TABLE a (id int, x int)", "CREATE TABLE b (id int, x int)",
	"CREATE TABLE c (id int)", "CREATE TABLE d (id int)", "CREATE TABLE v (c int)", "CREATE TABLE items (o int)",
	"CREATE SCHEMA shop", "CREATE TABLE shop.orders (id int, o int)", "CREATE TABLE orders (id int)",
	"CREATE SEQUENCE s", "CREATE FUNCTION evil(VARIADIC int[] DEFAULT '{}') RETURNS int LANGUAGE sql AS 'SELECT 1'",
}

// What is classified as reading, or as concerning the session only, a real server lets run in a
// read-only transaction; what changes rows or structure it does not.
func TestServerAgrees(t *testing.T) {
	ctx := context.Background()
	conn := connect(t, readOnlySchema...)
	reads, ran, changes, refused := 0, 0, 0, 0
	for _, g := range readGolden(t) {
		r := Classify(g.text, normal, nil)
		if !r.Parsed || slices.ContainsFunc(r.Statements, func(st Statement) bool {
			return st.Tx != TxNone || st.Copy != NoCopy || st.DiscardAll
		}) {
			continue
		}
		if r.Effects.Any(countersign.Admin | countersign.Execute) {
			continue // these reach beyond the transaction, and beyond the test
		}
		if _, err := conn.Exec(ctx, "BEGIN READ ONLY; SET LOCAL statement_timeout = '3s'"); err != nil {
			t.Fatal(err)
		}
		_, err := conn.PgConn().Exec(ctx, g.text).ReadAll()
		var pgErr *pgconn.PgError
		readOnly := errors.As(err, &pgErr) && pgErr.Code == "25006"
		if !r.Effects.Privileged() {
			reads++
			if readOnly {
				t.Errorf("line %d: %s is %s, and the server says %s", g.line, g.text, r.Effects, pgErr.Message)
			}
			if err == nil {
				ran++
			}
		} else if r.Effects.Any(countersign.Write | countersign.Delete | countersign.Schema | countersign.Destroy) {
			changes++
			if readOnly {
				refused++
			}
		}
		if _, err := conn.Exec(ctx, "ROLLBACK; RESET ALL; RESET SESSION AUTHORIZATION; DEALLOCATE ALL"); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d reading statements ran; the server refused %d of %d changing ones", ran, reads, refused, changes)
	if ran*10 < reads*7 || refused*2 < changes {
		t.Errorf("%d of %d reading statements ran; the server refused %d of %d changing ones: the test shows too little", ran, reads, refused, changes)
	}
}
