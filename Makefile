# Everything a newcomer needs: `make demo` and `make test`. Each target says what it does with `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Debian packages: servers and tools that tests and the demo run for real.
SERVERS := rabbitmq-server postgresql e2fsprogs prometheus chromium libatomic1 docker-compose
DEMO_TOOLS := e2fsprogs
# SHA-256 of sixteen blocks at once (workers/repository/lanes.py): Debian 12 has it, for x86-64. Nothing fails without.
LANES := $(shell . /etc/os-release 2>/dev/null && [ "$$VERSION_CODENAME $$(uname -m)" = "bookworm x86_64" ] && echo libipsec-mb1)

.PHONY: sim help setup datadog azurite check test demo sandbox sandbox-azure lock chaos chaos-archives chaos-engine chaos-store bench-dispatch bench-pool bench-estate bench-repository clean
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## the virtual environment with the locked versions
$(READY): pyproject.toml requirements.lock
	@test -n "$(SNAPFLEET_NO_APT)" || $(PYTHON) -c 'import ensurepip' 2>/dev/null || sh deploy/install-packages.sh python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

# Tests start processes by the hundred. Where the caller's environment forbids Python to keep what it compiled, each of
# them compiled all modules anew: a third of the processor time of `make check` (2026-11-23).
check test: export PYTHONDONTWRITEBYTECODE =

check: setup ## format, lint, types, layers and unit tests, in under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -m "unit and not long" -n 3 --no-header

# Datadog's own check package wants older versions than ours, so it lives in an environment of its own.
datadog: .venv-datadog/.ready
.venv-datadog/.ready:
	$(PYTHON) -m venv .venv-datadog
	.venv-datadog/bin/pip install --quiet --disable-pip-version-check "datadog-checks-base[deps]>=38,<39"
	@touch $@

# Microsoft's emulator of Azure Blob, for the tests of azure:// repositories.
azurite: .venv-azurite/.ready
.venv-azurite/.ready: deploy/install-azurite.sh
	sh deploy/install-azurite.sh .venv-azurite $(PYTHON)
	@touch $@

# Three at a time on two cores: stories wait for leases, polls and processes a good part of their time, and two left a
# sixth of the processor idle. Each has servers of its own. tests/conftest.py hands the longest files out first.
test: setup datadog azurite ## every test, on a real RabbitMQ and a real PostgreSQL
	sh deploy/install-packages.sh $(SERVERS)
	-@sh deploy/install-packages.sh $(LANES)
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --no-header

demo: setup ## protect, copy, expire, destroy and restore an emulated estate (SERVE=1 leaves the page up)
	sh deploy/install-packages.sh $(DEMO_TOOLS)
	$(BIN)/python -m deploy.demo $(if $(SERVE),--serve)

sandbox: setup ## serve the emulated clouds and print the environment to use
	sh deploy/install-packages.sh $(DEMO_TOOLS)
	$(BIN)/python -m deploy.sandbox serve --seed demo

sandbox-azure: setup ## serve the emulated Azure and print the environment to use
	sh deploy/install-packages.sh $(DEMO_TOOLS)
	$(BIN)/python -m deploy.sandbox.azure serve --port 5601 --seed demo

sim: setup ## a thousand seeds of a simulated fleet in virtual time, and the mutants it must notice; figures as one JSON line
	$(BIN)/python -m tests.sim --seeds $(or $(SEEDS),1000)

chaos: setup ## a thousand kills of real processes; figures as one JSON line
	sh deploy/install-packages.sh $(SERVERS)
	$(BIN)/python -m tests.scenario.recovery
	$(BIN)/python -m tests.scenario.chaos

chaos-archives: setup ## 300 kills of processes that archive, restore, forget and prune; figures as one JSON line
	sh deploy/install-packages.sh $(SERVERS)
	$(BIN)/python -m tests.scenario.archive_chaos

chaos-engine: setup ## the repository engine under deaths at any call, by 3,000 seeds; figures as one JSON line
	$(BIN)/python -m tests.workers.repository.chaos

chaos-store: setup ## 700 kills of processes of the engine at every write, over HTTP, beside prunes; figures as JSON lines
	$(BIN)/python -m tests.workers.repository.http_chaos --kills 400
	$(BIN)/python -m tests.workers.repository.http_chaos --kills 300 --server moto --seed 2

bench-estate: setup ## 10,000 instances in 20 accounts and 3 regions; figures as one JSON line
	sh deploy/install-packages.sh $(SERVERS)
	$(BIN)/python -m tests.bench.estate

bench-repository: setup ## the repository engine beside restic, on the same data and server; figures as one JSON line
	sh deploy/install-packages.sh restic e2fsprogs
	-@sh deploy/install-packages.sh $(LANES)
	$(BIN)/python -m tests.bench.repository

# The benches' peers want other versions of our own libraries, and none of their code runs in our processes.
.venv-peers/.ready:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check "apscheduler>=3.11,<4" "sqlalchemy>=2,<3" \
	  "psycopg[binary]>=3.3,<4" "celery>=5.5,<6" "dramatiq>=2.2,<2.3" "pika>=1.4,<2"
	@touch $@

bench-dispatch: setup .venv-peers/.ready ## a million schedules, from due to confirmed, beside APScheduler and celery beat; one JSON line
	sh deploy/install-packages.sh $(SERVERS)
	$(BIN)/python -m tests.bench.dispatch

bench-pool: setup .venv-peers/.ready ## jobs through the fleet, beside bare Dramatiq and Celery prefork; one JSON line
	sh deploy/install-packages.sh $(SERVERS)
	$(BIN)/python -m tests.bench.pool

lock: ## write requirements.lock anew from pyproject.toml
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --extra dev --extra sandbox --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file requirements.lock pyproject.toml

clean: ## remove what was built here
	rm -rf $(VENV) .venv-datadog .venv-peers .venv-azurite build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
