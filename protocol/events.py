"""What a session tells its owner; the counterpart of the methods that the owner calls on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from crypto.ids import ChunkId, EntryId, FolderId, LogId
from protocol.backup_records import BackupRecord
from protocol.candidates import Candidate
from protocol.changesets import FrontierEntry
from protocol.link_records import EndKey, LinkRecord, UploadRecord
from protocol.messages import LedgerHeads, Wrap
from protocol.relay_records import RelayRecord


class LogNeed(NamedTuple):
    """The other side holds a log up to `after_seq`, and we hold more of it."""

    log_id: LogId
    after_seq: int


class ReceivedChunk(NamedTuple):
    """A chunk as it came: not decompressed and not verified; `data` is a view of its frame."""

    chunk_id: ChunkId
    codec: int
    plain_length: int
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class PeerGreeted:
    """The other side said who it is; the session is open."""

    version: int
    device_name: str


@dataclass(frozen=True, slots=True)
class LedgerHeadsReceived:
    """The other side said how far it knows some ledgers; send it what it lacks."""

    ledgers: tuple[LedgerHeads, ...]


@dataclass(frozen=True, slots=True)
class LedgerReceived:
    """Entries of a ledger arrived, nothing of them checked but their length."""

    kind: int
    ledger_id: bytes
    entries: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class WrapsReceived:
    """Wrapped secrets of an epoch arrived, not opened."""

    folder_id: FolderId
    epoch_id: EntryId
    wraps: tuple[Wrap, ...]


@dataclass(frozen=True, slots=True)
class FolderShared:
    """The other side began to talk of a folder; answer with `share` if it is entitled to it."""

    folder_id: FolderId
    entries: tuple[FrontierEntry, ...]


@dataclass(frozen=True, slots=True)
class FolderUnshared:
    """The other side no longer talks of a folder; our requests in it are over, without answers."""

    folder_id: FolderId


@dataclass(frozen=True, slots=True)
class FrontierReceived:
    """The other side holds the named logs up to these positions, or has applied them to disk."""

    folder_id: FolderId
    entries: tuple[FrontierEntry, ...]
    applied: bool


@dataclass(frozen=True, slots=True)
class ChangesetsNeeded:
    """The other side lacks changesets: answer for each log with one `offer_changesets`."""

    folder_id: FolderId
    logs: tuple[LogNeed, ...]
    budget_bytes: int
    """How much may be offered now for all the logs together; what is left is asked for again."""


@dataclass(frozen=True, slots=True)
class ChangesetsReceived:
    """Changesets arrived, nothing of them checked but their length.

    When they are dealt with, say so by `update_frontier` with this `batch`: the other side keeps
    at most 4 MiB of changesets unanswered.
    """

    folder_id: FolderId
    changesets: tuple[bytes, ...]
    batch: int


@dataclass(frozen=True, slots=True)
class ChunksWanted:
    """The other side asks for chunks: answer each index by `give` or `give_missing`."""

    folder_id: FolderId
    request: int
    chunk_ids: tuple[ChunkId, ...]


@dataclass(frozen=True, slots=True)
class ChunksCancelled:
    """The other side took a request back; what is given for it from now on is dropped."""

    request: int


@dataclass(frozen=True, slots=True)
class ChunksReceived:
    """Chunks that we asked for arrived, neither decompressed nor verified."""

    folder_id: FolderId
    request: int
    chunks: tuple[ReceivedChunk, ...]


@dataclass(frozen=True, slots=True)
class ChunksMissing:
    """The other side does not have these chunks of a request."""

    folder_id: FolderId
    request: int
    chunk_ids: tuple[ChunkId, ...]


@dataclass(frozen=True, slots=True)
class OwnReceived:
    """What counts from devices of one's own user alone."""


@dataclass(frozen=True, slots=True)
class RelaysReceived(OwnReceived):
    """The other side said which relays it knows of."""

    records: tuple[RelayRecord, ...]


@dataclass(frozen=True, slots=True)
class BackupsReceived(OwnReceived):
    """The other side said which folders rest at which super-nodes."""

    vault_secret: bytes
    records: tuple[BackupRecord, ...]


@dataclass(frozen=True, slots=True)
class TrailsReceived(OwnReceived):
    """The other side showed how its audit trail ends, and what it holds of others' trails."""

    checkpoints: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LinksReceived(OwnReceived):
    """The other side said which share links it has made, and which it wishes to be ended."""

    records: tuple[LinkRecord, ...]
    wishes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class EndKeysReceived(OwnReceived):
    """The other side said by which keys its share links can be ended."""

    keys: tuple[EndKey, ...]


@dataclass(frozen=True, slots=True)
class UploadLinksReceived(OwnReceived):
    """The other side said which upload links it has made."""

    records: tuple[UploadRecord, ...]


@dataclass(frozen=True, slots=True)
class PeerState:
    """The other side said what it still lacks of a folder."""

    folder_id: FolderId
    need_files: int
    need_bytes: int
    paused: bool


@dataclass(frozen=True, slots=True)
class PathsReceived:
    """The other side told where it may be reached, for a round of probes."""

    round: int
    secret: bytes
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over; send what it still has to send, then close the link."""

    code: int
    text: str
    by_peer: bool
    """Whether the other side closed it; otherwise it broke the protocol or fell silent."""


Event = (
    PeerGreeted
    | LedgerHeadsReceived
    | LedgerReceived
    | WrapsReceived
    | FolderShared
    | FolderUnshared
    | FrontierReceived
    | ChangesetsNeeded
    | ChangesetsReceived
    | ChunksWanted
    | ChunksCancelled
    | ChunksReceived
    | ChunksMissing
    | PeerState
    | PathsReceived
    | RelaysReceived
    | BackupsReceived
    | TrailsReceived
    | LinksReceived
    | EndKeysReceived
    | UploadLinksReceived
    | Closed
)
