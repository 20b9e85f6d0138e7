# The front door.  The real build is meson.build; this says what one may ask for.
.DEFAULT_GOAL := help
.PHONY: help build run run-many test test-all test-build faults faults-many bench e2e fresh map docs deploy check format clean install
DATA   ?= souk-data
LISTEN ?= 127.0.0.1:8080
export CCACHE_SLOPPINESS := time_macros

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

build: ## install what is missing and build build/souk
	@tools/install build
	@tools/configure build
	@ninja -C build --quiet souk

run: build ## build, and serve a demo shop on http://127.0.0.1:8080 (DATA=folder LISTEN=addr:port)
	build/souk run --data $(DATA) --listen $(LISTEN) --demo

run-many: build ## the same, each service a process, on a PostgreSQL and a RabbitMQ of its own
	@tools/install test
	@tools/run_many.py --data $(DATA)-many --listen $(LISTEN)

test-build: build
	@tools/install test
	@tools/configure build-asan --buildtype=debug -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false
	@tools/configure build-tsan --buildtype=debug -Doptimization=1 -Db_sanitize=thread -Db_lundef=false

test: test-build ## install what is missing and run the tests, under the sanitizers
	@tools/test.py

test-all: test-build ## the tests, and what takes long: faults, many kills, the image
	@tools/install all
	@tools/test.py --all

e2e: build ## the scenarios in one SHAPE: embedded, postgres, rabbitmq or nats
	@tools/install test
	@SHAPE=$(or $(SHAPE),embedded) tools/e2e.py

faults: build ## kill -9 under checkout load, 50 times, and once with a planted bug
	@tools/install test
	@test/faults/faults.py --kills 50

faults-many: build ## every process replaced under load; partitions between all hosts, restarts: 40 minutes
	@tools/install all
	@test/faults/rolling.py
	@test/faults/hosts.py --together 8

bench: build ## measure; writes docs/BENCHMARKS.md
	@tools/install test
	@ninja -C build --quiet test/load test/store_floor
	@test/load/bench.py

fresh: ## both commands of the README in a fresh Debian 12 root
	@tools/install all
	@test/fresh.sh

map: build ## write docs/MAP.md anew
	@build/souk map > docs/MAP.md

deploy: build ## write deploy/compose.yaml and deploy/kubernetes/ anew
	@tools/install test
	@tools/gen_deploy.py build/souk

docs: map ## write docs/MAP.md, openapi.json and asyncapi.json anew
	@ninja -C build --quiet docs/openapi.json docs/asyncapi.json && cp build/docs/*api.json docs/

check: ## the rules that a tool can see: the ladder, the call graph
	@tools/check_ladder.py

format: ## clang-format everything
	@tools/install all
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean: ## throw the build folders away
	@rm -rf build build-asan build-tsan
