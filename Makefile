# make train | make test | make test-fast | make lint | make install | make test-torch | make test-slurm |
# make test-processes | make test-faults | make test-tpu | make test-onnx | make bench. A second make does not
# install again.

PYTHON ?= python3
BIN := .venv/bin
WORKDIR ?= runs/digits_lenet

.PHONY: install train test test-fast test-torch test-slurm test-processes test-faults test-tpu test-onnx golden lint bench many-runs

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
	$(BIN)/python -m pytest -n auto --maxprocesses=8 --dist=loadfile

# The tests that are marked `fast`, to run after each change: under two minutes on two cores.
test-fast: lint
	$(BIN)/python -m pytest -n auto --maxprocesses=8 --dist=loadfile -m fast

# Beside torchvision's and timm's own networks, and on torch's own files. A quarter of an hour.
TORCH := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
test-torch: install
	$(TORCH) -e '.[torch]'
	$(TORCH) --no-deps torchvision timm
	$(BIN)/python -m pytest -s tests/torch/compare.py tests/torch/torch_files.py

# Jobs of launch/slurm on a SLURM of this machine, whose packages apt fetches; they are not installed.
# Needs Debian or Ubuntu, and root. Ten minutes.
test-slurm: install
	$(BIN)/python -m pytest -s tests/slurm/jobs.py

# Signals, deaths and errors in one process of several, in each phase of a run; the same run over several
# layouts; two hosts in network namespaces. Needs CIFAR-10 in TFDS_DATA_DIR, and root for the namespaces.
# Forty minutes.
test-processes: install
	$(BIN)/python -m pytest -s tests/processes/faults.py tests/processes/places.py tests/processes/equality.py

# Interruptions, flipped bits, second starts, refused saves, jumping clocks of real runs, broken folders, and
# changed files for every reader: docs/faults.md. Needs Fashion-MNIST and CIFAR-10 in TFDS_DATA_DIR, a C compiler
# and strace. Two hours and a half.
test-faults: install
	$(BIN)/python -m pytest -s tests/faults/flips.py tests/faults/saves.py tests/faults/second_start.py \
		tests/faults/order.py tests/faults/surroundings.py tests/faults/interruptions.py tests/faults/decoding.py
	FUZZ_SECONDS=60 $(BIN)/python -m pytest -s tests/faults/fuzz.py

# Every family's training step, compiled for a slice of TPUs that need not be there. libtpu takes 700 MB.
test-tpu: install
	$(TORCH) -e '.[tpu]'
	$(BIN)/python -m pytest -s tests/tpu/compile.py

# Every family as an ONNX file, run by onnxruntime; how long exported files take to start. The tables of
# docs/serving.md. Ten minutes.
test-onnx: install
	$(TORCH) -e '.[onnx]'
	$(BIN)/python -m pytest -s tests/onnx/convert.py
	$(BIN)/python benchmarks/serving.py

# What torchvision and torch.optim answer, kept for the tests that need no torch.
golden: install
	$(TORCH) -e '.[torch]'
	$(TORCH) --no-deps torchvision
	$(BIN)/python tests/golden/make_torchvision_logits.py
	$(BIN)/python tests/golden/make_torch_optimizers.py

# Two hours; each script is a benchmark of its own. TFDS_DATA_DIR may hold Fashion-MNIST and CIFAR-10.
bench: install
	$(TORCH) -e '.[bench]'
	$(TORCH) --no-deps torchvision
	for script in train_step loop startup scaling memory input_pipeline input_memory; do $(BIN)/python benchmarks/$$script.py || exit 1; done

# Fifty runs in one process, with its memory and threads: three minutes.
many-runs: install
	$(BIN)/python benchmarks/many_runs.py
