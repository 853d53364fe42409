# Everything that is done here often. Nothing is installed outside of the checkout but programs in a cache folder
# (tests/tools/install says which) and what cargo keeps.

.DEFAULT_GOAL := help
.PHONY: help demo test test-full bench fuzz crds clean tools lint compile behaviour python demo-compile bench-compile

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## see it work on a real API server; KEEP=1 leaves it running
	@tests/tools/check rust go
	@echo "make demo: first whatever is not built yet: the operator (Rust) and, side by side, a control plane (Go)"
	@$(MAKE) --no-print-directory -j2 tools demo-compile
	@cargo run --quiet --example demo -- $(if $(filter-out 0,$(KEEP)),--keep)

test: ## every check and test; a fresh machine builds its tools first, once
	@tests/tools/check rust lint go python
	@cargo fmt --all --check
	@$(MAKE) --no-print-directory -j2 tools compile
	@$(MAKE) --no-print-directory behaviour
	@$(MAKE) --no-print-directory python
	@echo "make test: all passed"

test-full: test ## make test, then the short form of the benchmark
	@$(MAKE) --no-print-directory bench N=$(or $(N),1000)

bench: ## writes docs/benchmarks.md anew, half an hour; N=1000 is a short form that leaves it alone
	@tests/tools/check rust go
	@$(MAKE) --no-print-directory -j2 tools bench-compile
	@cargo run --release --quiet --example bench -- $(N)

fuzz: ## throws bytes at all that reads foreign ones, a minute each; FUZZ_SECONDS=3600, TARGET=pfx: one, INPUT=file: again
	@tests/tools/check rust fuzz
	@tests/fuzz/run $(or $(FUZZ_SECONDS),60) "$(TARGET)" "$(INPUT)"

crds: ## rewrites crds/ and the chart's CRDs from the Rust types
	BLESS=1 cargo test --quiet --test it crds::

clean: ## removes what was built in the checkout; the tools stay in their cache
	cargo clean
	rm -rf .cache

# The steps of the above. The tools (Go) and the product (Rust) build side by side.

tools:
	@tests/tools/install >/dev/null

compile: lint
	cargo test --workspace --no-run

lint:
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

behaviour:
	cargo test --workspace

python:
	tests/python/run

# Of one package, as `cargo run` builds it: with others the features of its dependencies are others.
demo-compile:
	cargo build --bin vaultsync --example demo

bench-compile:
	cargo build --release --bin vaultsync --example bench
