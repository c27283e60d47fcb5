"""Makes a failing history shorter: leaves out steps as long as it fails in the same way."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from tests.sim.chronicle import Chronicle, live


def failure(chronicle: Chronicle) -> str | None:
    """How it fails, without what differs from run to run; None if it does not."""
    try:
        live(chronicle)
    except Exception as error:  # noqa: BLE001 - whatever it is
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        return _kind(error)
    return None


def _kind(error: BaseException) -> str:
    words = re.sub(r"[A-Z][a-z]+('s)? |'[^']*'|b\"[^\"]*\"|\d+", "", str(error))
    return f"{type(error).__name__} {words[:24]}"


def shrink(chronicle: Chronicle, say: Callable[[str], None] = lambda line: None) -> Chronicle:
    """A history of few steps that fails as this one does."""
    wanted = failure(chronicle)
    if wanted is None:
        raise ValueError(f"seed {chronicle.seed} does not fail")
    steps = chronicle.steps
    size = max(1, len(steps) // 2)
    while steps:
        start, has_shrunk = 0, False
        while start < len(steps):
            fewer = steps[:start] + steps[start + size :]
            if failure(replace(chronicle, steps=fewer)) == wanted:
                steps, has_shrunk = fewer, True
                say(f"{len(steps)} steps")
            else:
                start += size
        if size == 1 and not has_shrunk:
            break
        size = max(1, size // 2)
    return replace(chronicle, steps=steps)
