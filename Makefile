# One profile (release) for the binary, tests and benchmarks, so that every dependency is compiled once.
CARGO ?= cargo
PROFILE = --release
DNC_RUN = target/release/dnc-run
ONLY ?= .

.PHONY: run build test bench bench-peers doc fmt lint deny data check-cuda ci

## Builds, then runs the quickstart: embedded images, K = 1, 2, 4, a metric table at the end.
run: build
	$(DNC_RUN) pipelines/quickstart.toml

build:
	$(CARGO) build $(PROFILE) --locked

test:
	$(CARGO) test $(PROFILE) --locked --workspace --quiet

fmt:
	$(CARGO) fmt --all --check

# Tests may unwrap; what users run may not.
lint:
	$(CARGO) clippy $(PROFILE) --locked --workspace --lib --bins -- -D warnings
	$(CARGO) clippy $(PROFILE) --locked --workspace --all-targets -- -D warnings -A clippy::unwrap_used

# Links from public to private items are for those who read the source.
doc:
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc $(PROFILE) --locked --workspace --no-deps

## Licences, advisories and duplicates of the dependencies, where cargo-deny is installed.
deny:
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; else echo "cargo-deny is not installed: skipped"; fi

ci: fmt lint doc test
