# Each target sets up what it needs, once; `make help` says what there is.
PYTHON ?= python3
VENV ?= .venv
TESTS ?= tests/unit tests/integration
QUICK_E2E := tests/e2e/test_service.py tests/e2e/test_speech.py
LONG := tests/acceptance tests/versions tests/integration/engines tests/kubernetes tests/monitoring \
	tests/access/test_cluster.py tests/integration/requests/test_many_requests.py tests/integration/recordings/test_recordings_in_s3.py \
	tests/integration/project/test_package.py tests/integration/execution/test_attacks.py tests/integration/operations/test_full_disk.py \
	tests/integration/queue/test_shares.py \
	tests/integration/cli/test_up.py \
	$(filter-out $(QUICK_E2E),$(wildcard tests/e2e/test_*.py))
HEARING := tests/integration/engines/test_speech.py \
	tests/integration/engines/test_diarization.py tests/integration/engines/test_onnx.py tests/e2e/test_speech.py \
	tests/e2e/test_examples.py tests/e2e/test_onnx.py tests/acceptance
# How other processors compute: CTranslate2 and its libraries, oneDNN or MKL, and OpenBLAS can be told to use older instructions.
KERNEL_oldest := CT2_FORCE_CPU_ISA=GENERIC CT2_USE_MKL=0 ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Nehalem
KERNEL_avx := CT2_FORCE_CPU_ISA=AVX CT2_USE_MKL=0 ONEDNN_MAX_CPU_ISA=AVX OPENBLAS_CORETYPE=Sandybridge
KERNEL_mkl := CT2_USE_MKL=1 MKL_CBWR=COMPATIBLE OPENBLAS_CORETYPE=Nehalem
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := .venv-peers/.ready
NODE_READY := tools/node/node_modules/.package-lock.json
unexport PYTHONDONTWRITEBYTECODE  # containers often set it: each process that a test starts would compile its imports again

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-unit test-long test-kernel test-cluster test-mock test-python fuzz fuzz-audio soak chaos chaos-cluster check check-protocol format pictures spec lock top-picture containers test-containers bench mutants clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

setup: $(READY) $(NODE_READY) ## install everything into .venv and tools/node, from the hashed locks

$(READY): requirements/bootstrap.txt requirements/development.txt pyproject.toml clients/python/pyproject.toml
	@echo "setting up $(VENV), once: half a minute with a quick network" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes \
		requirements/bootstrap.txt requirements/development.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation \
		--editable clients/python --editable .
	@$(BIN)/python -m compileall -q app clients handlers schemas
	@$(BIN)/python -c 'import app.main, faster_whisper; from natscribe.cli.commands import command_line; command_line()'  # compiles what each start imports
	@touch $@

$(NODE_READY): tools/node/package.json tools/node/package-lock.json | $(READY)
	@echo "setting up tools/node, once" >&2
	@PATH="$(abspath $(BIN)):$$PATH" npm --prefix tools/node ci --silent
	@touch $@

demo: $(READY) ## transcribe a recording of two people, servers and all
	@$(BIN)/natscribe demo

up: $(READY) ## run the service with embedded servers until Ctrl-C
	@$(BIN)/natscribe up

test: $(READY) $(NODE_READY) ## run all tests but the long ones and those of `check`, against real servers: five minutes
	@$(BIN)/pytest -n 3 --dist loadgroup $(LONG:%=--ignore=%) --ignore=tests/chaos --ignore=tests/cluster --ignore=tests/contract

test-unit: $(READY) ## run the tests that need no server and no Node: fifty seconds
	@$(BIN)/pytest -n 3 --dist loadgroup -m "not node" tests/unit tests/handlers tests/contract benchmarks/tests

test-long: $(READY) $(NODE_READY) ## run the long tests: engines, monitoring, browser, lost workers, attacks, S3
	@$(BIN)/pytest -n 3 --dist loadgroup $(LONG) tests/cluster/test_start.py

test-kernel: $(READY) $(NODE_READY) ## run the tests with real speech as another processor computes: KERNEL=oldest, avx or mkl
	@test -n "$(KERNEL_$(KERNEL))" || { echo "say which kernel: make test-kernel KERNEL=oldest (or avx, mkl)"; exit 2; }
	@$(KERNEL_$(KERNEL)) $(BIN)/pytest -n 2 --dist loadgroup --timeout 900 $(HEARING)

test-python: $(READY) $(NODE_READY) ## run unit and integration tests: make test-python PYTHON=python3.13 VENV=.venv-3.13
	@$(BIN)/pytest -n 2 --dist loadgroup $(TESTS)

test-cluster: $(READY) ## three NATS servers, killed, frozen and wiped while tasks run: about ten minutes
	@$(BIN)/pytest -q -s tests/cluster

test-mock: $(READY) ## the tests of what clients see, with the mock as the service: a minute
	@SERVICE=mock $(BIN)/pytest -q tests/integration/mock tests/integration/one_worker \
		--ignore=tests/integration/one_worker/test_terminal.py \
		--ignore=tests/integration/one_worker/test_foreign_messages.py

fuzz: $(READY) ## 10,000 hostile messages
	@FUZZ_MESSAGES=10000 $(BIN)/pytest -q tests/integration -k test_hostile_messages --timeout 1200

fuzz-audio: $(READY) ## 1,000 damaged recordings in fourteen containers; FUZZ_SEED=n for others
	@FUZZ_AUDIO=$${FUZZ_AUDIO:-1000} $(BIN)/pytest -q tests/integration/engines/test_fuzzed_files.py --timeout 3600

