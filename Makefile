# make quickstart   installs, fetches the model, runs tune_configs/quickstart.yaml
# make test         installs and runs the tests
# make check        formatting, lint, types and tests
# make format       formats the code
#
# PYTHON=python3.12 picks another interpreter; it counts when .venv is made. TORCH_INDEX= takes torch as pip finds it.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
TORCH_INDEX = https://download.pytorch.org/whl/cpu

export HF_HUB_DISABLE_TELEMETRY := 1
export RAY_USAGE_STATS_ENABLED := 0
export TOKENIZERS_PARALLELISM := false

.PHONY: quickstart test check format install clean
.DELETE_ON_ERROR:

quickstart: $(INSTALLED)
	$(BIN)/mva-ray fetch
	$(BIN)/python -m mva_ray.explore --config tune_configs/quickstart.yaml

test: $(INSTALLED)
	$(BIN)/python -m pytest -q

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(INSTALLED)

# torch goes first, on its own: with its pin in place no other package can pull a different build of it. What pip finds
# on Linux is the build for CUDA, gigabytes that a machine without an NVIDIA driver has no use for.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "mva_ray needs Python 3.11 to 3.13: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	@index=; if [ "$$(uname -s)" = Linux ] && [ -n "$(TORCH_INDEX)" ] && ! command -v nvidia-smi > /dev/null \
		&& $(BIN)/python -c 'import urllib.request as u; u.urlopen("$(TORCH_INDEX)/torch/", timeout=5)' 2> /dev/null; \
	then index='--extra-index-url $(TORCH_INDEX)'; fi; \
	echo "torch: $${index:+the CPU build, as there is no NVIDIA driver }$${index:-as pip finds it}"; \
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $$index torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv
