package localpg

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func fakeInstall(t *testing.T, dir string, tools ...string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tool := range tools {
		if err := os.WriteFile(filepath.Join(dir, tool), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFindOrder(t *testing.T) {
	root := t.TempDir()
	clientOnly := fakeInstall(t, filepath.Join(root, "client"), "psql", "pg_config")
	inPath := fakeInstall(t, filepath.Join(root, "path"), "initdb", "postgres")
	fakeInstall(t, filepath.Join(root, "pg/9.6/bin"), "initdb", "postgres")
	newest := fakeInstall(t, filepath.Join(root, "pg/17/bin"), "initdb", "postgres")
	fakeInstall(t, filepath.Join(root, "pg/18/bin"), "psql") // newer, but without a server
	fakeInstall(t, filepath.Join(root, "pg/9/bin"), "initdb", "postgres")
	configured := fakeInstall(t, filepath.Join(root, "configured"), "initdb", "postgres")
	linked := filepath.Join(root, "linked")
	if err := os.Mkdir(linked, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"initdb", "postgres"} {
		if err := os.Symlink(filepath.Join(newest, tool), filepath.Join(linked, tool)); err != nil {
			t.Fatal(err)
		}
	}
	patterns := []string{filepath.Join(root, "pg/*/bin")}
	config := func() string { return configured }
	none := func() string { return "" }

	for _, c := range []struct {
		name, path string
		patterns   []string
		config     func() string
		want       string
	}{
		{"path first", clientOnly + ":" + inPath, patterns, config, inPath},
		{"where links in path lead to", linked, nil, none, newest},
		{"then the newest complete one", clientOnly, patterns, config, newest},
		{"then pg_config", clientOnly, nil, config, configured},
		{"a relative element of PATH is not used", "path:.", nil, none, ""},
		{"nothing", "", nil, none, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, err := find(c.path, c.patterns, c.config)
			if c.want == "" {
				if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "install postgresql") {
					t.Fatalf("find = %v, %v; want an error that says what to install", in, err)
				}
				return
			}
			if err != nil || in.Bin != c.want {
				t.Fatalf("find = %q, %v; want %q", in.Bin, err, c.want)
			}
		})
	}
}
