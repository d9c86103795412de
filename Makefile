# Everything a person types is here; on a computer without make, the README has the same in plain lines.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install -qq --disable-pip-version-check
READY  := $(VENV)/.ready
TOOLS  := $(VENV)/.ready-dev
ROUNDS ?= 3
N      ?= 10000
SEED   ?= 10
MODE   ?= auto
ENGINES ?=
# As many workers as there are processors; one more where many tests wait for something.
WORKERS = $(shell $(PYTHON) -c 'import os; print(os.cpu_count() or 1)')
WAITING = $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
# With engines and browsers two at a time: a VM under emulation keeps one processor busy.
WITHOUT := not docker and not qemu and not browser
# Of those without, what is more than a call of a function: whole lessons, killed commands, wheels, runc.
WHOLE := (slow or mechanism)
WITH    := (docker or qemu or browser) and not alone
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-header

# Tests and lessons start many interpreters: compile once, not at every start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: lab handouts test test-code check check-only bench reliability fuzz foreign-clients golden dictionary lock engines clean browser-tools browser-lab
.DELETE_ON_ERROR:

lab: $(READY)                  ## engines, then JupyterLab on a copy of the lessons in your home
	ENGINES=$(ENGINES) $(BIN)/vmcompare lab

handouts: $(READY) engines     ## dist/*.html and an index: measured where engines are, recorded elsewhere
	$(BIN)/vmcompare handout $(NOTEBOOKS) --out dist --mode $(MODE) --rounds $(ROUNDS)

test: test-code $(TOOLS) engines browser-tools   ## all tests; what is missing is a skip with its reason
	$(BIN)/python -m pytest -n $(WAITING) --dist worksteal -m "$(WITHOUT) and $(WHOLE)" $(PYTEST_ARGS)
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "$(WITH)" $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m alone $(PYTEST_ARGS)

test-code: $(TOOLS)            ## the first part of them, while you work: a minute or so
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "$(WITHOUT) and not $(WHOLE)" $(PYTEST_ARGS)

check: $(TOOLS)                ## format, lint, types, layers
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/mypy
	$(BIN)/lint-imports

check-only: $(TOOLS)           ## the same, changing nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(TOOLS) engines        ## ratios, measured side by side in one run
	$(BIN)/python -m tools.bench $(BENCH_ARGS)

reliability: $(TOOLS) engines browser-tools   ## docs/reliability.md, from the fault suite
	$(BIN)/python -m tools.reliability

golden: $(TOOLS)               ## tests/golden/*.json: what the recordings say in the lessons
	$(BIN)/python -m tools.golden

fuzz: $(TOOLS)                 ## damaged and hostile files for every reader: N of them, made from SEED
	$(BIN)/python -m tools.fuzz -n $(N) --seed $(SEED)

foreign-clients: N = 8
foreign-clients: $(READY)      ## lessons run by plain nbconvert, N of them, four at a time: do all end?
	$(BIN)/python -m tools.foreign_clients -n $(N)

dictionary: $(TOOLS)           ## docs/data-dictionary.md and recording.schema.json: what a recording may hold
	$(BIN)/python -m tools.dictionary

lock: $(TOOLS)                 ## both lock files, from pyproject.toml
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) --group dev -c requirements.lock -o requirements-dev.lock

engines: $(READY)
	@ENGINES=$(ENGINES) $(BIN)/python -m vmcompare.engines.setup

browser-lab: $(READY)          ## dist/browser-lab.html: a VM that boots in a browser, and its sources
	@ENGINES=$(ENGINES) $(BIN)/python -m browser_lab --out dist

browser-tools: $(TOOLS)
	@$(BIN)/python -m tools.browser

clean: $(READY)                ## what earlier runs left behind, and a daemon that set-up started
	$(BIN)/vmcompare clean --engine

$(READY): pyproject.toml requirements.lock
	@echo "Setting up .venv, once: 0.7 GB on disk, about two minutes (longer over a slow line) …"
	$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps -e .
	@touch $@

$(TOOLS): requirements-dev.lock | $(READY)
	@echo "Adding what checks and tests need, once: another 0.7 GB, about a minute …"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@
