# HANas: `make` lists the targets. Needs make and Python 3.11 or newer; the rest goes into .venv.

PYTHON = python3
BIN = .venv/bin
READY = .venv/.ready
CHECKOV = .venv/checkov/bin/checkov

SEEDS = 1000
FIRST = 0
SEED =
JOBS = 1
EXAMPLES = 500
REQUESTS = 3000
PYTHONS = $(BIN)/python
PLATFORMS = linux/amd64,linux/arm64
VERSIONS = 3 4.1 4.2 4.2-plain

UPGRADE_FROM =
E2E = HANAS_E2E_REQUIRED=1 $(BIN)/python -m pytest --capture=tee-sys --durations=0 --durations-min=1

# Every target with a description is a command, not a file.
.PHONY: $(shell awk -F ':.*## ' '/^[.a-z0-9-]+:.*## / { print $$1 }' Makefile)

help: ## list the targets
	@awk -F ':.*## ' '/^[.a-z0-9-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' Makefile

.venv: $(READY) ## create the virtual environment: pinned dependencies, HANas editable

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "HANas needs Python 3.11 or newer, which '$(PYTHON)' is not." >&2; \
	  echo "Name another one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)

$(CHECKOV): requirements/checkov.txt | $(READY)
	$(BIN)/python -m venv .venv/checkov
	.venv/checkov/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements/checkov.txt
	@touch $(CHECKOV)

run: $(READY) ## run a whole cluster on this machine, until Ctrl-C
	$(BIN)/hanas lab

demo: $(READY) ## show how a failed main and a failed link are distinguished, and a lock over deaths of main and holder
	$(BIN)/hanas demo

test: $(READY) ## unit tests (core: all branches covered), simulated runs and integration tests, but those that take long
	$(BIN)/python -m pytest tests/unit/core --numprocesses auto --cov=hanas_core --cov-branch --cov-fail-under=100
	$(BIN)/python -m pytest tests/unit --ignore tests/unit/core -m 'not long' --numprocesses auto
	$(BIN)/python -m pytest tests/sim -m 'not long' --numprocesses auto
	$(BIN)/python -m pytest tests/integration -m 'not long' --numprocesses auto --maxprocesses 4 --dist loadfile

test-long: $(READY) ## the rest of these, and some bad input: needs no more than they do, but time
	$(BIN)/python -m pytest tests/unit --ignore tests/unit/core -m long --numprocesses auto
	$(BIN)/python -m pytest tests/sim -m long --numprocesses auto
	$(BIN)/python -m pytest tests/integration -m long --numprocesses auto --maxprocesses 4 --dist loadfile
	$(BIN)/python -m pytest tests/fuzz

fuzz: $(READY) ## send EXAMPLES=500 or more bad requests of each kind from docs/openapi; SEED=n sets the first seed
	HANAS_FUZZ_EXAMPLES=$(EXAMPLES) HANAS_FUZZ_SEED=$(or $(SEED),$$(date +%s)) $(BIN)/python -m pytest tests/fuzz

sim: $(READY) ## simulate SEEDS=1000 clusters with all faults, or one SEED=n with its trace
	@$(BIN)/python -m tests.sim.campaign $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST) --jobs $(JOBS))

sim-mutants: $(READY) ## break the protocol in every known way, in JOBS processes; each break must be caught
	@$(BIN)/python -m tests.sim.mutants --jobs $(JOBS)

sim-explore: $(READY) ## try every order of the folder's operations in small clusters
	@$(BIN)/python -m tests.sim.explore

lint: $(READY) ## check style, format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## rewrite the sources in the common format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lint-manifests: $(READY) $(CHECKOV) ## have checkov look at manifests, chart (with helm) and what the operator makes; downloads it once
	$(BIN)/python -m manifests.lint $(CHECKOV)

test-wheel: $(READY) ## install the wheel in an empty environment for each of PYTHONS, and run its commands; downloads the dependencies
	HANAS_PYTHONS="$(PYTHONS)" $(BIN)/python -m pytest tests/wheel

test-mounts: $(READY) ## make folders hang, fail and fill up, one worker's at a time; needs FUSE (bindfs, fuse3)
	HANAS_MOUNTS_REQUIRED=1 $(BIN)/python -m pytest tests/mounts

test-attacks: $(READY) ## attack clusters of real processes as hostile or careless clients and failing machines do; best as root
	HANAS_ATTACKS_REQUIRED=1 $(BIN)/python -m pytest tests/attacks

test-nfs: $(READY) ## test on NFS: on HANAS_NFS_MOUNTS, or on VERSIONS in machines that the program NFS boots; TESTNFS: options
	$(BIN)/python -m tests.nfs $(if $(NFS),--machine "$(NFS)" --versions $(VERSIONS)) $(TESTNFS)

test-proxies: $(READY) ## run the configurations of docs/proxies.md; needs nginx and haproxy, and takes traefik if it is in PATH
	HANAS_PROXIES_REQUIRED="nginx haproxy" $(BIN)/python -m pytest tests/proxies

