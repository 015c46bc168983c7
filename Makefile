# The daily loop. `make help` lists the targets; CONTRIBUTING.md says what each needs.

GO            ?= go
PARTS         := $(CURDIR)/.parts
GOLANGCI      := v2.15.0
GOLANGCI_BIN  := $(PARTS)/bin/golangci-lint-$(GOLANGCI)
GOVULNCHECK   := v1.1.4
NFPM          := v2.43.4
NFPM_BIN      := $(PARTS)/bin/nfpm-$(NFPM)
DIST          := $(CURDIR)/dist
FUZZTIME      ?= 30s
TEST_TIMEOUT  ?= 40m
PARALLEL      ?= 4
ROUNDS        ?= 3
KILLS         ?= 200
INSTANTS      ?= 50
DEATHS        ?= 100
DRILLS        ?= 10
SEED          ?=
DURATION      ?= 10m
FLIPS         ?= 10000
HISTORIES     ?= 100000
RATE          ?= 2000
UNWATCHED     := github.com/klauspost/compress/... crypto/internal/fips140/... crypto/sha256 crypto/aes crypto/cipher golang.org/x/crypto/... regexp/... github.com/urfave/cli/...
RUN           ?= .
UNIT_PACKAGES  = $$($(GO) list ./... | grep -v /integration)

export CGO_ENABLED ?= 0

.DEFAULT_GOAL := build
.PHONY: help build release packages images vuln parts demo test unit lint fuzz bench soak restores drills failover chaos deaths hang flips retention hardened histories encrypted clean takeover follow

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 10

build: ## bin/pgark
	$(GO) build -trimpath -o bin/pgark ./cmd/pgark

parts: ## install or fetch what the tests need and is missing: PostgreSQL 14 to 18, an S3 server
	integration/parts.sh

demo: build ## the main job in under two minutes: archive, drop a table, get it back
	integration/parts.sh 15
	integration/demo/demo.sh bin/pgark

# Most tests wait for servers most of the time. The limit is for what hangs: a machine whose processors are lent to others takes twice as long.
test: parts ## every test, against real servers; a missing part is a failure
	REQUIRE_ALL=1 $(GO) test -parallel $(PARALLEL) -timeout $(TEST_TIMEOUT) ./...

# A program of the race detector waits a second before it exits, for the reports of other threads; a tenth is enough. It gives back the memory that
# goes with each allocation above 64 KiB, and most of what the kernel did was to hand it out again page by page: up to 64 MiB it clears that memory instead.
# The codecs' inner loops, ciphers, regular expressions and the parser of the command line share nothing of ours, and took a third of the time when watched.
# None of them may use sync.Map, as crypto/tls does: TestMapsAreWatched.
# A bundle of certificates that the environment names would be parsed for each repository that a test opens.
unit: ## tests without real servers, with the race detector; no network, under a minute
	@command -v gcc >/dev/null || { echo "the race detector needs gcc: apt-get install gcc libc6-dev" >&2; exit 1; }
	AWS_CA_BUNDLE= CGO_ENABLED=1 GORACE='atexit_sleep_ms=100 clear_shadow_mmap_threshold=67108864' $(GO) test -p 4 -short -race $(UNWATCHED:%='-gcflags=%=-race=false') $(UNIT_PACKAGES)

# The files that the checks of the Terraform module and of the dashboard read are no part of their Go modules, so that a kept result would be an old one.
lint: $(GOLANGCI_BIN) ## golangci-lint as .golangci.yml says, the form of the Terraform module, of the dashboard for Grafana and of the bill of materials
	$(GOLANGCI_BIN) run --allow-parallel-runners ./...
	cd deploy/terraform/check && $(GO) test -count 1 ./...
	cd deploy/grafana/check && $(GO) test -count 1 ./...
	cd deploy/sbom && $(GO) test -count 1 ./...

$(GOLANGCI_BIN):
	@mkdir -p $(PARTS)/bin
	GOFLAGS= GOBIN=$(PARTS)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv $(PARTS)/bin/golangci-lint $@

vuln: ## known vulnerabilities in what is called; needs a way to Go's vulnerability database
	GOFLAGS= $(GO) run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK) ./...

