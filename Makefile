# Everything a person does with this repository is a target here; `make` alone lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# What runs Apollo; and that with the tools that test it.
READY  := $(VENV)/ready
TOOLS  := $(VENV)/ready-to-test

# As declared in pyproject.toml, one word each.
PYTHONS = $(shell sed -n 's/.*Python :: \(3\.[0-9]*\)".*/\1/p' pyproject.toml)

# Apache Kafka's jars where they can be had; without them the broker from the wheel stands in.
WITH_KAFKA = scripts/kafka-jars $(VENV)/kafka; got=$$?; \
	if [ $$got = 0 ]; then export KAFKA_JARS=$(VENV)/kafka; \
	elif [ $$got != 3 ]; then exit $$got; fi;

# Tests start hundreds of processes: each loads what was compiled once, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv dev demo test test-types test-fresh faults foreign hostile test-kafka cluster bench-quick diagnose \
	lock fmt clean

help:  ## List every target with its sentence.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(READY)  ## Make the environment that runs Apollo in .venv; other targets do it by themselves.

dev: $(TOOLS)  ## Make the environment in .venv with the tools that check and test it.

demo: $(READY)  ## Run a whole campaign against RotaryRouter in this terminal.
	$(BIN)/python -m apollo.demo

test: $(TOOLS)  ## Check format, lint, types and imports, then run all tests.
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist worksteal

test-types: $(TOOLS)  ## Check the types for every Python version that pyproject.toml declares.
	@for version in $(PYTHONS); do \
		echo "Python $$version"; $(BIN)/mypy --python-version $$version || exit 1; done

test-fresh:  ## Type README's commands on minimal Debian systems made for it; needs root and debootstrap.
	scripts/fresh-machines

faults: $(TOOLS)  ## Break everything at full length and write docs/reference/reliability.md; an hour and a half on 2 cores.
	$(BIN)/python -m scripts.reliability

foreign: $(TOOLS)  ## Give 10 000 odd values to each reader of what others send, and count; some twenty minutes.
	APOLLO_TEST_FULL=1 $(BIN)/pytest -q -o faulthandler_timeout=0 tests/properties/test_foreign_values.py \
		tests/properties/test_foreign_lists.py

hostile: $(TOOLS)  ## Attack a running Apollo in every way at once, and print what its other clients waited.
	APOLLO_TEST_FULL=1 $(BIN)/pytest -q -rP tests/e2e/test_hostile_clients.py

test-kafka: $(TOOLS)  ## Run the tests of the bus against Apache Kafka itself; needs Java and Maven.
	@scripts/kafka-jars $(VENV)/kafka; got=$$?; \
	if [ $$got = 3 ]; then exit 0; elif [ $$got != 0 ]; then exit $$got; fi; \
	KAFKA_JARS=$(VENV)/kafka $(BIN)/pytest -n 2 --dist worksteal tests/buses

cluster: $(TOOLS)  ## Run the topology of deploy/compose.yaml as processes, and kill some.
	@$(WITH_KAFKA) $(BIN)/python -m scripts.cluster

diagnose: $(TOOLS)  ## Break a running Apollo in every way there is, and see /debug name it.
	@$(WITH_KAFKA) $(BIN)/python benchmarks/diagnose.py

bench-quick: $(TOOLS)  ## Measure the figures that matter most.
	$(BIN)/python benchmarks/quick.py

lock: $(TOOLS)  ## Renew both locks from pyproject.toml, with the hashes of every file.
	@for lock in requirements requirements-dev; do \
		extra="--extra build"; \
		[ $$lock = requirements ] || extra="$$extra --extra dev --constraint requirements.lock"; \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-annotate --custom-compile-command "make lock" $$extra --output-file $$lock.lock pyproject.toml \
			&& echo "$$lock.lock"; done

fmt: $(TOOLS)  ## Format the code and mend what the linter can mend.
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:  ## Remove the environment and everything the tools left behind.
	rm -rf $(VENV) build src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .demo
	find src tests -name __pycache__ -prune -exec rm -rf {} +

# Completed when what it should hold changes; with all of that in place nothing needs the network.
# Debian keeps a part of venv (ensurepip) in a package of its own: without it, the pip outside fills
# the environment from outside. The stamp comes last: an interrupted install is done again.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Apollo needs Python 3.11 or later and $(PYTHON) is `$(PYTHON) -V 2>&1`;" \
			"name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null \
		|| $(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 \
		|| $(PYTHON) -m venv --clear --without-pip $(VENV) \
		|| { echo "$(PYTHON) cannot make an environment; install python3-venv" >&2; exit 1; }
	@$(call install,--require-hashes -r requirements.lock)
	@$(call install,--no-deps --no-build-isolation -e .)
	@touch $@

$(TOOLS): requirements-dev.lock $(READY)
	@$(call install,--require-hashes -r requirements-dev.lock)
	@touch $@

install = pip="$(BIN)/python -m pip"; \
	$$pip --version >/dev/null 2>&1 || pip="$(PYTHON) -m pip --python $(BIN)/python"; \
	$$pip --version >/dev/null 2>&1 \
		|| { echo "$(PYTHON) has neither ensurepip nor a pip of 22.3 or later;" \
			"install python3-venv or upgrade pip" >&2; exit 1; }; \
	$$pip install --quiet --disable-pip-version-check $(1)
