# make train | make test | make lint | make install. A second make does not install again.

PYTHON ?= python3
BIN := .venv/bin
WORKDIR ?= runs/digits_lenet

.PHONY: install train test lint format bench

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jaxcnn needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

train: install
	$(BIN)/jaxcnn train --config=configs/digits_lenet.py --workdir=$(WORKDIR)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: lint
	$(BIN)/python -m pytest

# Half an hour; each script is a benchmark of its own.
bench: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[torch]'
	for script in train_step loop startup scaling memory; do $(BIN)/python benchmarks/$$script.py || exit 1; done
