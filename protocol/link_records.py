"""What a device tells the user's others of the share links it has made (SPEC 7).

Each tells of its own links alone, all at once, and what it told last counts: no version and no
clock is needed. It tells what opens a link, and not the link's own key, by which another link could
be put in its place. Who wishes a link to be ended tells that, and the device that made it does it.
So that the others need not wait for that device it tells them an end key of each link, whose hash
the link's relay has: it ends the link and does nothing else, and is replaced at the relay when a
device is removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeAlias

from crypto.share_links import END_KEY_SIZE, LINK_ID_SIZE, LINK_SECRET_SIZE
from protocol import wire
from protocol.fields import BOOLEAN, fixed_bytes, list_of, record_of, text, unsigned
from protocol.link_messages import BASE_LENGTH_MAX
from protocol.share_url import ShareUrl

TOLD_MAX: Final = 256
"""Links of one device, the newest: the longest names fit into one message."""
WISHES_MAX: Final = 256
END_KEYS_MAX: Final = 2 * TOLD_MAX
"""Of the links of one device, of both kinds."""
NAME_LENGTH_MAX: Final = 255
RELAY_LENGTH_MAX: Final = 400


class LinkRecord(NamedTuple):
    """One link, as its device tells of it."""

    link_id: bytes
    base: str
    secret: bytes
    relay: str
    name: str
    has_password: bool
    files: int
    size: int
    made_s: int
    expires_s: int
    """0: never."""
    downloads_max: int
    """0: any number."""
    revoked_s: int
    """0: it was not."""

    @property
    def url(self) -> ShareUrl:
        """All of it."""
        return ShareUrl(self.base, self.link_id, self.secret)

    def __repr__(self) -> str:
        """The secret opens the link, and a record is easily logged."""
        return f"LinkRecord({self.link_id.hex()})"


class UploadRecord(NamedTuple):
    """One upload link, as its device tells of it: what opens the files stays with that one."""

    link_id: bytes
    base: str
    secret: bytes
    relay: str
    name: str
    has_password: bool
    made_s: int
    expires_s: int
    """0: never."""
    files_max: int
    file_bytes_max: int
    bytes_max: int
    revoked_s: int
    """0: it was not."""

    @property
    def url(self) -> ShareUrl:
        """All of it."""
        return ShareUrl(self.base, self.link_id, self.secret)

    def __repr__(self) -> str:
        """The secret lets files in, and a record is easily logged."""
        return f"UploadRecord({self.link_id.hex()})"


AnyRecord: TypeAlias = LinkRecord | UploadRecord


class EndKey(NamedTuple):
    """What ends a link of the device that tells it."""

    link_id: bytes
    key: bytes

    def __repr__(self) -> str:
        """Whoever reads the key can end the link."""
        return f"EndKey({self.link_id.hex()})"


_COUNT: Final = unsigned(53)
LINK_ID: Final = fixed_bytes(LINK_ID_SIZE)
_FIELDS: Final = (
    LINK_ID, text(BASE_LENGTH_MAX), fixed_bytes(LINK_SECRET_SIZE), text(RELAY_LENGTH_MAX),
    text(NAME_LENGTH_MAX), BOOLEAN, *([_COUNT] * 6),
)  # fmt: skip
RECORDS: Final = list_of(record_of(LinkRecord, *_FIELDS), 0, TOLD_MAX)
UPLOADS: Final = list_of(record_of(UploadRecord, *_FIELDS), 0, TOLD_MAX)
WISHES: Final = list_of(LINK_ID, 0, WISHES_MAX)
END_KEYS: Final = list_of(record_of(EndKey, LINK_ID, fixed_bytes(END_KEY_SIZE)), 0, END_KEYS_MAX)


def write_records(records: Iterable[AnyRecord]) -> bytes:
    """The records of one kind as a device keeps them."""
    return wire.encode([list(record) for record in records])


def read_records(data: bytes) -> tuple[LinkRecord, ...]:
    """The inverse of `write_records`."""
    read: Any = RECORDS.read(wire.decode_own(data))
    return tuple(read)


def read_uploads(data: bytes) -> tuple[UploadRecord, ...]:
    """The inverse of `write_records` for upload links."""
    read: Any = UPLOADS.read(wire.decode_own(data))
    return tuple(read)


def write_end_keys(keys: Iterable[EndKey]) -> bytes:
    """End keys as a device keeps them."""
    return wire.encode([list(each) for each in keys])


def read_end_keys(data: bytes) -> tuple[EndKey, ...]:
    """The inverse of `write_end_keys`."""
    read: Any = END_KEYS.read(wire.decode_own(data))
    return tuple(read)
