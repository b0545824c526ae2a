# All but `make lock` set up what they need: the active virtual or conda environment, else .venv,
# and again only when pyproject.toml or constraints.txt has changed.

SHELL := /bin/bash
CONDA := $(if $(filter-out base,$(CONDA_DEFAULT_ENV)),$(CONDA_PREFIX))
ENVIRONMENT := $(or $(VIRTUAL_ENV),$(CONDA),$(CURDIR)/.venv)
PYTHON := $(ENVIRONMENT)/bin/python
ROOT_USER := $(filter 0,$(shell id -u))
STAMP := $(ENVIRONMENT)/.avlib-set-up
PACKAGES := --constraint constraints.txt --editable '.[test]'
export PATH := $(ENVIRONMENT)/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE :=# else every process compiles its 2000 modules again, for 5 seconds

.PHONY: demo test fuzz lab app pages lock
.DEFAULT_GOAL := demo

demo: $(STAMP)  ## two toy corpora: with and without attention, without and with modality dropout
	avlib run params/demo.yaml

test: $(STAMP)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

fuzz: $(STAMP)  ## 3000 damaged files, ten minutes: each has to be read or to end as a sentence
	OMP_NUM_THREADS=1 $(PYTHON) tests/fuzz.py --seed 0 --count 250

LAB = --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks \
  --LabApp.app_settings_dir="$(CURDIR)/notebooks/.lab" \
  --ServerApp.tornado_settings='{"websocket_max_message_size": 209715200}'
lab: $(STAMP)  ## JupyterLab on the workbook, where it opens notebooks/ and shows texts rendered
	$(if $(ROOT_USER),@echo "You are root: JupyterLab starts with --allow-root")
	jupyter lab $(LAB) $(if $(ROOT_USER),--allow-root)

DEMO = outputs/toy_speaker/ia1-frozen-none/fold0-seed1
RUN ?= $(DEMO) outputs/toy_speaker/concat1-frozen-none/fold0-seed1 \
  outputs/toy/ia1-frozen-softhard-pretrained/fold0-seed1 outputs/toy/ia1-frozen-none-pretrained/fold0-seed1
RUNS = $(foreach run,$(RUN),--run "$(run)")
app: $(STAMP)  ## the explorer as a page, on this machine alone, of one run or several: make app RUN=outputs/...
	avlib app $(RUNS)

DONE = $(wildcard $(DEMO)/model.safetensors)
LESSONS = $(patsubst notebooks/lessons/%,$(DEMO)/%,$(wildcard notebooks/lessons/*.ipynb))
$(DEMO)/%.ipynb: notebooks/lessons/%.ipynb
	papermill --no-progress-bar $< $@ > /dev/null

pages: $(STAMP) $(if $(DONE),$(LESSONS))  ## the site to read without installing, in build/site; after the demo, all of it
	-$(if $(DONE),avlib page $(RUNS) --out build/extra/explorer)
	$(PYTHON) -m sphinx --quiet --fresh-env --fail-on-warning --keep-going --conf-dir site --doctree-dir build/doctrees . build/site
	@! grep --recursive --files-with-matches --fixed-strings "$(CURDIR)/" build/site || { echo "show paths of this machine"; exit 1; }
	@echo "The site is in build/site: open its index.html, or serve the folder"

lock:  ## resolve pyproject.toml again for Python 3.11 to 3.13 (needs uv)
	uv pip compile --universal --python-version 3.11 --extra test --upgrade --no-annotate --no-header \
	  --constraint <(printf 'torch==2.14.1\ntorchvision==0.29.1\n') pyproject.toml -o constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@if [ ! -x $(PYTHON) ]; then \
	  python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	    { echo "avlib needs Python 3.11 to 3.13 as python3; this one is $$(python3 --version)"; exit 1; }; \
	  echo "Making a virtual environment in $(ENVIRONMENT)"; \
	  python3 -m venv $(ENVIRONMENT); \
	fi
	@echo "Installing avlib and what it needs into $(ENVIRONMENT): about 8 GB"
	@command -v uv > /dev/null || $(PYTHON) -m pip install --quiet --disable-pip-version-check uv || true  # far faster than pip
	@if ! uv pip install --quiet --python $(PYTHON) $(PACKAGES) 2>/dev/null; then \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check $(PACKAGES); \
	fi
	@touch $@
