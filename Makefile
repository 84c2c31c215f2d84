# make check: what CI runs. PYTHON chooses the interpreter: make check PYTHON=python3.13
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: check lint types test wheel check-lowest check-training check-arm64 peers clean

check: lint types test wheel

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps pnnx
	touch $@

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(BIN)/.installed
	$(BIN)/mypy

test: $(BIN)/.installed
	$(BIN)/python -m pytest

# The wheel as a user gets it: built, weighed, installed alone in a clean venv, run outside the checkout.
wheel: $(BIN)/.installed
	rm -rf dist build/wheel-venv
	$(BIN)/python -m build --outdir dist . > /dev/null
	$(BIN)/python tests/check_wheel.py dist build/wheel-venv

# The lower bounds of pyproject.toml, on the oldest Python.
check-lowest:
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet $$($(PYTHON) tests/lowest.py | grep -v '^pnnx')
	build/lowest/bin/python -m pip install --quiet --no-deps $$($(PYTHON) tests/lowest.py | grep '^pnnx')
	build/lowest/bin/python -m pip install --quiet --no-deps --editable .
	build/lowest/bin/python -m pip install --quiet pytest hypothesis pillow
	build/lowest/bin/python -m pytest

# The training code: needs PyTorch and the fonts of training/fonts.txt.
check-training: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[train]'
	$(BIN)/python -m pytest tests/training

# The wheel on arm64, in emulation: needs apt, dpkg-deb and qemu-aarch64-static (apt-get install qemu-user-static).
check-arm64: $(BIN)/.installed
	$(BIN)/python -m build --wheel --outdir dist . > /dev/null
	$(BIN)/python tests/check_arm64.py dist build/arm64

# What benchmarks/compare.py measures against, in an environment of its own. Tesseract is the system's:
# apt-get install tesseract-ocr tesseract-ocr-chi-sim
peers:
	$(PYTHON) -m venv build/peers
	build/peers/bin/python -m pip install --quiet . -r benchmarks/peers.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
