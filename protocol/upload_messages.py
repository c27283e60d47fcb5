"""What a device says to a relay about its upload links: limits, what came, and that it has it
(SPEC 20). No I/O.

It is said on a storage link (18). The links themselves are made, listed and ended as all share
links are (17).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeAlias

from crypto.share_links import LINK_ID_SIZE
from crypto.uploads import HEAD_SIZE_MAX, UPLOAD_ID_SIZE
from protocol.errors import Malformed
from protocol.fields import Field, bounded_bytes, fixed_bytes, list_of, record_of, unsigned
from protocol.mailbox_messages import RelayForm

WAITING_LISTED_MAX: Final = 64
"""Of 4 KiB of head each, in a frame of 512 KiB and some."""
UPLOAD_PIECE_MAX: Final = 512 << 10


class UploadNumber(IntEnum):
    """The number in a frame's header."""

    UPLOAD_ALLOW = 121
    UPLOAD_LIST = 122
    UPLOAD_LISTED = 123
    UPLOAD_READ = 124
    UPLOAD_BYTES = 125
    UPLOAD_TAKEN = 126
    UPLOAD_DONE = 127


class Waiting(NamedTuple):
    """A file that lies at the relay, whole."""

    upload_id: bytes
    size: int
    """Of the file, before it was sealed; as its sender said."""
    came_s: int
    head: bytes


@dataclass(frozen=True, slots=True)
class UploadAllow:
    """Lets senders put files in by a link; before it is said they cannot."""

    number: int
    link_id: bytes
    files_max: int
    file_bytes_max: int
    bytes_max: int


@dataclass(frozen=True, slots=True)
class UploadList:
    """Asks what has come by a link and waits for its maker."""

    number: int
    link_id: bytes


@dataclass(frozen=True, slots=True)
class UploadListed:
    """Answers it, the oldest first, as many as fit: the rest is there once these are taken."""

    number: int
    outcome: int
    waiting: tuple[Waiting, ...]


@dataclass(frozen=True, slots=True)
class UploadRead:
    """Asks for bytes of a file's sealed segments."""

    number: int
    link_id: bytes
    upload_id: bytes
    at: int
    size: int


@dataclass(frozen=True, slots=True)
class UploadBytes:
    """Answers it."""

    number: int
    outcome: int
    data: bytes


@dataclass(frozen=True, slots=True)
class UploadTaken:
    """Says that the maker has a file, or wants it not: the relay keeps it no longer."""

    number: int
    link_id: bytes
    upload_id: bytes


@dataclass(frozen=True, slots=True)
class UploadDone:
    """Answers UPLOAD_ALLOW and UPLOAD_TAKEN, when it is durable."""

    number: int
    outcome: int


UploadRequest: TypeAlias = UploadAllow | UploadList | UploadRead | UploadTaken
UploadAnswer: TypeAlias = UploadListed | UploadBytes | UploadDone
UploadMessage: TypeAlias = UploadRequest | UploadAnswer


def _read_piece(value: Any) -> bytes:
    if type(value) is not bytes or len(value) > UPLOAD_PIECE_MAX:
        raise Malformed("not bytes of an upload")
    return value


_NUMBER: Final = unsigned(32)
_OUTCOME: Final = unsigned(8)
_COUNT: Final = unsigned(53)
_LINK: Final = fixed_bytes(LINK_ID_SIZE)
_UPLOAD: Final = fixed_bytes(UPLOAD_ID_SIZE)
_WAITING: Final = record_of(
    Waiting, _UPLOAD, _COUNT, _COUNT, bounded_bytes(HEAD_SIZE_MAX)
)  # fmt: skip

N = UploadNumber
FORMS: Final[dict[UploadNumber, RelayForm]] = {
    N.UPLOAD_ALLOW: RelayForm(UploadAllow, (_NUMBER, _LINK, unsigned(32), _COUNT, _COUNT)),
    N.UPLOAD_LIST: RelayForm(UploadList, (_NUMBER, _LINK)),
    N.UPLOAD_LISTED: RelayForm(
        UploadListed, (_NUMBER, _OUTCOME, list_of(_WAITING, 0, WAITING_LISTED_MAX))
    ),
    N.UPLOAD_READ: RelayForm(UploadRead, (_NUMBER, _LINK, _UPLOAD, _COUNT, unsigned(32))),
    N.UPLOAD_BYTES: RelayForm(
        UploadBytes, (_NUMBER, _OUTCOME, Field(f"bytes 0..{UPLOAD_PIECE_MAX}", _read_piece))
    ),
    N.UPLOAD_TAKEN: RelayForm(UploadTaken, (_NUMBER, _LINK, _UPLOAD)),
    N.UPLOAD_DONE: RelayForm(UploadDone, (_NUMBER, _OUTCOME)),
}  # fmt: skip
"""The whole schema; each number has one form."""
