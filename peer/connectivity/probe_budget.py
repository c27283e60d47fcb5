"""How much may be sent to addresses that others named: little, whoever names them how often."""

from __future__ import annotations

from collections import Counter
from typing import Final

WINDOW_S: Final = 60.0
ROUNDS_PER_ADDRESS: Final = 6
"""In a minute; a round sends seven small datagrams, so that is 42 of 28 bytes."""
ADDRESSES_MAX: Final = 96
"""Different ones in a minute: some rounds with all of a dozen devices."""


class ProbeBudget:
    """Counts in windows of a minute."""

    def __init__(self) -> None:
        self._used: Counter[tuple[str, int]] = Counter()
        self._hosts: Counter[str] = Counter()
        self._ends_at = float("-inf")

    def take(self, place: tuple[str, int], now: float) -> bool:
        """Whether an address may be probed in one more round."""
        if now >= self._ends_at:
            self._used.clear()
            self._hosts.clear()
            self._ends_at = now + WINDOW_S
        host = place[0]
        is_new = place not in self._used
        if (
            (is_new and len(self._used) >= ADDRESSES_MAX)
            # Other ports of one machine count for it, or it would be scanned.
            or self._hosts[host] >= ROUNDS_PER_ADDRESS
        ):
            return False
        self._used[place] += 1
        self._hosts[host] += 1
        return True
