# What a person or a pipeline runs. Everything here works from a fresh clone; what is missing on a Debian
# machine is installed when run as root, and named otherwise.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TOOL := go tool -modfile=tools/go.mod
# The program carries the commit it was built from, where git can tell.
VCS := $(shell git status >/dev/null 2>&1 && echo auto || echo false)
# For demo: ARGS=--auto plays the reviewer too. For bench: ARGS=--short.
ARGS ?=
FUZZTIME ?= 2m

.PHONY: help
help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install:
	@scripts/install

.PHONY: demo
demo: build ## everything on one machine: a real database, people, an agent (ARGS=--auto: without you)
	@bin/countersign demo $(ARGS)

.PHONY: build
build: install ## bin/countersign
	go build -trimpath -buildvcs=$(VCS) -o bin/countersign ./cmd/countersign

.PHONY: test
test: install ## all tests, with the race detector, against a real PostgreSQL
	go test -race -count=1 ./...

.PHONY: test-long
test-long: install ## the exhaustive variants too
	COUNTERSIGN_LONG=1 go test -count=1 -timeout=2h ./...

.PHONY: format
format: ## rewrite the source as gofumpt has it
	$(TOOL) gofumpt -w .

.PHONY: lint
lint: install
	@unformatted=$$($(TOOL) gofumpt -l .); if [[ -n $$unformatted ]]; then echo "make format would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	$(TOOL) golangci-lint run --allow-parallel-runners --timeout=30m ./...

.PHONY: check
check: ## what a change must pass: format, vet, lint, tests, a short fuzzing
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory test
	scripts/fuzz 10s

.PHONY: fuzz
fuzz: install ## every fuzz target for FUZZTIME (2m)
	scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: ## figures, each beside its reference in the same run (ARGS=--short: quickly)
	@scripts/install bench
	@$(MAKE) --no-print-directory build
	go run ./bench --countersign bin/countersign $(ARGS)
