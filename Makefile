# Everything here works in a fresh clone with Rust alone: what needs RabbitMQ or PostgreSQL starts a private one
# (deploy/dev/with-servers.sh), unless AMQP_URL and DATABASE_URL name yours.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
IMAGE ?= asset-eraser
WITH_SERVERS := deploy/dev/with-servers.sh
# Measured as it is released.
BENCH := --release --locked --package bench

# The tests mostly wait for other processes; more of them than cores keeps a small machine busy.
export RUST_TEST_THREADS ?= 6

.PHONY: help demo test faults cluster soak bench bench-goodput bench-scale bench-programs bench-retention fuzz mutants contract fmt clippy doc deny check image deb try-deb dist sbom need-cargo

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: need-cargo ## see the worker delete, wait, refuse and recover, against a stand-in for the provider
	$(CARGO) build --locked
	$(WITH_SERVERS) $(CARGO) run --locked --bin demo

test: need-cargo ## run all tests against a real RabbitMQ and a real PostgreSQL
	$(WITH_SERVERS) --postgres $(CARGO) test --locked

# PARTS='at-once slow' runs some of them; sizes and durations: tools/bench/src/bin/load/settings.rs.
bench: bench-programs ## measure rate, CPU, memory and goodput of the worker, beside a floor (a quarter of an hour)
	$(WITH_SERVERS) $(CARGO) run $(BENCH) --bin load -- $(PARTS)

bench-goodput: bench-programs ## measure only how well the worker follows a limit that it is not told
	$(WITH_SERVERS) $(CARGO) run $(BENCH) --bin load -- goodput

bench-scale: bench-programs ## measure one, two and four workers with one PostgreSQL ledger
	$(WITH_SERVERS) --postgres $(CARGO) run $(BENCH) --bin load -- scale

faults: need-cargo ## random faults for FAULTS_MINUTES (10), and every promise checked; FAULTS_SEED repeats a run
	$(WITH_SERVERS) --postgres $(CARGO) test --locked --test it many_faults -- --ignored --nocapture

cluster: need-cargo ## two thousand requests over three brokers that are killed, cut off and restarted (four minutes)
	$(WITH_SERVERS) $(CARGO) test --locked --test it whatever_happens_to_nodes -- --ignored --nocapture

soak: need-cargo ## a steady load with faults for SOAK_MINUTES (30): nothing may grow
	$(WITH_SERVERS) $(CARGO) test --locked --test it in_the_long_run -- --ignored --nocapture

bench-programs: need-cargo
	$(CARGO) build $(BENCH) --package asset-eraser --package sandbox --bins

bench-retention: need-cargo ## measure what retention costs on a ledger of a million requests (some minutes)
	$(WITH_SERVERS) --postgres $(CARGO) run $(BENCH) --bin retention

# What it found so far is replayed by `make test`, which needs none of this.
fuzz: need-cargo ## look for inputs that break a promise, FUZZ_S (60) seconds a target; needs a nightly compiler and cargo-fuzz
	deploy/dev/fuzz.sh

# MUTANTS='01 12a' tries some of them.
mutants: need-cargo ## put mended faults back one at a time, and see that the tests find each (an hour)
	deploy/dev/mutants.sh $(MUTANTS)

contract: need-cargo ## write docs/schemas/ and docs/settings.md again, after a change of messages or settings
	UPDATE_DOCS=1 $(CARGO) test --locked --lib -- message::schema settings::keys

fmt: need-cargo ## format the code
	$(CARGO) fmt --all

clippy: need-cargo ## lint the code; a warning is an error
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

doc: need-cargo ## build the documentation; a warning is an error
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --locked

CHECKS ?= bans licenses sources
deny: need-cargo ## check the dependencies against deny.toml (needs cargo-deny; CHECKS=advisories needs the network too)
	@command -v cargo-deny >/dev/null || { \
	    echo 'cargo-deny was not found: cargo install cargo-deny --locked' >&2; exit 1; }
	$(CARGO) deny --locked check $(CHECKS)

check: need-cargo ## everything that CI checks
	.ci/run

# SOURCE names the repository that a registry should show the image with.
LABEL := $(if $(SOURCE),--label org.opencontainers.image.source=$(SOURCE))
image: ## build the worker's container image
	docker build --file deploy/Dockerfile --target worker --tag $(IMAGE) $(LABEL) .

deb: need-cargo ## build the Debian package (needs cargo-deb)
	deploy/debian/build.sh

# DEB=FILE tries that one.
try-deb: need-cargo ## install, upgrade, remove and purge the Debian package in a Debian of its own (root, debootstrap; minutes)
	deploy/debian/try.sh $(DEB)

dist: need-cargo ## make in target/dist/ what a release offers for this architecture: archive and Debian package
	deploy/release/dist.sh

sbom: need-cargo ## list the crates in the worker as CycloneDX, in target/dist/ (needs cargo-cyclonedx)
	deploy/release/sbom.sh

need-cargo:
	@command -v $(firstword $(CARGO)) >/dev/null || { \
	    echo 'cargo was not found: install Rust from https://rustup.rs and open a new shell' >&2; exit 1; }
