package postgres

import (
	"context"
	"strings"

	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/sanitize"
)

// maxName is how many bytes of a name the server looks at (NAMEDATALEN - 1): two longer ones that begin alike
// are one name to it.
const maxName = 63

// checkName returns why the name of a prepared statement or portal cannot be used: the gateway must never
// tell two names apart that are one to the server, or the other way round (P3).
func (c *conn) checkName(ctx context.Context, name []byte) error {
	if len(name) > maxName {
		return own(codeNameTooLong, sanitize.Const("the name of a prepared statement or portal is too long"),
			sanitize.Format("it has %s bytes; the server takes %s and cuts the rest off", sanitize.Int(int64(len(name))), sanitize.Int(maxName)),
			sanitize.Const("use a shorter name"))
	}
	if string(name) == ownName {
		return own(codeReservedName, sanitize.Const("the name countersign_gateway is the gateway's own"),
			sanitize.Clean{}, sanitize.Const("use another name"))
	}
	if isASCII(string(name)) {
		return nil
	}
	// Between two encodings a name may change its length, and two names may become one.
	if err := c.settleChanging(ctx); err != nil || c.discarding {
		return err
	}
	if err := c.freshPath(ctx); err != nil || c.discarding {
		return err
	}
	if !c.state.utf8() || c.state.reported["server_encoding"] != "UTF8" {
		return errOddName
	}
	return nil
}

var errOddName = own(codeReservedName, sanitize.Const("a name with letters beyond ASCII needs UTF-8 on both sides"),
	sanitize.Const("client_encoding or the database's encoding is another one, in which two names could become one"),
	sanitize.Const("use a name of ASCII letters"))

// checkNames is checkName for the names within SQL. The parser cuts them as the server does; where that
// depends on the server's encoding, they are refused.
func (c *conn) checkNames(s *statement) error {
	odd := func(name string) bool {
		const cut = maxName - 3 // a letter of up to four bytes was cut off whole
		return !isASCII(name) && (len(name) >= cut || c.state.reported["server_encoding"] != "UTF8")
	}
	if s.any(func(st *sql.Statement) bool {
		return odd(st.Prepare) || odd(st.Execute) || odd(st.Deallocate) || odd(st.Declares) || odd(st.Fetches) || odd(st.Closes) || odd(st.Savepoint)
	}) {
		return errOddName
	}
	if err := checkOwn(s); err != nil {
		return err
	}
	if s.any(func(st *sql.Statement) bool {
		return st.Prepare == ownName || st.Execute == ownName || st.Deallocate == ownName || st.Declares == ownName || st.Fetches == ownName || st.Closes == ownName
	}) {
		return own(codeReservedName, sanitize.Const("the name countersign_gateway is the gateway's own"),
			sanitize.Clean{}, sanitize.Const("use another name"))
	}
	return nil
}

// checkOwn returns why the values that a text gives to countersign.* cannot be taken.
func checkOwn(s *statement) error {
	if s.result == nil {
		return nil
	}
	for i := range s.result.Statements {
		for _, set := range s.result.Statements[i].Sets {
			limit, ours := ownLimits[set.Name]
			if !strings.HasPrefix(set.Name, "countersign.") || set.Reset {
				continue
			}
			if !ours {
				return own(codeBadParameter, sanitize.Const("no such setting of countersign"), sanitize.Clean{},
					sanitize.Const("there are countersign.hold, countersign.reason, countersign.ticket and countersign.run"))
			}
			if len(strings.Join(set.Values, "")) > limit {
				return own(codeBadParameter, sanitize.Format("the value of %s is too long", sanitize.Name(set.Name)),
					sanitize.Format("it may have %s bytes", sanitize.Int(int64(limit))), sanitize.Const("give a shorter one"))
			}
		}
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
