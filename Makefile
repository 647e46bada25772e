# Every chore is one target; CI runs the same ones. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

PORT ?= 5000
SPEC ?= manifests/serverset.yaml

# The images' base, and their tag.
export PYTHON_IMAGE ?= python:3.12-slim
IMAGE_TAG ?= 0.1.0

# Where the Kubernetes targets work; IMAGES: the registry the three images were pushed to.
NAMESPACE ?= default
IMAGES ?=
KIND_CLUSTER ?= ringmaster
KIND_NODE_IMAGE ?=
# The scripts need the standard library only.
SCRIPT := $(PYTHON) -B

# Two stamps: what runs needs less than what tests.
RUN_STAMP := $(VENV)/.ringmaster-run
DEV_STAMP := $(VENV)/.ringmaster-dev
BENCH_STAMP := $(VENV)/.ringmaster-bench

.PHONY: help
help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(RUN_STAMP)  ## three servers behind the balancer, as local processes; Ctrl-C ends it
	@exec $(BIN)/ringmaster up -f $(SPEC) --port $(PORT) $(UP_FLAGS)

# Tests side by side, a process a core and four at most; what shares an engine stays in one process
# (tests/conftest.py). 0: one after the other, in the foreground.
PYTEST_WORKERS ?= auto
.PHONY: test
test: $(DEV_STAMP)  ## every test this machine can run (others are skipped and say why)
	$(BIN)/pytest --numprocesses $(PYTEST_WORKERS) --maxprocesses 4 --dist loadgroup $(PYTEST_FLAGS)

.PHONY: lint
lint: $(DEV_STAMP)  ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(DEV_STAMP)  ## mypy, strict
	$(BIN)/mypy

.PHONY: layers
layers: $(DEV_STAMP)  ## import-linter: who may import whom
	$(BIN)/lint-imports

.PHONY: check
check: lint types layers test  ## all of the above, as CI runs it

.PHONY: format
format: $(DEV_STAMP)  ## rewrite the sources in the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: images
images: image-operator image-balancer image-server  ## the three images, on PYTHON_IMAGE

image-%:
	docker build -q -f $*/Dockerfile --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) -t ringmaster/$*:$(IMAGE_TAG) .

.PHONY: manifests
manifests: $(RUN_STAMP)  ## the definition of the kind, generated from the model
	$(BIN)/python -m ringmaster_operator.spec.crd > manifests/crd.yaml
	$(BIN)/python -m ringmaster_operator.spec.crd --no-cel > manifests/overlays/kube-1.20/crd.yaml

.PHONY: deploy
deploy:  ## onto the cluster that kubectl talks to: NAMESPACE=default IMAGES=registry/path IMAGE_TAG=...
	@$(SCRIPT) scripts/deploy.py up --namespace $(NAMESPACE) --images "$(IMAGES)" --tag $(IMAGE_TAG) $(DEPLOY_FLAGS)

.PHONY: undeploy
undeploy:  ## off that cluster again, ServerSets of the namespace and their pods included
	@$(SCRIPT) scripts/deploy.py down --namespace $(NAMESPACE) --tag $(IMAGE_TAG)

.PHONY: kind-up
kind-up:  ## a kind cluster with Ringmaster on it, at http://localhost:30500: KIND_NODE_IMAGE=...
	@$(SCRIPT) scripts/kind.py need
	@$(MAKE) --no-print-directory images
	@$(SCRIPT) scripts/kind.py up --name $(KIND_CLUSTER) --image "$(KIND_NODE_IMAGE)" --tag $(IMAGE_TAG)

.PHONY: kind-down
kind-down:  ## that cluster is gone
	@$(SCRIPT) scripts/kind.py down --name $(KIND_CLUSTER)

.PHONY: kind-test
kind-test: $(DEV_STAMP)  ## kind-up, a changed spec, a killed pod under load, kind-down; in a clone of HEAD
	$(BIN)/pytest -m kind tests/e2e $(PYTEST_FLAGS)

