"""The changesets that declare the floors of logs which are being taken up, to be passed on.

What stands below a declared floor counts as present, also before what was told again above has
come. If it never comes, since whoever held the log is gone, others who meet the rest of the folder
here have to be shown the same declaration: without it they wait for positions that nobody has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from crypto.ids import LogId
from protocol.changesets import Changeset, decode_changeset

DECLARATIONS_SIZE_MAX: Final = 16 << 20
"""Of all that are kept for one folder: four of the largest, thousands of the usual. Who declares
more has others wait as if it had declared nothing.
"""


class Declaration(NamedTuple):
    """A changeset that says how far its log was told again."""

    seq: int
    hash: bytes
    wire: bytes


class Declarations:
    """One for each log that is not whole here."""

    def __init__(self) -> None:
        self._by_log: dict[LogId, Declaration] = {}
        self._size = 0
        self._changed: set[LogId] = set()

    def keep(self, changeset: Changeset) -> None:
        """Instead of what was kept for this log."""
        log_id, wire = changeset.log_id, changeset.wire
        self.drop(log_id)
        if self._size + len(wire) <= DECLARATIONS_SIZE_MAX:
            self._by_log[log_id] = Declaration(changeset.slot.seq, changeset.hash, wire)
            self._size += len(wire)
            self._changed.add(log_id)

    def drop(self, log_id: LogId) -> None:
        """The log is whole, or declares nothing that counts."""
        if (known := self._by_log.pop(log_id, None)) is not None:
            self._size -= len(known.wire)
            self._changed.add(log_id)

    def drop_where(self, is_over: Callable[[LogId], bool]) -> None:
        """Forgets those of such logs."""
        for log_id in [log_id for log_id in self._by_log if is_over(log_id)]:
            self.drop(log_id)

    def all(self) -> list[tuple[LogId, Declaration]]:
        """What to show whoever does not hold these positions."""
        return sorted(self._by_log.items())

    def take_changed(self) -> list[tuple[LogId, bytes]]:
        """What has changed since the last call, to be stored: empty where there is none now."""
        changed, self._changed = sorted(self._changed), set()
        return [(i, self._by_log[i].wire if i in self._by_log else b"") for i in changed]

    def restore(self, wires: Iterable[bytes]) -> None:
        """Takes up what was stored."""
        for wire in wires:
            if wire:
                self.keep(decode_changeset(wire))
        self._changed.clear()
