"""What can become of a received changeset: one closed type for each answer of `LogBook.receive`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from crypto.ids import EntryId, LogId
from protocol.changesets import Body, Changeset, Evidence, FrontierEntry, Slot
from protocol.errors import ProtocolError
from protocol.held_changesets import Position


class Wait(Enum):
    """What a held changeset waits for."""

    LEDGER = "an entry of the folder ledger"
    EXPEL = "what the folder does about a device that its user revoked"
    KEY = "the secrets of an epoch"
    LOGS = "changesets that it rests on"


class Fault(Enum):
    """Why a changeset is kept but never applied."""

    VOID = "its author had been removed"
    FORKED = "it lies on a branch that does not count"
    STOPPED = "its log holds something that no honest device signs"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A changeset that passed checks 1 to 9; it enters its log with `LogBook.accept`."""

    changeset: Changeset
    body: Body
    frontier: Mapping[LogId, int]
    """How far its author had seen each other log; its own up to seq - 1 is not named."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A changeset that is known."""

    position: Position


@dataclass(frozen=True, slots=True)
class Held:
    """A changeset that is kept until something else comes; ask for what is missing."""

    wait: Wait
    entries: tuple[EntryId, ...] = ()
    positions: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """A changeset that is kept until the positions before it come: `first` to `last` of its log."""

    log_id: LogId
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ForkProof:
    """A second changeset at a position; with the accepted one's evidence it proves the fork.

    If `is_theirs_counting`, the caller rewinds the log, feeds its changesets again from where
    `rewind` says, and then this one. In either case a device whose own log this is takes a new
    incarnation.
    """

    position: Position
    our_hash: bytes
    theirs: Changeset
    is_theirs_counting: bool

    @property
    def evidence(self) -> Evidence:
        """The second changeset's half of the proof."""
        return self.theirs.evidence


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A changeset to be stored, shown and passed on, but not applied."""

    changeset: Changeset
    fault: Fault


@dataclass(frozen=True, slots=True)
class Refused:
    """A changeset that was not taken; if it froze its log (`is_frozen`), it is kept as proof."""

    error: ProtocolError
    changeset: Changeset | None = None
    is_frozen: bool = False


Received = Accepted | Duplicate | Held | Gap | ForkProof | Quarantined | Refused


class VoidChange(NamedTuple):
    """What a ledger entry did to a log: void from `before` on until now, from `after` on since.

    0 stands for nowhere. What became void is to be undone. What no longer is, is to be applied; if
    `feed_from` is not 0, the log was taken back and is fed again from there.
    """

    log_id: LogId
    before: int
    after: int
    feed_from: int


class Draft(NamedTuple):
    """The slot and frontier of a changeset of one's own, before its records are known."""

    slot: Slot
    frontier: tuple[FrontierEntry, ...]
    seen: dict[LogId, int]
    """All that the frontier amounts to with those before it."""
