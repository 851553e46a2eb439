# `make quick`: the demonstration. `make test`: the default test suite. Both set up `.venv` first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# where torch without CUDA comes from; TORCH_INDEX= (nothing) takes what the usual index has
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# a file stays with one process, so that what its tests share is made once; the plugin for notebooks
# takes each process seconds to load
FILES := --dist loadfile -p no:nbmake
# where the tests are that kill processes: to look at all others takes longer
FAULTS := -p no:nbmake tests/experiments/execution

.PHONY: quick test notebooks check headline slow faults faults-short ray clean

quick: $(INSTALLED)
	$(BIN)/loopscope run quick --out runs/quick

headline: $(INSTALLED)
	$(BIN)/loopscope run headline --out runs/headline

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto $(FILES)

notebooks: $(INSTALLED)
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=120 -n 2 notebooks/*.ipynb

slow: $(INSTALLED)
	$(BIN)/python -m pytest -m "slow and not faults"

faults: $(INSTALLED)
	$(BIN)/python -m pytest -m "faults or ray" -rs

faults-short: $(INSTALLED)
	$(BIN)/python -m pytest -m "faults and not slow" -n 2 $(FAULTS)

ray: $(INSTALLED)
	$(BIN)/python -m pytest -m ray -rs

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check

# On Linux x86_64 the torch of the usual index brings CUDA: several GB that a machine without an
# NVIDIA GPU does not need. torch alone is installed here, the rest comes from the usual index.
define CPU_TORCH
case "$$(uname -sm)" in "Linux x86_64") \
  if command -v nvidia-smi > /dev/null; then \
    echo "torch: the build with CUDA, several GB (an NVIDIA GPU is here)"; \
  elif [ -n "$(TORCH_INDEX)" ] && $(BIN)/python -m pip install --quiet --retries 0 --timeout 10 \
      --no-compile --no-deps --constraint constraints.txt --index-url $(TORCH_INDEX) torch \
      2> /dev/null; then \
    echo "torch: the CPU build from $(TORCH_INDEX), about 200 MB"; \
  else \
    echo "torch: no CPU build from '$(TORCH_INDEX)', so the usual index decides; its build for Linux"; \
    echo "may bring CUDA, several GB. To avoid that stop now (Ctrl-C) and name an index that has the"; \
    echo "CPU build: make TORCH_INDEX=https://..., or install torch into $(VENV) before make"; \
  fi ;; \
esac
endef

# pip would compile on one core, for a minute; some packages have files that are not to be compiled
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "loopscope needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(CPU_TORCH)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null 2>&1 || true
	@touch $(INSTALLED)

clean:
	rm -rf $(VENV) build dist *.egg-info
