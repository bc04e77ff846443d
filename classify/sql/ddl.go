package sql

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

const (
	schemaEffect    = countersign.Schema
	privilegeEffect = countersign.Privilege
	ddlExecute      = countersign.Schema | countersign.Execute // says what code runs later
	ddlPrivilege    = countersign.Schema | countersign.Privilege
	adminEffect     = countersign.Admin
)

// defines begins a statement of the data definition language: relations it names suffer e, and types
// are stored.
func (w *walker) defines(tag string, n any, e countersign.Effects, why sanitize.Clean) {
	w.tag(tag, n)
	w.ctx.ddl, w.ctx.use, w.ctx.kind = true, e&^(countersign.Execute|countersign.Admin|countersign.Export), ""
	if w.ctx.use == 0 {
		w.ctx.use = countersign.Schema
	}
	w.effect(e, why)
}

// definition returns a visit that only begins such a statement.
func definition[M any](tag string, e countersign.Effects, why sanitize.Clean) func(*walker, any) {
	return on(func(w *walker, n *M) { w.defines(tag, n, e, why) })
}

// named returns the same for a statement whose object is not a relation: name returns the name.
func named[M any](tag, kind string, e countersign.Effects, why sanitize.Clean, name func(*M) string) func(*walker, any) {
	return on(func(w *walker, n *M) {
		w.defines(tag, n, e, why)
		w.object(kind, name(n), e)
	})
}

// listed returns the name that a list of parts spells, or what there is of it.
func listed(list []*pg.Node) string {
	names, _ := parts(list)
	return display(names...)
}

func (w *walker) alterTableStmt(n *pg.AlterTableStmt) {
	w.defines("ALTER TABLE", n, schemaEffect, sanitize.Const("changes a table's definition"))
}

func (w *walker) alterTableCmd(n *pg.AlterTableCmd) {
	w.columnDefault(n)
	switch n.Subtype {
	case pg.AlterTableType_AT_AddColumn, pg.AlterTableType_AT_ColumnDefault, pg.AlterTableType_AT_DropNotNull,
		pg.AlterTableType_AT_SetNotNull, pg.AlterTableType_AT_SetExpression, pg.AlterTableType_AT_DropExpression,
		pg.AlterTableType_AT_SetStatistics, pg.AlterTableType_AT_SetOptions, pg.AlterTableType_AT_ResetOptions,
		pg.AlterTableType_AT_SetStorage, pg.AlterTableType_AT_SetCompression, pg.AlterTableType_AT_AddIndex,
		pg.AlterTableType_AT_AddConstraint, pg.AlterTableType_AT_AlterConstraint, pg.AlterTableType_AT_ValidateConstraint,
		pg.AlterTableType_AT_AddIndexConstraint, pg.AlterTableType_AT_AlterColumnGenericOptions,
		pg.AlterTableType_AT_ClusterOn, pg.AlterTableType_AT_DropCluster, pg.AlterTableType_AT_SetLogged,
		pg.AlterTableType_AT_SetUnLogged, pg.AlterTableType_AT_DropOids, pg.AlterTableType_AT_SetAccessMethod,
		pg.AlterTableType_AT_SetTableSpace, pg.AlterTableType_AT_SetRelOptions, pg.AlterTableType_AT_ResetRelOptions,
		pg.AlterTableType_AT_AddInherit, pg.AlterTableType_AT_DropInherit, pg.AlterTableType_AT_AddOf,
		pg.AlterTableType_AT_DropOf, pg.AlterTableType_AT_ReplicaIdentity, pg.AlterTableType_AT_GenericOptions,
		pg.AlterTableType_AT_AttachPartition, pg.AlterTableType_AT_DetachPartition,
		pg.AlterTableType_AT_DetachPartitionFinalize, pg.AlterTableType_AT_AddIdentity,
		pg.AlterTableType_AT_SetIdentity, pg.AlterTableType_AT_DropIdentity:
	case pg.AlterTableType_AT_AlterColumnType:
		w.effect(countersign.Write, sanitize.Const("ALTER COLUMN … TYPE converts every row"))
	case pg.AlterTableType_AT_DropColumn, pg.AlterTableType_AT_DropConstraint:
		w.effect(countersign.Destroy, sanitize.Const("drops a part of the table"))
	case pg.AlterTableType_AT_ChangeOwner:
		w.effect(privilegeEffect, sanitize.Const("changes the owner"))
	case pg.AlterTableType_AT_EnableRowSecurity, pg.AlterTableType_AT_DisableRowSecurity,
		pg.AlterTableType_AT_ForceRowSecurity, pg.AlterTableType_AT_NoForceRowSecurity:
		w.effect(privilegeEffect, sanitize.Const("changes row security"))
	case pg.AlterTableType_AT_EnableTrig, pg.AlterTableType_AT_EnableAlwaysTrig, pg.AlterTableType_AT_EnableReplicaTrig,
		pg.AlterTableType_AT_DisableTrig, pg.AlterTableType_AT_EnableTrigAll, pg.AlterTableType_AT_DisableTrigAll,
		pg.AlterTableType_AT_EnableTrigUser, pg.AlterTableType_AT_DisableTrigUser, pg.AlterTableType_AT_EnableRule,
		pg.AlterTableType_AT_EnableAlwaysRule, pg.AlterTableType_AT_EnableReplicaRule, pg.AlterTableType_AT_DisableRule:
		w.effect(privilegeEffect, sanitize.Const("turns triggers or rules on or off, which may be what guards the table"))
	default:
		w.effect(countersign.Unknown, sanitize.Const("a form of ALTER TABLE is not understood"))
	}
}

