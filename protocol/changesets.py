"""Changesets: how records travel, as a clear slot, a sealed body and one signature (CRYPTO 5).

The slot says where in its author's log the changeset stands and what it rests on; members see it,
relays never do. This module makes and parses changesets; whether one may enter a log is for `logs`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

from crypto.changesets import (
    BODY_SIZE_MAX,
    RAW_SIZE_MAX,
    body_hash,
    changeset_hash,
    open_body,
    seal_body,
    verify_slot,
)
from crypto.errors import OpenError, SignatureError, TooLongError
from crypto.ids import DeviceId, EntryId, FolderId, LogId
from crypto.keys import DeviceKeys
from crypto.primitives import HASH_SIZE, SEAL_OVERHEAD, SIGNATURE_SIZE, digest
from protocol import wire
from protocol.errors import BadRecord, BadSignature, Fork, Malformed, TooLong
from protocol.newer import refuse_newer

INCARNATION_SIZE: Final = 8
LOG_ID_SIZE: Final = 16
HEADS_MAX: Final = 8
SEQ_MAX: Final = (1 << 53) - 1
LAMPORT_MAX: Final = (1 << 53) - 1
SLOT_LENGTH_MAX: Final = 1024
"""8 heads and the largest integers take 480 bytes."""
FRONTIER_MAX: Final = 65536
"""Entries of one frontier: devices times incarnations, with much room."""
NO_CHANGESET: Final = bytes(HASH_SIZE)
"""The previous hash at seq 1."""
FULL_FRONTIER_EVERY: Final = 256
"""So that a reader of the newest part of a log soon knows the whole frontier."""

_VERSION: Final = 1


@lru_cache(1024)
def log_id_of(folder_id: FolderId, device_id: DeviceId, incarnation: bytes) -> LogId:
    """The 16-byte id of one incarnation of a device in a folder; what version vectors count in."""
    assert len(incarnation) == INCARNATION_SIZE
    return LogId(digest("log", folder_id, device_id, incarnation)[:LOG_ID_SIZE])


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a changeset stands: in which log, after what, knowing which ledger entries."""

    folder_id: FolderId
    device_id: DeviceId
    incarnation: bytes
    """8 random bytes; a device takes new ones when it cannot prove that its log is whole."""
    seq: int
    """From 1, without gaps."""
    previous: bytes
    """The hash of the changeset before; NO_CHANGESET at seq 1."""
    epoch_id: EntryId
    """What the body is sealed under."""
    heads: tuple[EntryId, ...]
    """1 to 8 entries of the folder ledger, sorted: what the author knew of the membership."""
    floor: int
    """Changesets of this log below it hold nothing that is not also above it."""
    lamport: int

    @property
    def log_id(self) -> LogId:
        """The log that this is a position of."""
        return log_id_of(self.folder_id, self.device_id, self.incarnation)

    def encode(self) -> bytes:
        """The slot's bytes: bound into the body, hashed and signed."""
        return wire.encode(
            [
                _VERSION, self.folder_id, self.device_id, self.incarnation, self.seq, self.previous,
                self.epoch_id, list(self.heads), self.floor, self.lamport,
            ]
        )  # fmt: skip


class FrontierEntry(NamedTuple):
    """How far a log is known: its changeset `seq` is the one of this hash."""

    log_id: LogId
    seq: int
    hash: bytes


class Body(NamedTuple):
    """What a changeset says: what its author had seen, and records that `records` checks."""

    frontier: tuple[FrontierEntry, ...]
    """Sorted by log; entries changed since the author's previous changeset, or all of them."""
    records: list[Any]


@dataclass(frozen=True, slots=True)
class Changeset:
    """One signed changeset, parsed as far as its slot. The hash leaves out the signature."""

    slot: Slot
    slot_bytes: bytes = field(repr=False)
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    wire: bytes = field(repr=False)
    body_hash: bytes = field(repr=False)
    hash: bytes
    log_id: LogId

    @property
    def evidence(self) -> Evidence:
        """The small part of it that proves what its author signed."""
        return Evidence(self.slot_bytes, self.body_hash, self.signature)


class Evidence(NamedTuple):
    """A changeset without its body: enough to show that its author signed this slot."""

    slot_bytes: bytes
    body_hash: bytes
    signature: bytes

    @property
    def hash(self) -> bytes:
        """The hash of the changeset that this is of."""
        return changeset_hash(self.slot_bytes, self.body_hash)

    def encode(self) -> bytes:
        """The evidence's bytes."""
        return wire.encode(list(self))

    @classmethod
    def decode(cls, data: bytes) -> Evidence:
        """Evidence from its bytes, its signature unchecked; raises Malformed."""
        match wire.decode(data, SLOT_LENGTH_MAX + 256):
            case [bytes(slot_bytes), bytes(hash_of_body), bytes(signature)]:
                _check_sizes((hash_of_body, HASH_SIZE), (signature, SIGNATURE_SIZE))
                return cls(slot_bytes, hash_of_body, signature)
        raise Malformed("not evidence of a changeset")

    def check(self, sign_pk: bytes) -> Slot:
        """The slot, if this device signed it; BadSignature or Malformed if not."""
        try:
            verify_slot(sign_pk, self.signature, self.slot_bytes, self.body_hash)
        except SignatureError:
            raise BadSignature("a changeset is not signed by its device") from None
        return decode_slot(self.slot_bytes)


def check_fork(first: Evidence, second: Evidence, sign_pk: bytes) -> Slot:
    """The position at which two pieces of evidence prove a fork; raises Fork if they do not."""
    one, other = first.check(sign_pk), second.check(sign_pk)
    if (one.log_id, one.seq) != (other.log_id, other.seq) or first.hash == second.hash:
        raise Fork("two changesets that do not contradict each other")
    return one


