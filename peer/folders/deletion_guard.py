"""Asks before many deletions at once are told to others: a person may not have meant them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

UNLIMITED: Final = 1 << 60


class DeletionGuard:
    """What one folder lets pass, what it holds, and what was answered."""

    def __init__(self, pass_max: Callable[[], int] = lambda: UNLIMITED) -> None:
        self.held = 0
        """How many deletions wait for an answer."""
        self._pass_max = pass_max
        self._is_allowed = False
        self._is_to_restore = False

    def limit(self, is_full: bool) -> int:
        """How many deletions a scan may record; `is_full`: one that looks at everything."""
        if self._is_to_restore:
            return 0
        if self._is_allowed:
            return UNLIMITED
        # While some are held, a hint here and there must not let them through in small numbers.
        return self._pass_max() if is_full or not self.held else 0

    def allow(self) -> None:
        """They were meant; the next full scan records them."""
        self.held, self._is_allowed, self._is_to_restore = 0, True, False

    def restore(self) -> None:
        """They were not meant; what the next full scan misses is to be put back."""
        self.held, self._is_allowed, self._is_to_restore = 0, False, True

    def note(self, held: int, is_full: bool) -> bool:
        """A scan recorded none of so many deletions; True if what they are of is to be put back."""
        if not is_full:
            self.held = max(self.held, held)
            return False
        is_restoring = self._is_to_restore
        self.held = 0 if is_restoring else held
        self._is_allowed = self._is_to_restore = False
        return is_restoring
