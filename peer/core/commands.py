"""What the engine asks of the world: awaitable commands, each answered by whoever drives the
engine.

The engine is written as coroutines that await these and nothing else, so it does no I/O: the
daemon performs commands with SQLite, disks and links, the simulator with fakes, a test with
literals. Same answers, same run.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from crypto.ids import LogId, NodeId
from peer.core.disk_types import (
    FileRead,
    Known,
    Listing,
    Operation,
    Path,
    Problem,
    ReadRequest,
    Refusal,
    StageFile,
    Stat,
)
from peer.core.rows import Facts, Row

R = TypeVar("R")


class Command(Generic[R]):
    """Something only the world can do; awaiting it gives the answer."""

    __slots__ = ()

    def __await__(self) -> Generator[Command[Any], Any, R]:
        return (yield self)  # type: ignore[no-any-return]


def run(routine: Coroutine[Command[Any], Any, R], perform: Callable[[Command[Any]], Any]) -> R:
    """Drives a routine to its end with a performer that answers at once (tests, simulator)."""
    answer: Any = None
    while True:
        try:
            command = routine.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        answer = perform(command)


# ---------------------------------------------------------------- the index


@dataclass(frozen=True, slots=True)
class LoadRows(Command[dict[NodeId, Row]]):
    """The rows of these nodes, as far as there are any."""

    ids: Sequence[NodeId]


@dataclass(frozen=True, slots=True)
class LoadSlots(Command[list[Row]]):
    """Visible files and symlinks with one of these (parent node, name key) pairs."""

    slots: Sequence[tuple[NodeId, str]]


@dataclass(frozen=True, slots=True)
class LoadChildren(Command[list[Row]]):
    """Visible files and symlinks whose parent is one of these directory nodes."""

    parents: Sequence[NodeId]


@dataclass(frozen=True, slots=True)
class LoadCopies(Command[list[Row]]):
    """The rows of conflict copies, recorded or derived, of these nodes."""

    origins: Sequence[NodeId]


@dataclass(frozen=True, slots=True)
class LoadInodes(Command[list[Row]]):
    """Files and symlinks that were last seen on disk with one of these inode numbers."""

    inodes: Sequence[int]


@dataclass(frozen=True, slots=True)
class LoadDirty(Command[list[Row]]):
    """Up to `limit` nodes after `after` whose replica and disk differ, by id; directories first."""

    after: tuple[int, NodeId]
    limit: int


@dataclass(frozen=True, slots=True)
class LoadFacts(Command[list[Facts]]):
    """What the disk showed of the children of these directory nodes, without their records."""

    parents: Sequence[NodeId]


@dataclass(frozen=True, slots=True)
class LoadChangesets(Command[list[bytes]]):
    """Changesets of one log after a position, oldest first, up to some bytes in all."""

    log: LogId
    after_seq: int
    bytes_max: int


@dataclass(frozen=True, slots=True)
class LoadAuthored(Command[list[tuple[int, Row]]]):
    """Up to `limit` nodes after `after`, each with its number in the index's own order, whose
    replica's record names this log, and all conflict copies that have a record: what the log's
    author may have to tell again.
    """

    log: LogId
    after: int
    limit: int


@dataclass(frozen=True, slots=True)
class LoadFilesHere(Command[list[tuple[int, Row]]]):
    """Up to `limit` files after `after` that are on this disk and were not written to while they
    were read, each with its number in the index's own order.
    """

    after: int
    limit: int


class LogSize(NamedTuple):
    """How much a log holds, and how much of it is of use."""

    bytes: int
    """Of its changesets."""
    live_bytes: int
    """Of the records that LoadAuthored gives: not less than what would be told again."""


@dataclass(frozen=True, slots=True)
class MeasureLog(Command[LogSize]):
    """How much a log holds from a position on."""

    log: LogId
    from_seq: int


@dataclass(frozen=True, slots=True)
class DropChangesets(Command[int]):
    """Deletes up to `limit` stored changesets of a log before a position, and says how many."""

    log: LogId
    before_seq: int
    limit: int


@dataclass(frozen=True, slots=True)
class FindPlace(Command[list[Row]]):
    """Files on this disk whose whole-file hash is one of these."""

    hashes: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Commit(Command[None]):
    """One durable transaction: rows, changesets, logs' state, counters. Answered when fsynced.

    What is cut goes aside before anything else is stored.
    """

    rows: Sequence[Row] = ()
    deleted: Sequence[NodeId] = ()
    changesets: Sequence[tuple[LogId, int, bytes, int, bytes]] = ()
    """(log, seq, hash, Lamport time, wire bytes)."""
    values: Sequence[tuple[str, bytes]] = ()
    """Named values: the log book's state, counters."""
    aside: Sequence[tuple[LogId, int, bytes, int, bytes]] = ()
    """Changesets to be kept on no log, as they count nowhere; otherwise as above."""
    cut: Sequence[tuple[LogId, int]] = ()
    """From these positions on, what is stored of a log goes aside."""
    ended: Sequence[tuple[object, ...]] = ()
    """What the disk shows no more from now on (`versions.Version`)."""
    deeds: Sequence[object] = ()
    """Who did what, to be told before it is stored (`deeds.Deeds`)."""


# ---------------------------------------------------------------- the disk


@dataclass(frozen=True, slots=True)
class ListDirectories(Command[list[Listing]]):
    """What is in these directories now, and is not as it is known to be."""

    paths: Sequence[Path]
    known: Sequence[Known] | None = None
    """One for each path, or nothing of any."""


@dataclass(frozen=True, slots=True)
class StatPaths(Command[list[Stat | None]]):
    """What is at these paths now."""

    paths: Sequence[Path]


@dataclass(frozen=True, slots=True)
class ReadFiles(Command[list[FileRead | Problem]]):
    """Reads, cuts and hashes files."""

    requests: Sequence[ReadRequest]


@dataclass(frozen=True, slots=True)
class StageFiles(Command[list[Stat | Problem]]):
    """Writes small files into the folder's incoming directory, not yet durable."""

    files: Sequence[StageFile]


@dataclass(frozen=True, slots=True)
class SyncStaged(Command[None]):
    """Makes all that was staged durable, before anything is renamed."""


@dataclass(frozen=True, slots=True)
class Apply(Command[list[Stat | Refusal]]):
    """Renames, makes and removes, in this order; then makes the directories durable."""

    operations: Sequence[Operation]