def author_changeset(
    keys: DeviceKeys,
    record_key: bytes,
    slot: Slot,
    frontier: Sequence[FrontierEntry],
    records: Sequence[Any],
    random: Callable[[int], bytes],
) -> Changeset:
    """Seals and signs records at a position of this device's own log.

    Raises TooLong if they do not fit into one changeset: 16 MiB before compression, 4 MiB after,
    and no more values than a reader takes.
    """
    assert slot.device_id == keys.device_id
    slot_bytes = slot.encode()
    raw = wire.encode([[list(entry) for entry in frontier], list(records)])
    wire.check_items(raw, wire.ITEMS_MAX)
    try:
        body = seal_body(record_key, slot_bytes, raw, random(32))
    except TooLongError:
        raise TooLong("these records do not fit into one changeset") from None
    hash_of_body = body_hash(body)
    signature = keys.sign("changeset", slot_bytes, hash_of_body)
    return Changeset(
        slot, slot_bytes, body, signature, wire.encode([slot_bytes, body, signature]),
        hash_of_body, changeset_hash(slot_bytes, hash_of_body), slot.log_id,
    )  # fmt: skip


def decode_changeset(data: bytes) -> Changeset:
    """A changeset from its wire bytes: sizes and slot are checked, signature and body are not.

    Raises Malformed or TooLong.
    """
    match wire.decode(data, wire.CHANGESET_LENGTH_MAX, 1 + 3):
        case [bytes(slot_bytes), bytes(body), bytes(signature)]:
            pass
        case _:
            raise Malformed("not a changeset")
    if len(body) > BODY_SIZE_MAX or len(body) < SEAL_OVERHEAD:
        raise TooLong("a changeset's body has at most 4 MiB")
    _check_sizes((signature, SIGNATURE_SIZE))
    slot = decode_slot(slot_bytes)
    hash_of_body = body_hash(body)
    return Changeset(
        slot, slot_bytes, body, signature, data, hash_of_body,
        changeset_hash(slot_bytes, hash_of_body), slot.log_id,
    )  # fmt: skip


def decode_slot(data: bytes) -> Slot:
    """A slot from its bytes; raises Malformed, or NewerForm for one of a later version."""
    value = wire.decode(data, SLOT_LENGTH_MAX)
    if type(value) is list and value:
        refuse_newer(value[0], _VERSION)
    match value:
        case [
            int(version), bytes(folder_id), bytes(device_id), bytes(incarnation), int(seq),
            bytes(previous), bytes(epoch_id), list(heads), int(floor), int(lamport),
        ] if version == 1:  # fmt: skip
            pass
        case _:
            raise Malformed("not a changeset's slot")
    ids = (folder_id, device_id, previous, epoch_id, *heads)
    if not 1 <= len(heads) <= HEADS_MAX or not all(type(head) is bytes for head in heads):
        raise Malformed("a slot's heads")
    _check_sizes(*((value, HASH_SIZE) for value in ids), (incarnation, INCARNATION_SIZE))
    if any(low >= high for low, high in itertools.pairwise(heads)):
        raise Malformed("a slot's heads are sorted")
    # True is an int and equal to 1, but not the encoding of it.
    if any(type(number) is not int for number in (version, seq, floor, lamport)):
        raise Malformed("a slot's numbers")
    if not 1 <= floor <= seq <= SEQ_MAX or not 1 <= lamport <= LAMPORT_MAX:
        raise Malformed("a slot's position")
    if (seq == 1) != (previous == NO_CHANGESET):
        raise Malformed("a slot's previous hash")
    return Slot(
        FolderId(folder_id), DeviceId(device_id), incarnation, seq, previous, EntryId(epoch_id),
        tuple(map(EntryId, heads)), floor, lamport,
    )  # fmt: skip


def open_changeset(changeset: Changeset, record_key: bytes) -> Body:
    """Opens and parses the body; BadRecord for one that its author should not have signed."""
    try:
        raw = open_body(record_key, changeset.slot_bytes, changeset.body)
    except OpenError:
        raise BadRecord("a changeset's body does not open under its epoch") from None
    try:
        value = wire.decode(raw, RAW_SIZE_MAX)
    except (Malformed, TooLong) as error:
        raise BadRecord("a changeset's body is not of the profile") from error
    match value:
        case [list(frontier), list(records)] if len(frontier) <= FRONTIER_MAX:
            return Body(decode_frontier(frontier), records)
    raise BadRecord("not a changeset's body")


def decode_frontier(values: Sequence[Any]) -> tuple[FrontierEntry, ...]:
    """The entries of a frontier, sorted and each log once; raises BadRecord."""
    entries: list[FrontierEntry] = []
    last = b""
    for value in values:
        match value:
            case [bytes(log_id), int(seq), bytes(hash_)] if type(seq) is int:
                pass
            case _:
                raise BadRecord("a frontier's entry")
        if len(log_id) != LOG_ID_SIZE or len(hash_) != HASH_SIZE or not 1 <= seq <= SEQ_MAX:
            raise BadRecord("a frontier's entry")
        if log_id <= last:
            raise BadRecord("a frontier is sorted and names each log once")
        last = log_id
        entries.append(FrontierEntry(LogId(log_id), seq, hash_))
    return tuple(entries)


def _check_sizes(*checks: tuple[bytes, int]) -> None:
    for value, size in checks:
        if len(value) != size:
            raise Malformed(f"{size} bytes were expected")
