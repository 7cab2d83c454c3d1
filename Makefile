# The commands of the book. `make help` lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
CHROMIUM ?= $(shell command -v chromium chromium-browser google-chrome 2>/dev/null | head -n 1)
PROFILE ?= paper
JOBS ?=
export JOBS
# Whatever the locale: files are read and written, and lines printed, as UTF-8.
export PYTHONUTF8 := 1
# What is set for other programs: for a hook of git, for other Pythons and their packages.
unexport GIT_DIR GIT_INDEX_FILE GIT_WORK_TREE GIT_PREFIX GIT_COMMON_DIR GIT_OBJECT_DIRECTORY
unexport PYTHONPATH PYTHONHOME PYTHONWARNINGS PYTHONSAFEPATH PYTHONDEVMODE PYTHONOPTIMIZE PYTHONSTARTUP PYTHONINSPECT

VENV := .venv
BIN := $(VENV)/bin
# An install belongs to one lock and one set of ranges, to this folder and one Python, and counts only when it has ended.
WHICH := import sys; print(sys.base_prefix, *sys.version_info[:2])
STAMP := $(VENV)/complete-$(shell { cat requirements.txt pyproject.toml; pwd -P; $(PYTHON) -I -c "$(WHICH)"; } 2>&1 | \
	cksum | tr ' ' '-')
LAB := .venv-lab
LOCK := .venv-lock
TOOLS := $(BIN)/python -m tools
COMPILE := pip-compile --no-emit-index-url --no-emit-find-links --strip-extras --extra book --extra test

.PHONY: help book test lint types unit smoke site-check gpu-check chapter lab reference recheck emulate bench replicate mutants costs pdf archive lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

book: $(STAMP) ## execute what has changed, check it with nbval, build the site: _build/html
	@$(TOOLS) book --profile $(PROFILE)

# Unit tests often wait, and Sphinx keeps one core busy, so the book is built and looked at meanwhile. What the unit
# tests print comes at the end, all of it where one has failed. LOOK=later leaves the browser to a `make site-check` of
# the paper book, which has every page of this one.
test: lint types ## lint, types, unit and pipeline tests, the book at smoke scale, in a browser, as on other processors
	@mkdir -p _build
	@$(MAKE) --no-print-directory unit >_build/unit.log 2>&1 & unit=$$!; trap 'kill $$unit 2>/dev/null' INT TERM; \
		{ $(MAKE) --no-print-directory smoke && \
		$(if $(filter later,$(LOOK)),true,$(MAKE) --no-print-directory site-check PROFILE=smoke) && \
		$(MAKE) --no-print-directory emulate PROFILE=smoke; }; book=$$?; \
		wait $$unit && tail -n 1 _build/unit.log || { book=$$?; cat _build/unit.log; }; exit $$book

lint: $(STAMP) ## style, spelling and layers of the code
	@mkdir -p _build
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m tools.lint
	@$(BIN)/typos
	@$(BIN)/lint-imports >_build/imports.log || { cat _build/imports.log; exit 1; }

types: $(STAMP) ## types of the code
	@$(BIN)/python -m mypy

unit: $(STAMP) ## unit, property, pipeline and mutation tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests --ignore=tests/browser --ignore=tests/gpu

smoke: $(STAMP) ## the book at the toy scale of the tests: _build/smoke/html
	@$(TOOLS) book --profile smoke

site-check: $(STAMP) ## test the built site in a browser (PROFILE=smoke for the one of `make test`)
	@test -n "$(CHROMIUM)" || { echo "make site-check needs Chromium: sudo apt-get install chromium" \
		"(or set CHROMIUM to its path)" >&2; exit 1; }
	@CHROMIUM="$(CHROMIUM)" $(BIN)/python -m pytest -n 2 --dist worksteal tests/browser \
		--site _build/$(if $(filter-out paper,$(PROFILE)),$(PROFILE)/)html

