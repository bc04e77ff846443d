// Package archive verifies a trail offline, in whatever form it lies on a disk: the folder of an export,
// or the data folder of a stopped gateway.
//
// It promises what trail.Verify promises, for every log in the folder. Keys and checkpoints are given to
// it; those that lie in the folder are never trusted.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/mod/sumdb/note"

	"github.com/countersign-dev/countersign/store/keys"
	"github.com/countersign-dev/countersign/store/sqlite"
	"github.com/countersign-dev/countersign/store/tiles"
	"github.com/countersign-dev/countersign/trail"
)

// maxGiven bounds the files of checkpoints and of keys.
const maxGiven = 256 << 20

// ErrUnknownForm: the folder holds no trail.
var ErrUnknownForm = errors.New("this is neither an exported trail nor a gateway's data folder")

// Verify verifies the trail in a folder. since holds checkpoints kept elsewhere, one after another, or
// nothing; trusted holds verifier keys in the form of log.pub, or nothing, and then signatures are not
// checked. The report is on the current log, with the reports on earlier ones in it.
func Verify(ctx context.Context, path string, since, trusted []byte) (trail.Report, error) {
	var known note.Verifiers
	if len(trusted) > 0 {
		var err error
		if known, err = keys.ParseVerifiers(trusted); err != nil {
			return trail.Report{}, fmt.Errorf("trusted keys: %w", err)
		}
	}
	logs, closer, err := open(ctx, path)
	if err != nil {
		return trail.Report{}, err
	}
	report, err := verify(logs, trail.SplitCheckpoints(since), known)
	return report, errors.Join(err, closer.Close())
}

// log is one log of a folder with the checkpoints that lie beside it.
type log struct {
	source trail.Source
	inside [][]byte
}

func open(ctx context.Context, path string) ([]log, io.Closer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case !info.IsDir():
		return nil, nil, fmt.Errorf("%s: %w: it is a file; give the folder", path, ErrUnknownForm)
	case tiles.Is(path):
		readers, closer, err := tiles.Open(path)
		if err != nil {
			return nil, nil, err
		}
		logs := make([]log, 0, len(readers))
		for _, r := range readers {
			logs = append(logs, log{r, [][]byte{r.Checkpoint()}})
		}
		return logs, closer, nil
	case sqlite.IsFolder(path):
		store, err := sqlite.OpenOffline(ctx, path)
		if err != nil {
			return nil, nil, err
		}
		var logs []log
		for _, l := range store.Logs() {
			logs = append(logs, log{source: l})
		}
		return logs, store, nil
	default:
		return nil, nil, fmt.Errorf("%s: %w", path, ErrUnknownForm)
	}
}

// verify verifies the current log and those before it. A checkpoint of a log that the folder does not
// hold is a problem: the folder may lack a whole log.
func verify(logs []log, since [][]byte, known note.Verifiers) (trail.Report, error) {
	var all trail.Report
	var errs error
	origins := map[string]bool{}
	for i, l := range logs {
		origins[l.source.Origin()] = true
		r, err := trail.Verify(l.source, trail.Options{Checkpoints: since, Inside: l.inside, Verifiers: known})
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("log %s: %w", l.source.Origin(), err))
		}
		if i == 0 {
			all = r
		} else {
			all.Earlier = append(all.Earlier, r)
		}
	}
	for _, c := range since {
		parsed, err := trail.UnverifiedCheckpoint(c)
		if err == nil && !origins[parsed.Origin] {
			all.Problems = append(all.Problems, trail.Problem{
				Kind: trail.BadAnchor, What: fmt.Sprintf("a checkpoint is given of the log %q, which is not in this folder", parsed.Origin),
			})
			break
		}
	}
	return all, errs
}

// ReadGiven reads a file that is given to Verify.
func ReadGiven(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxGiven+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(data) > maxGiven {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxGiven)
	}
	return data, nil
}
