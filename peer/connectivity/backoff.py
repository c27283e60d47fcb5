"""When to come back to a relay that was lost: at random, so that its devices do not come at once.

Full jitter: each wait is any time up to a span, and the span grows while it is in vain. Pure.
"""

from __future__ import annotations

from typing import Final

SPANS_S: Final = (5.0, 5.0, 10.0, 20.0, 40.0, 60.0)
"""The first two are short: a relay that was only started anew has its devices back within ten
seconds, 2,000 of them at 400 a second, of which each costs it 2 ms."""
WAIT_MIN_S: Final = 0.2
GOOD_AFTER_S: Final = 30.0
"""A link that lasted so long was no failure."""


class Backoff:
    """How often it was in vain."""

    def __init__(self) -> None:
        self._tries = 0

    def next_wait_s(self, lasted_s: float, chance: float) -> float:
        """How long to wait after a link or a try that lasted so long; `chance` is 0 to 1."""
        if lasted_s >= GOOD_AFTER_S:
            self._tries = 0
        span_s = SPANS_S[min(self._tries, len(SPANS_S) - 1)]
        self._tries += 1
        return min(WAIT_MIN_S, span_s) + chance * max(span_s - WAIT_MIN_S, 0.0)

    def forget(self) -> None:
        """Something has changed: what was in vain before says nothing."""
        self._tries = 0
