# All but `make lock` set up what they need: the active virtual or conda environment, else .venv; and again only when
# pyproject.toml or constraints.txt has changed, or when this folder has moved. A .venv that is half-made or moved is made anew.

SHELL := /bin/bash
CONDA := $(if $(filter-out base,$(CONDA_DEFAULT_ENV)),$(CONDA_PREFIX))
ENVIRONMENT := $(or $(VIRTUAL_ENV),$(CONDA),$(CURDIR)/.venv)
CLEAR := $(if $(or $(VIRTUAL_ENV),$(CONDA)),,--clear)
ROOT_USER := $(filter 0,$(shell id -u))
STAMP := $(ENVIRONMENT)/.avlib-set-up
MADE_FOR := $(shell cat "$(STAMP)" 2> /dev/null)
NEWER := pyproject.toml -nt "$(STAMP)" || constraints.txt -nt "$(STAMP)"
SET_UP := $(shell [[ ! "$(MADE_FOR)" -ef . || $(NEWER) ]] && echo set-up)
PACKAGES := --constraint constraints.txt --editable '.[test]'
export PATH := $(ENVIRONMENT)/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE :=# else every process compiles its 2000 modules again, for 5 seconds

.PHONY: demo test fuzz lab app pages lock set-up
.DEFAULT_GOAL := demo

demo: $(SET_UP)  ## two toy corpora: with and without attention, without and with modality dropout
	avlib run params/demo.yaml

test: $(SET_UP)
	python -m ruff check .
	python -m ruff format --check .
	python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

fuzz: $(SET_UP)  ## 3000 damaged files: each has to be read or to end as a sentence
	OMP_NUM_THREADS=1 python tests/fuzz.py --seed 0 --count 250

LAB = --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks \
  --LabApp.app_settings_dir="$(CURDIR)/notebooks/.lab" \
  --ServerApp.tornado_settings='{"websocket_max_message_size": 209715200}'
lab: $(SET_UP)  ## JupyterLab on the workbook, where it opens notebooks/ and shows texts rendered
	$(if $(ROOT_USER),@echo "You are root: JupyterLab starts with --allow-root")
	jupyter lab $(LAB) $(if $(ROOT_USER),--allow-root)

DEMO = outputs/toy_speaker/ia1-frozen-none/fold0-seed1
RUN ?= $(DEMO) outputs/toy_speaker/concat1-frozen-none/fold0-seed1 \
  outputs/toy/ia1-frozen-softhard-pretrained/fold0-seed1 outputs/toy/ia1-frozen-none-pretrained/fold0-seed1
RUNS = $(foreach run,$(RUN),--run "$(run)")
app: $(SET_UP)  ## the explorer as a page, on this machine alone, of one run or several: make app RUN=outputs/...
	avlib app $(RUNS)

DONE = $(wildcard $(DEMO)/model.safetensors)
LESSONS = $(patsubst notebooks/lessons/%,$(DEMO)/%,$(wildcard notebooks/lessons/*.ipynb))
$(DEMO)/%.ipynb: notebooks/lessons/%.ipynb
	papermill --no-progress-bar $< $@ > /dev/null

pages: $(SET_UP) $(if $(DONE),$(LESSONS))  ## the site to read without installing, in build/site; after the demo, all of it
	-$(if $(DONE),avlib page $(RUNS) --out build/extra/explorer)
	python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going --conf-dir site --doctree-dir build/doctrees . build/site
	@! grep --recursive --files-with-matches --fixed-strings "$(CURDIR)/" build/site || { echo "show paths of this machine"; exit 1; }
	@echo "The site is in build/site: open its index.html, or serve the folder"

lock:  ## resolve pyproject.toml again for Python 3.11 to 3.13 (needs uv)
	uv pip compile --universal --python-version 3.11 --extra test --upgrade --no-annotate --no-header \
	  --constraint <(printf 'torch==2.14.1\ntorchvision==0.29.1\n') pyproject.toml -o constraints.txt

set-up:
	@if [[ ! -x "$(ENVIRONMENT)/bin/python" || \
	    "$(CLEAR)" && ( ! -e .venv/bin/activate || "$(MADE_FOR)" && ! "$(MADE_FOR)" -ef . ) ]]; then \
	  python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	    { echo "avlib needs Python 3.11 to 3.13 as python3; this one is $$(python3 --version)"; exit 1; }; \
	  echo "Making a virtual environment in $(ENVIRONMENT)"; \
	  python3 -m venv $(CLEAR) "$(ENVIRONMENT)"; \
	fi
	@echo "Installing avlib and what it needs into $(ENVIRONMENT): about 8 GB"
	@command -v uv > /dev/null || python -m pip install --quiet --disable-pip-version-check uv || true  # far faster than pip
	@if ! uv pip install --quiet --python "$(ENVIRONMENT)/bin/python" $(PACKAGES) 2>/dev/null; then \
	  python -m pip install --quiet --disable-pip-version-check $(PACKAGES); \
	fi
	@echo "$(CURDIR)" > "$(STAMP)"
