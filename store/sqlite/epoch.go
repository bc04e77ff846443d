package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/sanitize"
	"github.com/countersign-dev/countersign/trail"
)

// The fields of the events that the store itself records.
const (
	fieldBoot       = "boot"
	fieldOrigin     = "origin"
	fieldSize       = "size"
	fieldOldRoot    = "old_root"
	fieldOldOrigin  = "old_origin"
	fieldOldSize    = "old_size"
	fieldFoundSize  = "found_size"
	fieldNotices    = "notices"
	fieldAnchor     = "anchor"
	fieldUnfinished = "unfinished"
	fieldLogKey     = "log_key"
	fieldReason     = countersign.FieldReason
)

// announce compares the store with the checkpoint outside, begins a new log when the store is older than that, and
// records that it is open.
func (s *Store) announce(fresh bool, requests []*found) error {
	outside, found, err := s.outside.read(s.ring)
	if err != nil {
		return err
	}
	anchor := sanitize.Const("none found: a rollback since the last start would go unnoticed")
	switch {
	case fresh:
		anchor = sanitize.Const("first start")
	case found:
		anchor = sanitize.Const("the store holds everything that the last checkpoint outside names")
	default:
		s.log.Warn("no checkpoint outside the store was found, so a rollback would go unnoticed", "folder", s.outside.dir)
	}
	why := ""
	if found && !fresh {
		if why, err = s.contradiction(outside); err != nil {
			return err
		}
	}
	if why != "" {
		s.log.Error("the store is not the one that the last checkpoint names; a new log begins", "reason", why)
		anchor = sanitize.Const("new log: the store was restored from an older copy")
	}
	return s.first(outside, why, requests, anchor)
}

// contradiction says how the store contradicts a checkpoint, or "".
func (s *Store) contradiction(c trail.Checkpoint) (string, error) {
	if c.Origin != s.origin {
		return fmt.Sprintf("the checkpoint is of log %s, the store's last log is %s", c.Origin, s.origin), nil
	}
	if c.Size > s.tree.Size() {
		return fmt.Sprintf("the checkpoint covers %d events, the store holds %d", c.Size, s.tree.Size()), nil
	}
	root, err := tlog.TreeHash(int64(c.Size), &logReader{ctx: background(), db: s.conn, epoch: s.epoch, size: s.tree.Size()})
	if err != nil {
		return "", err
	}
	if root != c.Root {
		return fmt.Sprintf("the first %d events are not those that the checkpoint covers", c.Size), nil
	}
	return "", nil
}

// newEpoch begins a new log under a new origin and ends every request that is open, inside the
// transaction that is under way. It returns the events that tell of it, trail.epoch first.
func (s *Store) newEpoch(outside trail.Checkpoint, why string, requests []*found, at time.Time) ([]countersign.Event, error) {
	base, _, _ := strings.Cut(s.origin, "/restored-")
	found := s.tree.Size()
	s.epoch++
	s.origin = base + "/restored-" + randomName()
	s.tree = &trail.Tree{}
	if _, err := s.conn.ExecContext(background(), `INSERT INTO log (epoch, origin) VALUES (?, ?)`, int64(s.epoch), s.origin); err != nil {
		return nil, err
	}
	events := []countersign.Event{{Type: countersign.TrailEpoch, Fields: []countersign.Field{
		{Name: fieldOrigin, Value: own(s.origin)},
		{Name: fieldOldOrigin, Value: own(outside.Origin)},
		{Name: fieldOldSize, Value: sanitize.Int(int64(outside.Size))},
		{Name: fieldOldRoot, Value: sanitize.Hex(outside.Root[:])},
		{Name: fieldFoundSize, Value: sanitize.Int(int64(found))},
		{Name: fieldReason, Value: own(why)},
	}}}
	ended, err := s.endRequests(requests, at)
	return append(events, ended...), err
}

// endRequests ends every pending and approved request: what was signed or withdrawn after the copy was
// made is not known any more.
func (s *Store) endRequests(all []*found, at time.Time) ([]countersign.Event, error) {
	var events []countersign.Event
	for _, f := range all {
		if !f.altered && !f.request.IsOpen() {
			continue
		}
		ev, err := s.endFound(f, approval.Lapsed, sanitize.Const("the gateway's store was restored from an older copy"), at)
		if err != nil {
			return nil, err
		}
		events = append(events, ev)
	}
	return events, nil
}

// opened is the event of this start.
func (s *Store) opened(anchor sanitize.Clean) countersign.Event {
	return countersign.Event{Type: countersign.TrailOpened, Fields: []countersign.Field{
		{Name: countersign.FieldReplica, Value: own(s.replica)},
		{Name: fieldBoot, Value: own(s.boot)},
		{Name: fieldOrigin, Value: own(s.origin)},
		{Name: fieldSize, Value: sanitize.Int(int64(s.tree.Size()))},
		{Name: fieldLogKey, Value: own(s.ring.ID("log"))},
		{Name: fieldNotices, Value: own(strings.Join(s.options.Notices(), ", "))},
		{Name: fieldAnchor, Value: anchor},
		{Name: fieldUnfinished, Value: sanitize.Int(int64(len(s.unfinished)))},
	}}
}

// own makes Clean text of what the gateway itself made up or its operator configured.
func own(text string) sanitize.Clean {
	var c sanitize.Clean
	_ = c.UnmarshalText([]byte(text)) // never fails
	return c
}

// first commits the events of this start, together with a new epoch when why says that one is needed, and with the
// end of requests that are not to be believed.
func (s *Store) first(outside trail.Checkpoint, why string, requests []*found, anchor sanitize.Clean) error {
	at := s.Now()
	if err := s.begin(); err != nil {
		return err
	}
	var events []countersign.Event
	var err error
	if why != "" {
		events, err = s.newEpoch(outside, why, requests, at)
	} else {
		events, err = s.reconcile(requests, at)
	}
	if err != nil {
		return errors.Join(err, s.rollback())
	}
	events = append(events, s.opened(anchor))
	list, err := newEntries(events)
	if err != nil {
		return errors.Join(err, s.rollback())
	}
	defer list.release()
	pointers := make([]*entry, len(list.list))
	for i := range list.list {
		pointers[i] = &list.list[i]
	}
	tree, err := s.appendEvents(pointers, at, s.active.Load())
	if err != nil {
		return errors.Join(err, s.rollback())
	}
	if err := s.commitTransaction(); err != nil {
		return err
	}
	s.adopt(tree, len(events))
	s.show(at)
	if err := s.live.load(background(), s.conn); err != nil {
		return err
	}
	path := filepath.Join(s.options.Dir, databaseFile)
	s.files, err = watchFiles(path, path+"-wal", filepath.Join(s.options.Dir, journalFile))
	return err
}