# The operator is to run replicas on the engine that compose builds on.
ifneq ($(filter unix://%,$(DOCKER_HOST)),)
export RINGMASTER_DOCKER_SOCKET ?= $(DOCKER_HOST:unix://%=%)
endif

.PHONY: docker-up
docker-up:  ## operator, balancer and three replicas on this machine's Docker Engine
	@case "$${RINGMASTER_DOCKER_SOCKET:+named}$$DOCKER_HOST" in ""|unix://*|named*) ;; *) echo "make: DOCKER_HOST=$$DOCKER_HOST is no unix socket, and the operator's container is given one: name that of the same engine, on its machine, with RINGMASTER_DOCKER_SOCKET" >&2; exit 1;; esac
	docker compose up --build --detach --wait
	@echo; echo "  curl http://localhost:$${RINGMASTER_PORT:-5000}/home"
	@echo "  kubectl --server http://127.0.0.1:$${RINGMASTER_API_PORT:-7070} get serversets"

.PHONY: docker-down
docker-down:  ## end that: no container and no network stays (DOWN_FLAGS=--volumes: no state either)
	docker compose stop
	@# The replicas gracefully, and on record as stopped on purpose; then whatever is left of them.
	@if docker compose ps --all --quiet operator | grep -q .; then docker compose run --rm -T operator ringmaster down --state-dir /var/lib/ringmaster || echo "make: the replicas could not be stopped gracefully; they are removed now" >&2; fi
	docker compose down --remove-orphans $(DOWN_FLAGS)

.PHONY: bench
bench: $(BENCH_STAMP)  ## beside other proxies, compose, Swarm and a ReplicaSet, whichever are there (13 minutes)
	$(BIN)/python bench/run.py --out bench/results $(BENCH_FLAGS)
	@if docker info >/dev/null 2>&1; then $(MAKE) --no-print-directory images bench-docker; else echo "left out: containers: no Docker Engine answers" >&2; fi

.PHONY: bench-quick
bench-quick: $(DEV_STAMP)  ## a small GET beside HAProxy and nginx where they are installed (a minute)
	$(BIN)/python bench/run.py --quick $(BENCH_FLAGS)

.PHONY: bench-ring
bench-ring: $(DEV_STAMP)  ## what a ring of 1,000 members costs, beside uhashring (20 seconds)
	$(BIN)/python bench/ring.py

.PHONY: ring-comparison
ring-comparison: $(DEV_STAMP)  ## measure all schemes again, into docs/ring.md
	$(BIN)/python bench/ring.py --write docs/ring.md

.PHONY: ring-page
ring-page: $(DEV_STAMP)  ## take docs/ring-page.png again, with chromium (a minute)
	$(BIN)/python -B tests/support/ring_page.py docs/ring-page.png

.PHONY: bench-kubernetes
bench-kubernetes: $(DEV_STAMP)  ## beside an apps/v1 ReplicaSet, on the cluster that kubectl talks to
	$(BIN)/python bench/kubernetes.py --out bench/results $(BENCH_FLAGS)

.PHONY: bench-docker
bench-docker: $(DEV_STAMP)  ## beside `docker compose up --scale` and a Swarm service, on this engine (needs make images)
	$(BIN)/python bench/docker_peers.py --out bench/results $(DOCKER_BENCH_FLAGS)

FUZZ_SECONDS ?= 120
.PHONY: fuzz
fuzz: $(DEV_STAMP)  ## mutated streams at both sides of the data plane, in memory: FUZZ_SECONDS=120
	PYTHONPATH=tests/support $(BIN)/python tests/support/fuzz.py --seconds $(FUZZ_SECONDS) $(FUZZ_FLAGS)

SOAK_SECONDS ?= 600
.PHONY: soak
soak: $(DEV_STAMP)  ## load while members, servers and workers come, go and are killed: SOAK_SECONDS=600
	PYTHONPATH=tests/support $(BIN)/python bench/soak.py --seconds $(SOAK_SECONDS) $(SOAK_FLAGS)

.PHONY: experiments
experiments: $(DEV_STAMP)  ## the performance analysis, live: docs/performance-analysis.md (about 5 minutes)
	$(BIN)/ringmaster experiment report --out docs/performance --page docs/performance-analysis.md

.PHONY: clean
clean:  ## remove what make made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: no '$(PYTHON)' in PATH: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $$($(PYTHON) --version) is too old: Ringmaster needs Python 3.11 or newer (make PYTHON=python3.12)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: this Python has no venv module (Debian keeps it apart): apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): pyproject.toml | $(VENV)/bin/python
	@echo "Installing Ringmaster into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[operator,balancer,server]'
	@touch $@

$(DEV_STAMP): pyproject.toml | $(VENV)/bin/python
	@echo "Installing Ringmaster and its tools into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[operator,balancer,server,dev]'
	@touch $@ $(RUN_STAMP)

$(BENCH_STAMP): $(DEV_STAMP)
	@echo "Installing the proxies to compare with into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@
