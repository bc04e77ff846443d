package sanitize

import "strings"

// sqlPositions follows a statement token by token and tells which literals stand in credential
// positions, without knowing the grammar as a parser does. It errs on the side of secrecy: a literal too
// many may be replaced, which hides data from a reviewer, but never code.
//
// A literal stands in a credential position
//   - after a secret's name: PASSWORD 'x', OPTIONS (password 'x');
//   - in an expression compared or assigned to a secret's name: password = 'x', SET app.token TO 'x',
//     data->>'password' = 'x', 'x' = password;
//   - in the place of a secret's column: INSERT INTO users (name, password) VALUES ('a', 'x'),
//     SET (name, password) = ('a', 'x');
//   - after a literal that is a secret's name: set_config('app.password', 'x', false),
//     jsonb_build_object('password', 'x');
//   - in the arguments of a function that takes passwords: crypt('x', …).
type sqlPositions struct {
	depth int
	last  sqlKind // of the token before
	word  string  // the last name or keyword, as written
	op    byte    // the last byte of an operator or of punctuation, 0 after any other token
	cast  bool    // the name that comes is a type's
	sign  bool    // op is a minus after '='

	key      column // what the last name says
	direct   bool   // the last name stands directly before
	expr     column // what the expression going on is compared or assigned to
	exprAt   int    // its depth
	named    position
	namedNow bool   // the literal that comes is the value of the literal before
	text     string // the literal before, with those that it is joined to by ||, when it may be a name
	joined   bool   // the literal that comes is joined to the one before
	list     bool   // inside IN ( … ), where a literal names nothing
	listAt   int

	callAt  int // the depth of the arguments of a function that takes passwords, or 0
	typeAt  int // the depth of a type's modifiers, or 0
	reverse bool

	rows rows
}

// column is what a column's name says about its values.
type column struct {
	position
	personal Kind
}

func (c column) none() bool { return c.position.none() && c.personal == "" }

func columnOf(name string) column {
	p := classify(name)
	c := column{position: p}
	if p.none() {
		c.personal, _ = classifyPersonal(name)
	}
	return c
}

// rows follows the columns of an INSERT or of a SET ( … ) and the values given for them.
type rows struct {
	state  rowState
	set    bool // SET ( … ) = ( … )
	listAt int  // depth of the list of columns
	rowAt  int  // depth of a row's values
	column int
	cols   []column
}

type rowState uint8

const (
	rowNone   rowState = iota
	rowInsert          // after INSERT
	rowTable           // after INTO, or SET: a list of columns may come
	rowList            // in the list of columns
	rowAfter           // after it
	rowValues          // after VALUES
	rowSelect          // in a SELECT's list that stands for VALUES
)

// maxColumns is PostgreSQL's limit on a table's columns.
const maxColumns = 1600

// passwordFunctions take a password or key among their arguments.
var passwordFunctions = map[string]bool{
	"crypt": true, "password": true, "hmac": true, "encrypt": true, "decrypt": true, "encrypt_iv": true, "decrypt_iv": true,
	"pgp_sym_encrypt": true, "pgp_sym_encrypt_bytea": true, "pgp_sym_decrypt": true, "pgp_sym_decrypt_bytea": true,
	"pgp_pub_decrypt": true, "pgp_pub_decrypt_bytea": true, "dblink_connect_u": false,
}

// typeWords may have a length or precision in brackets, which the grammar wants as a number.
var typeWords = map[string]bool{
	"char": true, "character": true, "varchar": true, "varying": true, "nchar": true, "bpchar": true, "float": true,
	"interval": true, "second": true, "time": true, "timestamp": true, "timestamptz": true, "timetz": true,
	"dec": true, "decimal": true, "numeric": true, "bit": true, "varbit": true,
	"current_time": true, "current_timestamp": true, "localtime": true, "localtimestamp": true,
}

// name takes a name or keyword. It reports whether the literal before it, 'x' = password, turned out to
// stand in a credential position.
func (p *sqlPositions) name(w string, quoted bool) (reverse column) {
	cast := p.cast
	p.cast = false
	before := p.word
	p.word = w
	reverseOf := p.reverse
	p.reverse, p.namedNow, p.direct, p.joined = false, false, false, false
	op := p.op
	p.last, p.op = sqlIdent, 0
	var buf [maxKeyword]byte
	if !quoted && len(w) <= maxKeyword && p.keyword(lowered(w, &buf), before) || cast {
		return column{}
	}
	p.key, p.direct = columnOf(w), true
	switch p.rows.state {
	case rowList:
		if p.depth == p.rows.listAt && (op == '(' || op == ',') && len(p.rows.cols) < maxColumns {
			p.rows.cols = append(p.rows.cols, p.key)
		}
	case rowTable:
		if p.rows.set {
			p.rows.state = rowNone
		}
	}
	if reverseOf {
		return p.key
	}
	return column{}
}

