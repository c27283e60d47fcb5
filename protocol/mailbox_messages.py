"""What a device and a relay say to each other about mailboxes (SPEC 16). No I/O.

A mailbox is named by a tag and opened by proofs of capabilities; the relay sees tags, areas, names
that say nothing, sizes and times. All of it fits into the frames of a relay's link.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeAlias

from crypto.mailbox import ITEM_SIZE_MAX, NAME_SIZE, TAG_SIZE, Area
from crypto.primitives import KEY_SIZE, SIGNATURE_SIZE
from protocol.errors import Malformed
from protocol.fields import (
    BOOLEAN,
    Field,
    bounded_bytes,
    fixed_bytes,
    list_of,
    one_of,
    record_of,
    unsigned,
)

FRAME_ITEMS_BYTES: Final = 15 << 10
"""Sealed bytes in one frame; with names and heads they stay below the 16 KiB of a relay's frame."""
ITEM_OVERHEAD_BYTES: Final = 40
"""What an item costs a frame beside its bytes: name, position and their heads."""
ITEMS_MAX: Final = 32
LISTED_MAX: Final = 384
"""Entries of one page of a list, at 37 bytes or less each."""
DROPPED_MAX: Final = 512


class MailboxNumber(IntEnum):
    """The number in a frame's header."""

    MAILBOX_OPEN = 64
    MAILBOX_OPENED = 65
    MAILBOX_LIST = 66
    MAILBOX_LISTED = 67
    MAILBOX_GET = 68
    MAILBOX_ITEMS = 69
    MAILBOX_PUT = 70
    MAILBOX_DROP = 71
    MAILBOX_DONE = 72
    MAILBOX_NEWS = 73


class MailboxOutcome(IntEnum):
    """What became of a request."""

    DONE = 0
    REFUSED = 1
    """A proof is missing, or is none."""
    FULL = 2
    """The mailbox, or what this device may keep at the relay, has no room for it."""
    BUSY = 3
    """More than a device may ask within a minute: try again later."""


class Listed(NamedTuple):
    """One item of a mailbox, without its bytes."""

    position: int
    area: int
    name: bytes
    size: int


class Item(NamedTuple):
    """One item where it lies."""

    position: int
    name: bytes
    sealed: bytes


class NewItem(NamedTuple):
    """One item to be put."""

    name: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class MailboxOpen:
    """Opens a mailbox on this link, for each capability that is proved."""

    number: int
    tag: bytes
    read_pk: bytes
    write_pk: bytes
    read_proof: bytes
    write_proof: bytes


@dataclass(frozen=True, slots=True)
class MailboxOpened:
    """Answers it; `position` is that of the last item there ever was."""

    number: int
    outcome: int
    position: int


@dataclass(frozen=True, slots=True)
class MailboxList:
    """Asks for the items after a position."""

    number: int
    tag: bytes
    after: int


@dataclass(frozen=True, slots=True)
class MailboxListed:
    """Answers it, by position; `is_more`: ask again after the last."""

    number: int
    items: tuple[Listed, ...]
    is_more: bool


@dataclass(frozen=True, slots=True)
class MailboxGet:
    """Asks for the items from one position to another, both included."""

    number: int
    tag: bytes
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class MailboxItems:
    """Answers it with those that are there and fit; `is_more`: ask again after the last."""

    number: int
    items: tuple[Item, ...]
    is_more: bool


@dataclass(frozen=True, slots=True)
class MailboxPut:
    """Puts items of one area; those whose names are there already stay as they are."""

    number: int
    tag: bytes
    area: int
    items: tuple[NewItem, ...]


@dataclass(frozen=True, slots=True)
class MailboxDrop:
    """Takes items away that everybody has taken."""

    number: int
    tag: bytes
    names: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class MailboxDone:
    """Answers a MAILBOX_PUT or MAILBOX_DROP, once it is durable."""

    number: int
    outcome: int


@dataclass(frozen=True, slots=True)
class MailboxNews:
    """Another device has put something there, up to this position."""

    tag: bytes
    position: int


MailboxMessage: TypeAlias = (
    MailboxOpen
    | MailboxOpened
    | MailboxList
    | MailboxListed
    | MailboxGet
    | MailboxItems
    | MailboxPut
    | MailboxDrop
    | MailboxDone
    | MailboxNews
)
MailboxRequest: TypeAlias = MailboxOpen | MailboxList | MailboxGet | MailboxPut | MailboxDrop


@dataclass(frozen=True, slots=True)
class RelayForm:
    """How a message looks on the wire: its class and its fields in order."""

    type: type[Any]
    fields: tuple[Field, ...]


def _read_proof(value: Any) -> bytes:
    if type(value) is not bytes or len(value) not in (0, SIGNATURE_SIZE):
        raise Malformed("not a proof of a capability")
    return value


_NUMBER: Final = unsigned(32)
_TAG: Final = fixed_bytes(TAG_SIZE)
_KEY: Final = fixed_bytes(KEY_SIZE)
_PROOF: Final = Field(f"bytes 0 or {SIGNATURE_SIZE}", _read_proof)
_POSITION: Final = unsigned(53)
_AREA: Final = one_of(*Area)
_NAME: Final = fixed_bytes(NAME_SIZE)
_SEALED: Final = bounded_bytes(ITEM_SIZE_MAX)
_LISTED: Final = record_of(Listed, _POSITION, _AREA, _NAME, unsigned(16))
_ITEM: Final = record_of(Item, _POSITION, _NAME, _SEALED)
_NEW_ITEM: Final = record_of(NewItem, _NAME, _SEALED)

FORMS: Final[dict[MailboxNumber, RelayForm]] = {
    MailboxNumber.MAILBOX_OPEN: RelayForm(MailboxOpen, (_NUMBER, _TAG, _KEY, _KEY, _PROOF, _PROOF)),
    MailboxNumber.MAILBOX_OPENED: RelayForm(
        MailboxOpened, (_NUMBER, one_of(*MailboxOutcome), _POSITION)
    ),
    MailboxNumber.MAILBOX_LIST: RelayForm(MailboxList, (_NUMBER, _TAG, _POSITION)),
    MailboxNumber.MAILBOX_LISTED: RelayForm(
        MailboxListed, (_NUMBER, list_of(_LISTED, 0, LISTED_MAX), BOOLEAN)
    ),
    MailboxNumber.MAILBOX_GET: RelayForm(MailboxGet, (_NUMBER, _TAG, _POSITION, _POSITION)),
    MailboxNumber.MAILBOX_ITEMS: RelayForm(
        MailboxItems, (_NUMBER, list_of(_ITEM, 0, ITEMS_MAX), BOOLEAN)
    ),
    MailboxNumber.MAILBOX_PUT: RelayForm(
        MailboxPut, (_NUMBER, _TAG, _AREA, list_of(_NEW_ITEM, 1, ITEMS_MAX))
    ),
    MailboxNumber.MAILBOX_DROP: RelayForm(
        MailboxDrop, (_NUMBER, _TAG, list_of(_NAME, 1, DROPPED_MAX))
    ),
    MailboxNumber.MAILBOX_DONE: RelayForm(MailboxDone, (_NUMBER, one_of(*MailboxOutcome))),
    MailboxNumber.MAILBOX_NEWS: RelayForm(MailboxNews, (_TAG, _POSITION)),
}
"""The whole schema; each number has one form."""
