package sql

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// statementRules are the rules for statements about the session, the transaction, other statements,
// bulk data and the server.
var statementRules = map[string]rule{
	// The session.
	"VariableSetStmt":    {visit: on((*walker).setStmt), plain: []string{"kind", "name", "is_local"}},
	"VariableShowStmt":   {visit: on((*walker).showStmt), plain: []string{"name"}},
	"DiscardStmt":        {visit: on((*walker).discardStmt), plain: []string{"target"}},
	"TransactionStmt":    {visit: on((*walker).transactionStmt), plain: []string{"kind", "savepoint_name", "gid", "chain"}},
	"ConstraintsSetStmt": {visit: aside[pg.ConstraintsSetStmt]("SET CONSTRAINTS", countersign.Session, sanitize.Const("says when constraints are checked")), own: []string{"constraints"}, plain: []string{"deferred"}},
	"ListenStmt":         {visit: aside[pg.ListenStmt]("LISTEN", countersign.Session, sanitize.Const("listens for notifications")), plain: []string{"conditionname"}},
	"UnlistenStmt":       {visit: aside[pg.UnlistenStmt]("UNLISTEN", countersign.Session, sanitize.Const("stops listening for notifications")), plain: []string{"conditionname"}},
	"NotifyStmt":         {visit: aside[pg.NotifyStmt]("NOTIFY", countersign.Write, sanitize.Const("sends a notification to other sessions")), plain: []string{"conditionname", "payload", "payload_location"}},
	"LockStmt":           {visit: on((*walker).lockStmt), own: []string{"relations"}, plain: []string{"mode", "nowait"}},

	// Other statements.
	"ExplainStmt":       {visit: on((*walker).explainStmt)},
	"PrepareStmt":       {visit: on((*walker).prepareStmt), own: []string{"query"}, plain: []string{"name"}},
	"ExecuteStmt":       {visit: on((*walker).executeStmt), plain: []string{"name"}},
	"DeallocateStmt":    {visit: on((*walker).deallocateStmt), plain: []string{"name", "isall"}},
	"DeclareCursorStmt": {visit: on((*walker).declareStmt), plain: []string{"portalname", "options"}},
	"FetchStmt":         {visit: on((*walker).fetchStmt), plain: []string{"direction", "how_many", "portalname", "ismove"}},
	"ClosePortalStmt":   {visit: on((*walker).closeStmt), plain: []string{"portalname"}},
	"CreateTableAsStmt": {visit: on((*walker).createTableAsStmt), plain: []string{"objtype", "is_select_into", "if_not_exists"}},
	"CopyStmt":          {visit: on((*walker).copyStmt), own: []string{"relation"}, plain: []string{"is_from", "is_program", "filename"}},
	"TruncateStmt":      {visit: on((*walker).truncateStmt), plain: []string{"restart_seqs", "behavior"}},
	"DoStmt":            {visit: on((*walker).doStmt)},
	"CallStmt":          {visit: on((*walker).callStmt)},

	// The server.
	"AlterSystemStmt":              {visit: definition[pg.AlterSystemStmt]("ALTER SYSTEM", adminEffect, sanitize.Const("changes the server's configuration"))},
	"CheckPointStmt":               {visit: aside[pg.CheckPointStmt]("CHECKPOINT", adminEffect, sanitize.Const("makes the server write a checkpoint"))},
	"LoadStmt":                     {visit: aside[pg.LoadStmt]("LOAD", adminEffect|countersign.Execute, sanitize.Const("loads a library into the server")), plain: []string{"filename"}},
	"VacuumStmt":                   {visit: on((*walker).vacuumStmt), plain: []string{"is_vacuumcmd"}},
	"VacuumRelation":               {},
	"ClusterStmt":                  {visit: definition[pg.ClusterStmt]("CLUSTER", adminEffect|schemaEffect, sanitize.Const("rewrites tables in the order of an index")), plain: []string{"indexname"}},
	"ReindexStmt":                  {visit: definition[pg.ReindexStmt]("REINDEX", adminEffect|schemaEffect, sanitize.Const("builds indexes again")), plain: []string{"kind", "name"}},
	"CreatedbStmt":                 {visit: named("CREATE DATABASE", "database", adminEffect|schemaEffect, sanitize.Const("creates a database"), (*pg.CreatedbStmt).GetDbname), plain: []string{"dbname"}},
	"DropdbStmt":                   {visit: named("DROP DATABASE", "database", adminEffect|countersign.Destroy, sanitize.Const("drops a database"), (*pg.DropdbStmt).GetDbname), plain: []string{"dbname", "missing_ok"}},
	"AlterDatabaseStmt":            {visit: named("ALTER DATABASE", "database", adminEffect, sanitize.Const("changes a database"), (*pg.AlterDatabaseStmt).GetDbname), plain: []string{"dbname"}},
	"AlterDatabaseRefreshCollStmt": {visit: named("ALTER DATABASE", "database", adminEffect, sanitize.Const("changes a database"), (*pg.AlterDatabaseRefreshCollStmt).GetDbname), plain: []string{"dbname"}},
	"AlterDatabaseSetStmt":         {visit: named("ALTER DATABASE", "database", adminEffect|privilegeEffect, sanitize.Const("stores settings for every session of a database"), (*pg.AlterDatabaseSetStmt).GetDbname), plain: []string{"dbname"}},
	"CreateTableSpaceStmt":         {visit: named("CREATE TABLESPACE", "tablespace", adminEffect|ddlExecute, sanitize.Const("uses a folder on the server's host"), (*pg.CreateTableSpaceStmt).GetTablespacename), plain: []string{"tablespacename", "location"}},
	"DropTableSpaceStmt":           {visit: named("DROP TABLESPACE", "tablespace", adminEffect|countersign.Destroy, sanitize.Const("drops a tablespace"), (*pg.DropTableSpaceStmt).GetTablespacename), plain: []string{"tablespacename", "missing_ok"}},
	"AlterTableSpaceOptionsStmt":   {visit: named("ALTER TABLESPACE", "tablespace", adminEffect, sanitize.Const("changes a tablespace"), (*pg.AlterTableSpaceOptionsStmt).GetTablespacename), plain: []string{"tablespacename", "is_reset"}},
	"AlterTableMoveAllStmt":        {visit: named("ALTER TABLESPACE", "tablespace", adminEffect|schemaEffect, sanitize.Const("moves every table of a tablespace"), (*pg.AlterTableMoveAllStmt).GetOrigTablespacename), plain: []string{"orig_tablespacename", "objtype", "new_tablespacename", "nowait"}},
}

// aside returns a visit for a statement that stands alone and concerns no relation.
func aside[M any](tag string, e countersign.Effects, why sanitize.Clean) func(*walker, any) {
	return on(func(w *walker, n *M) {
		w.tag(tag, n)
		w.effect(e, why)
	})
}
