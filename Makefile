# `make help` lists the targets. Everything runs in .venv, which `make install` creates.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# of demo and real: the run folder, and overrides such as ARGS="rounds=5 seed=1"
OUT ?=
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo real test chaos notebooks check bench clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 10

install: $(STAMP)  ## make .venv with raymmfl and all it needs (CPU build of torch where pip finds one)

# torch goes first and alone: resolved together with the rest, pip may prefer a build with CUDA.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

demo: install data/synthetic  ## train MF+FW+MIM on synthetic data over Ray actors and show the result
	$(BIN)/raymmfl run configs/demo.yaml $(ARGS) $(if $(OUT),--out $(OUT))

data/synthetic: | install
	rm -rf data/synthetic-tiles
	$(BIN)/raymmfl archive synth data/synthetic-tiles
	$(BIN)/raymmfl archive pack data/synthetic-tiles --layout synthetic --out data/synthetic

real: install  ## pack the Sentinel-1/2 tiles in RAYMMFL_DATA/terramesh_tiles and train on them
	@test -n "$(RAYMMFL_DATA)" || { echo "set RAYMMFL_DATA to the folder that holds terramesh_tiles/"; exit 2; }
	test -d data/terramesh || $(BIN)/raymmfl archive pack $(RAYMMFL_DATA)/terramesh_tiles \
		--layout terramesh --patch 32 --stride 16 --out data/terramesh
	$(BIN)/raymmfl run configs/terramesh.yaml $(ARGS) $(if $(OUT),--out $(OUT))

test: install  ## run the tests but for the long kill tests
	$(BIN)/python -m pytest -m "not chaos" -n 2 --dist loadgroup

chaos: install  ## run the long tests that kill processes
	$(BIN)/python -m pytest -m chaos

notebooks: install  ## execute the notebooks
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=600 notebooks

check: install  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install  ## measure a round against a bare PyTorch loop doing the same work
	$(BIN)/python -m benchmarks.round

clean:  ## remove data, runs and tracking made here (not .venv)
	rm -rf data runs mlflow.db mlflow.db.lock mlartifacts mlruns
