"""How often somebody may do something: a count for each key, in windows of a minute. No clock."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable
from typing import Final

WINDOW_S: Final = 60.0
KEYS_MAX: Final = 65_536
"""Who comes from more addresses than this within a minute keeps newcomers out until it is over."""


class Allowance:
    """So many a minute for each key; a window begins with the first that falls out of the last."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._used: Counter[Hashable] = Counter()
        self._ends_at = float("-inf")

    def take(self, key: Hashable, now: float, count: int = 1) -> bool:
        """Takes one, or so many; False if there is not enough left in this minute."""
        self._turn(now)
        used = self._used.get(key, 0)
        if used + count > self._per_minute or (used == 0 and len(self._used) >= KEYS_MAX):
            return False
        self._used[key] = used + count
        return True

    def has(self, key: Hashable, now: float) -> bool:
        """Whether there is one left to take."""
        self._turn(now)
        return self._used.get(key, 0) < self._per_minute

    def seconds_left(self, now: float) -> int:
        """Until this minute is over, for who is told to come again."""
        return max(1, math.ceil(self._ends_at - now))

    def _turn(self, now: float) -> None:
        if now >= self._ends_at:
            self._used.clear()
            self._ends_at = now + WINDOW_S
