# Every target sets up what it needs on a Debian machine that has python3, make and pip. `make run` and `make test` are the two to know.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: run test lint bench docs reference size clean agent
.DEFAULT_GOAL := run

# --- set-up: a stamp for each set of extras, so that `make run` never waits for the test tools -------------------------------
$(BIN)/python:
	@scripts/make-venv "$(PYTHON)" "$(VENV)"

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[report]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement scripts/engines.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,engines,tokenizers,seal,report,fetch,dash,otel]'
	@touch $@ $(VENV)/.installed

.venv-agent/.installed: scripts/agent.txt
	@scripts/make-venv "$(PYTHON)" .venv-agent
	.venv-agent/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement scripts/agent.txt
	@touch $@

# --- the two commands -------------------------------------------------------------------------------------------------------
run: $(VENV)/.installed   ## a confirmed capacity of the embedded target, in under four minutes
	$(BIN)/openagentperf run --rigor quick

# What a busy machine cannot change runs side by side, one process more than there are cores (whole runs wait for their windows most of the
# time); what measures, one after the other. Where PYTEST_ARGS names tests, one of the two parts may have none, of which pytest makes status 5.
JOBS ?= $(shell expr $$(nproc) + 1)
BESIDE = not slow and not agent and (beside or not (e2e or engine))
NAMED = $(if $(strip $(PYTEST_ARGS)),true,false)
test: $(VENV)/.installed-dev   ## everything but the minutes-long suites
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile -m '$(BESIDE)' $(PYTEST_ARGS); first=$$?; \
	[ $$first -eq 0 ] || { [ $$first -eq 5 ] && $(NAMED); } || exit $$first; \
	$(BIN)/python -m pytest -m 'not ($(BESIDE)) and not slow' $(PYTEST_ARGS); second=$$?; \
	[ $$second -eq 0 ] || { [ $$second -eq 5 ] && [ $$first -eq 0 ] && $(NAMED); } || exit $$second

# --- the rest ---------------------------------------------------------------------------------------------------------------
agent: .venv-agent/.installed   ## a real agent for the tests that drive one through the recorder (else they are skipped)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

docs: $(VENV)/.installed-dev   ## the docs site, into site/
	$(BIN)/mkdocs build --strict --quiet --site-dir site

reference: $(VENV)/.installed-dev   ## docs/reference.md, from the code
	$(BIN)/python scripts/reference.py

size:   ## lines per module, and the total
	@git ls-files 'src/*.py' | xargs wc -l | sort -n

clean:
	rm -rf $(VENV) .venv-agent runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
