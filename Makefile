# Everything is set up here: a fresh machine needs Python 3.11 or newer and make.
#
#   make run     install, get the default model, serve      ARGS="--no-ui openai_chat" is handed on
#   make test    every test, the way CI runs it             TESTS="tests/core -k sse" runs some
#   make fix     format, and mend what ruff can mend
#   make bench   what the relay costs, beside a bare relay  ARGS="--quick"; others: ARGS="gateways",
#                                                           the page: ARGS="page"
#   make screenshots   docs/images, of every tab            ARGS="compare" makes some
#   make lock    pin the newest versions that resolve

PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11 python,\
            $(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
PLUGINS := $(patsubst %/pyproject.toml,%,$(sort $(wildcard plugins/*/pyproject.toml)))
PROJECTS := pyproject.toml $(addsuffix /pyproject.toml,$(PLUGINS))
BUILD := hatchling editables
ARGS ?=
TESTS ?=

.PHONY: run test check fix bench screenshots lock clean
.DEFAULT_GOAL := run

run: $(VENV)/installed
	@exec $(BIN)/h2o run $(ARGS)

# What measures time runs one by one; what starts engines, browsers or databases in threes; all else
# in fours, since most of it waits.
ALONE := $(wildcard tests/test_benchmarks*.py) tests/e2e/test_fleet_black_holes.py
HEAVY := tests/browser tests/e2e tests/endurance
SIDE := $(BIN)/python -m pytest --dist loadscope
test: check $(VENV)/browser $(VENV)/databases
ifeq ($(TESTS),)
	$(SIDE) -n 4 tests plugins $(patsubst %,--ignore=%,$(ALONE) $(HEAVY))
	$(SIDE) -n 3 $(HEAVY) $(patsubst %,--ignore=%,$(ALONE))
	$(BIN)/python -m pytest $(ALONE)
else
	$(BIN)/python -m pytest $(TESTS)
endif

check: $(VENV)/testing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fix: $(VENV)/testing
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/testing
	$(BIN)/python -m benchmarks $(ARGS)

screenshots: $(VENV)/testing $(VENV)/browser
	$(BIN)/python -m docs.screenshots $(ARGS)

$(VENV)/created:
	@test -n "$(PYTHON)" || { echo "h2o relay needs Python 3.11 or newer: install it, or say PYTHON=/path/to/python3"; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "This Python cannot make virtual environments: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	@touch $@

# Build tools first and pinned: an isolated build would ignore the constraints. All plugins in one
# command: they need each other and are on no index.
$(VENV)/installed: $(VENV)/created $(PROJECTS) constraints.txt
	@echo "Installing (a minute or so) ..."
	@$(PIP) install -c constraints.txt pip $(BUILD)
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[proxy,ui]' $(addprefix -e ./,$(PLUGINS))
	@touch $@

$(VENV)/testing: $(VENV)/installed
	@$(PIP) install -c constraints.txt --group test
	@touch $@

# Chromium, for the tests that look at the chat page. Without one they are skipped, with the reason.
$(VENV)/browser: $(VENV)/created tests/browser/install_chromium.sh
	@sh tests/browser/install_chromium.sh
	@touch $@

# Redis, for the tests of limits that relays share; likewise.
$(VENV)/databases: $(VENV)/created tests/support/install_redis.sh tests/support/install_postgres.sh
	@sh tests/support/install_redis.sh
	@sh tests/support/install_postgres.sh
	@touch $@

lock: $(VENV)/created
	@$(PIP) install uv
	$(BIN)/uv pip compile -q --universal --no-header --no-annotate --all-extras --group test --group build \
	  --upgrade -p 3.11 pyproject.toml | grep -v '^-e' > constraints.txt

clean:
	rm -rf $(VENV)
