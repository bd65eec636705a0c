# `make help` lists what can be made.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory

VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BUILD_FLAGS := -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)"

# Tools are built once for all clones, by version.
TOOLS            := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/longhaul/bin
GOLANGCI_VERSION := v2.15.0
GOLANGCI         := $(TOOLS)/$(GOLANGCI_VERSION)/golangci-lint
GOVULNCHECK_VERSION := v1.8.0
REDOCLY          := @redocly/cli@2.77.0
# Redocly needs a newer Node.js than many distributions have; npm brings it along.
NODE             := node@22.23.0

# need,CHECK,DEBIAN PACKAGES,WHAT FOR: installs packages when the check fails.
need = @if ! { $(1); } >/dev/null 2>&1; then .ci/install "$(3)" $(2); fi

has_postgres = command -v postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres' || compgen -G '/usr/pgsql-*/bin/postgres' \
  || compgen -G '/opt/homebrew/opt/postgresql@*/bin/postgres' || compgen -G '/usr/local/opt/postgresql@*/bin/postgres'
# The shell without a window tests twice as fast.
has_chromium = command -v chromium-headless-shell || command -v chromium || command -v chromium-browser || command -v google-chrome

.DEFAULT_GOAL := help

##@ Use

.PHONY: run
run: build ## Install what is missing, build, start with a simulated Oracle environment, print a sign-in link
	$(if $(LONGHAUL_DATABASE_URL),,$(call need,$(has_postgres),postgresql,to keep its data in))
	@exec ./longhaul serve --demo

.PHONY: build
build: need-go ## Build ./longhaul
	CGO_ENABLED=0 go build $(BUILD_FLAGS) -o longhaul .

##@ Change

.PHONY: test
test: need-go ## Install what is missing and run all tests
	$(if $(TEST_DATABASE_URL),,$(call need,$(has_postgres),postgresql,for the tests to keep data in))
	$(call need,$(has_chromium),chromium-headless-shell chromium-sandbox,for the tests of the page)
	$(call need,command -v npm,npm,for a sign-in provider and upload clients to test with)
	$(call need,command -v curl,curl,for a client to test with)
	$(call need,command -v cc || command -v gcc || command -v clang,gcc libc6-dev,for the race detector)
	go test -race -shuffle=on -parallel 6 -timeout 30m ./...

.PHONY: test-big
test-big: need-go ## Send and fetch 50 GB in a server with 512 MB of memory, thrice (takes half an hour, and 110 GB of disk; with less, the files are as large as fit)
	$(if $(TEST_DATABASE_URL),,$(call need,$(has_postgres),postgresql,for the tests to keep data in))
	LONGHAUL_TEST_BIG=50 go test -run '^TestBigFile$$' -count=1 -timeout 4h -v .

.PHONY: fmt
fmt: $(GOLANGCI) ## Format the code
	$(GOLANGCI) fmt

.PHONY: lint
lint: lint-go lint-openapi ## Run every linter

.PHONY: lint-go
lint-go: $(GOLANGCI) ## Check the code's format and run golangci-lint
	$(GOLANGCI) fmt --diff
	$(GOLANGCI) run

.PHONY: lint-openapi
lint-openapi: need-go ## Lint the description of the API
	$(call need,command -v npx,npm,to lint the API's description)
	@mkdir -p .cache
	go run . openapi > .cache/openapi.json
	npx --yes --package $(NODE) --package $(REDOCLY) redocly lint --config redocly.yaml .cache/openapi.json

.PHONY: vuln
vuln: need-go ## Look for known vulnerabilities, where their database can be reached
	go run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION) ./...

.PHONY: check
check: ## Do what CI does
	.ci/run

.PHONY: bench
bench: need-go ## Measure, and compare with the figures to be kept (takes minutes; see bench/README.md)
	$(call need,$(has_postgres),postgresql,to measure on)
	$(call need,command -v unzip,unzip,to compare with)
	$(call need,command -v nginx || test -x /usr/sbin/nginx,nginx-light,to compare with)
	go run ./bench

.PHONY: test-container
test-container: need-go ## Build the container image with podman and run the main job in it
	container/test

.PHONY: clean
clean: ## Remove what was built here
	rm -f longhaul

##@ Help

.PHONY: help
help: ## List what can be made
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: need-go
need-go:
	@command -v go >/dev/null || { echo "Go is missing: install Go $$(sed -n 's/^go //p' go.mod) or newer from https://go.dev/dl/" >&2; exit 1; }

$(GOLANGCI): | need-go
	@echo "Building golangci-lint $(GOLANGCI_VERSION), once for this user (takes minutes)"
	GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
