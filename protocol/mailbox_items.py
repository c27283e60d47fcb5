"""What members put into a mailbox, before it is sealed and after it is opened (SPEC 16). No I/O.

A thing that is longer than an item goes in parts; the first part is put last, so that who sees it
finds the others. Nothing that is said here is believed for lying there: ledger entries, changesets
and heartbeats are signed, chunks are known by their hashes, wraps by commitments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from crypto.errors import SignatureError
from crypto.ids import DeviceId, EntryId, FolderId, LogId
from crypto.keys import DeviceKeys
from crypto.mailbox import GROUP_SIZE, PLAIN_SIZE_MAX
from crypto.primitives import HASH_SIZE, SIGNATURE_SIZE, verify
from protocol import wire
from protocol.changesets import FrontierEntry, decode_frontier
from protocol.errors import BadSignature, Malformed

PARTS_MAX: Final = 1024
"""Of one thing: 8 MiB, which is more than the largest changeset."""
PART_HEADER_SIZE: Final = 2
PART_SIZE_MAX: Final = PLAIN_SIZE_MAX - PART_HEADER_SIZE
HEARTBEAT_LENGTH_MAX: Final = 256 << 10
"""2,500 logs, held and applied."""
CONTROL_LENGTH_MAX: Final = 128 << 10
"""The longest ledger entry has 64 KiB."""
TIME_MAX: Final = 1 << 53

_VERSION: Final = 1


class Part(NamedTuple):
    """A piece of a thing, and the name of its place."""

    name: bytes
    plain: bytes


def split(group: bytes, thing: bytes) -> list[Part]:
    """The parts of a thing in the order in which they are to be put: the first one last."""
    assert len(group) == GROUP_SIZE
    pieces = [thing[at : at + PART_SIZE_MAX] for at in range(0, len(thing), PART_SIZE_MAX)] or [b""]
    assert len(pieces) <= PARTS_MAX
    head = len(pieces).to_bytes(PART_HEADER_SIZE, "big")
    parts = [Part(part_name(group, index), head + piece) for index, piece in enumerate(pieces)]
    return parts[::-1]


def part_name(group: bytes, index: int) -> bytes:
    """The name of a thing's part."""
    return group + index.to_bytes(2, "big")


def joined(group: bytes, plains: Mapping[bytes, bytes]) -> bytes | None:
    """The thing that these opened items are parts of, by name; None while one is missing."""
    first = plains.get(part_name(group, 0))
    if first is None or len(first) < PART_HEADER_SIZE:
        return None
    count = int.from_bytes(first[:PART_HEADER_SIZE], "big")
    pieces = [plains.get(part_name(group, index)) for index in range(count)]
    if not 1 <= count <= PARTS_MAX or any(piece is None for piece in pieces):
        return None
    return b"".join(piece[PART_HEADER_SIZE:] for piece in pieces if piece is not None)


# ---------------------------------------------------------------- control


@dataclass(frozen=True, slots=True)
class ControlEntry:
    """An entry of a ledger, unchecked."""

    kind: int
    ledger_id: bytes
    wire: bytes

    def encode(self) -> bytes:
        """What is sealed."""
        return wire.encode([_VERSION, 0, self.kind, self.ledger_id, self.wire])


@dataclass(frozen=True, slots=True)
class ControlWrap:
    """An epoch's secrets, wrapped to one recipient."""

    epoch_id: EntryId
    recipient_id: bytes
    wrapped: bytes

    def encode(self) -> bytes:
        """What is sealed."""
        return wire.encode([_VERSION, 1, self.epoch_id, self.recipient_id, self.wrapped])


@dataclass(frozen=True, slots=True)
class ControlFolder:
    """Another folder of the same devices, of which one of them may not have heard: its whole
    ledger, unchecked, and wraps of its epochs.
    """

    folder_id: FolderId
    entries: tuple[bytes, ...]
    wraps: tuple[ControlWrap, ...]

    def encode(self) -> bytes:
        """What is sealed."""
        wraps = [[w.epoch_id, w.recipient_id, w.wrapped] for w in self.wraps]
        return wire.encode([_VERSION, 2, self.folder_id, list(self.entries), wraps])


