package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/countersign-dev/countersign/demo"
)

// program is this very program, as the scripts of the other tests have it too.
func program(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("countersign")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// playDemo runs the demo with self as the program and returns what it printed.
func playDemo(t *testing.T, self string) (string, error) {
	t.Helper()
	before := demoFolders(t)
	var out, complaints strings.Builder
	err := demo.Run(t.Context(), demo.Options{In: strings.NewReader(""), Out: &out, Err: &complaints, Self: self})
	if complaints.Len() > 0 {
		t.Errorf("cleaning up: %s", complaints.String())
	}
	for _, dir := range demoFolders(t) {
		if strings.Contains(out.String(), dir) && !strings.Contains(strings.Join(before, "\n"), dir) {
			t.Errorf("%s was left behind", dir)
		}
	}
	return out.String(), err
}

func demoFolders(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), "countersign-demo-*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// The whole story of the demo, with this program, the real psql and a real server.
func TestDemo(t *testing.T) {
	out, err := playDemo(t, program(t))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"Rosa Silva", "deploy-bot> COPY customers TO STDOUT;", "(request.opened,", "All 5000 customers arrived", "never-every-row", "Every step came out as told."} {
		if !strings.Contains(out, want) {
			t.Errorf("the story does not tell %q", want)
		}
	}
	if secret := regexp.MustCompile(`csg_[A-Za-z0-9_-]{20,}`).FindString(out); secret != "" {
		t.Error("the story prints a token")
	}
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
}

// A demo whose program does otherwise than told fails, and names the step.
func TestDemoNoticesWhatGoesWrong(t *testing.T) {
	real := program(t)
	for _, c := range []struct{ name, script, want string }{
		{"an agent can sign", `case "$1" in approve) exit 0;; esac`, "step 4"},
		{"the reviewer's yes is a no", `case "$1$3" in approve--yes) "$real" deny "$2" --yes; exit 0;; esac`, "step 5"},
		{"verify is content with everything", `case "$1$2" in trailverify) exit 0;; esac`, "step 8"},
		{"the gateway does not start", `case "$1" in serve) echo no such luck; exit 1;; esac`, "no such luck"},
	} {
		t.Run(c.name, func(t *testing.T) {
			self := filepath.Join(t.TempDir(), "countersign")
			script := fmt.Sprintf("#!/bin/sh\nreal='%s'\n%s\nexec \"$real\" \"$@\"\n", real, c.script)
			if err := os.WriteFile(self, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			out, err := playDemo(t, self)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v; want one that names %q\n%s", err, c.want, out)
			}
		})
	}
}
