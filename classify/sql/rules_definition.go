package sql

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// definitionRules are the rules for statements that define, change, drop, and give rights to objects,
// and for their parts.
var definitionRules = map[string]rule{
	// Tables and what belongs to them.
	"CreateStmt": {
		visit: definition[pg.CreateStmt]("CREATE TABLE", schemaEffect, sanitize.Const("creates a table")),
		plain: []string{"oncommit", "tablespacename", "access_method", "if_not_exists"},
	},
	"ColumnDef": {visit: on((*walker).columnDef), plain: []string{"colname", "compression", "inhcount", "is_local", "is_not_null", "storage", "storage_name", "identity", "generated"}},
	"Constraint": {plain: []string{
		"contype", "conname", "deferrable", "initdeferred", "skip_validation", "initially_valid", "is_no_inherit",
		"generated_when", "inhcount", "nulls_not_distinct", "indexname", "indexspace", "reset_default_tblspc",
		"access_method", "fk_matchtype", "fk_upd_action", "fk_del_action",
	}},
	"TableLikeClause":     {plain: []string{"options"}},
	"PartitionSpec":       {plain: []string{"strategy"}},
	"PartitionElem":       {plain: []string{"name"}},
	"PartitionBoundSpec":  {plain: []string{"strategy", "is_default", "modulus", "remainder"}},
	"PartitionRangeDatum": {plain: []string{"kind"}},
	"PartitionCmd":        {plain: []string{"concurrent"}},
	"DefElem":             {visit: on((*walker).option), plain: []string{"defnamespace", "defname", "defaction", "arg_location"}},
	"AlterTableStmt":      {visit: on((*walker).alterTableStmt), plain: []string{"objtype", "missing_ok"}},
	"AlterTableCmd":       {visit: on((*walker).alterTableCmd), plain: []string{"subtype", "name", "num", "behavior", "missing_ok", "recurse"}},
	"ReplicaIdentityStmt": {plain: []string{"identity_type", "name"}},
	"IndexStmt": {
		visit: definition[pg.IndexStmt]("CREATE INDEX", schemaEffect, sanitize.Const("creates an index")),
		plain: []string{
			"idxname", "access_method", "table_space", "unique", "nulls_not_distinct", "primary", "isconstraint",
			"deferrable", "initdeferred", "concurrent", "if_not_exists", "reset_default_tblspc",
		},
	},
	"CreateStatsStmt": {visit: definition[pg.CreateStatsStmt]("CREATE STATISTICS", schemaEffect, sanitize.Const("creates extended statistics")), plain: []string{"if_not_exists"}},
	"StatsElem":       {plain: []string{"name"}},
	"AlterStatsStmt":  {visit: definition[pg.AlterStatsStmt]("ALTER STATISTICS", schemaEffect, sanitize.Const("changes extended statistics")), plain: []string{"missing_ok"}},
	"CreateForeignTableStmt": {
		visit: definition[pg.CreateForeignTableStmt]("CREATE FOREIGN TABLE", ddlExecute, sanitize.Const("creates a table that another server stands behind")),
		plain: []string{"servername"},
	},
	"ViewStmt":           {visit: on((*walker).viewStmt), own: []string{"view"}, plain: []string{"replace", "with_check_option"}},
	"RefreshMatViewStmt": {visit: on((*walker).refreshStmt), own: []string{"relation"}, plain: []string{"concurrent", "skip_data"}},
	"CreateSeqStmt":      {visit: definition[pg.CreateSeqStmt]("CREATE SEQUENCE", schemaEffect, sanitize.Const("creates a sequence")), plain: []string{"for_identity", "if_not_exists"}},
	"AlterSeqStmt":       {visit: on((*walker).alterSequenceStmt), plain: []string{"for_identity", "missing_ok"}},

	// Schemas, types and other objects.
	"CreateSchemaStmt":  {visit: named("CREATE SCHEMA", "schema", schemaEffect, sanitize.Const("creates a schema"), (*pg.CreateSchemaStmt).GetSchemaname), plain: []string{"schemaname", "if_not_exists"}},
	"CompositeTypeStmt": {visit: definition[pg.CompositeTypeStmt]("CREATE TYPE", schemaEffect, sanitize.Const("creates a type"))},
	"CreateEnumStmt":    {visit: definition[pg.CreateEnumStmt]("CREATE TYPE", schemaEffect, sanitize.Const("creates a type"))},
	"CreateRangeStmt":   {visit: definition[pg.CreateRangeStmt]("CREATE TYPE", ddlExecute, sanitize.Const("creates a type, and says which functions serve it"))},
	"AlterEnumStmt": {
		visit: definition[pg.AlterEnumStmt]("ALTER TYPE", schemaEffect, sanitize.Const("changes an enumeration")),
		plain: []string{"old_val", "new_val", "new_val_neighbor", "new_val_is_after", "skip_if_new_val_exists"},
	},
	"AlterTypeStmt":      {visit: definition[pg.AlterTypeStmt]("ALTER TYPE", ddlExecute, sanitize.Const("changes which functions serve a type"))},
	"CreateDomainStmt":   {visit: definition[pg.CreateDomainStmt]("CREATE DOMAIN", schemaEffect, sanitize.Const("creates a domain"))},
	"AlterDomainStmt":    {visit: on((*walker).alterDomainStmt), plain: []string{"subtype", "name", "behavior", "missing_ok"}},
	"AlterCollationStmt": {visit: definition[pg.AlterCollationStmt]("ALTER COLLATION", schemaEffect, sanitize.Const("changes a collation"))},
	"DefineStmt":         {visit: on((*walker).defineStmt), plain: []string{"kind", "oldstyle", "if_not_exists", "replace"}},
	"DropStmt":           {visit: on((*walker).dropStmt), plain: []string{"remove_type", "behavior", "missing_ok", "concurrent"}},
	"CommentStmt":        {visit: definition[pg.CommentStmt]("COMMENT", schemaEffect, sanitize.Const("changes an object's comment")), plain: []string{"objtype", "comment"}},
	"RenameStmt":         {visit: on((*walker).renameStmt), plain: []string{"rename_type", "relation_type", "subname", "newname", "behavior", "missing_ok"}},
	"AlterObjectSchemaStmt": {
		visit: definition[pg.AlterObjectSchemaStmt]("ALTER", schemaEffect, sanitize.Const("moves an object to another schema")),
		plain: []string{"object_type", "newschema", "missing_ok"},
	},
	"AlterObjectDependsStmt": {
		visit: definition[pg.AlterObjectDependsStmt]("ALTER", schemaEffect, sanitize.Const("changes what an object depends on")),
		plain: []string{"object_type", "remove"},
	},
	"AlterTSDictionaryStmt": {visit: definition[pg.AlterTSDictionaryStmt]("ALTER TEXT SEARCH DICTIONARY", schemaEffect, sanitize.Const("changes a text search dictionary"))},
	"AlterTSConfigurationStmt": {
		visit: definition[pg.AlterTSConfigurationStmt]("ALTER TEXT SEARCH CONFIGURATION", schemaEffect, sanitize.Const("changes a text search configuration")),
		plain: []string{"kind", "override", "replace", "missing_ok"},
	},

	// What code runs.
	"CreateFunctionStmt": {visit: on((*walker).createFunctionStmt), plain: []string{"is_procedure", "replace"}},
	"FunctionParameter":  {visit: on((*walker).functionParameter), plain: []string{"name", "mode"}},
	"ReturnStmt":         {},
	"ObjectWithArgs":     {plain: []string{"args_unspecified"}},
	"AlterFunctionStmt":  {visit: on((*walker).alterFunctionStmt), plain: []string{"objtype"}},
	"CreateTrigStmt": {
		visit: definition[pg.CreateTrigStmt]("CREATE TRIGGER", ddlExecute, sanitize.Const("runs a function at each change of a table")),
		plain: []string{"replace", "isconstraint", "trigname", "row", "timing", "events", "deferrable", "initdeferred"},
	},
	"TriggerTransition":   {plain: []string{"name", "is_new", "is_table"}},
	"CreateEventTrigStmt": {visit: definition[pg.CreateEventTrigStmt]("CREATE EVENT TRIGGER", ddlExecute|privilegeEffect, sanitize.Const("runs a function at each definition that anyone changes")), plain: []string{"trigname", "eventname"}},
	"AlterEventTrigStmt":  {visit: definition[pg.AlterEventTrigStmt]("ALTER EVENT TRIGGER", ddlPrivilege, sanitize.Const("turns an event trigger on or off")), plain: []string{"trigname", "tgenabled"}},
	"RuleStmt":            {visit: definition[pg.RuleStmt]("CREATE RULE", ddlExecute, sanitize.Const("runs other statements in place of some")), plain: []string{"rulename", "event", "instead", "replace"}},
	"CreateCastStmt":      {visit: definition[pg.CreateCastStmt]("CREATE CAST", ddlExecute, sanitize.Const("says what code converts values")), plain: []string{"context", "inout"}},
	"CreateConversionStmt": {
		visit: definition[pg.CreateConversionStmt]("CREATE CONVERSION", ddlExecute, sanitize.Const("says what code converts text")),
		plain: []string{"for_encoding_name", "to_encoding_name", "def"},
	},
	"CreateTransformStmt": {visit: definition[pg.CreateTransformStmt]("CREATE TRANSFORM", ddlExecute, sanitize.Const("says what code converts values")), plain: []string{"replace", "lang"}},
	"AlterOperatorStmt":   {visit: definition[pg.AlterOperatorStmt]("ALTER OPERATOR", ddlExecute, sanitize.Const("changes which functions serve an operator"))},
	"CreateOpClassStmt":   {visit: definition[pg.CreateOpClassStmt]("CREATE OPERATOR CLASS", ddlExecute, sanitize.Const("says what code serves indexes")), plain: []string{"amname", "is_default"}},
	"CreateOpClassItem":   {plain: []string{"itemtype", "number"}},
	"CreateOpFamilyStmt":  {visit: definition[pg.CreateOpFamilyStmt]("CREATE OPERATOR FAMILY", ddlExecute, sanitize.Const("says what code serves indexes")), plain: []string{"amname"}},
	"AlterOpFamilyStmt":   {visit: definition[pg.AlterOpFamilyStmt]("ALTER OPERATOR FAMILY", ddlExecute, sanitize.Const("says what code serves indexes")), plain: []string{"amname", "is_drop"}},
	"CreateAmStmt":        {visit: definition[pg.CreateAmStmt]("CREATE ACCESS METHOD", ddlExecute|privilegeEffect, sanitize.Const("says what code stores tables or indexes")), plain: []string{"amname", "amtype"}},
	"CreatePLangStmt":     {visit: definition[pg.CreatePLangStmt]("CREATE LANGUAGE", ddlExecute|privilegeEffect, sanitize.Const("makes a language for functions available")), plain: []string{"replace", "plname", "pltrusted"}},
	"CreateExtensionStmt": {visit: named("CREATE EXTENSION", "extension", ddlExecute|privilegeEffect, sanitize.Const("runs an extension's script"), (*pg.CreateExtensionStmt).GetExtname), plain: []string{"extname", "if_not_exists"}},
	"AlterExtensionStmt":  {visit: named("ALTER EXTENSION", "extension", ddlExecute|privilegeEffect, sanitize.Const("runs an extension's script"), (*pg.AlterExtensionStmt).GetExtname), plain: []string{"extname"}},
	"AlterExtensionContentsStmt": {
		visit: named("ALTER EXTENSION", "extension", ddlPrivilege, sanitize.Const("changes what belongs to an extension"), (*pg.AlterExtensionContentsStmt).GetExtname),
		plain: []string{"extname", "action", "objtype"},
	},

	// Rights.
	"RoleSpec":                   {visit: on((*walker).role), plain: []string{"roletype", "rolename"}},
	"GrantStmt":                  {visit: on((*walker).grantStmt), plain: []string{"is_grant", "targtype", "objtype", "grant_option", "behavior"}},
	"AccessPriv":                 {plain: []string{"priv_name"}},
	"GrantRoleStmt":              {visit: on((*walker).grantRoleStmt), plain: []string{"is_grant", "behavior"}},
	"AlterDefaultPrivilegesStmt": {visit: definition[pg.AlterDefaultPrivilegesStmt]("ALTER DEFAULT PRIVILEGES", privilegeEffect, sanitize.Const("gives or takes rights on what will be created"))},
	"AlterOwnerStmt":             {visit: on((*walker).ownerStmt), plain: []string{"object_type"}},
	"CreateRoleStmt":             {visit: named("CREATE ROLE", "role", privilegeEffect, sanitize.Const("creates a role"), (*pg.CreateRoleStmt).GetRole), plain: []string{"stmt_type", "role"}},
	"AlterRoleStmt":              {visit: definition[pg.AlterRoleStmt]("ALTER ROLE", privilegeEffect, sanitize.Const("changes a role")), plain: []string{"action"}},
	"AlterRoleSetStmt":           {visit: definition[pg.AlterRoleSetStmt]("ALTER ROLE", privilegeEffect, sanitize.Const("stores settings for a role's sessions")), plain: []string{"database"}},
	"DropRoleStmt":               {visit: definition[pg.DropRoleStmt]("DROP ROLE", privilegeEffect|countersign.Destroy, sanitize.Const("drops roles")), plain: []string{"missing_ok"}},
	"DropOwnedStmt":              {visit: definition[pg.DropOwnedStmt]("DROP OWNED", privilegeEffect|countersign.Destroy, sanitize.Const("drops everything that roles own")), plain: []string{"behavior"}},
	"ReassignOwnedStmt":          {visit: definition[pg.ReassignOwnedStmt]("REASSIGN OWNED", privilegeEffect, sanitize.Const("changes the owner of everything that roles own"))},
	"CreatePolicyStmt":           {visit: named("CREATE POLICY", "policy", ddlPrivilege, sanitize.Const("changes row security"), (*pg.CreatePolicyStmt).GetPolicyName), plain: []string{"policy_name", "cmd_name", "permissive"}},
	"AlterPolicyStmt":            {visit: named("ALTER POLICY", "policy", ddlPrivilege, sanitize.Const("changes row security"), (*pg.AlterPolicyStmt).GetPolicyName), plain: []string{"policy_name"}},
	"SecLabelStmt":               {visit: definition[pg.SecLabelStmt]("SECURITY LABEL", privilegeEffect, sanitize.Const("changes a security label")), plain: []string{"objtype", "provider", "label"}},

	// Other servers.
	"CreateFdwStmt":           {visit: named("CREATE FOREIGN DATA WRAPPER", "foreign-data wrapper", ddlExecute|privilegeEffect, sanitize.Const("says what code reaches other servers"), (*pg.CreateFdwStmt).GetFdwname), plain: []string{"fdwname"}},
	"AlterFdwStmt":            {visit: named("ALTER FOREIGN DATA WRAPPER", "foreign-data wrapper", ddlExecute|privilegeEffect, sanitize.Const("says what code reaches other servers"), (*pg.AlterFdwStmt).GetFdwname), plain: []string{"fdwname"}},
	"CreateForeignServerStmt": {visit: named("CREATE SERVER", "server", ddlPrivilege, sanitize.Const("says where another server is"), (*pg.CreateForeignServerStmt).GetServername), plain: []string{"servername", "servertype", "version", "fdwname", "if_not_exists"}},
	"AlterForeignServerStmt":  {visit: named("ALTER SERVER", "server", ddlPrivilege, sanitize.Const("says where another server is"), (*pg.AlterForeignServerStmt).GetServername), plain: []string{"servername", "version", "has_version"}},
	"CreateUserMappingStmt":   {visit: on((*walker).createUserMapping), plain: []string{"servername", "if_not_exists"}},
	"AlterUserMappingStmt":    {visit: on((*walker).alterUserMapping), plain: []string{"servername"}},
	"DropUserMappingStmt":     {visit: named("DROP USER MAPPING", "server", privilegeEffect|countersign.Destroy, sanitize.Const("drops credentials for another server"), (*pg.DropUserMappingStmt).GetServername), plain: []string{"servername", "missing_ok"}},
	"ImportForeignSchemaStmt": {
		visit: named("IMPORT FOREIGN SCHEMA", "schema", ddlExecute, sanitize.Const("reads another server's definitions, and creates tables"), (*pg.ImportForeignSchemaStmt).GetLocalSchema),
		plain: []string{"server_name", "remote_schema", "local_schema", "list_type"},
	},
	"CreatePublicationStmt": {
		visit: named("CREATE PUBLICATION", "publication", schemaEffect|countersign.Export, sanitize.Const("lets other servers copy tables"), (*pg.CreatePublicationStmt).GetPubname),
		plain: []string{"pubname", "for_all_tables"},
	},
	"AlterPublicationStmt": {
		visit: named("ALTER PUBLICATION", "publication", schemaEffect|countersign.Export, sanitize.Const("lets other servers copy tables"), (*pg.AlterPublicationStmt).GetPubname),
		plain: []string{"pubname", "for_all_tables", "action"},
	},
	"PublicationObjSpec": {plain: []string{"pubobjtype", "name"}},
	"PublicationTable":   {},
	"CreateSubscriptionStmt": {
		visit: on((*walker).createSubscription),
		plain: []string{"subname", "conninfo", "conninfo_location"},
	},
	"AlterSubscriptionStmt": {
		visit: on((*walker).alterSubscription),
		plain: []string{"kind", "subname", "conninfo", "conninfo_location"},
	},
	"DropSubscriptionStmt": {visit: named("DROP SUBSCRIPTION", "subscription", countersign.Destroy, sanitize.Const("drops a subscription"), (*pg.DropSubscriptionStmt).GetSubname), plain: []string{"subname", "missing_ok", "behavior"}},
}
