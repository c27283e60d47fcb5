"""When to look at what a watcher hinted at: after a moment of quiet, sooner or later in any case.
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from peer.disk_types import Path

SETTLE_S: Final = 0.015
"""An editor's save is some ms of system calls; the latency goal is 50 ms for everything together.
"""
DELAY_MAX_S: Final = 0.25
"""A directory in which something happens all the time is looked at this often nevertheless."""
AGAIN_S: Final = 0.05
AGAIN_MAX_S: Final = 2.0
"""A file that keeps changing is tried again after 50 ms, then half as often each time."""


@dataclass(slots=True)
class _Hint:
    first_at: float
    last_at: float
    is_deep: bool
    delay_s: float


class Hinting:
    """The directories that something was said to have happened in."""

    def __init__(self) -> None:
        self._hints: dict[Path, _Hint] = {}
        self._delays: dict[Path, float] = {}

    def add(self, directory: Path, is_deep: bool, now: float) -> None:
        """Something changed in this directory; `is_deep`: or anywhere below."""
        hint = self._hints.get(directory)
        if hint is None:
            self._hints[directory] = _Hint(now, now, is_deep, SETTLE_S)
        else:
            hint.last_at = now
            hint.is_deep |= is_deep

    def again(self, directory: Path, now: float) -> None:
        """A file there was changing while it was read: wait longer each time."""
        delay = min(self._delays.get(directory, AGAIN_S / 2) * 2, AGAIN_MAX_S)
        self._delays[directory] = delay
        hint = self._hints.setdefault(directory, _Hint(now, now, False, delay))
        hint.delay_s = max(hint.delay_s, delay)

    def next_due(self) -> float:
        """When the next one is due; infinity when there is none."""
        return min(map(_due, self._hints.values()), default=float("inf"))

    def take_due(self, now: float) -> dict[Path, bool]:
        """The directories to be looked at now, each with whether all below is meant."""
        due = {path: hint.is_deep for path, hint in self._hints.items() if _due(hint) <= now}
        for path in due:
            hint = self._hints.pop(path)
            if hint.delay_s == SETTLE_S:
                self._delays.pop(path, None)
        return due


def _due(hint: _Hint) -> float:
    return min(hint.last_at + hint.delay_s, hint.first_at + max(DELAY_MAX_S, hint.delay_s))
