# `make check` needs no service and takes a minute; `make test` is what CI runs; `make bench` gives the figures of README.

cache := $(or $(WARDWATCH_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/wardwatch)
# Outside the clone, so that the next clone need not build everything again.
export CARGO_TARGET_DIR ?= $(cache)/target

.PHONY: check test services bench soak fuzz golden mutations

# The tests in tests/it want services, and are left out without this.
with_services := --features wardwatch/services

# What a change must pass before anybody looks at it.
check:
	cargo fmt --all -- --check
	cargo clippy --locked --all-targets $(with_services) -- -D warnings
	cargo clippy --locked --quiet --no-default-features --lib -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --quiet
	cargo test --locked --quiet

# Tests wait more than they compute: with two more than processors, these are idle for a third of the time.
threads := $(shell expr $$(nproc) + 2)

# What depends on the broker, which runs once more with Kafka 3.9 and ZooKeeper.
of_kafka := source:: topics:: fifty_kills a_second_job_is_fenced

# All of it. Unit tests are in what the services are started for, so that they are built once.
test:
	cargo fmt --all -- --check
	cargo clippy --locked --all-targets $(with_services) -- -D warnings
	cargo clippy --locked --quiet --no-default-features --lib -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --quiet
	RUST_TEST_THREADS=$(threads) tests/services/with cargo test --locked $(with_services)
	RUST_TEST_THREADS=$(threads) WARDWATCH_KAFKA=kafka39 tests/services/with cargo test --locked $(with_services) --test it -- $(of_kafka)

# Kafka, MySQL and MariaDB for work by hand; prints their addresses.
services:
	tests/services/with tests/services/hold

bench:
	WARDWATCH_SEEDS=1000 tests/services/with cargo test --locked --release $(with_services) --test it no_alarm_of_a_ward
	WARDWATCH_LIVE_SEEDS=30 tests/services/with cargo test --locked --release $(with_services) --test it no_alarm_is_lost
	cargo bench --locked --bench decode
	cargo bench --locked --bench windows
	cargo bench --locked --bench authoring
	tests/services/with cargo bench --locked --bench alerts
	tests/services/with cargo bench --locked --bench gateway
	tests/services/with cargo bench --locked --bench pipeline
	tests/services/with cargo bench --locked --bench reports
	tests/services/with cargo bench --locked --bench interference

# Twenty minutes at 1,000 records a second: memory must not grow.
soak:
	tests/services/with cargo bench --locked --bench pipeline -- soak

# A million torn records of each form; none may make the decoder panic, or cost another.
fuzz:
	WARDWATCH_FUZZ=1000000 cargo test --locked --release -p wardwatch-ingest --lib fuzz

# Takes back one fix of alarms and of the store after another: a ward of `make test` must find each.
mutations:
	tests/services/with tests/it/mutations.py

# Rewrites the golden files from what the program prints now; look at the difference before you commit it.
golden:
	WARDWATCH_GOLDEN=write cargo test --locked $(with_services) --test it golden
