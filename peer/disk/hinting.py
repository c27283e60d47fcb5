"""When to look at what a watcher hinted at: after a moment of quiet, sooner or later in any case.
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from peer.core.disk_types import Path

SETTLE_S: Final = 0.015
"""An editor's save is some ms of system calls; the latency goal is 50 ms for everything together.
"""
DELAY_MAX_S: Final = 0.25
"""A directory in which something happens all the time is looked at this often nevertheless."""
AGAIN_S: Final = 0.05
AGAIN_MAX_S: Final = 2.0
"""A file that keeps changing is tried again after 50 ms, then half as often each time."""
CLOSED_SHARE: Final = 8
"""Once its writer has closed it, it is tried after so small a part of that wait. It is a part, for
some programs open and close a file for each line.
"""


@dataclass(slots=True)
class _Hint:
    first_at: float
    last_at: float
    is_deep: bool = False
    is_closed: bool = False
    again_s: float = 0.0
    """How long to wait because something there was changing while it was read; 0 if nothing was."""

    @property
    def due(self) -> float:
        """When to look."""
        share = CLOSED_SHARE if self.is_closed else 1
        wait_s = max(SETTLE_S, self.again_s / share)
        return min(self.last_at + wait_s, self.first_at + max(DELAY_MAX_S, wait_s))


class Hinting:
    """The directories that something was said to have happened in."""

    def __init__(self) -> None:
        self._hints: dict[Path, _Hint] = {}
        self._delays: dict[Path, float] = {}

    def add(self, directory: Path, is_deep: bool, now: float, *, is_closed: bool = False) -> None:
        """Something changed in this directory; `is_deep`: or anywhere below; `is_closed`: whoever
        wrote a file there has closed it.
        """
        hint = self._hints.setdefault(directory, _Hint(now, now))
        hint.last_at = now
        hint.is_deep |= is_deep
        hint.is_closed |= is_closed

    def again(self, directory: Path, now: float) -> None:
        """A file there was changing while it was read: wait longer each time."""
        delay = min(self._delays.get(directory, AGAIN_S / 2) * 2, AGAIN_MAX_S)
        self._delays[directory] = delay
        self._hints.setdefault(directory, _Hint(now, now)).again_s = delay

    def next_due(self) -> float:
        """When the next one is due; infinity when there is none."""
        return min((hint.due for hint in self._hints.values()), default=float("inf"))

    def take_due(self, now: float) -> dict[Path, bool]:
        """The directories to be looked at now, each with whether all below is meant."""
        due = {path: hint.is_deep for path, hint in self._hints.items() if hint.due <= now}
        for path in due:
            if not self._hints.pop(path).again_s:
                self._delays.pop(path, None)
        return due
