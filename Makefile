# Two commands for a fresh machine with Python 3.11+ and pip: `make demo` (or `make demo-images`) and `make test`. Each sets itself up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo demo-images test bench bench-features bench-serve lint types clean

demo: $(VENV)/.installed
	$(BIN)/dmnplus demo

demo-images: $(VENV)/.installed-vision
	$(BIN)/dmnplus demo-images

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist loadscope --no-loadscope-reorder

# Options in BENCH, as in `make bench BENCH="--quick --threads 2"`; benchmarks/README.md names them.
bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.run $(BENCH)

# Needs wrk (apt install wrk); options in SERVING, as in `make bench-serve SERVING="--quick"`.
bench-serve: $(VENV)/.installed-serve
	$(BIN)/python -m benchmarks.serving $(SERVING)

bench-features: $(VENV)/.installed-vision
	$(BIN)/python -m benchmarks.features $(FEATURES)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-test
	$(BIN)/pyright

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("dmnplus needs Python 3.11 or later, this is %d.%d: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-vision: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[vision]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-serve: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[serve]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test,vision]'
	touch $@ $(VENV)/.installed $(VENV)/.installed-vision

clean:
	rm -rf $(VENV) build dist
