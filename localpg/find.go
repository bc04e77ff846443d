package localpg

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
)

// Install is an installed PostgreSQL: a folder that holds both initdb and postgres.
type Install struct {
	Bin string // absolute
}

// ErrNotInstalled is what Find returns, and says what to install.
var ErrNotInstalled = errors.New("PostgreSQL is not installed (looked for initdb and postgres in PATH, in " +
	strings.Join(patterns, ", ") + ", and asked pg_config); " + installHint())

func installHint() string {
	if runtime.GOOS == "darwin" {
		return "install it with: brew install postgresql"
	}
	return "install it with: apt-get install postgresql " +
		"(with create_main_cluster = false in /etc/postgresql-common/createcluster.conf no server is started)"
}

// patterns are where packages put the server's programs, the version being one path element.
var patterns = []string{
	"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
	"/usr/pgsql-*/bin",                  // Fedora, RHEL (PGDG)
	"/opt/homebrew/opt/postgresql*/bin", // Homebrew
	"/usr/local/opt/postgresql*/bin",
}

// Find returns the first complete installation of: the programs in PATH, the newest in the folders
// where packages put them, the one that pg_config names.
func Find() (Install, error) { return find(os.Getenv("PATH"), patterns, pgConfig) }

func find(path string, patterns []string, config func() string) (Install, error) {
	for _, dir := range filepath.SplitList(path) {
		if in, ok := installIn(dir); ok {
			return in, nil
		}
	}
	for _, pattern := range patterns {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return Install{}, err
		}
		sort.Slice(dirs, func(i, j int) bool { return versionIn(dirs[i]) > versionIn(dirs[j]) })
		for _, dir := range dirs {
			if in, ok := installIn(dir); ok {
				return in, nil
			}
		}
	}
	if in, ok := installIn(config()); ok {
		return in, nil
	}
	return Install{}, ErrNotInstalled
}

func pgConfig() string {
	out, err := exec.Command("pg_config", "--bindir").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func installIn(dir string) (Install, bool) {
	if !filepath.IsAbs(dir) {
		return Install{}, false // a relative PATH element would run what lies in the current folder
	}
	in := Install{Bin: filepath.Clean(dir)}
	if !in.complete() {
		return Install{}, false
	}
	// PATH may hold links to some of the programs; the folder they lead to holds them all.
	if real, err := filepath.EvalSymlinks(in.Tool("postgres")); err == nil {
		if there := (Install{Bin: filepath.Dir(real)}); there.complete() {
			return there, true
		}
	}
	return in, true
}

func (in Install) complete() bool {
	return executable(in.Tool("initdb")) && executable(in.Tool("postgres"))
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// versionIn returns the number in the path element above bin, as 9.6 or 17; 0 when there is none.
func versionIn(dir string) float64 {
	name := filepath.Base(filepath.Dir(dir))
	v, err := strconv.ParseFloat(strings.TrimLeft(name, "abcdefghijklmnopqrstuvwxyz@-"), 64)
	if err != nil {
		return 0
	}
	return v
}

// Tool returns the path of one of the installation's programs.
func (in Install) Tool(name string) string { return filepath.Join(in.Bin, name) }

// Psql returns the path of psql.
func (in Install) Psql() (string, error) { return in.Client("psql") }

// Client returns the path of a client program: the installation's own, else the one in PATH.
func (in Install) Client(name string) (string, error) {
	if own := in.Tool(name); executable(own) {
		return own, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed; install it with: apt-get install postgresql-client postgresql", name)
	}
	return path, nil
}