// maxKeyword is the length of the longest keyword or function that matters here.
const maxKeyword = 24

// lowered writes w in lower case.
func lowered(w string, buf *[maxKeyword]byte) []byte {
	for i := range len(w) {
		buf[i] = lower(w[i])
	}
	return buf[:len(w)]
}

// keyword acts on the keywords that begin, carry on or end an expression. before is the one before.
func (p *sqlPositions) keyword(word []byte, before string) bool {
	switch w := string(word); w {
	case "and", "or", "where", "returning", "group", "order", "limit", "offset", "having", "union", "intersect", "except",
		"when", "then", "else", "end", "on", "as", "for", "window", "using", "do", "conflict", "with":
		p.endExpr()
		p.key = column{}
		if p.rows.state >= rowValues && p.depth < p.rows.rowAt+1 && w != "and" && w != "or" && w != "as" && w != "with" {
			p.rows.state = rowNone
		}
	case "from":
		if strings.EqualFold(before, "distinct") {
			p.beginExpr()
			return true
		}
		p.endExpr()
		p.key = column{}
		if p.rows.state == rowSelect && p.depth == p.rows.rowAt {
			p.rows.state = rowNone
		}
	case "is", "not", "distinct", "any", "some", "all", "symmetric":
	case "like", "ilike", "to", "in", "between", "similar":
		p.beginExpr()
	case "set":
		p.endExpr()
		p.key = column{}
		p.rows = rows{state: rowTable, set: true, cols: p.rows.cols[:0]}
	case "insert", "into", "values", "select", "row":
		p.row(w)
	default:
		return false
	}
	return true
}

// row acts on the keywords of INSERT.
func (p *sqlPositions) row(w string) {
	r := &p.rows
	switch {
	case w == "insert":
		*r = rows{state: rowInsert, cols: r.cols[:0]}
	case w == "into" && r.state == rowInsert:
		r.state = rowTable
	case w == "values" && r.state == rowAfter:
		r.state = rowValues
		r.rowAt = p.depth + 1
		r.column = -1
	case w == "select" && r.state == rowAfter:
		r.state = rowSelect
		r.rowAt, r.column = p.depth, 0
	}
	p.endExpr()
	p.key = column{}
}

func (p *sqlPositions) beginExpr() {
	if !p.key.none() {
		p.expr, p.exprAt = p.key, p.depth
		p.key = column{}
	}
}

func (p *sqlPositions) endExpr() {
	if p.depth <= p.exprAt {
		p.expr = column{}
	}
}

// other takes one byte of an operator or of punctuation.
func (p *sqlPositions) other(b byte) {
	p.joined = b == '|' && (p.last.literal() || p.joined && p.op == '|')
	switch b {
	case '(', '[':
		p.open(b)
	case ')', ']':
		p.close()
	case ',':
		p.endExpr()
		p.key = column{}
		p.namedNow = !p.named.none() && p.last.literal() && !p.list
		if p.rows.state >= rowValues && p.depth == p.rows.rowAt {
			p.rows.column++
		}
	case ';':
		cols := p.rows.cols[:0]
		*p = sqlPositions{rows: rows{cols: cols}}
	case '.':
	case ':':
		p.cast = p.op == ':'
	default:
		p.beginExpr()
		p.reverse = b == '=' && p.last.literal() && p.op == 0
	}
	if b != ':' {
		p.cast = false
	}
	p.sign = b == '-' && p.op == '='
	p.last, p.op, p.direct = sqlOther, b, false
}

