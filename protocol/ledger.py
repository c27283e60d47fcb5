"""Ledgers: signed entries in a graph that only grows; users and folders have one each (CRYPTO 3).

Two devices append while apart, so a ledger is a DAG, not a chain: every entry names the heads that
its author knew, and what a ledger says is a function of the *set* of its entries. This module keeps
the graph, the signatures and the limits; what entries mean is the business of the subclasses.

A past is a set of entries as an int: bit i is the ledger's i-th entry. Ancestors of a few thousand
entries are then one word-parallel operation away.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Final

from crypto.errors import SignatureError
from crypto.ids import EntryId
from crypto.keys import DeviceKeys, KitKeys
from crypto.primitives import HASH_SIZE, SIGNATURE_SIZE, digest, verify
from protocol import wire
from protocol.errors import BadLedger, BadSignature, LimitReached, ProtocolError
from protocol.newer import refuse_newer

ENTRY_LENGTH_MAX: Final = 64 << 10
"""The encoded entry; its wire form adds the signature and two CBOR headers."""
WIRE_LENGTH_MAX: Final = ENTRY_LENGTH_MAX + 128
ENTRIES_MAX: Final = 8192
PARENTS_MAX: Final = 8
ACTIONS_MAX: Final = 64
HELD_MAX: Final = 512
HELD_SIZE_MAX: Final = 4 << 20
"""What waits for its parents; an honest sender gives parents first, so little ever does."""
TIME_MAX: Final = (1 << 53) - 1

_VERSION: Final = 1
_NONE_ID: Final = bytes(HASH_SIZE)


class LedgerKind(IntEnum):
    """What a ledger is about; it is hashed into the ledger's id."""

    USER = 0
    FOLDER = 1
    GROUP = 2


class Waiting(Exception):
    """Raised by checks: this entry speaks of something in another ledger that is not here yet."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One signed entry as received: `encoded` is what is hashed and signed, `wire` what travels."""

    id: EntryId
    parents: tuple[EntryId, ...]
    author_id: bytes
    """32 bytes: a device id, or in a user ledger an identity's public key."""
    actions: tuple[list[Any], ...]
    time_s: int
    """The author's clock, for people to read; it decides nothing."""
    encoded: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    wire: bytes = field(repr=False)


def ledger_id_of(kind: LedgerKind, genesis: bytes) -> bytes:
    """The 32-byte id of the ledger that begins with this encoded genesis entry."""
    return digest("ledger", bytes([kind]), genesis)


def author_id_of(keys: DeviceKeys | KitKeys) -> bytes:
    """How entries name their author: a device by its id, an identity by its public key."""
    return keys.device_id if isinstance(keys, DeviceKeys) else keys.identity_public


def is_in(past: int, index: int) -> bool:
    """Whether the `index`-th entry is in this past."""
    return bool(past >> index & 1)


def indices(past: int) -> Iterator[int]:
    """The entries of a past, parents before their children."""
    index = 0
    while past:
        zeros = (past & -past).bit_length() - 1
        index += zeros
        yield index
        past >>= zeros + 1
        index += 1


