# Backstay's commands. `make help` lists them; each sets up what it needs in .venv, once.

BIN := .venv/bin
ARGS ?=
PROFILE ?=
# What is tested as it is, and compiled.
TWICE := tests/core tests/policies tests/app tests/wire $(wildcard tests/test_*.py) tests/stores/test_ledger_memory.py

.DEFAULT_GOAL := help
.PHONY: help run test test-inside test-processes test-compiled test-clients lint bench conformance docs docs-check generated-docs test-kubernetes image-check test-pod lock services clean distclean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

run: .venv/.stamp-demo ## two agents, one with Backstay: watch the difference (ARGS="--duration 30s")
	@$(BIN)/backstay demo $(ARGS)

ifeq ($(strip $(ARGS)),)
test: test-inside test-processes ## every test, with coverage (ARGS="tests/core -k breaker" for some)
else
test: .venv/.stamp-test services
	@$(BIN)/pytest -q $(ARGS)
endif

test-inside: COVER := $(BIN)/pytest -q -n 2 --cov --cov-report= --cov-fail-under=0
test-inside: .venv/.stamp-test services
	@$(BIN)/coverage erase
	@$(COVER) $(if $(PROFILE),--hypothesis-profile=$(PROFILE)) $(TWICE)
	@$(COVER) --cov-append $(TWICE:%=--ignore=%) --ignore=tests/e2e --ignore=tests/conformance --ignore=tests/charts --ignore=tests/monitoring
	@$(BIN)/coverage report
	@$(BIN)/coverage report --include='proxy/core/*' --fail-under=100

test-processes: .venv/.stamp-test services  # what these test runs in processes of its own
	@$(BIN)/pytest -q -n 2 tests/e2e tests/conformance

test-compiled: .cache/compiled/.stamp-test services ## the tests of the hot path, against the compiled build
	@PYTHONSAFEPATH=1 .cache/compiled/bin/python -c 'import proxy.wire.server as m; assert m.__file__.endswith(".so"), m.__file__'
	@PYTHONSAFEPATH=1 .cache/compiled/bin/pytest -q -n 2 -p no:cacheprovider -o pythonpath= $(TWICE) tests/e2e/test_broken_streams.py tests/e2e/test_ledger_*.py

test-clients: .venv/.stamp-test services .cache/clients/.stamp ## unmodified programs, alone and caught; writes docs/clients.md; wants root (ARGS="--only stripe")
	@$(BIN)/python -m tests.clients.run $(ARGS)

lint: .venv/.stamp-dev ## ruff, mypy, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv/.stamp-bench .cache/compiled/.stamp .cache/mitmproxy/.stamp ## beside Envoy, nginx, HAProxy, Traefik and mitmproxy; writes bench/RESULTS.md (ARGS="--only get --quick")
	@bench/setup.sh
	@$(BIN)/python -m bench.run $(ARGS)

conformance: .venv/.stamp-bench ## a suite for HTTP caches beside nginx, Varnish and Squid; writes bench/CONFORMANCE.md (ARGS="--caches Backstay")
	@bench/setup.sh conformance
	@$(BIN)/python -m bench.conformance.run $(ARGS)

