# make demo    align one prompt on the embedded model, and say where the pictures are
# make test    every check, as in continuous integration; the tests come last
# make dist    build the source distribution and the wheel that would be published
#
# All set up their own environment in .venv; a second call finds it ready. Needs Python 3.11 or later, make and git.

VENV := .venv
OLDEST := .venv-oldest
IN := $(VENV)/bin
PIP_FLAGS := -qq --disable-pip-version-check
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
# A prompt and a seed that plain sampling gets wrong, chosen for that; others: make demo PROMPT="..." SEED=...
PROMPT ?= an orange triangle and a red square
SEED ?= 22
# Null-TTA with the few inner steps that suit so small a model
METHOD ?= --method null-tta --set method.inner_min=2 --set method.inner_max=6 --set method.rate=0.035
OUT ?= runs/demo
WORKERS ?= 2

# torch's threads sleep while they wait for each other: on a busy machine, spinning costs several times the work.
export OMP_WAIT_POLICY ?= PASSIVE
# The tests start Python some dozens of times: compiled modules are kept for the next process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types docs dist test-oldest clean

demo: $(VENV)/.ready
	$(IN)/tta align "$(PROMPT)" --seed $(SEED) $(METHOD) --out $(OUT) --overwrite
	@echo "The pictures are in $(OUT): grid.png shows plain sampling (left) beside the aligned picture (right)."

test: $(VENV)/.ready-dev lint types docs
	@command -v chromium chromium-browser google-chrome > /dev/null || echo "NO CHROMIUM IS FOUND: the tests of the pages in a browser are skipped (apt install chromium)." >&2
	$(IN)/pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/.ready-dev
	$(IN)/ruff check .
	$(IN)/ruff format --check .
	$(IN)/lint-imports

types: $(VENV)/.ready-dev
	$(IN)/mypy

docs: $(VENV)/.ready-dev
	@echo "mkdocs build"
	@NO_MKDOCS_2_WARNING=1 $(IN)/mkdocs build --strict --quiet

dist: $(VENV)/.ready-dev
	@rm -rf dist
	$(IN)/python -m build --no-isolation --outdir dist .
	@ls -l dist

test-oldest: $(OLDEST)/.ready
	PYTHONPATH=$(OLDEST) $(IN)/python -c 'import diffusers, transformers; print("diffusers", diffusers.__version__, "transformers", transformers.__version__)'
	PYTHONPATH=$(OLDEST) $(IN)/pytest -n $(WORKERS) tests/backbones

clean:
	rm -rf $(VENV) $(OLDEST) site dist

$(VENV)/.ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV); the first time takes some minutes."
	@$(IN)/pip install $(PIP_FLAGS) --constraint constraints.txt --editable ".[bench]"
	@touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV), with the tools of the tests; the first time takes some minutes."
	@$(IN)/pip install $(PIP_FLAGS) --constraint constraints.txt --editable '.[dev,docs]'
	@touch $(VENV)/.ready $@

$(OLDEST)/.ready: constraints-oldest.txt $(VENV)/.ready-dev
	@echo "Installing the oldest supported model libraries into $(OLDEST)."
	@rm -rf $(OLDEST)
	@$(IN)/pip install $(PIP_FLAGS) --no-deps --target $(OLDEST) --requirement constraints-oldest.txt
	@touch $@

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or later was found. Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) could not make an environment. On Debian: apt install python3-venv" >&2; exit 1; }
