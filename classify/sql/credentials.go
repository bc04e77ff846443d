package sql

import (
	"regexp"
	"slices"
	"sort"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// credentialKind is the kind of every span found here: that a literal stands in a credential position
// says nothing of what it looks like.
const credentialKind sanitize.Kind = "password"

// credentials collects where in a text credentials stand.
type credentials struct {
	literals []int32 // where a literal starts
	bodies   []int32 // where a literal starts that is run as a body of code
	queries  []int32 // and as statements
	foreign  []int32 // and as code in another language than SQL's
	named    []int32 // where the name of an option starts whose value is one
	words    []int32 // where the value of SET starts, which may be a name
	params   []int32
	looked   int                     // messages looked at by then
	all      bool                    // that were too many: every literal and parameter counts
	whole    map[*pg.SelectStmt]bool // every text in these was taken
}

// credentialSuffixes end the names of columns, options, settings and arguments that hold credentials;
// underscores and hyphens in names do not count.
var credentialSuffixes = []string{
	"password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey", "secretkey",
	"encryptionkey", "credential", "credentials", "passwordhash", "passwdhash", "passworddigest", "conninfo",
	"connectionstring", "passwords", "passphrases", "apikeys", "bearer",
}

var separators = strings.NewReplacer("_", "", "-", "")

// isCredentialName reports whether what is called name holds a credential.
func isCredentialName(name string) bool {
	name = strings.TrimRight(strings.ToLower(name), "0123456789")
	name = name[strings.LastIndexByte(name, '.')+1:] // of app.password
	switch last := name[strings.LastIndexByte(name, '_')+1:]; last {
	case "pwd", "pass", "pw":
		return true
	}
	if name == "psw" {
		return true
	}
	name = separators.Replace(name)
	for _, s := range credentialSuffixes {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

// maxCredentialLooks is how many messages are looked at for the literals in credential positions: one
// position may hold others.
const maxCredentialLooks = 1_000_000

func (c *credentials) look() bool {
	c.looked++
	c.all = c.all || c.looked > maxCredentialLooks
	return !c.all
}

// allParameters takes the parameters of a statement when every one counts.
func (c *credentials) allParameters(n *pg.Node) {
	if !c.all {
		return
	}
	find(n, func(m any) bool {
		if p, ok := m.(*pg.ParamRef); ok {
			c.params = append(c.params, p.Number)
		}
		return false
	})
}

// credential marks every constant and parameter in n.
func (w *walker) credential(n *pg.Node) {
	if w.session.credentials.all {
		return
	}
	find(n, func(m any) bool {
		if !w.session.credentials.look() {
			return true
		}
		switch m := m.(type) {
		case *pg.A_Const:
			if canHoldCredential(m) {
				w.session.credentials.literals = append(w.session.credentials.literals, m.Location)
			}
		case *pg.ParamRef:
			w.session.credentials.params = append(w.session.credentials.params, m.Number)
		}
		return false
	})
}

// telling matches a text that carries a password itself: SQL that sets one, or a connection string.
var telling = regexp.MustCompile(`(?i)password\s*(=|:=|=>|to)?\s*(e|u&|n)?('|\$)|password\s*=\s*[^\s%_]`)

func tells(text string) bool {
	return len(text) > len("password=") && strings.ContainsAny(text, "sS") && telling.MatchString(text)
}

// resTarget is for SET password = …, and SELECT … AS password.
func (w *walker) resTarget(n *pg.ResTarget) {
	if !isCredentialName(n.Name) {
		return
	}
	if m := n.Val.GetMultiAssignRef(); m != nil {
		if row := m.Source.GetRowExpr(); row != nil && int(m.Colno) >= 1 && int(m.Colno) <= len(row.Args) {
			w.credential(row.Args[m.Colno-1])
			return
		}
	}
	w.credential(n.Val)
}

func (w *walker) namedArg(n *pg.NamedArgExpr) {
	if isCredentialName(n.Name) {
		w.credential(n.Arg)
	}
}

// comparedCredential is for password = '…' and the like.
func (w *walker) comparedCredential(n *pg.A_Expr) {
	for _, pair := range [][2]*pg.Node{{n.Lexpr, n.Rexpr}, {n.Rexpr, n.Lexpr}} {
		if isCredentialColumn(throughText(pair[0])) {
			w.credential(pair[1])
		}
	}
}

// functionArguments are the arguments of functions that are credentials, by position; every is every
// one, last the last.
var functionArguments = map[string][]int{
	"crypt": {0}, "hmac": {1}, "encrypt": {1}, "decrypt": {1}, "encrypt_iv": {1}, "decrypt_iv": {1},
	"pgp_sym_encrypt": {1}, "pgp_sym_encrypt_bytea": {1}, "pgp_sym_decrypt": {1}, "pgp_sym_decrypt_bytea": {1},
	"pgp_pub_decrypt": {1, 2}, "pgp_pub_decrypt_bytea": {1, 2},
	"dblink_connect": {last}, "dblink_connect_u": {last}, "create_secret": {0}, "create_aws_credentials": {every},
}

const (
	every = -1
	last  = -2
)

func (w *walker) functionCredentials(name string, n *pg.FuncCall) {
	for _, i := range functionArguments[name] {
		for j, arg := range n.Args {
			if i == j || i == every || i == last && j == len(n.Args)-1 {
				w.credential(arg)
			}
		}
	}
	if strings.HasPrefix(name, "dblink") && len(n.Args) > 1 {
		if text, ok := w.session.literal(n.Args[0]); !ok || strings.ContainsAny(text, "=:") { // else a connection's name
			w.credential(n.Args[0])
		}
	}
	if name == "set_config" && len(n.Args) > 1 {
		if setting, ok := w.session.literal(n.Args[0]); !ok || isCredentialName(setting) || secretSettings[strings.ToLower(setting)] {
			for _, arg := range n.Args[1:] {
				w.credential(arg)
			}
			if !ok {
				w.credential(n.Args[0].GetNamedArgExpr().GetArg()) // the arguments may be in any order
			}
		}
	}
	if _, vetted := vettedFunctions[name]; !vetted && isCredentialName(name) { // set_password('bob', 'x')
		for _, arg := range n.Args {
			w.credential(arg)
		}
	}
	w.beside(n.Args)
	w.formatted(name, n)
}

func (w *walker) settingCredential(n *pg.VariableSetStmt) {
	if name := strings.ToLower(n.Name); isCredentialName(name) || secretSettings[name] {
		for _, a := range n.Args {
			if c := a.GetAConst(); c != nil {
				w.session.credentials.words = append(w.session.credentials.words, c.Location)
				continue
			}
			w.credential(a)
		}
	}
}

func (w *walker) optionCredential(n *pg.DefElem) {
	all := w.ctx.allOptions && n.Defname != "user" && n.Defname != "username"
	given := n.Arg.GetString_() != nil || n.ArgLocation < 0 && n.Arg.GetTypeName() != nil // a bare word is a type
	if given && (all || isCredentialName(n.Defname)) {
		c := &w.session.credentials
		if n.ArgLocation >= 0 {
			c.literals = append(c.literals, n.ArgLocation)
		} else {
			c.named = append(c.named, n.Location)
		}
	}
}

// bodyCredentials notes where the code of DO or of a function stands.
func (w *walker) bodyCredentials(options []*pg.Node) {
	c := &w.session.credentials
	list := &c.bodies
	for _, o := range options {
		if d := o.GetDefElem(); d.GetDefname() == "language" && isForeign(d.Arg.GetString_().GetSval()) {
			list = &c.foreign
		}
	}
	for _, o := range options {
		if d := o.GetDefElem(); d.GetDefname() == "as" {
			*list = append(*list, d.ArgLocation)
		}
	}
}

// isForeign reports whether the literals of a language are not SQL's.
func isForeign(language string) bool {
	return !strings.EqualFold(language, "sql") && !strings.EqualFold(language, "plpgsql")
}

func (w *walker) createUserMapping(n *pg.CreateUserMappingStmt) {
	w.defines("CREATE USER MAPPING", n, privilegeEffect, sanitize.Const("stores credentials for another server"))
	w.object("server", display(n.Servername), privilegeEffect)
	w.ctx.allOptions = true
}

func (w *walker) alterUserMapping(n *pg.AlterUserMappingStmt) {
	w.defines("ALTER USER MAPPING", n, privilegeEffect, sanitize.Const("stores credentials for another server"))
	w.object("server", display(n.Servername), privilegeEffect)
	w.ctx.allOptions = true
}

const subscriptionEffect = ddlExecute | countersign.Write | privilegeEffect

func (w *walker) createSubscription(n *pg.CreateSubscriptionStmt) {
	w.defines("CREATE SUBSCRIPTION", n, subscriptionEffect, sanitize.Const("writes what another server sends"))
	w.object("subscription", display(n.Subname), subscriptionEffect)
	w.session.credentials.literals = append(w.session.credentials.literals, n.ConninfoLocation)
}

func (w *walker) alterSubscription(n *pg.AlterSubscriptionStmt) {
	w.defines("ALTER SUBSCRIPTION", n, subscriptionEffect, sanitize.Const("changes what another server sends"))
	w.object("subscription", display(n.Subname), subscriptionEffect)
	if n.Conninfo != "" {
		w.session.credentials.literals = append(w.session.credentials.literals, n.ConninfoLocation)
	}
}

// spans turns what was collected into spans of text, sorted, each once. None covers more than one literal,
// and none a literal that is code.
func (c *credentials) spans(text string) []sanitize.Span {
	if len(c.literals)+len(c.bodies)+len(c.queries)+len(c.words)+len(c.named) == 0 && !c.all {
		return nil
	}
	scan, err := pg.Scan(text)
	if err != nil {
		return nil // it was parsed, so it cannot be
	}
	tokens := withoutComments(scan.Tokens)
	index := func(start int32) int {
		return sort.Search(len(tokens), func(i int) bool { return tokens[i].Start >= start })
	}
	var spans []sanitize.Span
	code := map[int32]bool{}
	at := func(list []int32, found func(t *pg.ScanToken)) {
		slices.Sort(list)
		for _, start := range slices.Compact(list) {
			i := index(start)
			if i < len(tokens) && isSign(tokens[i].Token) {
				i++
			}
			if i < len(tokens) && isLiteral(tokens[i].Token) && !code[tokens[i].Start] {
				found(tokens[i])
			}
		}
	}
	whole := func(t *pg.ScanToken) {
		spans = append(spans, sanitize.Span{Start: int(t.Start), End: int(t.End), Kind: credentialKind})
	}
	r := lexicalReader{text: text, all: c.all}
	at(c.foreign, func(t *pg.ScanToken) { code[t.Start] = true })
	at(c.bodies, func(t *pg.ScanToken) {
		code[t.Start] = true
		spans = append(spans, r.code(t, false)...)
	})
	at(c.queries, func(t *pg.ScanToken) {
		code[t.Start] = true
		spans = append(spans, r.code(t, true)...)
	})
	if c.all {
		for _, t := range tokens {
			if isLiteral(t.Token) && !code[t.Start] {
				whole(t)
			}
		}
		return distinct(spans)
	}
	at(c.literals, whole)
	value := func(i int) {
		for i < len(tokens) && (isSign(tokens[i].Token) || tokens[i].Token == pg.Token_ASCII_61) {
			i++
		}
		if i < len(tokens) {
			spans = append(spans, wordSpan(tokens, i))
		}
	}
	for _, start := range c.words {
		value(index(start))
	}
	for _, start := range c.named {
		value(index(start) + 1)
	}
	return distinct(spans)
}

// wordSpan returns where the name or literal stands that begins with token i. U&"x" UESCAPE '!' is three
// tokens.
func wordSpan(tokens []*pg.ScanToken, i int) sanitize.Span {
	end := i
	if unicode := tokens[i].Token == pg.Token_UIDENT || tokens[i].Token == pg.Token_USCONST; unicode &&
		i+2 < len(tokens) && tokens[i+1].Token == pg.Token_UESCAPE {
		end = i + 2
	}
	return sanitize.Span{Start: int(tokens[i].Start), End: int(tokens[end].End), Kind: credentialKind}
}

func isSign(t pg.Token) bool { return t == pg.Token_ASCII_45 || t == pg.Token_ASCII_43 }

func isLiteral(t pg.Token) bool {
	switch t {
	case pg.Token_SCONST, pg.Token_USCONST, pg.Token_BCONST, pg.Token_XCONST, pg.Token_ICONST, pg.Token_FCONST:
		return true
	}
	return false
}

// distinct sorts spans and unites those that overlap.
func distinct(spans []sanitize.Span) []sanitize.Span {
	slices.SortFunc(spans, func(a, b sanitize.Span) int { return a.Start - b.Start })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && s.Start < out[n-1].End {
			out[n-1].End = max(out[n-1].End, s.End)
			continue
		}
		out = append(out, s)
	}
	return out
}

// paramNumbers returns the numbers of the parameters found, but for the first skip.
func (c *credentials) paramNumbers(skip int) []int {
	found := c.params[skip:]
	if len(found) == 0 {
		return nil
	}
	numbers := make([]int, len(found))
	for i, p := range found {
		numbers[i] = int(p)
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}