test-etcd: $(READY) ## compare etcd's API with a real etcd, by etcdctl, REQUESTS=3000 random requests and client libraries; run Patroni, and a Kubernetes by the program KUBERNETES; needs what CONTRIBUTING.md says
	HANAS_ETCD_REQUIRED=1 HANAS_ETCD_KUBERNETES=$(KUBERNETES) HANAS_ETCD_REQUESTS=$(REQUESTS) HANAS_ETCD_SEED=$(or $(SEED),$$(date +%s)) $(BIN)/python -m pytest tests/etcd

test-compose: $(READY) ## run the drills of docs/compose.md; needs a Docker engine
	HANAS_COMPOSE_REQUIRED=1 $(BIN)/python -m pytest tests/compose --timeout=900

e2e: $(READY) ## run the end-to-end tests on the cluster of KUBECONFIG, or on a temporary kind cluster
	$(E2E) tests/e2e -m 'not upgrade'

e2e-short: $(READY) ## run all but those that take minutes each
	$(E2E) tests/e2e -m 'not upgrade and not long'

e2e-smoke: $(READY) ## run the first minutes of them: installation, a cut link, a killed main
	$(E2E) tests/e2e -m smoke

e2e-upgrade: $(READY) ## upgrade chart, operator and image from 0.1.0 or the commit UPGRADE_FROM to these, under load
	HANAS_E2E_UPGRADE_FROM=$(UPGRADE_FROM) $(E2E) tests/e2e -m upgrade

messages: $(READY) ## regenerate the messages of etcd's API from worker/hanas_worker/faces/etcd/messages/*.proto
	$(BIN)/python -m grpc_tools.protoc -I worker --python_out=worker --pyi_out=worker $(wildcard worker/hanas_worker/faces/etcd/messages/*.proto)

openapi: $(READY) ## regenerate the schemas in docs/openapi from the types
	$(BIN)/python -m docs.openapi.generate

fields: $(READY) ## regenerate docs/fields.md from the definitions of the resources
	$(BIN)/python -m docs.fields

manifests: $(READY) ## render manifests/ from the chart; needs helm
	$(BIN)/python manifests/dashboard.py
	$(BIN)/python manifests/render.py

check-rules: ## check the alert rules with Prometheus' own promtool (Debian's package prometheus has it)
	promtool check rules charts/hanas/files/alerts.yaml
	promtool test rules tests/unit/packaging/alerts_played.yaml

images: ## build the container images; needs a Docker engine
	for target in overseer worker operator client hanas; do \
	  docker build --target $$target --tag hanas-$$target:dev . || exit 1; \
	done

release: $(READY) ## build images, bills of materials, chart, kubectl plugin, OLM bundle into dist/release; REGISTRY pushes, KEY and KEYRING sign
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/release.txt
	$(BIN)/python -m release --platforms "$(PLATFORMS)" --build-options="$(BUILD_OPTIONS)" $(if $(REGISTRY),--registry "$(REGISTRY)") \
	  $(if $(PLAIN_HTTP),--plain-http) $(if $(DOWNLOADS),--downloads "$(DOWNLOADS)") $(if $(KEY),--key "$(KEY)") $(if $(KEYRING),--keyring "$(KEYRING)") \
	  $(if $(PASSPHRASE_FILE),--passphrase-file "$(PASSPHRASE_FILE)")

bench-failover: $(READY) ## measure the duration of a failover
	$(BIN)/python -m bench.failover

bench-peers: $(READY) ## measure the same kill with etcd and with Redis and Sentinel, if they are in PATH
	$(BIN)/python -m bench.peers

faults: $(READY) ## break a cluster of real processes in every known way; best as root, with bindfs, ip and nft
	$(BIN)/python -m bench.faults $(FAULTS)

bench: $(READY) ## compare HANas with etcd and with an endpoint that does nothing; needs wrk, etcd and Go
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/bench.txt
	$(BIN)/python -m bench.run
	$(BIN)/python -m bench.plots reports/bench

bench-interpreter: $(READY) ## measure the interpreter's time for a plain PUT and GET, and calls of etcd's API, in one process
	$(BIN)/python -m bench.interpreter
	$(BIN)/python -m bench.interpreter_etcd

bench-etcd: $(READY) ## compare etcd's API with a 3-node etcd under etcd's own load; needs etcd 3.6, and Go or that load in ETCD_BENCHMARK
	$(BIN)/python -m bench.etcd

bench-growth: $(READY) ## measure cold start, memory and takeovers from 1,000 to 1,000,000 keys, and with history and leases
	$(BIN)/python -m bench.growth
	$(BIN)/python -m bench.growth --keys 100000 --versions 100000 --leases 10000 --kills 15

bench-watchers: $(READY) ## measure how late 1, 100 and 1,000 watchers are told of 1,000 changes a second
	$(BIN)/python -m bench.watchers

bench-compaction: $(READY) ## measure the cost of compaction for concurrent writes
	$(BIN)/python -m bench.compaction

pins: $(READY) ## update requirements/*.txt
	for selection in $(addprefix --group=,overseer worker client operator bench checkov etcd-clients release) "--extra=dev pyproject.toml"; do \
	  name=$${selection#*=}; \
	  $(BIN)/uv pip compile $$selection --output-file requirements/$${name%% *}.txt \
	    --upgrade --universal --python-version 3.11 --generate-hashes --quiet \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' || exit 1; \
	done

clean: ## remove the virtual environment, caches and build results (no data)
	rm -rf .venv .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf build dist reports
	find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
