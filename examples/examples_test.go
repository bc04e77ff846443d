// Package examples_test checks that every example is accepted by this build and that its policy does
// what its own tests say.
package examples_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/countersign-dev/countersign/policy"
	"github.com/countersign-dev/countersign/server"
)

func TestExamples(t *testing.T) {
	configs, err := filepath.Glob("*/countersign.yaml")
	if err != nil || len(configs) < 2 {
		t.Fatalf("found the configurations %v, %v", configs, err)
	}
	for _, config := range configs {
		dir := filepath.Dir(config)
		t.Run(dir, func(t *testing.T) {
			if _, err := server.LoadConfig(config); err != nil {
				t.Error(err)
			}
			set, err := policy.Load(read(t, dir, "policy.d"), policy.Features{})
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range read(t, dir, "tests") {
				cases, err := policy.LoadTests(file)
				if err != nil {
					t.Fatal(err)
				}
				for _, result := range set.Test(cases) {
					if !result.Passed {
						t.Error(result)
					}
				}
			}
		})
	}
}

func read(t *testing.T, dir, folder string) []policy.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, folder, "*.yaml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no files in %s of %s: %v", folder, dir, err)
	}
	var files []policy.File
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, policy.File{Name: name, Data: data})
	}
	return files
}
