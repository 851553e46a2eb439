# `make quick`: the demonstration. `make test`: the default test suite. Both set up `.venv` first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: quick test notebooks check headline slow faults faults-short ray clean

quick: $(INSTALLED)
	$(BIN)/loopscope run quick --out runs/quick

headline: $(INSTALLED)
	$(BIN)/loopscope run headline --out runs/headline

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto

notebooks: $(INSTALLED)
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=120 notebooks/*.ipynb

slow: $(INSTALLED)
	$(BIN)/python -m pytest -m "slow and not faults"

faults: $(INSTALLED)
	$(BIN)/python -m pytest -m "faults or ray" -rs

faults-short: $(INSTALLED)
	$(BIN)/python -m pytest -m "faults and not slow" -n 2

ray: $(INSTALLED)
	$(BIN)/python -m pytest -m ray -rs

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "loopscope needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(INSTALLED)

clean:
	rm -rf $(VENV) build dist *.egg-info