class Ledger(ABC):
    """The entries of one ledger, in an order in which parents come first."""

    kind: ClassVar[LedgerKind]

    def __init__(self, genesis: bytes) -> None:
        """Starts from the wire bytes of a genesis; raises BadLedger, BadSignature or Waiting."""
        self._order: list[Entry] = []
        self._index: dict[EntryId, int] = {}
        self._past: list[int] = []
        self._heads: set[EntryId] = set()
        self._held: dict[EntryId, Entry] = {}
        self._held_size = 0
        encoded, _ = _split(genesis)
        self._id = ledger_id_of(self.kind, encoded)
        self._append(self._decode(genesis))

    # ------------------------------------------------------------ reading

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, entry_id: EntryId) -> bool:
        return entry_id in self._index

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._order)

    def entry(self, entry_id: EntryId) -> Entry:
        """The entry of this id; KeyError if it is not here."""
        return self._order[self._index[entry_id]]

    def heads(self) -> list[EntryId]:
        """The entries that no other names as parent, sorted."""
        return sorted(self._heads)

    def past_of(self, heads: Iterable[EntryId]) -> int:
        """These entries and all their ancestors; KeyError if one is not here."""
        past = 0
        for entry_id in heads:
            index = self._index[entry_id]
            past |= self._past[index] | 1 << index
        return past

    def is_ancestor(self, ancestor: EntryId, entry_id: EntryId) -> bool:
        """Whether the first is a strict ancestor of the second; both must be here."""
        return is_in(self._past[self._index[entry_id]], self._index[ancestor])

    def export(self, known: Iterable[EntryId] = ()) -> list[bytes]:
        """The wire bytes of all entries, parents first, but not what one with these heads has."""
        past = self.past_of(head for head in known if head in self._index)
        return [e.wire for i, e in enumerate(self._order) if not is_in(past, i)]

    def missing(self) -> set[EntryId]:
        """The parents that held entries wait for: what to ask others for."""
        parents = {parent for entry in self._held.values() for parent in entry.parents}
        return parents - self._index.keys() - self._held.keys()

    # ------------------------------------------------------------ growing

    def add(self, data: bytes) -> list[Entry]:
        """Takes one entry's wire bytes; gives the entries that found their place by it.

        Parents come first; an empty list means that it is known, or held until its parents are.
        Raises BadLedger or BadSignature for an entry that has no place in this ledger, NewerForm
        for one that a later version wrote, and LimitReached when too much waits.
        """
        entry = self._decode(data)
        if entry.id in self._index or entry.id in self._held:
            return []
        if any(parent not in self._index for parent in entry.parents):
            self._hold(entry)
            return []
        try:
            self._append(entry)
        except Waiting:
            self._hold(entry)
            return []
        return [entry, *self.retry()]

    def extend(self, entries: Iterable[bytes]) -> list[Entry]:
        """Takes many entries at once; gives those that found their place. Errors as in `add`."""
        return [placed for data in entries for placed in self.add(data)]

    def retry(self) -> list[Entry]:
        """Tries what is held once more, after another ledger grew; gives what found its place.

        Held entries that prove bad are dropped: who sent them is no longer known.
        """
        placed: list[Entry] = []
        is_progress = True
        while is_progress:
            is_progress = False
            for entry in list(self._held.values()):
                if any(parent not in self._index for parent in entry.parents):
                    continue
                try:
                    self._append(entry)
                except Waiting:
                    continue
                except ProtocolError:
                    self._drop_held(entry)
                    continue
                self._drop_held(entry)
                placed.append(entry)
                is_progress = True
        return placed

    def author(self, keys: DeviceKeys | KitKeys, actions: Sequence[list[Any]], now: float) -> Entry:
        """Signs and adds an entry with these actions after all that is known (its 8 newest heads).

        Raises BadLedger if the entry would have no place here, such as one by an unknown device.
        """
        newest = sorted(self._heads, key=lambda head: (-self._index[head], head))[:PARENTS_MAX]
        encoded = encode_entry(
            self.kind, self._id, sorted(newest), author_id_of(keys), actions, now
        )
        signature = keys.sign("entry", self._id, encoded)
        entry = self._decode(wire.encode([encoded, signature]))
        try:
            self._append(entry)
        except Waiting as error:
            raise BadLedger(str(error)) from None
        return entry

    def _hold(self, entry: Entry) -> None:
        if len(self._held) >= HELD_MAX or self._held_size + len(entry.wire) > HELD_SIZE_MAX:
            raise LimitReached("too many ledger entries without their parents")
        self._held[entry.id] = entry
        self._held_size += len(entry.wire)

    def _drop_held(self, entry: Entry) -> None:
        del self._held[entry.id]
        self._held_size -= len(entry.wire)

    def _append(self, entry: Entry) -> None:
        if len(self._order) >= ENTRIES_MAX:
            raise LimitReached("a ledger has at most 8,192 entries")
        past = self.past_of(entry.parents)
        public = self._signer(entry, past)
        try:
            verify(public, entry.signature, "entry", self._id, entry.encoded)
        except SignatureError:
            raise BadSignature("a ledger entry is not signed by its author") from None
        self._index_actions(entry, past)
        self._index[entry.id] = len(self._order)
        self._order.append(entry)
        self._past.append(past)
        self._heads.difference_update(entry.parents)
        self._heads.add(entry.id)

    def _decode(self, data: bytes) -> Entry:
        encoded, signature = _split(data)
        value = wire.decode(encoded, ENTRY_LENGTH_MAX)
        if type(value) is list and value:
            refuse_newer(value[0], _VERSION)
        match value:
            case [
                int(version),
                int(kind),
                bytes(ledger_id),
                list(parents),
                bytes(author_id),
                list(actions),
                int(time_s),
            ] if version == _VERSION:
                pass
            case _:
                raise BadLedger("not a ledger entry")
        # True is an int and equal to 1, but not the encoding of it.
        if any(type(number) is not int for number in (version, kind, time_s)):
            raise BadLedger("an entry's numbers")
        is_genesis = ledger_id == _NONE_ID
        if kind != self.kind or ledger_id != (_NONE_ID if is_genesis else self._id):
            raise BadLedger("an entry of another ledger")
        if is_genesis and ledger_id_of(self.kind, encoded) != self._id:
            raise BadLedger("a second genesis")
        _check_ids(parents, 0 if is_genesis else 1, 0 if is_genesis else PARENTS_MAX)
        if len(author_id) != HASH_SIZE or not 0 <= time_s <= TIME_MAX:
            raise BadLedger("an entry's author or time")
        if not 1 <= len(actions) <= ACTIONS_MAX or not all(_is_action(a) for a in actions):
            raise BadLedger("an entry's actions")
        entry_id = EntryId(digest("entry", self._id, encoded))
        return Entry(
            entry_id, tuple(parents), author_id, tuple(actions), time_s, encoded, signature, data
        )

    @abstractmethod
    def _signer(self, entry: Entry, past: int) -> bytes:
        """The author's Ed25519 key as `past` shows it; BadLedger, or Waiting for another ledger."""

    @abstractmethod
    def _index_actions(self, entry: Entry, past: int) -> None:
        """Checks a signed entry's actions and takes note of them as those of entry `len(self)`.

        Raises BadLedger or Waiting before noting anything: all the actions are in, or none.
        """