fuzz: ## each fuzz target for FUZZTIME
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

bench: parts ## Go benchmarks, then whole processes beside pgBackRest (docs/BENCHMARKS.md)
	integration/parts.sh pgbackrest
	$(GO) test -run '^$$' -bench . -benchmem $(UNIT_PACKAGES)
	$(GO) test -tags peers -run '^TestAgainstPeers$$' -count 1 -timeout 60m -v ./integration -rounds $(ROUNDS)

soak: parts ## the long forms: make soak KILLS=200 INSTANTS=50 SEED=1
	REQUIRE_ALL=1 PGARK_TEST_KILLS=$(KILLS) PGARK_TEST_INSTANTS=$(INSTANTS) PGARK_TEST_SEED=$(SEED) \
		$(GO) test -count 1 -timeout 0 -v -run '^(TestAgentKilled|TestRestoreInstants)$$' ./integration

restores: parts ## restores that are killed again and again: make restores KILLS=200 SEED=1
	REQUIRE_ALL=1 PGARK_TEST_KILLS=$(KILLS) PGARK_TEST_SEED=$(SEED) $(GO) test -count 1 -timeout 0 -v -run '^TestRestoreInPlace$$' ./integration

drills: parts ## drills of random instants, each beside what was estimated before it: make drills DRILLS=10
	REQUIRE_ALL=1 PGARK_TEST_DRILLS=$(DRILLS) $(GO) test -count 1 -timeout 0 -v -run '^TestDrill$$' ./integration

failover: parts ## the failover matrix on every major, with more instants
	REQUIRE_ALL=1 PGARK_TEST_FAILOVER=all $(GO) test -count 1 -timeout 0 -v -run '^TestFailover$$' ./integration

chaos: parts ## the fault suite's long form: make chaos DURATION=30m SEED=1
	REQUIRE_ALL=1 PGARK_TEST_DURATION=$(DURATION) PGARK_TEST_SEED=$(SEED) $(GO) test -count 1 -timeout 0 -v -run '^(TestChaos|TestPartition)$$' ./integration

deaths: parts ## hosts that die while commits wait for two repositories: make deaths DEATHS=100 SEED=1
	REQUIRE_ALL=1 PGARK_TEST_DEATHS=$(DEATHS) PGARK_TEST_SEED=$(SEED) \
		$(GO) test -count 1 -timeout 0 -v -run '^TestSyncHostDeaths$$' ./integration

hang: parts ## the hang's long form, with figures: make hang DURATION=10m RATE=2000
	REQUIRE_ALL=1 PGARK_TEST_DURATION=$(DURATION) PGARK_TEST_RATE=$(RATE) $(GO) test -count 1 -timeout 0 -v -run '^TestBucketHangs$$' ./integration

flips: ## random damage to a repository, each found by verify: make flips FLIPS=10000 SEED=1
	PGARK_TEST_FLIPS=$(FLIPS) PGARK_TEST_SEED=$(SEED) $(GO) test -count 1 -timeout 0 -v -run '^TestFlips$$' ./verify

retention: parts ## restores in a race with prune on two hosts: make retention DURATION=2h SEED=1
	REQUIRE_ALL=1 PGARK_TEST_DURATION=$(DURATION) PGARK_TEST_SEED=$(SEED) $(GO) test -count 1 -timeout 0 -v -run '^TestRetention$$' ./integration

takeover: parts ## regions that are lost, and taken over from: make takeover ROUNDS=10 SEED=1
	REQUIRE_ALL=1 PGARK_TEST_TAKEOVERS=$(ROUNDS) PGARK_TEST_SEED=$(SEED) $(GO) test -count 1 -timeout 0 -v -run '^TestRegionLoss$$' ./integration

follow: parts ## how far a standby is behind, with figures, DURATION for each major: make follow DURATION=4m SEED=1
	REQUIRE_ALL=1 PGARK_TEST_DURATION=$(DURATION) PGARK_TEST_SEED=$(SEED) $(GO) test -count 1 -timeout 0 -v -run '^TestStandbyLag$$' ./integration