soak: $(READY) ## three thousand tasks through one worker, and a live task of an hour
	@SOAK_TASKS=3000 SOAK_MINUTES=60 $(BIN)/pytest -q tests/e2e/test_leaks.py tests/e2e/test_live_soak.py

chaos: $(READY) ## 45 minutes of killed workers and servers, power cuts (as root, with xfsprogs), jumps of the clock, attacks, a fleet of two versions and a full queue; CHAOS_SEED=n repeats a run
	@FLEET=30 ROUNDS=60 $(BIN)/pytest -q -s tests/integration/queue/test_shares.py tests/versions/test_versions.py -k "long_run or share_all"
	@CHAOS_SECONDS=600 CHAOS_OUTAGES=1,30,300 ATTACKS=5 ALL_BLOWS=1 $(BIN)/pytest -q -s tests/chaos \
		tests/integration/execution/test_attacks.py tests/e2e/test_live_recovery.py \
		tests/e2e/test_live_speakers.py::test_a_lost_worker_costs_no_label

chaos-cluster: $(READY) ## ten minutes of killed and frozen workers and nodes of a NATS cluster
	@CHAOS_SECONDS=$${CHAOS_SECONDS:-600} CHAOS_CLUSTER=1 $(BIN)/pytest -q -s tests/chaos/test_chaos.py

check: $(READY) $(NODE_READY) ## formatter, linter, types, import rules, documents, contract
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/mypy examples tools
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m tools.check_documents
	@$(BIN)/pytest -q -n 2 tests/contract benchmarks/tests/test_figures.py benchmarks/tests/test_charts.py

check-protocol: $(READY) ## explore all states of the model of the task protocol; needs SPIN and gcc: two minutes
	@$(BIN)/python -m tools.check_protocol

pictures: $(READY) $(NODE_READY) ## retake the pictures that the docs page is compared with
	@RENEW_PICTURES=1 $(BIN)/pytest -q tests/e2e/test_docs_page_in_a_browser.py

format: $(READY) ## format and mend what can be mended
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

spec: $(READY) $(NODE_READY) ## write what follows from the code: asyncapi.yaml, accounts.conf, tables of documents, parts of examples
	@$(BIN)/python -m tools.accounts
	@$(BIN)/python -m tools.contract_tables
	@$(BIN)/faststream docs gen app.main:app --yaml --out asyncapi.yaml
	@$(BIN)/faststream docs gen services.search.main:create_app --factory --yaml --out services/search/asyncapi.yaml
	@$(BIN)/node tools/node/models.mjs asyncapi.yaml > examples/node/models.ts
	@$(BIN)/node tools/node/bundle_nats.mjs > web/nats.js

top-picture: $(READY) ## draw docs/top.svg from a run with real tasks: two minutes
	@$(BIN)/python -m tools.draw_top

test-containers: $(READY) ## build, start, use and disturb the production stack; needs a container engine
	@TEST_CONTAINERS=1 $(BIN)/pytest -q -s tests/containers

containers: ## run the production stack in containers
	@docker compose up --detach --build --wait

bench: $(READY) ## measure, compared with the bare engine; ONLY="speech latency" for parts
	@$(MAKE) --no-print-directory $(PEERS) || echo "measuring without the peers, which cannot be installed" >&2
	@$(BIN)/python -m benchmarks $(ONLY)

mutants: $(READY) ## change the code at random places and list what no test notices: N=200 SEED=7 TIERS=unit ONLY=app/tasks/queue JOBS=2
	@$(BIN)/python -m tools.mutants $(or $(N),50) $(ONLY) $(SEED:%=--seed=%) $(TIERS:%=--tier=%) $(JOBS:%=--jobs=%) \
		$(LONG:%=--ignore=%)

$(PEERS): requirements/peers.txt | $(READY)
	@echo "setting up $(@D), once" >&2
	@$(BIN)/python -m venv --without-pip --clear $(@D)
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(@D)/bin/python $<
	@touch $@

# What natasha's own code needs, which is not used: docs/decisions.
UNUSED := $(addprefix --no-emit-package ,pymorphy2 pymorphy2-dicts-ru dawg-python docopt yargy ipymarkup intervaltree)

lock: $(READY) ## resolve the requirement files again
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-package natscribe --python-version 3.11 \
	  requirements/bootstrap.in -o requirements/bootstrap.txt
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-package natscribe --python-version 3.11 \
	  pyproject.toml -o requirements/runtime.txt
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-package natscribe --python-version 3.11 \
	  requirements/onnx.in -c requirements/runtime.txt --no-emit-package numpy -o requirements/onnx.txt
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-package natscribe --python-version 3.11 \
	  requirements/names.in -c requirements/runtime.txt $(UNUSED) -o requirements/names.txt
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-package natscribe --python-version 3.11 \
	  requirements/s3.in -c requirements/runtime.txt --no-emit-package typing-extensions -o requirements/s3.txt
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-package natscribe --python-version 3.11 \
	  pyproject.toml --extra mcp --extra names --extra onnx --extra s3 --extra search --group dev $(UNUSED) \
	  -c requirements/runtime.txt -o requirements/development.txt
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-package natscribe --python-version 3.11 \
	  --group peers -c requirements/runtime.txt -o requirements/peers.txt

clean: ## remove what was installed and written
	rm -rf .venv .venv-* tools/node/node_modules .coverage* .data .mypy_cache .ruff_cache .pytest_cache .hypothesis
