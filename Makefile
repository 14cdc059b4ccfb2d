# Every target sets up what it needs in .venv by itself; `make help` lists them.

PYTHON ?= python3
PORT ?= 8000
MODEL ?= cifar10-ladder-int8
PYTEST_ARGS ?=
export FUZZ_EXAMPLES ?= 5000
BENCH_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
# The project itself, as a path to this folder; its build backend is in the locks.
PROJECT := --no-deps --no-build-isolation --editable .
# Stamps: a file in .venv says which set of packages it holds, so that a set is installed once.
CREATED := $(VENV)/.created
SERVER := $(VENV)/.server
EVERYTHING := $(VENV)/.everything

.DEFAULT_GOAL := help
.PHONY: help demo serve test figures test-clients test-scale stubs fuzz attack soak adopted image-check bench sbom audit lint format docs lock pin-image clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(EVERYTHING) ## train, export and serve a small model, and ask it under four budgets (< 3 minutes)
	$(BIN)/python -m training.demo

serve: $(SERVER) ## serve what is in exported_models/ (PORT=8000, MODEL=cifar10-ladder-int8 answers by default)
	$(BIN)/python -m serving --models exported_models --default-model $(MODEL) --port $(PORT)

# One thread for each test worker: they share the cores between them. A file stays on one worker, for what its
# tests set up together; the files keep their order, in which the long ones (tests/integration) come first.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
test: $(EVERYTHING) ## run every test, and every example in the docs (PYTEST_ARGS=...)
	OMP_NUM_THREADS=1 MPLBACKEND=Agg $(PYTEST) $(PYTEST_ARGS)

fuzz: $(EVERYTHING) ## compare decoders and plans with references on random input, FUZZ_EXAMPLES=5000 each, and count them
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m fuzz tests --hypothesis-profile fuzz --hypothesis-show-statistics

figures: $(EVERYTHING) ## compare the shipped bundles' cards with all 10,000 test images (needs OFFRAMP_TEST_DATA)
	TEST_IMAGES=10000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 tests/test_shipped.py -k card_says

# Foreign clients need other versions than the server does: an environment and a lock for each.
CLIENTS := .venv-clients
test-clients: $(EVERYTHING) $(CLIENTS)/triton/.made $(CLIENTS)/kserve/.made $(CLIENTS)/helm/.made ## unmodified clients of the Open Inference Protocol, and Helm
	OFFRAMP_CLIENTS=$(CLIENTS) $(BIN)/python -m pytest tests/clients/clients.py tests/clients/charts.py

$(CLIENTS)/%/.made: tests/clients/%.lock
	$(PYTHON) -m venv $(CLIENTS)/$*
	$(CLIENTS)/$*/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@

# A real Ray on this machine, with its own versions of everything: two replicas, a killed one, bulk over two workers.
SCALE := .venv-scale
test-scale: $(SCALE)/.made ## replicas and bulk classification on a local Ray (about 1 GB, installed once)
	PYTHONPATH=. OMP_NUM_THREADS=1 $(SCALE)/bin/python -m pytest -c tests/scale/pytest.ini tests/scale/scale.py

$(SCALE)/.made: tests/scale/ray.lock
	$(PYTHON) -m venv $(SCALE)
	$(SCALE)/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@

# With the oldest compiler whose stubs offramp[grpc] allows; what is committed is what this writes.
STUBS := serving/web/grpc
stubs: $(CREATED) ## write the gRPC stubs from serving/web/grpc/open_inference.proto
	$(PYTHON) -m venv .venv-stubs
	.venv-stubs/bin/python -m pip --disable-pip-version-check --quiet install grpcio-tools==1.78.0 protobuf==6.31.1 'setuptools<81'
	.venv-stubs/bin/python -m grpc_tools.protoc --proto_path=$(STUBS) --python_out=$(STUBS) --pyi_out=$(STUBS) open_inference.proto

attack: $(EVERYTHING) ## attack a server as one would from outside, under five minutes, and print what held
	$(BIN)/python -m benchmarks.attack

SOAK_ARGS ?=
soak: $(EVERYTHING) ## 20,000 mixed requests; does anything grow? (SOAK_ARGS="--requests 1000000" for the long one)
	$(BIN)/python -m benchmarks.attack.soak $(SOAK_ARGS)

adopted: $(EVERYTHING) ## adopt networks of torchvision, timm and transformers, random weights: docs/models.md's tables
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.adopted_networks
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.network_families

IMAGE := .venv-image
image-check: $(SERVER) ## build the image without a container engine, run it and ask it (root, Debian; before a release)
	$(BIN)/python .ci/image_check.py $(IMAGE)

sbom: $(EVERYTHING) ## write a CycloneDX bill of materials of what .venv holds to sbom.json
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o sbom.json $(BIN)/python

audit: $(EVERYTHING) ## ask for known vulnerabilities of what is locked (needs a network)
	$(BIN)/pip-audit --requirement requirements-all.lock --require-hashes --disable-pip

# 64 connections at half the cost; without arguments the photo part takes hours, and goes on where it ended.
PHOTO_ARGS ?= --connections 64 --budgets 50
bench: $(EVERYTHING) ## measure everything side by side on this machine, about 40 minutes (BENCH_ARGS=..., PHOTO_ARGS=...)
	$(BIN)/python -m benchmarks.bench $(BENCH_ARGS)
	$(BIN)/python -m benchmarks.photo $(PHOTO_ARGS)

lint: $(EVERYTHING) ## formatting, ruff, strict types and the import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(EVERYTHING) ## format and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(EVERYTHING) ## build the documentation and the API reference into site/; every link is checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open site/index.html; searching needs a server: $(BIN)/python -m http.server --directory site"

LOCK_ARGS ?=
lock: $(EVERYTHING) ## write both locks from pyproject.toml; pins stay where they can (LOCK_ARGS=--upgrade)
	$(BIN)/python .ci/lock.py $(LOCK_ARGS)

pin-image: $(EVERYTHING) ## write the digest of the image that the Dockerfile starts from into it (needs its registry)
	@$(BIN)/python .ci/pin_image.py Dockerfile

clean: ## remove .venv, caches and the runs; exported_models/ stays
	rm -rf $(VENV) $(CLIENTS) $(SCALE) $(IMAGE) .venv-stubs build dist runs site benchmarks/.work *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find offramp serving training tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Offramp needs Python 3.11 or newer: name one with PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(SERVER): $(CREATED) pyproject.toml requirements.lock
	@echo "Installing the server into $(VENV) ..."
	@$(PIP) --require-hashes --requirement requirements.lock
	@$(PIP) $(PROJECT)
	@touch $@

$(EVERYTHING): $(CREATED) pyproject.toml requirements-all.lock
	@echo "Installing the server, the training side and the tests' tools into $(VENV): several GB, some minutes ..."
	@$(PIP) --require-hashes --requirement requirements-all.lock
	@$(PIP) $(PROJECT)
	@touch $(SERVER) $@