hardened: parts ## the suite with versioned buckets, Object Lock and a writer without any right to delete: make hardened RUN='^TestChaos$$'
	REQUIRE_ALL=1 PGARK_TEST_HARDENED=1 $(GO) test -count 1 -parallel $(PARALLEL) -timeout 0 -run '$(RUN)' ./integration

histories: ## made-up histories for retention, each judged by an oracle: make histories HISTORIES=1000000 SEED=1
	PGARK_TEST_HISTORIES=$(HISTORIES) PGARK_TEST_SEED=$(SEED) $(GO) test -count 1 -timeout 0 -v -run '^TestHistories$$' ./retention

ENCRYPTED     ?= TestRestore.*|TestAgentKilled|TestBaseBackup.*|TestArchive.*|TestCrashWithinARecord|TestDroppedTable.*|TestDrill.*|TestExport|TestExposure.*|TestVerifyRepairs|TestCop.*|TestSync.*|TestBucket.*|TestSplitBrain|TestServerSetBack.*|TestLeastPrivilege|TestChaos|TestPartition|TestLeaderVanishes|TestFailover|TestGap.*|TestSlot.*|TestLossAt|TestRecoveryNeverShort|TestRetention|TestStandbyFollows

encrypted: parts ## the tests of the main job, copies, commits that wait, failovers and faults, with everything encrypted
	integration/parts.sh age
	REQUIRE_ALL=1 PGARK_TEST_ENCRYPT=1 $(GO) test -count 1 -parallel $(PARALLEL) -timeout 0 -run '^($(ENCRYPTED))$$' ./integration

# No path and no clock is in it, and the version is git's: the same commit and the same Go give the same bytes, whatever the environment says.
RELEASE_ENV   := CGO_ENABLED=0 GOFLAGS= GOEXPERIMENT= GOAMD64=v1 GOARM64=v8.0 GOOS=linux

release: ## dist/pgark-linux-{amd64,arm64}, what is in them as CycloneDX, manual pages, completions, checksums
	@mkdir -p $(DIST)/completion $(DIST)/man
	rm -f $(DIST)/pgark[-_]* $(DIST)/man/* $(DIST)/SHA256SUMS
	for arch in amd64 arm64; do \
		$(RELEASE_ENV) GOARCH=$$arch $(GO) build -trimpath -buildvcs=true -ldflags '-s -w' -o $(DIST)/pgark-linux-$$arch ./cmd/pgark || exit; \
	done
	cd deploy/sbom && for arch in amd64 arm64; do \
		GOFLAGS= $(GO) run . $(DIST)/pgark-linux-$$arch > $(DIST)/pgark-linux-$$arch.cdx.json || exit; \
	done
	@for shell in bash zsh fish; do $(DIST)/pgark-linux-$$($(GO) env GOHOSTARCH) completion $$shell > $(DIST)/completion/$$shell || exit; done
	$(DIST)/pgark-linux-$$($(GO) env GOHOSTARCH) man --dir $(DIST)/man && gzip -9n $(DIST)/man/*.1
	cd $(DIST) && sha256sum pgark-linux-* > SHA256SUMS

PACKAGE_VERSION ?= $(shell git describe --tags --exact-match --match 'v*' 2>/dev/null | sed 's/^v//' | grep . || git log -1 --date=format:%Y%m%d%H%M%S --format='0.0.0~git%cd.%h')

packages: release $(NFPM_BIN) ## dist/*.deb and *.rpm of the release build, and their checksums
	@set -e; for arch in amd64 arm64; do for packager in deb rpm; do \
		SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) VERSION='$(PACKAGE_VERSION)' ARCH=$$arch DIST=$(DIST) $(NFPM_BIN) package -f deploy/nfpm.yaml -p $$packager -t $(DIST)/; \
	done; done
	cd $(DIST) && sha256sum pgark[-_]* > SHA256SUMS

images: ## both images and all of docker/compose.yaml built and run: where no Docker engine answers, as root with one of its own
	docker/images.sh

$(NFPM_BIN):
	@mkdir -p $(PARTS)/bin
	GOFLAGS= GOBIN=$(PARTS)/bin $(GO) install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM)
	mv $(PARTS)/bin/nfpm $@

clean: ## what was built; not the parts
	rm -rf bin dist
