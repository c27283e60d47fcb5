"""What holds for every test: how it may end, and that it asks nothing of the clock.

pytest-timeout ends a test once; a teardown that hangs after that, or in the first place, would hold
up the whole run without a word. And Hypothesis would call an example slow, or its making, when only
the machine is busy: what may cost how much is asserted where it is counted, and not in seconds.
"""

import faulthandler
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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
ENOUGH_WORKERS = 8
"""With so many cores nobody waits for one, and each process takes a quarter of a gigabyte."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    cores = os.cpu_count() or 1
    return max(cores, min(WORKERS_A_CORE * cores, ENOUGH_WORKERS))


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
