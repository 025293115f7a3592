# moat's development commands. `make help` lists them; CONTRIBUTING.md explains them.

SHELL := /bin/bash

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PLATFORMS := linux/amd64 linux/arm64 darwin/arm64 darwin/amd64 windows/amd64
SYSTEMS   := linux darwin windows
GOLANGCI  := github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# What the variables below hold may be given on the command line, for example
# `make test PKG=./internal/vt TESTFLAGS=-v` or `make fuzz FUZZTIME=5m`.
PKG       ?= ./...
TESTFLAGS ?=
BENCH     ?= .
COUNT     ?= 1
FUZZTIME  ?= 10s
SOAK      ?= 1000

BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'

.DEFAULT_GOAL := build

.PHONY: help
help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/moat for this machine (static, stripped)
	$(BUILD) -o bin/ ./cmd/moat

.PHONY: test
test: ## run every test with the race detector (installs nothing)
	CGO_ENABLED=1 go test -race -count 1 -timeout 60m $(TESTFLAGS) $(PKG)

.PHONY: check
check: fmt vet tidy lint generated test ## everything that must hold before a commit

.PHONY: fmt
fmt: ## fail if gofmt would change a file
	@unformatted=$$(gofmt -l $(wildcard cmd internal)) || exit 1; \
	if [[ -n $$unformatted ]]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi

.PHONY: vet
vet: $(SYSTEMS:%=vet-%) ## go vet, for each operating system

.PHONY: $(SYSTEMS:%=vet-%)
$(SYSTEMS:%=vet-%): vet-%:
	GOOS=$* CGO_ENABLED=0 go vet ./...

.PHONY: tidy
tidy: ## fail if go.mod or go.sum lists too much or too little
	go mod tidy -diff

.PHONY: lint
lint: ## golangci-lint, where it is installed
	@if command -v golangci-lint >/dev/null; then golangci-lint run; \
	else echo "lint: golangci-lint is not installed, left out; 'make tools' gets it"; fi

.PHONY: generate
generate: ## write the generated files anew
	go generate ./...

.PHONY: docs
docs: generate ## the same: the generated documents are among them

.PHONY: generated
generated: ## fail if a generated file is not what its generator writes
	@scripts/check-generated

.PHONY: cross
cross: $(PLATFORMS:%=cross/%) ## compile every package for every platform

.PHONY: $(PLATFORMS:%=cross/%)
$(PLATFORMS:%=cross/%): cross/%:
	GOOS=$(*D) GOARCH=$(*F) CGO_ENABLED=0 go build -buildvcs=false ./...

.PHONY: dist
dist: $(PLATFORMS:%=dist/%) ## what is released for every platform, and its sha256, in dist/ (macOS: an archive with the guest)
	cd dist && sha256sum moat-* > SHA256SUMS && cat SHA256SUMS

.PHONY: $(PLATFORMS:%=dist/%)
$(PLATFORMS:%=dist/%): dist/%:
	GOOS=$(*D) GOARCH=$(*F) $(BUILD) -o dist/moat-$(*D)-$(*F)$(if $(filter windows,$(*D)),.exe) ./cmd/moat
	$(if $(filter darwin,$(*D)),$(ARCHIVE))

# On a Mac sandboxes have Linux, and moat finds its guest for that beside itself. The archive is the same each time for the same files.
define ARCHIVE
	rm -rf dist/.$(*F) && mkdir dist/.$(*F)
	mv dist/moat-$(*D)-$(*F) dist/.$(*F)/moat
	GOOS=linux GOARCH=$(*F) $(BUILD) -o dist/.$(*F)/moat-guest-linux-$(*F) ./cmd/moat
	cp LICENSE dist/.$(*F)/
	tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C dist/.$(*F) -c . | gzip -n > dist/moat-$(*D)-$(*F).tar.gz
	rm -rf dist/.$(*F)
endef

.PHONY: bench
bench: build ## speed and size against other tools (ONLY=regexp of figures, BENCH_JSON=file); takes minutes
	@scripts/bench-deps
	MOAT_BENCH='$(CURDIR)/bin/moat' MOAT_BENCH_ONLY='$(ONLY)' BENCH_JSON='$(abspath $(BENCH_JSON))' \
	CGO_ENABLED=0 go test -count 1 -timeout 60m -run TestFigures -v ./internal/bench

.PHONY: microbench
microbench: ## benchmarks of single packages (BENCH=regexp COUNT=n PKG=package)
	CGO_ENABLED=0 go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 60m $(PKG)

.PHONY: soak
soak: ## the kill tests and the sessions in their long form (SOAK=number of rounds)
	MOAT_SOAK=$(SOAK) CGO_ENABLED=1 go test -race -count 1 -timeout 6h -v ./internal/soak ./internal/screens ./internal/journal/ledger

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME
	scripts/fuzz $(FUZZTIME) $(PKG)

.PHONY: deps
deps: ## install what the tests need besides Go (Debian and Ubuntu; uses sudo when not root)
	@scripts/install-deps

.PHONY: tools
tools: ## install golangci-lint (takes minutes)
	go install $(GOLANGCI)@v2.15.0 || go install $(GOLANGCI)@latest

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
