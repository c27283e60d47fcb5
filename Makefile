# Everything that a fresh machine needs is done by the first of these that is run: `make demo`, `make test`, `make check`.
# The virtual environment is made again whenever pyproject.toml changes.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
VENV := .venv
INSTALLED := $(VENV)/installed-from-pyproject
RUN := $(VENV)/bin/python -m

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start Python hundreds of times: compiling all of it each time costs a third of their time.
unexport PYTHONDONTWRITEBYTECODE
# The tests save and sync tens of thousands of files, none of which has to outlive the run: where there is
# plenty of memory (GiB: to use, and of the file system in it) they lie there, which halves the time of
# whoever waits for a disk. What a test that passed leaves there is removed at once.
MEMORY := /dev/shm
MEMORY_GIB := 8
SHARED_GIB := 4
ifndef TMPDIR
IN_MEMORY := $(shell test -w $(MEMORY) && \
	awk '/^MemAvailable:/ {exit $$2 < $(MEMORY_GIB) * 2^20}' /proc/meminfo && \
	df -Pk $(MEMORY) | awk 'NR == 2 {exit $$4 < $(SHARED_GIB) * 2^20}' && echo TMPDIR=$(MEMORY))
endif

.PHONY: demo demo-durable test test-stalled check lab bench man clean

demo: $(INSTALLED) ## Two daemons, a real tree, each promise timed and checked.
	$(VENV)/bin/holdfast demo $(TREE)

demo-durable: $(INSTALLED) ## Two devices and seven super-nodes; most of them burn, and the kit brings all back.
	$(VENV)/bin/holdfast demo --durable $(TREE)

test: $(INSTALLED) ## The tests, and nothing but the tests; ARGS goes to pytest.
	$(IN_MEMORY) $(RUN) pytest -n auto --dist worksteal \
		$(if $(IN_MEMORY),-o tmp_path_retention_policy=failed) $(ARGS)

# A round of a loop in fifty is late by 50 ms on average: with more, tests of what has to be done in time
# fail for want of it. The commands' imports are counted, and those of the stalls are among them.
test-stalled: $(INSTALLED) ## The tests, with event loops and threads that stall at random: as a busy machine has them.
	STALLS=0.02,0.1 PYTHONPATH=$(abspath tests/stalls) $(MAKE) test ARGS="--ignore tests/sim \
		--deselect tests/peer/command_line/test_cli.py::test_nothing_slow_is_imported_before_it_is_needed $(ARGS)"

check: $(INSTALLED) ## The style: lint, format, types, layers.
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(VENV)/bin/lint-imports

lab: $(INSTALLED) ## Two devices behind every two kinds of routers; prints the matrix and the times. Needs root.
	$(RUN) tests.nat

bench: $(INSTALLED) ## The comparison with Syncthing; ARGS goes to the benchmark.
	HOLDFAST="$(abspath $(VENV)/bin/holdfast)" $(RUN) tests.bench.sync_bench $(ARGS)

man: $(INSTALLED) ## The manual page, from the grammar of the commands, and JSON.md, from the types that they print.
	$(RUN) peer.command_line.manual > peer/holdfast.1.new && mv peer/holdfast.1.new peer/holdfast.1
	$(RUN) peer.command_line.json_shapes > peer/JSON.md.new && mv peer/JSON.md.new peer/command_line/JSON.md

clean: ## Remove what the others made.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(INSTALLED): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Holdfast needs Python 3.11 or newer. Name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Once, and into $(VENV) alone, what Holdfast is built on is fetched: some 100 packages, in a minute or a few."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@{ $(RUN) pip install --progress-bar off --editable '.[dev]' || touch $(VENV)/failed; } \
		| sed -n 's/^Collecting \([A-Za-z0-9._-]*\).*/  \1/p'
	@test ! -e $(VENV)/failed
	@touch $(INSTALLED)
