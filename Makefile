# `make run` and `make test` do all the set-up on a fresh Debian 12 machine as root.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: help run test interop lint build dashboard compare-dhcp compare-proxy compare-sdwan compare-web fuzz advisories setup setup-test clean

TARGET := $(or $(CARGO_TARGET_DIR),target)
# Where tools/setup puts Node.js when the machine's is too old.
NODE := $(abspath $(TARGET))/tools
export PATH := $(NODE)/bin:$(HOME)/.cargo/bin:$(PATH)

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: build ## Build, start with no configuration, print where to look
	exec $(TARGET)/release/outwork run

test: setup-test dashboard ## Every test: crates, real clients in network namespaces, dashboard, browser
	cargo test --workspace --locked
	cargo test --workspace --locked --features outwork/dpdk --test e2e --test kernel -- dpdk
	cd dashboard && npm test --silent

interop: dashboard ## Tunnels to boringtun-cli and gotatun-cli as well, which are built for it, and for longer than keys are used
	tools/setup interop $(NODE)
	OUTWORK_PEERS=all cargo test --workspace --locked --test e2e -- sdwan

lint: setup dashboard ## Formatting, clippy, the dashboard's types and style, licences and duplicates
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cd dashboard && npm run --silent check
	@if command -v cargo-deny >/dev/null; then cargo deny --offline --locked check licenses bans sources; \
	else echo 'cargo-deny is not installed: advisories were not checked'; fi

build: setup dashboard ## The release binary
	cargo build --release --locked -p outwork

dashboard: dashboard/dist/index.html ## The dashboard that the binary embeds

compare-dhcp: build ## Measure Outwork and Kea side by side into bench/results/dhcp.md
	tools/setup compare $(NODE)
	bench/compare-dhcp

compare-web: build ## Measure Outwork, nginx and Varnish side by side into bench/results/web.md
	tools/setup compare $(NODE)
	bench/compare-web

compare-proxy: setup dashboard ## Measure Outwork, HAProxy, nginx and nftables side by side into bench/results/proxy.md
	tools/setup compare $(NODE)
	cargo build --release --locked -p outwork --features dpdk
	cargo build --release --locked -p outwork-fastpath --example packets
	bench/compare-proxy

compare-sdwan: build ## Measure Outwork's tunnel, wireguard-go, boringtun-cli and gotatun-cli side by side into bench/results/sdwan.md
	tools/setup compare $(NODE)
	tools/setup interop $(NODE)
	bench/compare-sdwan

FUZZ_SECONDS ?= 60
fuzz: ## libFuzzer on each target for FUZZ_SECONDS (needs cargo-fuzz and a nightly compiler)
	cd fuzz && for target in $$(cargo +nightly fuzz list); do \
		cargo +nightly fuzz run "$$target" -- -max_total_time=$(FUZZ_SECONDS); done

advisories: ## Known vulnerabilities in dependencies (needs cargo-deny and the network)
	cargo deny --locked check advisories

setup: ## Install what building needs
	tools/setup build $(NODE)

setup-test: ## Install what testing needs
	tools/setup test $(NODE)

clean: ## Remove what was built
	rm -rf dashboard/dist dashboard/node_modules
	cargo clean

dashboard/node_modules/.package-lock.json: dashboard/package.json dashboard/package-lock.json | setup
	cd dashboard && npm ci --loglevel=error --no-audit --no-fund
	touch $@

dashboard/dist/index.html: dashboard/node_modules/.package-lock.json dashboard/index.html dashboard/vite.config.ts \
		dashboard/tsconfig.json $(shell find dashboard/src dashboard/public -type f)
	cd dashboard && npm run --silent build
	touch $@
