# Everything runs from a fresh clone with Python >= 3.11 and nothing installed: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Thread teams of several processes stall each other on shared cores; tests run on one thread each.
TEST_ENV := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 MPLBACKEND=agg
SPREAD := --numprocesses logical --maxprocesses 8 --dist loadfile

.PHONY: demo test slow typecheck bench check format clean

demo: $(VENV)/.run           ## train, measure and report on real digits (about two minutes)
	$(BIN)/geomem demo --out geomem-demo

test: $(VENV)/.dev           ## run the tests and doctests, but for the slow ones
	$(TEST_ENV) $(BIN)/pytest $(SPREAD) -m "not slow"

slow: $(VENV)/.dev           ## tests that start processes, a browser or a cluster
	$(TEST_ENV) $(BIN)/pytest $(SPREAD) -m slow tests

# Modules whose functions state shapes. Checking them slows every call, so that it is a run of its own; NumPy's ArrayLike
# of geomem.theory is beyond a runtime checker.
comma := ,
empty :=
TYPED := data manifolds scores spectra.exact spectra.leading spectra.probes spectra.products spectra.rotations spectra.singular spectra.spectrum \
	spectra.trace training.ensemble training.gradients training.mlp training.nested
TYPED_TESTS := tests/test_types.py tests/manifolds tests/scores tests/spectra

typecheck: $(VENV)/.dev      ## call the functions that state shapes, and hold them to it
	$(TEST_ENV) $(BIN)/pytest -m "not slow and not repeated" $(TYPED_TESTS) \
		--jaxtyping-packages=$(subst $(empty) ,$(comma),$(addprefix geomem.,$(TYPED)))$(comma)beartype.beartype

bench: $(VENV)/.bench        ## time the empirical score, spectra and training beside what else there is (20 minutes, a quiet core)
	$(BIN)/python benchmarks/speed.py --out geomem-bench
	$(BIN)/python benchmarks/growth.py --out geomem-bench
	$(BIN)/python benchmarks/training.py --out geomem-bench/training.json

check: $(VENV)/.dev          ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) geomem-demo dist build

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "geomem needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.bench: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e '.[bench]'
	touch $@ $(VENV)/.run

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.run