// role is for a role that is named where rights are given, taken or moved.
func (w *walker) role(n *pg.RoleSpec) {
	w.effect(privilegeEffect, sanitize.Const("names a role whose rights change"))
	if n.Rolename != "" {
		w.object("role", display(n.Rolename), privilegeEffect)
	}
}

// dropKinds are the kinds of object that DROP is understood for, with what dropping is besides Destroy.
var dropKinds = map[pg.ObjectType]struct {
	kind  string
	extra countersign.Effects
}{
	pg.ObjectType_OBJECT_TABLE:           {"table", 0},
	pg.ObjectType_OBJECT_VIEW:            {"view", 0},
	pg.ObjectType_OBJECT_MATVIEW:         {"materialized view", 0},
	pg.ObjectType_OBJECT_FOREIGN_TABLE:   {"table", 0},
	pg.ObjectType_OBJECT_INDEX:           {"index", 0},
	pg.ObjectType_OBJECT_SEQUENCE:        {"sequence", 0},
	pg.ObjectType_OBJECT_SCHEMA:          {"schema", 0},
	pg.ObjectType_OBJECT_TYPE:            {"type", 0},
	pg.ObjectType_OBJECT_DOMAIN:          {"type", 0},
	pg.ObjectType_OBJECT_FUNCTION:        {"function", 0},
	pg.ObjectType_OBJECT_PROCEDURE:       {"function", 0},
	pg.ObjectType_OBJECT_ROUTINE:         {"function", 0},
	pg.ObjectType_OBJECT_AGGREGATE:       {"function", 0},
	pg.ObjectType_OBJECT_OPERATOR:        {"operator", 0},
	pg.ObjectType_OBJECT_OPCLASS:         {"operator class", 0},
	pg.ObjectType_OBJECT_OPFAMILY:        {"operator family", 0},
	pg.ObjectType_OBJECT_CAST:            {"cast", 0},
	pg.ObjectType_OBJECT_COLLATION:       {"collation", 0},
	pg.ObjectType_OBJECT_CONVERSION:      {"conversion", 0},
	pg.ObjectType_OBJECT_STATISTIC_EXT:   {"statistics", 0},
	pg.ObjectType_OBJECT_TSCONFIGURATION: {"text search", 0},
	pg.ObjectType_OBJECT_TSDICTIONARY:    {"text search", 0},
	pg.ObjectType_OBJECT_TSPARSER:        {"text search", 0},
	pg.ObjectType_OBJECT_TSTEMPLATE:      {"text search", 0},
	pg.ObjectType_OBJECT_TRANSFORM:       {"transform", 0},
	pg.ObjectType_OBJECT_PUBLICATION:     {"publication", 0},
	pg.ObjectType_OBJECT_EXTENSION:       {"extension", 0},
	pg.ObjectType_OBJECT_TRIGGER:         {"trigger", privilegeEffect},
	pg.ObjectType_OBJECT_EVENT_TRIGGER:   {"event trigger", privilegeEffect},
	pg.ObjectType_OBJECT_RULE:            {"rule", privilegeEffect},
	pg.ObjectType_OBJECT_POLICY:          {"policy", privilegeEffect},
	pg.ObjectType_OBJECT_FOREIGN_SERVER:  {"server", privilegeEffect},
	pg.ObjectType_OBJECT_FDW:             {"foreign-data wrapper", privilegeEffect},
	pg.ObjectType_OBJECT_LANGUAGE:        {"language", privilegeEffect},
	pg.ObjectType_OBJECT_ACCESS_METHOD:   {"access method", privilegeEffect},
}

