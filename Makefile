# Every target sets up what it needs: python3.11 or newer and make are enough. The first run installs (minutes),
# later ones start at once. Use another interpreter with `make PYTHON=/path/to/python3.12 …`.

PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	if $$name -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$name; break; fi; done)
VENV := .venv
RUN := $(VENV)/bin/python -m
STAMP := $(VENV)/.installed-dev

# What the tests of the deployment start besides Python: a proxy, a monitor, a browser. Debian keeps nginx in /usr/sbin.
PROGRAMS := nginx prometheus promtool chromium
PACKAGES := nginx-light prometheus chromium
export PATH := $(PATH):/usr/sbin

# Files go to the workers as they stand in the folders: xdist's own order begins with the files of the most tests, and so
# ends with one worker alone at the few long ones.
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder

# Flower is to phone nobody.
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup programs system demo test test-slow chaos deployment-test wheelhouse lint docs format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## create .venv and install GlioFed with all it needs

programs:
	@missing=$$(for name in $(PROGRAMS); do command -v $$name >/dev/null || echo $$name; done); test -z "$$missing" || \
		{ echo "the tests start these programs too, which are not here:" $$missing "; install them: make system" >&2; exit 1; }

system:  ## install nginx, prometheus and chromium, which the tests start, from Debian's packages (asks for root)
	@$(MAKE) --no-print-directory programs 2>/dev/null || { \
		become=$$(test "$$(id -u)" = 0 || echo sudo); $$become apt-get update -qq && \
		$$become env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null; }

demo: $(STAMP)  ## train three phantom hospitals and write demo/report.html; after an update of the code: make clean demo
	$(VENV)/bin/gliofed-sim run simulations/scenarios/three-hospitals.toml --out demo --resume

test: $(STAMP) programs  ## run the tests with coverage, the slow ones left out
	OMP_NUM_THREADS=1 $(RUN) pytest $(SPREAD) --cov --cov-report=term:skip-covered --cov-fail-under=85

test-slow: $(STAMP) programs  ## run the proofs that take minutes
	OMP_NUM_THREADS=1 $(RUN) pytest -m slow $(SPREAD) --durations=0 -rP

chaos: $(STAMP)  ## strike a real deployment with faults, kill a run at every boundary, crowd it with sites; 25 minutes
	OMP_NUM_THREADS=1 $(RUN) simulations.chaos --out chaos/in-process --parts crashes crowd & aside=$$!; \
	OMP_NUM_THREADS=1 $(RUN) simulations.chaos --out chaos/deployed --parts faults; faults=$$?; \
	wait $$aside && exit $$faults

deployment-test: $(STAMP) programs  ## walk the how-to pages on the loopback address: server, nginx, three hospitals, a release
	OMP_NUM_THREADS=1 $(RUN) pytest -m "slow or not slow" tests/deployment --deselect tests/deployment/test_whole_way.py --durations=0 -rP

wheelhouse: $(STAMP)  ## collect GlioFed and all that it needs, for a machine without a network
	rm -rf wheelhouse build
	$(RUN) pip wheel --disable-pip-version-check --quiet --wheel-dir wheelhouse '.[client,server]'
	cd wheelhouse && sha256sum -- *.whl > SHA256SUMS

lint: $(STAMP)  ## check style, format and types
	$(RUN) ruff check --no-cache .
	$(RUN) ruff format --check .
	$(RUN) mypy

docs: $(STAMP)  ## write the reference pages that are made from the sources
	$(RUN) simulations.report.reference summary > docs/reference/summary.md
	$(RUN) simulations.report.reference bench > docs/reference/bench.md

format: $(STAMP)  ## rewrite the sources in the house's format
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

clean:  ## remove what the targets made, .venv aside
	rm -rf demo chaos wheelhouse build dist .mypy_cache .ruff_cache .pytest_cache .coverage htmlcov

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "GlioFed needs Python 3.11 or newer with its venv module; install it (Debian: apt-get install python3.11-venv) or name one: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(RUN) pip install --disable-pip-version-check --quiet --editable '.[dev]'
	@touch $@
