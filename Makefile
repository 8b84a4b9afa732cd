# make study: install everything and answer the question on a small scale    make test: the tests    make check: the linters    make docs: the site
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export HF_HUB_OFFLINE ?= 1

.PHONY: help install study test check docs format lock clean

help:
	@echo "make study    the quick study: both domains, on data that needs no download (about ten minutes on two cores)"
	@echo "make test     the tests"
	@echo "make check    ruff, mypy and the import directions"
	@echo "make docs     the documentation as a site, in site/: open site/index.html; needs no network"
	@echo "make install  only the environment, in $(VENV)"
	@echo "make lock     renew requirements.lock      make format  let ruff format      make clean  remove $(VENV) and caches"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is %d.%d: make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet -r requirements.lock
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

study: $(INSTALLED)
	$(BIN)/python scripts/run_study.py run scripts/recipes/studies/quick.yaml --folder runs/quick

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture -m "not slow"

docs: $(INSTALLED)  # with --quiet no warning would fail it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(INSTALLED)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url --extra dev pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache build dist site
