# Everything runs in .venv, made here from the committed constraints; nothing else is needed
# but a Python that pyproject.toml allows, with pip and venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
COVERAGE := .venv-coverage
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
DEMO_FLAGS ?=
TEST_FLAGS ?=

.PHONY: demo test test-slow test-fast test-core coverage lint format docs hearing bench bench-scan peers aarch64 constraints golden clean pictures

demo: $(VENV)/.base
	$(BIN)/otic demo $(DEMO_FLAGS)

# All that is quick enough to wait for; test-slow has the rest: wheels, browsers, brokers, long faults.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup

test: $(VENV)/.dev
	$(PYTEST) -m "not slow" $(TEST_FLAGS)

test-slow: $(VENV)/.dev
	$(PYTEST) -m slow $(TEST_FLAGS)

# For the edit loop: one room at a time, no process, server or recording.
test-fast: $(VENV)/.dev
	$(PYTEST) -m "not slow and not real_audio" tests/unit $(TEST_FLAGS)

# Without what trains: for Pythons and systems that tensorflow has no release for.
test-core: $(VENV)/.dev
	$(PYTEST) -m "not slow and not training" $(TEST_FLAGS)

# Lines that `make test` runs in its own process; the floor is in pyproject.toml.
coverage: $(COVERAGE)/.made
	$(COVERAGE)/bin/python -m pytest -n 2 --dist loadgroup -m "not slow" --cov \
	  --cov-report=term:skip-covered $(TEST_FLAGS)

$(COVERAGE)/.made: constraints/coverage.txt constraints/dev.txt constraints/base.txt
	$(PYTHON) -m venv $(COVERAGE)
	for list in base dev coverage; do $(COVERAGE)/bin/python -m pip --quiet install \
	  --require-hashes -r constraints/$$list.txt || exit 1; done
	$(COVERAGE)/bin/python -m pip --quiet install --no-deps --no-build-isolation -e .
	touch $@

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy examples/*.py docs/site/build.py

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The Python API and docs/ as pages; fails on links that lead nowhere. Open build/site/index.html.
docs: $(VENV)/.dev
	rm -rf build/site
	$(BIN)/python docs/site/build.py build/site

# How well models hear: event F1, false alarms, unknown sounds, delays. FETCHED=DIR: what
# DATA/alarms/fetch.sh DIR has made. MODELS: fold models, bundles or names of bundled ones.
DATA ?= ../shared/data
MODELS ?= $(wildcard tests/data/folds/*.tflite)
hearing: $(VENV)/.dev
	$(BIN)/python -m otic_training.hearing $(DATA) $(MODELS) $(if $(FETCHED),--fetched $(FETCHED))

# The measurements behind the figures of docs/speed.md; alone on the machine, some minutes each.
bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks.live
	$(BIN)/python -m tests.benchmarks.long_run

# Speed and memory of otic scan on 100 hours of looped recordings, and a dry run of a million
# files; alone on the machine. SCAN="--hours 10 --files 600 --longest 1": smaller.
bench-scan: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks.scan --stubs 1000000
	$(BIN)/python -m tests.benchmarks.scan $(DATA)/esc10/audio $(SCAN)

# Other MFCC front ends beside otic's; in an environment of its own, because some of them
# change what numba loads.
peers: $(PEERS)/.made
	$(PEERS)/bin/python -m tests.benchmarks.peers --write

$(PEERS)/.made: constraints/peers.txt $(VENV)/.dev
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --quiet install --require-hashes -r constraints/base.txt
	$(PEERS)/bin/python -m pip --quiet install --require-hashes -r constraints/dev.txt
	$(PEERS)/bin/python -m pip --quiet install --require-hashes -r constraints/peers.txt
	$(PEERS)/bin/python -m pip --quiet install --no-deps --no-build-isolation -e .
	touch $@

# The same output, and the unit tests, on 64-bit Arm under emulation; the tests take longest.
aarch64: $(VENV)/.base
	bash tests/aarch64/check.sh

# Rewrite the expected outputs in tests/golden after an intended change; read the diff.
golden: $(VENV)/.dev
	$(BIN)/python -m pytest tests/system/test_golden.py tests/unit/test_dashboard_golden.py --update-golden

# The README's pictures, from the synthetic soundscape.
pictures: $(VENV)/.base
	mkdir -p build
	$(BIN)/python -c "import soundfile; from otic.audio.soundscape import synthesise; \
	  soundfile.write('build/soundscape.wav', synthesise(44100)[0], 44100, subtype='PCM_24')"
	for size in 80x24 120x40 200x60; do $(BIN)/otic replay build/soundscape.wav \
	  --screenshot docs/pictures/dashboard-$$size.svg --at 27 --size $$size || exit 1; done

$(VENV)/.base: constraints/base.txt pyproject.toml
	@$(PYTHON) -c "import tomllib" 2>/dev/null || { echo "$$($(PYTHON) --version) is too old, see \
	  requires-python in pyproject.toml: make PYTHON=python3.13 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r constraints/base.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.dev: constraints/dev.txt $(VENV)/.base
	$(PIP) install --require-hashes -r constraints/dev.txt
	touch $@

# Take the newest versions that fit. uv resolves for all Pythons and platforms at once.
UV := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
  --no-annotate --no-emit-index-url --quiet --upgrade
constraints: $(VENV)/.base
	$(PIP) install uv
	$(UV) pyproject.toml --extra train --extra search --extra mqtt --extra metrics --extra web \
	  --extra parquet --extra cluster --extra notify --group dev -c constraints/limits.txt -o constraints/dev.txt
	$(UV) pyproject.toml constraints/build.txt -c constraints/limits.txt -c constraints/dev.txt \
	  -o constraints/base.txt
	$(UV) pyproject.toml constraints/build.txt --extra mqtt --extra metrics --extra web \
	  --extra notify -c constraints/limits.txt -c constraints/dev.txt -o constraints/sensor.txt
	$(UV) --group peers -c constraints/dev.txt -o constraints/peers.txt
	$(UV) --group coverage -c constraints/dev.txt -o constraints/coverage.txt

clean:
	rm -rf $(VENV) $(PEERS) $(COVERAGE) .aarch64 build dist *.egg-info
