# HANas: `make` lists the targets. Needs make and Python 3.11 or newer; the rest goes into .venv.

PYTHON = python3
BIN = .venv/bin
READY = .venv/.ready

.PHONY: help .venv run demo test lint format test-compose manifests images bench-failover pins clean

help: ## list the targets
	@awk -F ':.*## ' '/^[.a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

.venv: $(READY) ## make the virtual environment: pinned dependencies, HANas editable

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "HANas needs Python 3.11 or newer, which '$(PYTHON)' is not." >&2; \
	  echo "Name another one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)

run: $(READY) ## run a whole cluster on this machine, until Ctrl-C
	$(BIN)/hanas lab

demo: $(READY) ## show a dead main and a dead link, told apart
	$(BIN)/hanas demo

test: $(READY) ## unit tests (core: all branches covered), then integration tests
	$(BIN)/python -m pytest tests/unit --cov=hanas_core --cov-branch --cov-fail-under=100
	$(BIN)/python -m pytest tests/integration

lint: $(READY) ## style, format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## rewrite the sources in the common format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

test-compose: $(READY) ## play the drills of docs/compose.md; needs a Docker engine
	HANAS_COMPOSE_REQUIRED=1 $(BIN)/python -m pytest tests/compose --timeout=900

manifests: $(READY) ## render manifests/ from the chart; needs helm
	$(BIN)/python manifests/render.py

images: ## build the container images; needs a Docker engine
	for target in overseer worker operator hanas; do \
	  docker build --target $$target --tag hanas-$$target:dev . || exit 1; \
	done

bench-failover: $(READY) ## measure how long a failover takes
	$(BIN)/python bench/failover.py

pins: $(READY) ## renew requirements/*.txt
	for extra in overseer worker operator client dev; do \
	  $(BIN)/uv pip compile pyproject.toml --extra $$extra --output-file requirements/$$extra.txt \
	    --upgrade --universal --python-version 3.11 --generate-hashes --quiet \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' || exit 1; \
	done

clean: ## remove the virtual environment, caches and build results (no data)
	rm -rf .venv .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf build dist reports
	find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
