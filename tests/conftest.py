"""What holds for every test: how it may end, and that it asks nothing of the clock.

pytest-timeout ends a test once; a teardown that hangs after that, or in the first place, would hold
up the whole run without a word. And Hypothesis would call an example slow, or its making, when only
the machine is busy: what may cost how much is asserted where it is counted, and not in seconds.
"""

import faulthandler
import gc
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from peer.collector import spare_rows

# Daemons and commands that tests start do not compile all of Holdfast each time, whatever the
# environment says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

settings.register_profile("holdfast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("holdfast")

_BEGAN_S = time.time()
TEARDOWN_TIMEOUT_S = 60.0
"""Daemons that are killed, threads that are joined: seconds, even on a machine with other work."""
WORKERS_A_CORE = 2
"""Half of the time of a test with real processes is waiting: others use the core meanwhile."""
WAITING = ("end_to_end", "nat")
"""Whose tests are of real processes, and wait for them: left to the end, they were a third of the
time of a run in which the cores did nothing."""
ENOUGH_WORKERS = 8
"""With so many cores nobody waits for one, and each process takes a quarter of a gigabyte."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    cores = os.cpu_count() or 1
    return max(cores, min(WORKERS_A_CORE * cores, ENOUGH_WORKERS))


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Looks for no cycles while thousands of tests are made, which is a sixth of that time, nor
    ever again among those; and from then on as rarely as a daemon does.

    Of all tests, each process begins with others. Side by side, all of them would compile each
    module that is new to this machine; so each compiles its part, and reads those of the others.
    """
    config = session.config
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and config.args == config.getini("testpaths"):
        ignored = [config.invocation_params.dir / path for path in config.option.ignore or ()]
        parts = [p for p in _parts() if not any(p.is_relative_to(path) for path in ignored)]
        first = int(worker.removeprefix("gw")) * len(parts) // _workers()
        config.args[:] = map(str, parts[first:] + parts[:first])
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        spare_rows()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives the tests that wait most to half of the processes, to begin with: each takes an equal
    part of the list, in its order, and whoever is done steals from the end of another's part.
    """
    count = _workers()
    items.sort(key=lambda item: item.path)  # the same in all processes; within a file as it was
    waiting: dict[Path, list[pytest.Item]] = {}
    rest: list[pytest.Item] = []
    for item in items:
        waits = item.path.parent.name in WAITING
        (waiting.setdefault(item.path, []) if waits else rest).append(item)
    if count < 2 or not waiting or not rest:
        return
    lanes = max(1, count // 2)
    modules = list(waiting.values())
    part, ordered, taken = len(items) // count, list[pytest.Item](), 0
    for lane in range(lanes):
        own = [item for module in modules[lane::lanes] for item in module]
        more = max(0, part - len(own))
        ordered += [*own, *rest[taken : taken + more]]
        taken += more
    items[:] = [*ordered, *rest[taken:]]


def _workers() -> int:
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def _parts() -> list[Path]:
    """The folders and modules in which all tests are. What is named to pytest is collected even if
    it is to be ignored, so whoever names these leaves that out.
    """
    top = Path(__file__).parent
    modules = top.rglob("test_*.py")
    return sorted({m if m.parent in (top, top / "peer") else m.parent for m in modules})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says where the pictures of the page are, if this run has made some."""
    pictures = list((Path(__file__).parents[1] / ".pictures").glob("*.png"))
    if any(path.stat().st_mtime >= _BEGAN_S for path in pictures):
        terminalreporter.write_line(f"{len(pictures)} pictures of the page: {pictures[0].parent}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Ends this process, with the stacks of all threads, if the teardown does not end; the other
    processes of the run name the test and go on.
    """
    faulthandler.dump_traceback_later(TEARDOWN_TIMEOUT_S, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