def encode_entry(
    kind: LedgerKind,
    ledger_id: bytes,
    parents: Sequence[EntryId],
    author_id: bytes,
    actions: Sequence[list[Any]],
    now: float,
) -> bytes:
    """What an entry's author signs; BadLedger if it has become too long."""
    encoded = wire.encode(
        [_VERSION, int(kind), ledger_id, list(parents), author_id, list(actions), int(now)]
    )
    if len(encoded) > ENTRY_LENGTH_MAX:
        raise BadLedger("a ledger entry has at most 64 KiB")
    return encoded


def encode_genesis(
    kind: LedgerKind, keys: DeviceKeys | KitKeys, actions: Sequence[list[Any]], now: float
) -> bytes:
    """The wire bytes of a signed genesis: 32 zero bytes stand where others have the ledger's id."""
    encoded = encode_entry(kind, _NONE_ID, (), author_id_of(keys), actions, now)
    signature = keys.sign("entry", ledger_id_of(kind, encoded), encoded)
    return wire.encode([encoded, signature])


def check_bytes(value: Any, size: int) -> bytes:
    """The value, if it is a byte string of this size; else BadLedger."""
    if type(value) is not bytes or len(value) != size:
        raise BadLedger(f"{size} bytes were expected")
    return value


def _check_ids(ids: list[Any], count_min: int, count_max: int) -> None:
    if not count_min <= len(ids) <= count_max:
        raise BadLedger("an entry's number of parents")
    for entry_id in ids:
        check_bytes(entry_id, HASH_SIZE)
    if any(low >= high for low, high in itertools.pairwise(ids)):
        raise BadLedger("an entry's parents are sorted")


def check_heads(value: Any) -> list[EntryId]:
    """The value, if it is a list of 1 to 8 sorted entry ids; else BadLedger."""
    if type(value) is not list:
        raise BadLedger("heads are a list")
    _check_ids(value, 1, PARENTS_MAX)
    return [EntryId(head) for head in value]


def _is_action(action: Any) -> bool:
    return type(action) is list and len(action) > 0 and type(action[0]) is int


def _split(data: bytes) -> tuple[bytes, bytes]:
    match wire.decode(data, WIRE_LENGTH_MAX, 1 + 2):
        case [bytes(encoded), bytes(signature)] if len(signature) == SIGNATURE_SIZE:
            return encoded, signature
    raise BadLedger("not a signed ledger entry")