func (w *walker) dropStmt(n *pg.DropStmt) {
	w.ctx.ddl = true
	w.tag("DROP", n)
	k, ok := dropKinds[n.RemoveType]
	if !ok {
		w.effect(countersign.Unknown, sanitize.Const("a form of DROP is not understood"))
		return
	}
	w.tag("DROP "+kindTag(n.RemoveType), n)
	w.effect(countersign.Destroy|k.extra, sanitize.Format("drops a %s", sanitize.Name(k.kind)))
	if n.Behavior == pg.DropBehavior_DROP_CASCADE {
		w.effect(countersign.Destroy, sanitize.Const("CASCADE drops what depends on it as well"))
	}
	for _, o := range n.Objects {
		name := objectName(o)
		w.object(k.kind, name, countersign.Destroy|k.extra)
		if schema, _ := qualified(nodeParts(o)); schema == catalogSchema || schema == infoSchema {
			w.effect(privilegeEffect|adminEffect, sanitize.Const("a system catalog is changed"))
		}
	}
}

// objectName spells the name of an object of whatever kind, as the grammar gives it.
func objectName(n *pg.Node) string { return display(nodeParts(n)...) }

func nodeParts(n *pg.Node) (names []string) {
	switch x := n.GetNode().(type) {
	case *pg.Node_String_:
		return []string{x.String_.Sval}
	case *pg.Node_List:
		names, _ = parts(x.List.Items)
	case *pg.Node_TypeName:
		names, _ = parts(x.TypeName.Names)
	case *pg.Node_ObjectWithArgs:
		names, _ = parts(x.ObjectWithArgs.Objname)
	case *pg.Node_RoleSpec:
		return []string{x.RoleSpec.Rolename}
	}
	return names
}

func (w *walker) createFunctionStmt(n *pg.CreateFunctionStmt) {
	tag := "CREATE FUNCTION"
	if n.IsProcedure {
		tag = "CREATE PROCEDURE"
	}
	w.defines(tag, n, ddlExecute, sanitize.Const("stores code that is not looked into"))
	w.object("function", listed(n.Funcname), ddlExecute)
	w.functionOptions(n.Options)
	w.bodyCredentials(n.Options)
}

func (w *walker) alterFunctionStmt(n *pg.AlterFunctionStmt) {
	w.defines("ALTER FUNCTION", n, schemaEffect, sanitize.Const("changes a function's attributes"))
	w.object("function", listed(n.Func.GetObjname()), schemaEffect)
	w.functionOptions(n.Actions)
}

