"""What a device says to a relay to make a share link, list and end it (SPEC 19). No I/O.

It is said on a storage link (18), where the packs of the link were put and frames are long. The
relay sees a link's id, its packs and how much it is used; it is told no name and no secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeAlias

from crypto.namespaces import NAMESPACE_SIZE
from crypto.primitives import HASH_SIZE
from crypto.share_links import (
    BLOB_SIZE_MAX,
    END_KEY_SIZE,
    LINK_ID_SIZE,
    LINK_SIGNATURE_SIZE,
    PASSWORD_SALT_SIZE,
)
from protocol.errors import Malformed
from protocol.fields import (
    Field,
    bounded_bytes,
    fixed_bytes,
    list_of,
    record_of,
    text,
    unsigned,
)
from protocol.mailbox_messages import RelayForm

PACKS_MAX: Final = 16_384
"""Of one link, 54 bytes each: 128 GB."""
BLOB_PIECE_MAX: Final = 512 << 10
LINKS_LISTED_MAX: Final = 1_024
BASE_LENGTH_MAX: Final = 300


class LinkNumber(IntEnum):
    """The number in a frame's header."""

    LINK_ASK = 112
    LINK_PLACE = 113
    LINK_PUT = 114
    LINK_PIECE = 115
    LINK_KEEP = 116
    LINK_LIST = 117
    LINK_LISTED = 118
    LINK_REVOKE = 119
    LINK_DONE = 120
    LINK_PAGES = 128
    LINK_END_KEY = 129
    LINK_END = 130


class LinkPack(NamedTuple):
    """A pack that a link reads from, and where it lies."""

    namespace: bytes
    descriptor_id: bytes


class LinkUse(NamedTuple):
    """How it stands with a link."""

    link_id: bytes
    made_s: int
    expires_s: int
    """0: never."""
    downloads_max: int
    """0: any number."""
    downloads: int
    size: int
    """Of the blob."""
    ended: int
    """0: it is there; 1: it has expired; 2: it was revoked; 3: it was used up."""
    ended_s: int


@dataclass(frozen=True, slots=True)
class LinkAsk:
    """Asks whether the relay serves share links, and where."""

    number: int


@dataclass(frozen=True, slots=True)
class LinkPlace:
    """Answers it: what the URLs of links begin with, and the relay's time."""

    number: int
    outcome: int
    base: str
    time_s: int


@dataclass(frozen=True, slots=True)
class LinkPut:
    """Begins a link, or makes one again; its blob follows in pieces."""

    number: int
    namespace: bytes
    """Whose link it is; opened on this link of ours for the admin tier."""
    link_id: bytes
    password_salt: bytes
    token_hash: bytes
    lifetime_s: int
    """From when it is kept; 0: for ever."""
    downloads_max: int
    size: int
    packs: tuple[LinkPack, ...]


@dataclass(frozen=True, slots=True)
class LinkPiece:
    """Some bytes of the blob, in order."""

    number: int
    link_id: bytes
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class LinkKeep:
    """Asks that the link be there, all of whose blob was sent."""

    number: int
    link_id: bytes


@dataclass(frozen=True, slots=True)
class LinkList:
    """Asks for the links of a namespace."""

    number: int
    namespace: bytes


@dataclass(frozen=True, slots=True)
class LinkListed:
    """Answers it, the newest first."""

    number: int
    outcome: int
    links: tuple[LinkUse, ...]


@dataclass(frozen=True, slots=True)
class LinkRevoke:
    """Ends a link for ever, by the signature of its key: no namespace is needed."""

    number: int
    link_id: bytes
    time_s: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class LinkDone:
    """Answers what else is asked; LINK_KEEP, LINK_REVOKE, LINK_END_KEY and LINK_END when it is
    durable.
    """

    number: int
    outcome: int
    expires_s: int
    """Of a link that is kept."""


@dataclass(frozen=True, slots=True)
class LinkPages:
    """Says of a link that was begun which of its packs hold nothing but pages of its list."""

    number: int
    link_id: bytes
    descriptor_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LinkEndKey:
    """Says by which key others than its maker may end a link from now on, and by no other."""

    number: int
    link_id: bytes
    """Of a namespace that is open on this link of ours for the admin tier."""
    key_hash: bytes


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """Ends a link for ever, by its end key: no namespace is needed."""

    number: int
    link_id: bytes
    key: bytes


LinkRequest: TypeAlias = (
    LinkAsk
    | LinkPut
    | LinkPiece
    | LinkKeep
    | LinkList
    | LinkRevoke
    | LinkPages
    | LinkEndKey
    | LinkEnd
)
LinkAnswer: TypeAlias = LinkPlace | LinkListed | LinkDone
LinkMessage: TypeAlias = LinkRequest | LinkAnswer


def _read_size(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= BLOB_SIZE_MAX:
        raise Malformed("not the size of a blob")
    return value


_NUMBER: Final = unsigned(32)
_OUTCOME: Final = unsigned(8)
_COUNT: Final = unsigned(53)
_NAMESPACE: Final = fixed_bytes(NAMESPACE_SIZE)
_LINK: Final = fixed_bytes(LINK_ID_SIZE)
_HASH: Final = fixed_bytes(HASH_SIZE)
_PACKS: Final = list_of(record_of(LinkPack, _NAMESPACE, _HASH), 0, PACKS_MAX)
_USE: Final = record_of(LinkUse, _LINK, *([_COUNT] * 5), unsigned(8), _COUNT)

N = LinkNumber
FORMS: Final[dict[LinkNumber, RelayForm]] = {
    N.LINK_ASK: RelayForm(LinkAsk, (_NUMBER,)),
    N.LINK_PLACE: RelayForm(LinkPlace, (_NUMBER, _OUTCOME, text(BASE_LENGTH_MAX), _COUNT)),
    N.LINK_PUT: RelayForm(
        LinkPut,
        (
            _NUMBER, _NAMESPACE, _LINK, fixed_bytes(PASSWORD_SALT_SIZE), _HASH, _COUNT,
            unsigned(32), Field(f"int 1..{BLOB_SIZE_MAX}", _read_size), _PACKS,
        ),
    ),
    N.LINK_PIECE: RelayForm(
        LinkPiece, (_NUMBER, _LINK, unsigned(32), bounded_bytes(BLOB_PIECE_MAX))
    ),
    N.LINK_KEEP: RelayForm(LinkKeep, (_NUMBER, _LINK)),
    N.LINK_LIST: RelayForm(LinkList, (_NUMBER, _NAMESPACE)),
    N.LINK_LISTED: RelayForm(
        LinkListed, (_NUMBER, _OUTCOME, list_of(_USE, 0, LINKS_LISTED_MAX))
    ),
    N.LINK_REVOKE: RelayForm(
        LinkRevoke, (_NUMBER, _LINK, _COUNT, fixed_bytes(LINK_SIGNATURE_SIZE))
    ),
    N.LINK_DONE: RelayForm(LinkDone, (_NUMBER, _OUTCOME, _COUNT)),
    N.LINK_PAGES: RelayForm(LinkPages, (_NUMBER, _LINK, list_of(_HASH, 0, PACKS_MAX))),
    N.LINK_END_KEY: RelayForm(LinkEndKey, (_NUMBER, _LINK, _HASH)),
    N.LINK_END: RelayForm(LinkEnd, (_NUMBER, _LINK, fixed_bytes(END_KEY_SIZE))),
}  # fmt: skip
"""The whole schema; each number has one form."""