def decode_control(data: bytes) -> ControlEntry | ControlWrap | ControlFolder:
    """One of them; raises Malformed or TooLong."""
    match wire.decode(data, CONTROL_LENGTH_MAX):
        case [1, 0, int(kind), bytes(ledger_id), bytes(entry)]:
            return ControlEntry(kind, ledger_id, entry)
        case [1, 1, bytes(epoch_id), bytes(recipient_id), bytes(wrapped)]:
            return ControlWrap(EntryId(epoch_id), recipient_id, wrapped)
        case [1, 2, bytes(folder_id), list(entries), list(wraps)]:
            return ControlFolder(
                FolderId(folder_id),
                tuple(_bytes(entry) for entry in entries),
                tuple(_wrap(wrap) for wrap in wraps),
            )
    raise Malformed("neither a ledger entry nor a wrap nor a folder")


def _bytes(value: object) -> bytes:
    if type(value) is not bytes:
        raise Malformed("not a ledger entry")
    return value


def _wrap(value: object) -> ControlWrap:
    match value:
        case [bytes(epoch_id), bytes(recipient_id), bytes(wrapped)]:
            return ControlWrap(EntryId(epoch_id), recipient_id, wrapped)
    raise Malformed("not a wrap")


# ---------------------------------------------------------------- heartbeats


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How far one device is, signed by it."""

    folder_id: FolderId
    device_id: DeviceId
    time_s: int
    """By its own clock, for people to read."""
    held: tuple[FrontierEntry, ...]
    applied: tuple[FrontierEntry, ...]
    """What is on its disk, of what it holds."""

    def encode(self, keys: DeviceKeys) -> bytes:
        """The heartbeat with its signature."""
        assert keys.device_id == self.device_id
        body = wire.encode(
            [
                _VERSION, self.folder_id, self.device_id, self.time_s,
                [list(entry) for entry in self.held], [list(entry) for entry in self.applied],
            ]
        )  # fmt: skip
        return wire.encode([body, keys.sign("heartbeat", body)])


class SignedHeartbeat(NamedTuple):
    """A heartbeat whose signature is still to be checked."""

    heartbeat: Heartbeat
    body: bytes
    signature: bytes

    def check(self, sign_pk: bytes) -> Heartbeat:
        """The heartbeat, if this key signed it; raises BadSignature."""
        try:
            verify(sign_pk, self.signature, "heartbeat", self.body)
        except SignatureError:
            raise BadSignature("a heartbeat is not signed by its device") from None
        return self.heartbeat


def decode_heartbeat(data: bytes) -> SignedHeartbeat:
    """A heartbeat from its bytes; raises Malformed, BadRecord or TooLong."""
    match wire.decode(data, HEARTBEAT_LENGTH_MAX):
        case [bytes(body), bytes(signature)] if len(signature) == SIGNATURE_SIZE:
            pass
        case _:
            raise Malformed("not a signed heartbeat")
    match wire.decode(body, HEARTBEAT_LENGTH_MAX):
        case [1, bytes(folder_id), bytes(device_id), int(time_s), list(held), list(applied)]:
            pass
        case _:
            raise Malformed("not a heartbeat")
    if len(folder_id) != HASH_SIZE or len(device_id) != HASH_SIZE:
        raise Malformed("a heartbeat's ids")
    if type(time_s) is not int or not 0 <= time_s <= TIME_MAX:
        raise Malformed("a heartbeat's time")
    heartbeat = Heartbeat(
        FolderId(folder_id), DeviceId(device_id), time_s,
        decode_frontier(held), decode_frontier(applied),
    )  # fmt: skip
    return SignedHeartbeat(heartbeat, body, signature)


def positions(entries: Sequence[FrontierEntry]) -> dict[LogId, int]:
    """How far each log is, without hashes."""
    return {entry.log_id: entry.seq for entry in entries}
