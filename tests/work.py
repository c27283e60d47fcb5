"""The work of a piece of code, in calls of functions: the same on every machine, however busy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Work:
    """What was counted."""

    calls: int = 0
    """Of functions of Python and of C."""


@contextmanager
def counted_work() -> Iterator[Work]:
    """Counts the calls that this thread makes in the block."""
    work = Work()

    def count(_frame: FrameType, event: str, _what: object) -> None:
        work.calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        yield work
    finally:
        sys.setprofile(None)