docs: generated-docs ## generate docs/configuration.md, metrics.md and helm-values.md, and the schema of the chart's values
	@mkdir -p docs
	@cp .cache/docs/*.md docs/
	@cp .cache/docs/values.schema.json charts/backstay/

docs-check: generated-docs ## the generated docs are what the code would generate
	@stale=; cd .cache/docs && for page in *.md; do diff -u ../../docs/$$page $$page || stale=1; done; \
	  diff -u ../../charts/backstay/values.schema.json values.schema.json || stale=1; \
	  [ -z "$$stale" ] || { echo "docs are stale: run 'make docs' and commit" >&2; exit 1; }

generated-docs: .venv/.stamp-demo
	@mkdir -p .cache/docs
	@$(BIN)/python -m proxy.config.reference > .cache/docs/configuration.md
	@$(BIN)/python -m proxy.telemetry.reference > .cache/docs/metrics.md
	@$(BIN)/python -m charts.generate.values_table > .cache/docs/helm-values.md
	@$(BIN)/python -m charts.generate.schema > .cache/docs/values.schema.json

test-kubernetes: .venv/.stamp-test .cache/helm services ## the charts with a real helm; rules, dashboards and scrapes with a real Prometheus
	@$(BIN)/pytest -q -n 2 --dist loadfile tests/charts tests/monitoring  # one Prometheus, not one for each worker

image-check: .venv/.stamp-dev ## lint the Dockerfile
	@$(BIN)/hadolint Dockerfile

test-pod: .venv/.stamp-test ## the image, built and run beside an agent in a real pod; wants root, podman is installed
	@scripts/pod.sh $(BIN)/pytest -q -p no:cacheprovider --timeout 300 -o python_files='pod_*.py' tests/pod $(ARGS)

lock: .venv/bin/python ## resolve what requirements/ and tests/clients/node* pin anew (3.11 to 3.14)
	@$(BIN)/pip -qq --disable-pip-version-check install uv
	@$(BIN)/uv pip compile --quiet pyproject.toml --all-extras --universal --python-version 3.11 --upgrade \
	  --no-annotate --custom-compile-command "make lock" -o requirements/constraints.txt
	@$(BIN)/uv pip compile --quiet requirements/clients.in --universal --python-version 3.11 --upgrade \
	  --no-annotate --custom-compile-command "make lock" -o requirements/clients.txt
	@for node in node20 node24; do (cd tests/clients/$$node && npm update --silent --package-lock-only); done

clean: ## remove what tools left behind, keep .venv
	@rm -rf .cache .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist htmlcov
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	@rm -rf .venv

# ------------------------------------------------------------------------------------------------ set-up

# The wheel whose hot path is compiled, as the image has it.
.cache/compiled/.stamp: $(shell find proxy -name '*.py') pyproject.toml requirements/constraints.txt | .venv/bin/python
	@scripts/compiled.sh
	@touch $@

# The repository comes last in the path (a .pth file), and not first as pytest would have it: its proxy is not compiled.
.cache/compiled/.stamp-test: .cache/compiled/.stamp
	@echo "$(CURDIR)" > "$$(.cache/compiled/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/tests.pth"
	@scripts/install.sh .cache/compiled/bin/python \
	  $$(.venv/bin/python -c 'import tomllib; print(*(e for e in tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["test"] if not e.startswith("backstay")))')
	@touch $@

# A peer whose pins are not ours.
.cache/mitmproxy/.stamp: bench/mitmproxy.txt | .venv/bin/python
	@echo "setting up .cache/mitmproxy ..."
	@$(BIN)/python -m venv .cache/mitmproxy
	@.cache/mitmproxy/bin/pip -qq --disable-pip-version-check --no-input install --progress-bar off -r $<
	@touch $@

# The clients, as agents have them.
.cache/clients/.stamp: requirements/clients.txt $(wildcard tests/clients/node*/package*.json) scripts/clients.sh | .venv/bin/python
	@echo "setting up .cache/clients ..."
	@scripts/clients.sh
	@touch $@

# What tests start beside Python: a redis-server.
services:
	@scripts/services.sh

.venv/bin/python:
	@scripts/venv.sh

# One stamp for each set of extras: nothing is installed again until pyproject.toml or the pins change.
# A larger set stamps those it contains.
CONTAINED_test := demo
CONTAINED_dev := demo test
.venv/.stamp-%: pyproject.toml requirements/constraints.txt | .venv/bin/python
	@echo "setting up .venv ($*) ..."
	@scripts/install.sh $(BIN)/python -e '.[$*]'
	@touch $(foreach set,$* $(CONTAINED_$*),.venv/.stamp-$(set))

.cache/helm: .venv/bin/python
	@scripts/fetch-helm.sh $@
