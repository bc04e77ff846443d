package sqlite

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/countersign-dev/countersign/store/storetest"
)

var ctx = context.Background()

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, clock *storetest.Clock) storetest.Opener {
		dir := t.TempDir()
		return func(t *testing.T) storetest.Store {
			t.Helper()
			s, err := Open(Options{
				Dir:     filepath.Join(dir, "data"),
				KeysDir: filepath.Join(dir, "keys"),
				Origin:  "test.invalid/log",
				Clock:   clock.Now,
				Fatal:   func(err error) { t.Errorf("fatal: %v", err) },
			})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}