// functionOptions looks for attributes that give a function rights of its own, or promises about it
// that the server then relies on.
func (w *walker) functionOptions(options []*pg.Node) {
	for _, o := range options {
		d := o.GetDefElem()
		switch d.GetDefname() {
		case "security":
			if d.Arg.GetBoolean().GetBoolval() {
				w.effect(privilegeEffect, sanitize.Const("SECURITY DEFINER: it runs with its owner's rights"))
			} else {
				w.effect(privilegeEffect, sanitize.Const("SECURITY INVOKER: it changes whose rights it runs with"))
			}
		case "leakproof", "support", "set":
			w.effect(privilegeEffect, sanitize.Const("an attribute that row security or later calls rely on"))
		case "language":
			if lang := d.Arg.GetString_().GetSval(); lang == "c" || lang == "internal" || len(lang) > 2 && lang[len(lang)-1] == 'u' {
				w.effect(privilegeEffect, sanitize.Const("a language that reaches the server's host"))
			}
		}
	}
}

// option is for options of definitions that weaken row security through views.
func (w *walker) option(n *pg.DefElem) {
	if n.Defname == "security_invoker" || n.Defname == "security_barrier" {
		w.effect(privilegeEffect, sanitize.Const("changes whose rights a view reads with"))
	}
	w.optionCredential(n)
}

func (w *walker) viewStmt(n *pg.ViewStmt) {
	w.defines("CREATE VIEW", n, schemaEffect, sanitize.Const("creates a view; what it reads counts too"))
	if n.View != nil {
		w.useRelation("view", n.View, schemaEffect)
	}
	w.aliasCredentials(n.Aliases, n.Query)
}

func (w *walker) refreshStmt(n *pg.RefreshMatViewStmt) {
	w.tag("REFRESH MATERIALIZED VIEW", n)
	w.effect(countersign.Write, sanitize.Const("runs a materialized view's query again"))
	if n.Relation != nil {
		w.useRelation("materialized view", n.Relation, countersign.Write)
	}
}

func (w *walker) renameStmt(n *pg.RenameStmt) {
	e := schemaEffect
	switch n.RenameType {
	case pg.ObjectType_OBJECT_ROLE, pg.ObjectType_OBJECT_POLICY, pg.ObjectType_OBJECT_TRIGGER, pg.ObjectType_OBJECT_RULE,
		pg.ObjectType_OBJECT_EVENT_TRIGGER, pg.ObjectType_OBJECT_FOREIGN_SERVER, pg.ObjectType_OBJECT_FDW:
		e |= privilegeEffect
	case pg.ObjectType_OBJECT_DATABASE, pg.ObjectType_OBJECT_TABLESPACE:
		e |= adminEffect
	}
	w.defines("ALTER", n, e, sanitize.Const("renames an object, so that its name may mean another"))
	if n.Object != nil {
		w.object("object", objectName(n.Object), e)
	}
	if n.Relation == nil && n.Subname != "" {
		w.object("object", display(n.Subname), e)
	}
}

func (w *walker) defineStmt(n *pg.DefineStmt) {
	e := ddlExecute
	switch n.Kind {
	case pg.ObjectType_OBJECT_COLLATION, pg.ObjectType_OBJECT_TSCONFIGURATION, pg.ObjectType_OBJECT_TSDICTIONARY:
		e = schemaEffect
	case pg.ObjectType_OBJECT_AGGREGATE, pg.ObjectType_OBJECT_OPERATOR, pg.ObjectType_OBJECT_TYPE,
		pg.ObjectType_OBJECT_TSPARSER, pg.ObjectType_OBJECT_TSTEMPLATE:
	default:
		e |= countersign.Unknown
	}
	w.defines("CREATE", n, e, sanitize.Const("creates an object of the database"))
	w.object("object", listed(n.Defnames), e)
}

