# Everything here works on a fresh machine with Python (3.11 to 3.14) and make.
PYTHON ?= python3
IMAGE ?= dinp:dev
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# The folders of a review, which are pure: all of them is covered.
PURE := webhook/admission.py,webhook/mutation.py,webhook/names.py,webhook/reasons.py,webhook/asking/*,webhook/finding/*,webhook/planning/*,webhook/pods/*

.DEFAULT_GOAL := help
.PHONY: help demo run unit test e2e e2e-all apiserver cluster cluster-down soak attack attack-quick fuzz bench bench-start check corpus cases reasons lock pin sbom audit image clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) ## run the server on a loopback port, send it the Pods of manifests/examples, and print each answer
	@$(BIN)/python -m tools.demo

run: $(STAMP) ## run the server with a throw-away certificate until ^C; ARGS="…" takes flags of dinp serve
	@mkdir -p build/run
	@$(BIN)/python -m trustme --quiet --dir build/run --identities localhost 127.0.0.1
	@echo "The certificate authority for clients is build/run/client.pem."
	@exec $(BIN)/dinp serve --bind-address 127.0.0.1 --log-format console --shutdown-delay 0 \
	  --tls-cert-file build/run/server.pem --tls-private-key-file build/run/server.key $(ARGS)

# Without ARGS: the suites of tests/suites.toml, side by side. With ARGS, as in ARGS="-k word": pytest
# alone in one process, with these flags and no coverage.
SUITES := $(BIN)/python -m tools.suites
ifeq ($(strip $(ARGS)),)
unit: $(STAMP) ## run the tests that need no root, no API server and no node; takes a minute
	@HYPOTHESIS_PROFILE=quick $(SUITES) unit --at-once 4 # one of them waits more than it works

test: $(STAMP) ## run all tests that need no node, and measure their coverage; needs root; ARGS="-k word" runs a part of them
	@$(BIN)/coverage erase
	@$(SUITES) test --coverage
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --show-missing --fail-under=97
	$(BIN)/coverage report --skip-covered --show-missing --fail-under=100 --include='$(PURE)'

e2e: $(STAMP) ## run Pods on real nodes, as every change needs; needs root; the first build takes half an hour
	@$(SUITES) e2e

e2e-all: $(STAMP) ## run the tests of e2e, and the long ones: soaks, versions, every row of the corpus
	@$(SUITES) e2e-all
else
unit: $(STAMP)
	$(BIN)/python -m pytest -m 'not cluster and not node and not root' $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest $(ARGS)

e2e e2e-all: $(STAMP)
	$(BIN)/python -m pytest -m node tests $(ARGS)
endif

apiserver: $(STAMP) ## run a real API server that calls dinp, to try dinp by hand, until ^C
	@exec $(BIN)/python -m tools.apiserver

cluster: $(STAMP) ## run a real cluster of one node with dinp in it, to try dinp by hand, until ^C
	@exec $(BIN)/python -m tools.cluster

cluster-down: $(STAMP) ## end the cluster of this checkout from another terminal, and remove leftovers of a killed one
	@$(BIN)/python -m tools.cluster --down

soak: $(STAMP) ## create Pods under load at a real API server while certificates rotate and servers are replaced
	@$(BIN)/python -m tools.soak $(ARGS)

attack: $(STAMP) ## send the server what strangers and Pod authors may send, in the memory of its manifest; needs root; under eight minutes
	@$(BIN)/python -m tools.attack $(ARGS)

attack-quick: $(STAMP) ## send the short rows of attack, and one family of each list and text; under three minutes
	@$(BIN)/python -m tools.attack --quick $(ARGS)

N ?= 100000
fuzz: $(STAMP) ## send N=100000 odd bodies to review() in process; only 200 and 400 may come out
	@$(BIN)/python -c 'import atheris' 2>/dev/null \
	  || $(BIN)/pip $(LOCK_INSTALL) -r requirements-fuzz.lock \
	  || echo "No atheris for this Python: bytes are flipped instead."
	@$(BIN)/python -m tools.fuzz $(N) $(ARGS)

bench: $(STAMP) ## measure how fast dinp is, next to the targets; takes six minutes; ARGS="--only inprocess" runs one part
	@$(BIN)/python -m bench $(ARGS)

bench-start: $(STAMP) ## measure how soon a Pod can use Docker, next to Pods written by hand; needs a node and root; takes six minutes
	@$(BIN)/python -m bench.start $(ARGS)

check: $(STAMP) ## run ruff, import contracts, shellcheck and mypy, as CI does before the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --config .importlinter.toml
	$(BIN)/shellcheck scripts/dind.sh scripts/start.sh tests/node/dockerd-entrypoint.sh tests/cgroup2/init.sh
	$(BIN)/mypy

corpus: $(STAMP) ## send every Pod of ../shared/corpus through the server, and print the tables
	@$(BIN)/python -m tools.corpus $(ARGS)

cases: $(STAMP) ## send every Pod of ../shared/cases through the server, and check what is wanted of each
	@$(BIN)/python ../shared/cases/check.py $(BIN)/dinp $(ARGS)

reasons: $(STAMP) ## write docs/reasons.md: each denial and warning with its cause and its cure
	@$(BIN)/python -m tools.reasons

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
LOCK_INSTALL := install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all:
lock: $(STAMP) ## write the locks for the packages that pyproject.toml asks for; ARGS=--upgrade takes newer versions
	@$(BIN)/pip $(LOCK_INSTALL) -r requirements-lock.lock
	$(COMPILE) $(ARGS) --group dev pyproject.toml -o requirements-dev.lock
	$(COMPILE) $(ARGS) -c requirements-dev.lock pyproject.toml -o requirements.lock
	$(COMPILE) $(ARGS) -c requirements-dev.lock --group build -o requirements-build.lock
	$(COMPILE) $(ARGS) -c requirements-dev.lock --group fuzz -o requirements-fuzz.lock
	$(COMPILE) $(ARGS) -c requirements-dev.lock --group lock -o requirements-lock.lock
	$(COMPILE) $(ARGS) -c requirements-dev.lock --group release -o requirements-release.lock

# The tools of a release, in an environment of their own: among them is a pip.
RELEASE := build/release
$(RELEASE)/.stamp: requirements-release.lock
	@$(PYTHON) -m venv $(RELEASE)
	@$(RELEASE)/bin/pip $(LOCK_INSTALL) -r requirements-release.lock
	@touch $@

pin: $(STAMP) ## write the digests of the base image and the daemon's images beside their tags; needs their registry
	@$(BIN)/python -m tools.pin $(ARGS)

sbom: $(RELEASE)/.stamp ## write build/dinp.cdx.json, a CycloneDX list of all parts of the image (IMAGE=dinp:dev); needs Docker
	@$(RELEASE)/bin/python -m tools.sbom $(IMAGE) $(ARGS)

audit: $(RELEASE)/.stamp ## ask a vulnerability database about every package of the locks
	@$(RELEASE)/bin/python -m tools.audit $(ARGS)

image: ## build the container image (IMAGE=dinp:dev); needs Docker
	@command -v docker >/dev/null || { echo "make image needs the docker command, which is not here." >&2; exit 1; }
	docker build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --tag $(IMAGE) .

clean: ## remove the virtual environment and everything that was built
	rm -rf $(VENV) build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Not --clear: an environment that is in use stays usable. The locks are whole, so --no-deps: pip 23.2
# would look for coverage[toml] by itself, and refuse the newer one that it finds.
$(STAMP): pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { \
	  echo "dinp needs Python 3.11 to 3.14, and '$(PYTHON)' is not: name one that is, as in make PYTHON=python3.13 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments (it has no ensurepip). On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Python packages go into $(VENV) now: the first time pip takes a minute or two, without a word."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
