"""Asks before the contents of many files, rewritten at once, are told to others: it may not have
been the person. Pure.

A rewrite is new bytes in a file that was in sync. Read files are set apart, unrecorded, while it is
not known how many there are; then either all are recorded, or all are held until an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from crypto.ids import NodeId
from peer.core.observation import Entry
from peer.folders.deletion_guard import UNLIMITED

WINDOW_S: Final = 20.0
"""Rewrites this close to each other are one act: a formatter takes seconds, whoever encrypts a disk
does dozens of files a second, and a person saves a few."""


class RewriteGuard:
    """What one folder lets pass, what it holds, and what was answered."""

    def __init__(self, pass_max: Callable[[], int] = lambda: UNLIMITED) -> None:
        self.held: dict[NodeId, Entry] = {}
        """The files that wait for an answer, by the items that they were."""
        self._pass_max = pass_max
        self._apart: dict[NodeId, Entry] = {}
        self._passed: dict[NodeId, float] = {}
        """When a rewrite of each file was recorded, the latest last, as far back as the window."""
        self._meant: set[NodeId] = set()
        """Files that a person had rewritten by us: their next rewrite is no question."""
        self._is_allowed = self._is_full = False

    def expect(self, item: NodeId) -> None:
        """A person asked for other bytes in this file: that rewrite passes, and no other."""
        self._meant.add(item)

    def sets_apart(self, candidates: int, now: float) -> bool:
        """Whether rewrites are not to be recorded before all is read, with so many known files
        that look changed still to be read.
        """
        if self._is_allowed:
            return False
        if self.held or self._apart:
            return True
        self._forget_old(now)
        return len(self._passed) + candidates > self._pass_max()

    def note_recorded(self, items: Iterable[NodeId], now: float) -> None:
        """Rewrites of these files were recorded."""
        asked_for = self._meant.intersection(items := list(items))
        self._meant -= asked_for
        if self._is_allowed:
            return
        for item in items:
            if item not in asked_for:
                self._passed.pop(item, None)
                self._passed[item] = now

    def set_apart(self, rewritten: Iterable[Entry], others: Iterable[NodeId]) -> None:
        """These were read and not recorded; those others are no rewrites (any more)."""
        self._apart.update((entry.item, entry) for entry in rewritten)
        for item in others:
            self.held.pop(item, None)

    def begin_full(self) -> None:
        """Everything is looked at: what is held is found, and counted, once more."""
        self._apart.clear()
        self._is_full = True

    def decide(self, now: float) -> list[Entry]:
        """All that was found has been read: what of it may be recorded. The rest is held."""
        apart, self._apart = self._apart, {}
        is_full, self._is_full = self._is_full, False
        if is_full:
            self._is_allowed = False
        known = {} if is_full else self.held
        meant = [apart.pop(item) for item in self._meant & apart.keys()]
        self._forget_old(now)
        if not known and len(self._passed) + len(apart) <= self._pass_max():
            self.held = {}
            return meant + list(apart.values())
        # While some are held, a hint here and there must not let them through in small numbers.
        self.held = {**known, **apart}
        return meant

    def allow(self) -> None:
        """They were meant; the next look at everything records them."""
        self.held, self._is_allowed, self._is_full = {}, True, False
        self._passed.clear()

    def brought_back(self, items: Iterable[NodeId]) -> None:
        """The old contents of these files are here again, or will be."""
        for item in items:
            self.held.pop(item, None)
            self._apart.pop(item, None)

    def _forget_old(self, now: float) -> None:
        for item in list(self._passed):
            if self._passed[item] > now - WINDOW_S:
                break
            del self._passed[item]
