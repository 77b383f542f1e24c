# Two commands for everyone: `make demo` and `make test`. Nothing else has to be installed before them
# than Python 3.11 or newer and make.
#
#   make demo TORCH="torch==2.13.0 --index-url ..."                                    another build of torch
#   make test PYTEST="-k dicom -x"                                                     part of the tests
#   make VENV=/path/to/venv demo                                                       an environment of your own

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
EXTRAS ?= dev,report,cpu,app,pacs,cluster
OUT ?= demo_out
HIPPOCAMPUS ?= data/hippocampus
BRAIN ?= data/ixi_brain
REPORTS ?= docs/reports
STRESS ?= 10
WORK ?=
NNUNET ?=
PYTEST ?=

BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check
NOTEBOOKS := $(patsubst %.py,%.ipynb,$(wildcard notebooks/*.py))

.DEFAULT_GOAL := help
.PHONY: help demo test lint notebooks bench report clean
.DELETE_ON_ERROR:

help:
	@echo "make demo       install into $(VENV) and run the whole main job on the MNI152 template"
	@echo "make test       install what the tests need and run them"
	@echo "make lint       ruff, mypy and the import rules"
	@echo "make notebooks  generate and execute the notebooks"
	@echo "make bench      time and memory on this machine: a whole head, networks beside peers;"
	@echo "                NNUNET=VENV names an environment with nnunetv2, whose predictor takes turns with ours"
	@echo "make report     validation reports of both bundles; HIPPOCAMPUS=... and BRAIN=... name the data sets"
	@echo "                STRESS=4 disturbs fewer cases, WORK=FOLDER keeps scans and runs for a second start"
	@echo "make clean      remove .venv, caches and demo output"

demo: $(STAMPS)/package
	$(BIN)/lnn-med demo -o $(OUT)

test: $(STAMPS)/extras
	@./.ci/system_packages
	$(BIN)/python -m pytest $(PYTEST)

lint: $(STAMPS)/extras
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

notebooks: $(NOTEBOOKS)

notebooks/%.ipynb: notebooks/%.py $(STAMPS)/extras
	cd notebooks && $(abspath $(BIN))/jupytext --quiet --to ipynb --set-kernel - --execute $(notdir $<)

bench: $(STAMPS)/package
	$(BIN)/python benchmarks/whole_head.py $(if $(NNUNET),--nnunet $(NNUNET))
	$(BIN)/python benchmarks/networks.py
	$(BIN)/python benchmarks/sliding_windows.py

report: $(STAMPS)/extras
	$(call report,hippocampus-t1,$(HIPPOCAMPUS))
	$(call report,brain-t1,$(BRAIN))

report = $(BIN)/python benchmarks/report.py $(1) $(2) -o $(REPORTS) --stress-cases $(STRESS) $(if $(WORK),--work $(WORK)/$(1))

clean:
	rm -rf .venv demo_out build ./*.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache notebooks/*.ipynb

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Name another: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "$(PYTHON) cannot make a virtual environment (Debian: apt install python3-venv)."; exit 1; }
	@mkdir -p $(@D) && touch $@

# torch comes first and alone: its build (CPU, CUDA) is the machine's choice, everything else is pinned.
$(STAMPS)/torch: $(STAMPS)/venv
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' || \
	  { echo "Installing $(TORCH) ..."; $(PIP) install -qq $(TORCH); }
	@touch $@

$(STAMPS)/constraints.txt: constraints.txt $(STAMPS)/torch
	@grep -v '^torch==' constraints.txt >$@

$(STAMPS)/package: pyproject.toml $(STAMPS)/constraints.txt
	@echo "Installing the package and what it needs (some minutes, once) ..."
	@$(PIP) install -qq -c $(STAMPS)/constraints.txt -e .
	@touch $@

$(STAMPS)/extras: pyproject.toml $(STAMPS)/constraints.txt
	@echo "Installing the package with [$(EXTRAS)] (some minutes, once) ..."
	@$(PIP) install -qq -c $(STAMPS)/constraints.txt -e '.[$(EXTRAS)]'
	@touch $@ $(STAMPS)/package
