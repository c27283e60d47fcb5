"""Event loops and worker threads that stall at random: a busy machine, without keeping one busy.

Python imports this by itself wherever `PYTHONPATH` names its directory, so that daemons and
commands that tests start stall, too. A test that takes for granted what only mostly has happened
fails within a few runs of `make test-stalled`, where it fails in one of hundreds of others.
"""

import asyncio.base_events
import concurrent.futures.thread
import os
import random
import time
from collections.abc import Callable
from typing import Any

_PROBABILITY, _LONGEST_S = (float(value) for value in os.environ["STALLS"].split(","))
"""How often a round of a loop, or a piece of a thread's work, is late, and by how much at most."""
_random = random.Random(os.getpid() ^ time.time_ns())


def _stalling(act: Callable[..., Any]) -> Callable[..., Any]:
    def stalled(*args: Any) -> Any:
        if _random.random() < _PROBABILITY:
            time.sleep(_random.random() * _LONGEST_S)
        return act(*args)

    return stalled


for _owner, _name in (
    (asyncio.base_events.BaseEventLoop, "_run_once"),
    (concurrent.futures.thread._WorkItem, "run"),
):
    setattr(_owner, _name, _stalling(getattr(_owner, _name)))
