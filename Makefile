# Every target installs what it needs first. `make help` lists them.
# PYTHON: the interpreter that makes .venv (3.11 or newer).  PIP_FLAGS: passed to every pip install.
PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
PEERS := .venv-peers
TRACKERS := .venv-trackers
BIN := $(VENV)/bin
# PYTEST_WORKERS: processes that share the tests; 0 runs them in pytest's own.
PYTEST_WORKERS ?= 2
# A CUDA build of torch reads OMP_NUM_THREADS too: tests set their own small number of threads.
TEST_ENV := OMP_NUM_THREADS=1
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo demo-results study-demo study-kill study-resume study-transfer \
	study-mistuned study-branches study-data study-watch study-schedules \
	test test-slow test-gpu check format bench bench-fit bench-accuracy bench-train bench-gpu \
	bench-contamination bench-quality bench-dedup bench-corpus bench-plan \
	bench-store bench-import trackers docs clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than 3.11. Run: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# What a study needs, without the tools of developers: a demo starts sooner.
$(RUN): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[all]'
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@touch $@ $(RUN)

# Peers of benchmarks have an environment of their own: they would move our dependencies.
$(PEERS)/.installed-train: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[train]' \
		'transformers>=4.50'
	@touch $@

$(PEERS)/.installed-quality: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[data]' \
		'datatrove[processing]==0.10.1' spacy
	@touch $@

$(PEERS)/.installed-dedup: | $(BIN)/python
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet $(PIP_FLAGS) datasketch==2.0.0 text-dedup==0.4.0
	@touch $@

# Trackers write the files that tests of the readers read; MLflow alone would hold back pillow, pandas
# and pyarrow.
$(TRACKERS)/.installed: constraints.txt | $(BIN)/python
	$(BIN)/python -m venv $(TRACKERS)
	$(TRACKERS)/bin/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt torch \
		'wandb>=0.31' 'mlflow>=3.17' 'tensorboard>=2.20' 'tensorboardX>=2.6' \
		'transformers>=4.53' 'accelerate>=1.1' 'lm-eval>=0.4.13' 'trackio>=0.43'
	@touch $@

trackers: $(TRACKERS)/.installed  ## W&B, MLflow, TensorBoard ... apart, whose files the tests read

install: $(DEV)  ## .venv with isoflop, editable, and the tools of developers

demo: $(RUN)  ## the whole chain on two cores: examples/quickstart.toml into demo/
	$(BIN)/isoflop run examples/quickstart.toml --into demo --label demo

demo-results: $(RUN)  ## refit the shipped records of examples/results/ in seconds
	$(BIN)/python scripts/demo_results.py

study-demo: $(RUN)  ## the quickstart under five seeds: is the forecast honest?
	$(BIN)/python scripts/study_demo.py

study-kill: $(RUN)  ## kill -9 a ladder at random moments: do the records stay the same, bit for bit?
	$(BIN)/python scripts/study_kill.py

study-transfer: $(RUN)  ## does the best rate of width 64 hold at 512: muP against standard
	OMP_NUM_THREADS=1 $(BIN)/python scripts/study_transfer.py

study-resume: $(RUN)  ## kill -9 a training at ten random steps; two processes beside one
	OMP_NUM_THREADS=1 $(BIN)/python scripts/study_resume.py

study-mistuned: $(RUN)  ## one rung mistuned, twenty times: who names it?
	OMP_NUM_THREADS=1 $(BIN)/python scripts/study_mistuned.py

study-branches: $(RUN)  ## a trunk with branches against cosine runs tuned for each horizon
	OMP_NUM_THREADS=1 $(BIN)/python scripts/study_branches.py

study-data: $(RUN)  ## duplicates, filters, mixtures: what data treatment does to the law
	OMP_NUM_THREADS=1 $(BIN)/python scripts/study_data.py

study-watch: $(RUN)  ## hundreds of runs watched: false alarms, harms seen, final loss foretold
	OMP_NUM_THREADS=1 $(BIN)/python scripts/study_watch.py

study-schedules: $(RUN)  ## constant and cosine rates fitted, WSD curves foretold
	OMP_NUM_THREADS=1 $(BIN)/python scripts/study_schedules.py

test: $(DEV)  ## the quick suite
	$(TEST_ENV) $(BIN)/python -m pytest -n $(PYTEST_WORKERS)

test-slow: $(DEV)  ## the statistical suites and the end-to-end ladder
	$(TEST_ENV) $(BIN)/python -m pytest -n $(PYTEST_WORKERS) -m 'slow and not gpu'

test-gpu: $(DEV)  ## what needs an accelerator
	$(BIN)/python -m pytest -m gpu

check: $(DEV)  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(RUN)  ## seconds that a user waits: help, a fit of 1,000 rows, a plan
	$(BIN)/python scripts/bench.py

bench-fit: $(RUN)  ## the fit beside the field's usual way, on published data
	OMP_NUM_THREADS=1 $(BIN)/python scripts/bench_fit.py

bench-contamination: $(RUN)  ## hidden validation passages: which edits are found, and how fast
	OMP_NUM_THREADS=1 $(BIN)/python scripts/contamination.py

bench-train: $(PEERS)/.installed-train  ## the trainer's speed beside this machine's GEMM and beside transformers
	$(PEERS)/bin/python scripts/bench_train.py

bench-gpu: $(PEERS)/.installed-train  ## the same at 350M parameters in bf16, on a GPU
	$(PEERS)/bin/python scripts/bench_gpu.py

bench-quality: $(PEERS)/.installed-quality  ## quality statistics beside datatrove's four filters
	OMP_NUM_THREADS=1 $(PEERS)/bin/python scripts/bench_quality.py

bench-dedup: $(RUN) $(PEERS)/.installed-dedup  ## near-duplicates beside datasketch and text-dedup
	OMP_NUM_THREADS=1 $(BIN)/python scripts/bench_dedup.py --peers $(PEERS)/bin/python

bench-corpus: $(RUN)  ## 500 MB from files to shards: speed, memory, a kill in every stage
	OMP_NUM_THREADS=1 $(BIN)/python scripts/bench_corpus.py

bench-accuracy: $(RUN)  ## default calls on published experiments: errors and coverage
	OMP_NUM_THREADS=1 $(BIN)/python scripts/bench_accuracy.py

bench-plan: $(RUN)  ## parameters, FLOPs and hours of published models beside the planner's
	OMP_NUM_THREADS=1 $(BIN)/python scripts/bench_plan.py

bench-import: $(RUN) $(TRACKERS)/.installed  ## seconds to read 2,000 rows that the trackers wrote
	OMP_NUM_THREADS=1 $(BIN)/python scripts/bench_import.py --trackers $(TRACKERS)/bin/python

bench-store: $(RUN)  ## 32 writers at once, and a list of 1,000 runs
	$(BIN)/python scripts/bench_store.py

docs: $(DEV)  ## regenerate docs/formats.md and printed outputs, and test every link and command
	$(BIN)/python scripts/formats.py
	$(BIN)/python scripts/pages.py
	$(TEST_ENV) $(BIN)/python -m pytest tests/docs

clean:  ## remove caches and .venv; studies stay
	rm -rf $(VENV) $(PEERS) $(TRACKERS) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
