package sanitize

// sqlRoles follows a statement and tells where the name of a role stands.
type sqlRoles struct {
	statement byte // 'g' for GRANT and REVOKE, 'd' for what defines, 's' for SET, 0 for what names no role
	next      bool // the name that comes is a role's
	last      bool // the name before was one
}

// begin takes the first word of a statement.
func (r *sqlRoles) begin(w string) {
	*r = sqlRoles{}
	var buf [maxKeyword]byte
	if len(w) > maxKeyword {
		return
	}
	switch string(lowered(w, &buf)) {
	case "grant", "revoke":
		r.statement = 'g'
	case "create", "alter", "drop", "comment", "reassign", "security":
		r.statement = 'd'
	case "set":
		r.statement = 's'
	}
}

// name takes a name or keyword.
func (r *sqlRoles) name(w string, quoted bool) {
	if r.statement == 0 {
		return
	}
	r.last, r.next = r.next, false
	var buf [maxKeyword]byte
	if quoted || len(w) > maxKeyword {
		return
	}
	switch string(lowered(w, &buf)) {
	case "role", "user", "authorization":
		r.next = true
	case "owner", "by", "group", "admin", "to":
		r.next = r.statement != 's'
	case "grant", "revoke", "from":
		r.next = r.statement == 'g'
	case "for":
		r.next = r.statement == 'd'
	}
}

// other takes one byte of an operator or of punctuation: a comma carries a list of roles on.
func (r *sqlRoles) other(b byte) { r.next, r.last = b == ',' && r.last, false }