func (p *sqlPositions) open(b byte) {
	p.depth++
	var buf [maxKeyword]byte
	var w []byte // of a longer one nothing is known
	if len(p.word) <= maxKeyword {
		w = lowered(p.word, &buf)
	}
	if p.last == sqlIdent && b == '(' {
		p.key = column{}
		switch {
		case passwordFunctions[string(w)] && p.callAt == 0:
			p.callAt = p.depth
		case typeWords[string(w)]:
			p.typeAt = p.depth
		case string(w) == "in":
			p.list, p.listAt = true, p.depth
		}
	}
	r := &p.rows
	switch {
	case r.state == rowTable && b == '(' && (!r.set || string(w) == "set"):
		r.state, r.listAt = rowList, p.depth
	case r.state == rowAfter && r.set && b == '(':
		r.state, r.rowAt, r.column = rowValues, p.depth, 0
	case r.state == rowValues && p.depth == r.rowAt:
		r.column = 0
	}
}

func (p *sqlPositions) close() {
	p.depth--
	if p.depth < p.exprAt {
		p.expr = column{}
	}
	if p.depth < p.callAt {
		p.callAt = 0
	}
	if p.depth < p.typeAt {
		p.typeAt = 0
	}
	if p.depth < p.listAt {
		p.list = false
	}
	r := &p.rows
	switch {
	case r.state == rowList && p.depth < r.listAt:
		r.state = rowAfter
		p.key = column{}
	case r.state == rowValues && r.set && p.depth < r.rowAt, r.state == rowSelect && p.depth < r.rowAt:
		r.state = rowNone
	}
}

// at returns what the position says about the literal or number that comes.
func (p *sqlPositions) at(number bool) column {
	switch {
	case p.callAt > 0 && !number:
		return column{position: position{kind: Password}}
	case !p.expr.none():
		return p.expr
	case p.direct && !p.key.none():
		return p.key
	case p.namedNow && !number:
		return column{position: p.named}
	}
	r := &p.rows
	if r.state >= rowValues && p.depth >= r.rowAt && r.column >= 0 && r.column < len(r.cols) {
		return r.cols[r.column]
	}
	return column{}
}

// call returns the function whose first argument comes.
func (p *sqlPositions) call() string {
	if p.last == sqlOther && p.op == '(' {
		return p.word
	}
	return ""
}

// literal takes a literal, whose content may itself be a name.
func (p *sqlPositions) literal(content string, kind sqlKind) {
	p.named = position{}
	if p.joined && len(content)+len(p.text) <= maxName {
		content = p.text + content // 'pass' || 'word'
	}
	p.text, p.joined = "", false
	if len(content) <= maxName {
		p.text = content
		name := strings.Trim(content, "{}$. ")
		if strings.HasPrefix(content, "{") {
			name = strings.Trim(name[strings.LastIndexByte(name, ',')+1:], `" `) // the end of a path: {auth,password}
		}
		if allIn(name, &flagName) {
			p.named = classify(name)
		}
	}
	p.key = column{}
	if p.op == '>' || p.op == '[' {
		p.key.position = p.named // data->>'password' = …
	}
	if p.named.weak && !strings.ContainsAny(content, "_.-") {
		p.named = position{}
	}
	p.namedNow, p.cast, p.direct = false, false, false
	p.last, p.op = kind, 0
}

// number takes a number or parameter.
func (p *sqlPositions) number(kind sqlKind) {
	p.named, p.namedNow, p.cast, p.reverse, p.direct, p.joined = position{}, false, false, false, false, false
	p.last, p.op = kind, 0
}

// countWords stand before counts that the grammar wants as numbers. Strict mode keeps short ones, and
// those of a sequence (true) whatever their length.
var countWords = map[string]bool{
	"fetch": false, "move": false, "forward": false, "backward": false, "absolute": false, "relative": false, "first": false,
	"next": false, "by": false, "with": false, "limit": false, "statistics": false, "modulus": false, "remainder": false,
	"cost": false, "rows": false, "operator": false, "function": false, "to": false,
	"increment": true, "minvalue": true, "maxvalue": true, "start": true, "restart": true, "cache": true, "sysid": true,
}

const maxCount = 4 // digits

// structural reports whether a number belongs to the statement's structure: a type's length, an index, a
// count.
func (p *sqlPositions) structural(number string) bool {
	if p.last == sqlIdent || p.op == '-' {
		var buf [maxKeyword]byte
		if len(p.word) <= maxKeyword {
			if long, ok := countWords[string(lowered(p.word, &buf))]; ok {
				return long || len(number) <= maxCount
			}
		}
	}
	return len(number) <= maxCount && (p.typeAt > 0 && p.depth == p.typeAt || p.op == '[' || p.op == ':')
}
