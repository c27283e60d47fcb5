"""What a folder asks of and tells the other devices; the network does it, a test's stage too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from crypto.ids import ChunkId, FolderId
from peer.core.engine import Ingested
from protocol.changesets import Changeset, FrontierEntry


class Source(Protocol):
    """Whoever asks other devices for chunks."""

    def need(
        self, folder_id: FolderId, files: Iterable[tuple[Any, Sequence[tuple[ChunkId, int]]]]
    ) -> None:
        """Wants these chunks from anybody who has them."""

    def forget(self, folder_id: FolderId, keys: Iterable[Any]) -> None:
        """Wants them no longer."""


@dataclass(eq=False, slots=True)
class Parcel:
    """Where changesets come from that no link brought."""

    name: str
    """For the log."""
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the folder has dealt with them."""


class Neighbours(Source, Protocol):
    """The other devices, as a folder sees them."""

    def announce(self, folder_id: FolderId, changesets: Sequence[Changeset]) -> None:
        """Tells everybody connected of changesets of ours."""

    def acknowledge(
        self, folder_id: FolderId, origin: object, batch: int, entries: Sequence[FrontierEntry]
    ) -> None:
        """Tells everybody how far we hold the logs now; `batch` answers what `origin` sent."""

    def applied(self, folder_id: FolderId, entries: Sequence[FrontierEntry]) -> None:
        """Tells everybody what is on our disk, fsynced."""

    def misbehaved(self, folder_id: FolderId, origin: object, ingested: Ingested) -> None:
        """Counts what was refused."""
