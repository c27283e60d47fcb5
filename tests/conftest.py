"""A bound on what the timeout of pytest-timeout does not bound: it ends a test once, and a teardown
that hangs after that, or in the first place, would hold up the whole run without a word.
"""

import faulthandler
from collections.abc import Generator

import pytest

TEARDOWN_TIMEOUT_S = 60.0
"""Daemons that are killed, threads that are joined: seconds, even on a machine with other work."""


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
