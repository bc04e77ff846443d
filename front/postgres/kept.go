package postgres

import (
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/sanitize"
)

// A client may keep prepared statements and portals for as long as it is connected, so their bytes are taken
// from the front's memory until they are gone.

// roomToKeep reports whether this connection may keep n bytes more.
func (c *conn) roomToKeep(n int) bool { return c.kept+n <= c.front.limits.Kept }

// keep takes n bytes.
func (c *conn) keep(n int) error {
	if !c.roomToKeep(n) || !c.front.memory.take(n) {
		return c.errKept()
	}
	c.kept += n
	return nil
}

func (c *conn) errKept() error {
	return own(codeMemory, sanitize.Const("the prepared statements and portals of this connection are too large"),
		sanitize.Format("the gateway keeps %s bytes of them for a connection, and less when it is short of memory", sanitize.Int(int64(c.front.limits.Kept))),
		sanitize.Const("close some, with DEALLOCATE or by the driver, or send smaller parameters"))
}

// release gives the bytes of one of them back, once.
func (c *conn) release(n *int) {
	if *n != 0 {
		c.front.memory.give(*n)
		c.kept -= *n
		*n = 0
	}
}

// forget gives back what a prepared statement took that is gone on the server.
func (c *conn) forget(s *statement) {
	if s == nil {
		return
	}
	s.finishUnused()
	c.release(&s.kept)
}

// dropUnnamed forgets what a query string drops: the unnamed statement and portal.
func (c *conn) dropUnnamed() {
	c.forget(c.statements[""])
	delete(c.statements, "")
	c.dropPortal("", c.portals[""])
}

// keeps is how many bytes the statements take to which a text gives names: each of them keeps the whole text.
func (s *statement) keeps() int {
	n := 0
	_ = s.any(func(st *sql.Statement) bool {
		if st.Prepare != "" {
			n += len(s.text)
		}
		return false
	})
	return n
}
