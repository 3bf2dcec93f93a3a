# make demo    align one prompt on the embedded model, and print where the images are
# make test    run all checks, as in continuous integration; the tests are last
# make dist    build the source distribution and the wheel for publishing
#
# Each of these installs what it needs into .venv, once. They need Python 3.11 or later, make and git.

VENV := .venv
OLDEST := .venv-oldest
IN := $(VENV)/bin
PIP_FLAGS := -qq --disable-pip-version-check
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
# A prompt and a seed for which plain sampling gives a wrong image; for others: make demo PROMPT="..." SEED=...
PROMPT ?= an orange triangle and a red square
SEED ?= 22
# Null-TTA with few inner steps, because the model is small
METHOD ?= --method null-tta --set method.inner_min=2 --set method.inner_max=6 --set method.rate=0.035
OUT ?= runs/demo
WORKERS ?= 2

# torch's threads sleep while they wait for each other: on a busy machine, busy waiting takes several times the processor time of the work.
export OMP_WAIT_POLICY ?= PASSIVE
# The tests start Python dozens of times, so compiled modules are kept for the next process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types docs dist test-oldest clean

demo: $(VENV)/.ready
	$(IN)/tta align "$(PROMPT)" --seed $(SEED) $(METHOD) --out $(OUT) --overwrite
	@echo "The images are in $(OUT): grid.png shows the plain image (left) and the aligned image (right)."

test: $(VENV)/.ready-dev lint types docs
	@command -v chromium chromium-browser google-chrome > /dev/null || echo "No Chromium was found: the browser tests of the pages are skipped. To run them: apt install chromium" >&2
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
	@echo "Installing into $(VENV). The first time takes some minutes."
	@$(IN)/pip install $(PIP_FLAGS) --constraint constraints.txt --editable ".[bench]"
	@touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV), with the tools for the tests. The first time takes some minutes."
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