func (w *walker) alterSequenceStmt(n *pg.AlterSeqStmt) {
	w.defines("ALTER SEQUENCE", n, schemaEffect|countersign.Write, sanitize.Const("changes a sequence, which may give its numbers again"))
	w.ctx.kind = "sequence"
}

func (w *walker) grantStmt(n *pg.GrantStmt) {
	tag := "GRANT"
	if !n.IsGrant {
		tag = "REVOKE"
	}
	w.defines(tag, n, privilegeEffect, sanitize.Const("gives or takes rights"))
	kind := "object"
	switch n.Objtype {
	case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_SEQUENCE:
		kind = "table"
	case pg.ObjectType_OBJECT_SCHEMA:
		kind = "schema"
	case pg.ObjectType_OBJECT_DATABASE:
		kind = "database"
	case pg.ObjectType_OBJECT_FUNCTION, pg.ObjectType_OBJECT_PROCEDURE, pg.ObjectType_OBJECT_ROUTINE:
		kind = "function"
	}
	for _, o := range n.Objects {
		if name := objectName(o); name != "" {
			w.object(kind, name, privilegeEffect)
		}
	}
}

func (w *walker) grantRoleStmt(n *pg.GrantRoleStmt) {
	w.defines("GRANT ROLE", n, privilegeEffect, sanitize.Const("makes roles members of others, or ends that"))
	if !n.IsGrant {
		w.tag("REVOKE ROLE", n)
	}
	for _, r := range n.GrantedRoles {
		w.object("role", display(r.GetAccessPriv().GetPrivName()), privilegeEffect)
	}
}

const dropConstraint = "X" // AlterDomainStmt.Subtype

func (w *walker) alterDomainStmt(n *pg.AlterDomainStmt) {
	w.defines("ALTER DOMAIN", n, schemaEffect, sanitize.Const("changes a domain"))
	w.object("type", listed(n.TypeName), schemaEffect)
	if n.Subtype == dropConstraint {
		w.effect(countersign.Destroy, sanitize.Const("drops a domain's constraint"))
	}
}

func (w *walker) ownerStmt(n *pg.AlterOwnerStmt) {
	e := ddlPrivilege
	if n.ObjectType == pg.ObjectType_OBJECT_DATABASE || n.ObjectType == pg.ObjectType_OBJECT_TABLESPACE {
		e |= adminEffect
	}
	w.defines("ALTER", n, e, sanitize.Const("changes an object's owner"))
	if n.Object != nil {
		w.object("object", objectName(n.Object), e)
	}
}

func kindTag(t pg.ObjectType) string {
	if name, ok := objectTags[t]; ok {
		return name
	}
	return "OBJECT"
}

var objectTags = map[pg.ObjectType]string{
	pg.ObjectType_OBJECT_TABLE: "TABLE", pg.ObjectType_OBJECT_VIEW: "VIEW", pg.ObjectType_OBJECT_INDEX: "INDEX",
	pg.ObjectType_OBJECT_SEQUENCE: "SEQUENCE", pg.ObjectType_OBJECT_SCHEMA: "SCHEMA", pg.ObjectType_OBJECT_TYPE: "TYPE",
	pg.ObjectType_OBJECT_FUNCTION: "FUNCTION", pg.ObjectType_OBJECT_PROCEDURE: "PROCEDURE",
	pg.ObjectType_OBJECT_MATVIEW: "MATERIALIZED VIEW", pg.ObjectType_OBJECT_EXTENSION: "EXTENSION",
	pg.ObjectType_OBJECT_POLICY: "POLICY", pg.ObjectType_OBJECT_TRIGGER: "TRIGGER", pg.ObjectType_OBJECT_RULE: "RULE",
	pg.ObjectType_OBJECT_DOMAIN: "DOMAIN", pg.ObjectType_OBJECT_FOREIGN_SERVER: "SERVER",
}
