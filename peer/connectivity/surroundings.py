"""Notices that the machine is on another network than before, or has slept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

LOOK_INTERVAL_S: Final = 5.0
"""A look costs one or two milliseconds: a thirtieth of a percent of a core."""
SLEPT_S: Final = 5.0
"""Less than this is no sleep: links outlive it."""


def _slept_s() -> float:
    """How long the machine has slept since it started, and something constant."""
    if not hasattr(time, "CLOCK_BOOTTIME"):  # macOS: a sleep there shows by the network alone
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


class Surroundings:
    """What was at the last look: the machine's own addresses, and how long it had slept."""

    def __init__(
        self, hosts: Callable[[], Sequence[str]], slept_s: Callable[[], float] = _slept_s
    ) -> None:
        self._hosts, self._slept_s = hosts, slept_s
        self._known = list(hosts())
        self._had_slept_s = slept_s()

    def have_changed(self) -> bool:
        """Looks again; True if the machine woke up or has other addresses than at the last look."""
        hosts, slept_s = list(self._hosts()), self._slept_s()
        has_slept = slept_s - self._had_slept_s >= SLEPT_S
        has_moved = hosts != self._known
        self._known, self._had_slept_s = hosts, slept_s
        return has_slept or has_moved
