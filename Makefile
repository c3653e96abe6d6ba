# Two commands: `make study` (set-up + both studies + results on the embedded default), `make test` (set-up + all tests).
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
TORCH ?= torch==2.13.0
STAMP := $(VENV)/.installed
RUN := $(PY) train_gazegaussian_optuna.py

.PHONY: setup study test docs lint notebooks lock audit-deps gpu-acceptance clean-results

setup: $(STAMP)

# torch first and alone: on a machine without a GPU a plain `torch` would pull gigabytes of CUDA packages. The others in the
# versions that were tested, with hashes; LOCK= takes the newest that the requirements admit.
LOCK ?= requirements.lock
$(STAMP): requirements.txt requirements-cluster.txt requirements-dev.txt requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(PY) -c "import torch" 2>/dev/null || $(PY) -m pip install -q "$(TORCH)"
	$(PY) -m pip install -q $(if $(LOCK),--require-hashes --no-deps -r $(LOCK),-r requirements-dev.txt)
	touch $(STAMP)

study: setup
	$(RUN) study meshhead
	$(RUN) study gazegaussian

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# These pages as a site in site/: tables of keys are written from the schemas; a broken link or anchor is an error.
docs: setup
	$(PY) -m docs.tools.tables
	$(PY) -m mkdocs build --strict

# The address in REPOSITORY into the notebooks, then notebooks and their twins in notebooks/scripts: the one changed last wins.
notebooks: setup
	$(PYTHON) .ci/address
	$(PY) -m jupytext --sync notebooks/*.ipynb

# More processes than cores: many tests wait, for a child, a clock or a server. The longest files first (tests/conftest.py).
# COVER=1 counts the lines that tests run in their own processes (children and forks are not counted), as CI does.
test: lint
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(if $(COVER),--cov --cov-report=)

# What is installed here, once it has been tested, becomes requirements.lock.
lock: setup
	.ci/lock $(VENV)

# Known vulnerabilities of what is installed: asks PyPI, which CI cannot. pip-audit gets a folder of its own. --strict: a
# package that could not be looked up is an error.
audit-deps: setup
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install -q pip-audit
	$(PY) -m pip list --format=freeze | sed -E 's/[+][a-z0-9.]+$$//' >$(VENV)-audit/installed.txt  # builds share a version
	$(VENV)-audit/bin/pip-audit --strict --disable-pip --no-deps -r $(VENV)-audit/installed.txt

# Everything that declares the CUDA path good, on a machine with one GPU, within 25 minutes; STAND_IN=1 runs it without one.
gpu-acceptance: setup
	$(PY) -m benchmarks.acceptance $(if $(STAND_IN),--stand-in)

clean-results:
	find optuna_results -mindepth 1 ! -name README.md -delete
