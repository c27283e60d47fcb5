"""What other devices have to be shown of logs without asking for it. Frontiers are compared by how
far they go: two branches of one log would never meet, who has seen the one that lost could not be
followed, and nobody would hear of the floor of a log that has no position here yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from crypto.ids import DeviceId, FolderId, LogId
from peer.core.commands import LoadChangesets
from peer.folders.index_store import IndexStore
from protocol import messages
from protocol.changesets import FrontierEntry
from protocol.logs import LogBook

SHOWN_BYTES_MAX: Final = 4 << 20


class Showing(NamedTuple):
    """Changesets of one log to be sent, in its order."""

    log_id: LogId
    first_seq: int
    wires: list[bytes]
    is_beside: bool = False
    """Whether what else is told of the log goes on as it would without them."""


class Branches:
    """Which heads every other device has, and what it was shown already."""

    def __init__(self) -> None:
        self._heads: dict[tuple[DeviceId, FolderId], dict[LogId, FrontierEntry]] = {}
        self._shown: dict[tuple[DeviceId, FolderId], set[bytes]] = {}

    def told(
        self,
        device_id: DeviceId,
        folder_id: FolderId,
        entries: Iterable[messages.FrontierEntry],
    ) -> None:
        """A device said how far it holds the logs."""
        heads = self._heads.setdefault((device_id, folder_id), {})
        heads.update((entry.log_id, FrontierEntry(*entry)) for entry in entries)

    def forget(self, device_id: DeviceId) -> None:
        """The device is gone; it may have forgotten what it was shown."""
        for known in (self._heads, self._shown):
            for key in [key for key in known if key[0] == device_id]:
                del known[key]

    def unshow(self, device_id: DeviceId, folder_id: FolderId) -> None:
        """What it was to be shown did not get to it."""
        self._shown.pop((device_id, folder_id), None)

    def differ(self, device_id: DeviceId, folder_id: FolderId, book: LogBook) -> bool:
        """Whether there may be something to show."""
        heads = self._heads.get((device_id, folder_id), {})
        is_any = bool(book.forks() or book.declarations())
        return is_any or any(book.branch_from(head) for head in heads.values())

    async def due(
        self, device_id: DeviceId, folder_id: FolderId, book: LogBook, store: IndexStore
    ) -> list[Showing]:
        """What this device has to be shown: our branch where its head is another, what lost, for
        others rest on it, and what declares the floors of logs that are not whole. Each once.
        """
        shown = self._shown.setdefault((device_id, folder_id), set())
        heads = self._heads.get((device_id, folder_id), {})
        due: list[Showing] = []
        for log_id, (seq, hash_, wire) in book.declarations():
            if hash_ not in shown and not (log_id in heads and heads[log_id].seq >= seq):
                shown.add(hash_)
                due.append(Showing(log_id, seq, [wire], is_beside=True))
        for log_id in book.forks():
            for seq, hash_, wire in await store.aside(log_id, SHOWN_BYTES_MAX):
                if hash_ not in shown:
                    shown.add(hash_)
                    due.append(Showing(log_id, seq, [wire]))
        for head in list(heads.values()):
            first = book.branch_from(head)
            log = book.log(head.log_id)
            if not first or log is None:
                continue
            pair = head.hash + (book.hash_at(head.log_id, log.seq) or b"")
            if pair not in shown:
                shown.add(pair)
                command = LoadChangesets(head.log_id, first - 1, SHOWN_BYTES_MAX)
                due.append(Showing(head.log_id, first, await store.perform(command)))
        return due
