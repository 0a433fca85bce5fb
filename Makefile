# What a developer and CI type. The first target that needs it makes the virtual environment, and builds the native engine
# into it; after that it costs nothing until pyproject.toml, locks/ or native/ change.
#
# PYTHON=python3.12 takes that Python, in an environment of its own (.venv-3.12). Without it, the first of python3.11,
# python3.12 and python3 that fits is taken, in .venv. ARGS are handed on: make run ARGS="seed=1", make test ARGS="-k ppo".

ifeq ($(origin PYTHON),undefined)
  VENV := .venv
else
  VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
STUDY ?= table2
SCALE ?= $(if $(filter verdict%,$(STUDY)),verdict,$(if $(filter driving,$(STUDY)),,laptop))
JOBS  ?= 2
ARGS  ?=

# Every package is one that locks/ has a hash of. TORCH=cpu or TORCH=cuda is torch's build; without it, the CPU build where
# pip finds that one, as on a machine whose package index has it, else the CUDA build.
LOCKS       := $(wildcard locks/*.txt)
PIP_INSTALL := $(BIN)/python -m pip install --quiet
HASHED      := $(PIP_INSTALL) --require-hashes --no-build-isolation
EXTRAS      := $(HASHED) --constraint locks/install.txt --constraint locks/optional.txt

CXX_FILES := $(wildcard native/*.h native/*.cc native/driving/*.h native/driving/*.cc)
SLOW      = chaos or parity or long or launchers or model

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run sweep sweep-smoke sweep-all launchers check test test-all test-isa test-model parity chaos
.PHONY: sanitize benchmark benchmark-gpu model models examples dashboard reference studies pictures lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

$(STAMP): pyproject.toml $(LOCKS) native/CMakeLists.txt $(CXX_FILES)
	@for python in $(or $(PYTHON),python3.11 python3.12 python3); do \
	  if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "make: needs Python 3.11 or 3.12; name one: make PYTHON=/path/to/python3.11" >&2; exit 2; fi; \
	if [ -e $(VENV)/.installing ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then "$$found" -m venv --clear $(VENV); fi
	@touch $(VENV)/.installing  # left behind by a kill, in which pip leaves half a package that it takes for whole
	@echo "Installing into $(VENV): about 2 GB, a few minutes the first time"
	@# First what builds a package that has no wheel: a build in isolation would fetch its tools without hashes. A new
	@# environment's pip is an old one, to which a pipe is the shortest way to hand a part of the lock.
	@awk '/^[^ ]/ { wanted = /^(pip|setuptools)==/ } wanted' locks/install.txt \
	    | $(PIP_INSTALL) --disable-pip-version-check --require-hashes --no-deps --requirement /dev/stdin \
	  && torch=$(or $(TORCH),$$($(HASHED) --dry-run --no-deps --requirement locks/cpu.txt >/dev/null 2>&1 && echo cpu || echo cuda)) \
	  && $(HASHED) --requirement locks/install.txt --requirement locks/$$torch.txt \
	  && $(PIP_INSTALL) --no-deps --no-build-isolation --editable . \
	  || { rm -f $(VENV)/.installing; exit 2; }
	@rm $(VENV)/.installing
	@touch $@

install: $(STAMP) ## the virtual environment, as all targets below make it on first use

# LLM=NAME, or llm=NAME among the ARGS, is taken as it is. Without one the model inside designs, and where its weights can't
# be had the stand-in, which says so in every result.
ASKED := $(or $(LLM),$(patsubst llm=%,%,$(filter llm=%,$(ARGS))))

run: $(STAMP) ## a whole small run in which the language model inside designs; LLM=offline: a rule-based stand-in does
	@llm=$(ASKED); trap 'exit 130' INT; \
	if [ -z "$$llm" ] && $(BIN)/python -m envgen_exp model; then llm=embedded; fi; \
	if [ -z "$$llm" ]; then \
	  echo "make run: no language model can run here (see above): the rule-based stand-in llm=offline designs instead" >&2; \
	  llm=offline; \
	fi; \
	set -x; $(BIN)/python run.py experiment=demo llm=$$llm $(filter-out llm=%,$(ARGS))

model: $(STAMP) ## the weights of llm=embedded into the user's cache, once: 1.1 GB
	$(BIN)/python -m envgen_exp model $(ARGS)

sweep: $(STAMP) ## STUDY=table2 at SCALE=laptop (verdict and driving at their own), JOBS=2 runs at a time, ending with its tables; killed, it goes on
	$(BIN)/python run.py -m experiment=$(STUDY) $(addprefix scale=,$(SCALE)) $(ARGS_$(STUDY)) \
	  hydra/launcher=joblib hydra.launcher.n_jobs=$(JOBS) $(ARGS)

sweep-smoke: $(STAMP) ## 2 arms × 2 seeds at smoke scale into multirun/smoke, and a table of them
	$(BIN)/python run.py -m experiment=sweep_smoke $(ARGS)

# What the experiments want besides; heist is seen as pixels, two have phases too short for 32 environments.
STUDIES    := table2 controls rivals table1 table3 table4 table6 table7 obfuscated episode_length heist table5
ARGS_heist := $(if $(filter laptop,$(SCALE)),ppo=laptop)
ARGS_table3 := $(if $(filter laptop,$(SCALE)),ppo=symbolic_long)
ARGS_episode_length := $(ARGS_table3)

sweep-all: $(STAMP) ## every study at SCALE=laptop, one after another: hours (docs/studies.md); table5 needs keys
	@failed=; for study in $(STUDIES); do \
	  $(MAKE) --no-print-directory sweep STUDY=$$study || failed="$$failed $$study"; \
	done; \
	if [ -n "$$failed" ]; then echo "make: not finished:$$failed" >&2; exit 1; fi

# hydra-ray-launcher asks for cloudpickle below 3, though only its way to AWS uses cloudpickle; so it goes in by itself.
$(VENV)/.launchers: $(STAMP)
	@$(EXTRAS) $$($(BIN)/python -c 'import tomllib; e = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; print(*e["slurm"], *e["ray"])')
	@$(EXTRAS) --no-deps hydra-ray-launcher
	@touch $@

launchers: $(VENV)/.launchers ## sweeps by each launcher: joblib, submitit on this machine, a local Ray
	$(BIN)/pytest -m launchers $(ARGS)

dashboard: $(STAMP) ## the project's W&B workspace; without a key for W&B, its definition into dashboard.json
	$(BIN)/python -m envgen_exp dashboard $(ARGS)

reference: $(STAMP) ## docs/reference.md: every config key and every metric, from the schema and the table of metrics
	$(BIN)/python tools/make_reference.py docs/reference.md

studies: $(STAMP) ## docs/studies.md: arms, runs, steps, dollars and time of every experiment, from conf/
	$(BIN)/python tools/make_studies.py docs/studies.md

models: $(STAMP) ## docs/models.md and docs/llm.md's table of prompts: what language models designed, from examples/
	$(BIN)/python tools/make_models.py docs/models.md
	$(BIN)/python tools/measure_prompts.py docs/llm.md

pictures: $(STAMP) ## the docs' pictures, from a run that takes minutes; needs chromium
	$(BIN)/python tools/make_pictures.py $(ARGS)

check: $(STAMP) ## ruff, mypy --strict, the floors, clang-format
	@for tool in ruff mypy pytest clang-format; do \
	  [ -x $(BIN)/$$tool ] || { echo "make check: $$tool is missing from $(VENV): rm $(STAMP) and make check again" >&2; exit 2; }; \
	done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_floors.py
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)

test: $(STAMP) ## the tests that every change must pass
	$(BIN)/pytest -n 3 --dist worksteal -m "not ($(SLOW))" $(ARGS)

test-all: $(STAMP) ## every test, the slow ones included, but for those of make test-model
	$(BIN)/pytest -n 2 --dist worksteal -m "not model" $(ARGS)

test-isa: $(STAMP) ## the tests of float arithmetic under each set of instructions that this processor has
	$(BIN)/python tests/instruction_sets.py $(ARGS)

test-model: $(STAMP) ## a run with the embedded model's real weights, twice; needs make model, takes many minutes
	$(BIN)/pytest -m model $(ARGS)

parity: $(STAMP) ## the engines against each other, step by step, at length
	$(BIN)/pytest -m parity $(ARGS)

chaos: $(STAMP) ## runs killed and resumed at many points
	$(BIN)/pytest -n 2 --dist worksteal -m chaos $(ARGS)

sanitize: $(STAMP) ## the native engine's tests under the address, undefined-behaviour and thread sanitizers
	native/sanitize.sh $(BIN)/python

benchmark: $(STAMP) ## steps a second of the engine and of training on this machine
	$(BIN)/python benchmarks/crafter_engine.py $(ARGS)
	$(BIN)/python benchmarks/ppo.py
	$(BIN)/python benchmarks/driving.py

benchmark-gpu: $(STAMP) ## steps a second of training on a CUDA device; says so where there is none
	$(BIN)/python benchmarks/ppo.py --device cuda $(ARGS)

# The extra's packages alone: installing the project with it would build the engine anew.
$(VENV)/.examples: $(STAMP)
	@$(EXTRAS) $$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["examples"])')
	@touch $@

examples: $(VENV)/.examples ## the Gymnasium environments in others' hands: CleanRL's manner, Stable-Baselines3, TorchRL
	OMP_NUM_THREADS=1 $(BIN)/python examples/cleanrl_ppo.py --total-timesteps 30000
	OMP_NUM_THREADS=1 $(BIN)/python examples/sb3_ppo.py --total-timesteps 4096
	OMP_NUM_THREADS=1 $(BIN)/python examples/torchrl_rollout.py --steps 200

# uv is in no lock: it reads names, versions and hashes, and installs nothing.
lock: ## locks/, anew from pyproject.toml: what is installed and its hashes; ARGS=--upgrade takes the newest; needs uv
	python3 locks/lock.py $(ARGS)

clean: ## remove virtual environments, builds and caches; runs/ and multirun/ stay
	rm -rf .venv .venv-* build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests run.py -name __pycache__ -type d -prune -exec rm -rf {} +
