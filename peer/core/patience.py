"""When to try again what failed: soon, and then ever more rarely. Pure."""

from __future__ import annotations

from typing import Final

RETRY_S: Final = 5.0
"""As long as a folder waits for a disk that is full or gone."""


class Patience:
    """A time to try again, twice as far away after each time that came in vain."""

    def __init__(self, retry_max_s: float) -> None:
        self.retry_at = float("inf")
        self._retry_max_s = retry_max_s
        self._delay_s = RETRY_S

    def wait(self, now: float) -> None:
        """Something is to be tried again."""
        self.retry_at = min(self.retry_at, now + self._delay_s)

    def time_came(self, now: float) -> bool:
        """Whether it is time to try; true once for each time that was waited for."""
        if now < self.retry_at:
            return False
        self.retry_at = float("inf")
        self._delay_s = min(2 * self._delay_s, self._retry_max_s)
        return True

    def end(self) -> None:
        """There is nothing to try any more."""
        self.retry_at, self._delay_s = float("inf"), RETRY_S