gpu-check: $(STAMP) ## test training on a CUDA GPU
	@$(BIN)/python -m pytest tests/gpu

chapter: $(STAMP) ## one chapter: make chapter C=closeness/closeness P="-p repetitions 3"
	@test -n "$(C)" || { echo 'make chapter needs C, a page of _toc.yml: make chapter C=closeness/closeness' >&2; exit 1; }
	@$(TOOLS) chapter --profile $(PROFILE) $(C) $(P)

reference: $(STAMP) ## write the references anew, to be reviewed as a difference (PROFILE=smoke for those of the tests)
	@$(TOOLS) reference --profile $(PROFILE) $(C)

recheck: $(STAMP) ## nbval on every reference with nothing reused
	@$(TOOLS) recheck --profile $(PROFILE)

emulate: $(STAMP) ## the references as on other processors: make emulate C="kernel/trained" (PROFILE=smoke for toy scale)
	@$(TOOLS) emulate --profile $(PROFILE) $(C)

lab: $(STAMP) $(LAB)/$(notdir $(STAMP)) ## JupyterLab on the text notebooks
	@mkdir -p $(LAB)/share/jupyter/lab/settings
	@cp tools/lab_settings.json $(LAB)/share/jupyter/lab/settings/overrides.json
	@JUPYTER_PREFER_ENV_PATH=1 $(LAB)/bin/python -m jupyterlab --LabApp.default_url=/lab/tree/book/index.md \
		$(if $(filter 0,$(shell id -u)),--allow-root)

replicate: $(STAMP) ## the claims from another root seed, recorded for the scorecard: make replicate SEED=1 C="kernel/rate"
	@test -n "$(SEED)" || { echo 'make replicate needs SEED, a root seed that the book has not: make replicate SEED=1' >&2; exit 1; }
	@$(TOOLS) replicate --profile $(PROFILE) --seed $(SEED) $(C)

mutants: $(STAMP) ## faults put into the library on purpose: which of them no test kills (C="icl_lib.attention" for some modules)
	@$(BIN)/python -m tests.mutants $(if $(C),--only $(C)) $(if $(T),--thorough)

costs: $(STAMP) ## record what the pages of the last `make clean book` cost, for the time that later ones announce
	@$(TOOLS) costs

bench: $(STAMP) ## benchmarks
	@$(BIN)/python -m benchmarks

pdf: $(STAMP) ## the book as PDF, from the last `make book`
	@CHROMIUM="$(CHROMIUM)" $(TOOLS) pdf --profile $(PROFILE)

archive: $(STAMP) ## sources, site, notebooks, results and lock of the last `make book` as one file
	@$(TOOLS) archive --profile $(PROFILE)

lock: ## fit requirements.txt to the ranges in pyproject.toml (U=--upgrade for the newest versions)
	@test -x $(LOCK)/bin/pip-compile || { $(PYTHON) -m venv $(LOCK) && $(LOCK)/bin/pip install -qq pip-tools; }
	@mkdir -p _build && cp requirements.txt _build/requirements.new
	@CUSTOM_COMPILE_COMMAND="make lock  # $(COMPILE)" \
		$(LOCK)/bin/$(COMPILE) $(U) --quiet --output-file _build/requirements.new pyproject.toml
	@sed -E 's/^([A-Za-z0-9_.-]+==[^ +]+)\+[A-Za-z0-9.]+/\1/' _build/requirements.new > _build/requirements.txt
	@rm _build/requirements.new && mv _build/requirements.txt requirements.txt

clean: ## empty _build
	rm -rf _build

$(LAB)/$(notdir $(STAMP)): | $(STAMP)
	@$(PYTHON) -I tools/install.py $(LAB) $@ lab

$(STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: sudo apt-get install python3 python3-venv" \
		"(or make PYTHON=… with the path of one)" >&2; exit 1; }
	@$(PYTHON) -I tools/install.py $(VENV) $@
