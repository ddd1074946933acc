PYTHON ?= python3
IN ?= demo/rainy.mp4
TASK ?= derain

BIN := .venv/bin
STAMP := .venv/installed
QUALITY := benchmarks/quality.py benchmarks/choosing.py benchmarks/fidelity.py
LIVE := benchmarks/live.py
ARCHIVE := benchmarks/archive.py
SPEED := $(sort $(filter-out benchmarks/_% $(QUALITY) $(LIVE) $(ARCHIVE),$(wildcard benchmarks/*.py)))

.PHONY: help demo camera test check bench quality live archive soak clean
.DEFAULT_GOAL := help

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

demo: $(STAMP) ## restore the demo clip, or IN=my.mp4 with TASK=derain, into demo-out/
	@$(BIN)/python demo/run.py "$(IN)" --task "$(TASK)"

camera: $(STAMP) ## a rainy scene as an RTSP camera, rtsp://127.0.0.1:8554/camera, to try live restoration on
	@$(BIN)/python demo/camera.py

test: $(STAMP) ## run the tests
	@$(BIN)/python -m pytest

check: $(STAMP) ## lint, format, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## measure speed and memory, in ten minutes of a quiet machine, and write the figures into the documents
	@set -e; for script in $(SPEED); do echo "$$script"; $(BIN)/python $$script; done
	@$(BIN)/python benchmarks/_tables.py

quality: $(STAMP) ## measure what the shipped weights do, and write the figures into documents and model cards
	@set -e; for script in $(QUALITY); do echo "$$script"; $(BIN)/python $$script; done
	@$(BIN)/python benchmarks/_tables.py
	@$(BIN)/python benchmarks/_model_cards.py

live: $(STAMP) ## measure live streams through outages and overload, in fifteen minutes of a quiet machine
	@$(BIN)/python $(LIVE)
	@$(BIN)/python benchmarks/_tables.py

archive: $(STAMP) ## measure archives while things are killed, in a quarter of an hour of a quiet machine
	@$(BIN)/python $(ARCHIVE)
	@$(BIN)/python benchmarks/_tables.py

soak: $(STAMP) ## half an hour of a live stream with a fault every ten seconds
	@SOAK_MINUTES=30 $(BIN)/python -m pytest -m soak --timeout 3600

clean: ## remove what was built, tested and restored, and the virtual environment
	rm -rf .venv demo-out dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Touched last, so that an interrupted installation starts again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "streamrestore needs Python 3.11 to 3.13, which '$(PYTHON)' is not;" \
		"name one that is: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Installing into .venv (once; PyTorch is large)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
