"""What the daemon does for a person just now that takes long: how much of how much."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from peer.status import UnderWayEntry


class Act(NamedTuple):
    """One request that is not answered yet."""

    act: str
    """What was asked for, as `UnderWayEntry.act` has it."""
    subject: str
    unit: str
    amounts: Callable[[], tuple[int, int]]
    """How much is done, of how much; 0 of 0 while that is not known."""


class UnderWay:
    """One daemon's."""

    def __init__(self) -> None:
        self._acts: list[Act] = []

    @contextmanager
    def doing(
        self, act: str, subject: str, unit: str, amounts: Callable[[], tuple[int, int]]
    ) -> Iterator[None]:
        """Something that is listed for as long as this lasts."""
        one = Act(act, subject, unit, amounts)
        self._acts.append(one)
        try:
            yield
        finally:
            self._acts = [other for other in self._acts if other is not one]

    def listed(self) -> list[UnderWayEntry]:
        """What is not done yet, the oldest first."""
        entries: list[UnderWayEntry] = []
        for one in self._acts:
            done, size = one.amounts()
            entries.append({
                "act": one.act, "subject": one.subject, "unit": one.unit, "done": done,
                "size": size,
            })  # fmt: skip
        return entries
