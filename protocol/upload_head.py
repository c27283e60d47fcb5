"""What is said of a file that is put in by an upload link, and what such a link says of itself
(SPEC 20). No I/O.

The manifest of an upload link is sealed like any link's and has form 2; a head is sealed to the
link's maker. Names and labels are a stranger's: here they are only bounded, and whoever writes
files makes other names of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from crypto.share_links import LINK_KEY_SIZE
from crypto.uploads import FILE_SIZE_MAX, HEAD_PLAIN_MAX
from protocol import wire
from protocol.errors import Malformed

NAME_LENGTH_MAX: Final = 200
"""Of an upload link, as its senders see it."""
LABEL_LENGTH_MAX: Final = 80
PATH_BYTES_MAX: Final = 3000
"""With a label of 80 characters it fits a head."""
BATCH_ID_SIZE: Final = 16
BATCH_MAX: Final = 100_000
NUMBER_MAX: Final = (1 << 53) - 1
_MANIFEST_VERSION: Final = 2
_MANIFEST_SIZE_MAX: Final = 4096
_HEAD_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class UploadManifest:
    """What an upload link takes."""

    expires_s: int
    """0: it does not expire."""
    public: bytes
    """To which everything is sealed."""
    name: str
    """What the link is called; its senders read it."""
    files_max: int
    file_bytes_max: int
    bytes_max: int

    def encode(self) -> bytes:
        """What is sealed."""
        return wire.encode(
            [_MANIFEST_VERSION, self.expires_s, self.public, self.name, self.files_max,
             self.file_bytes_max, self.bytes_max]
        )  # fmt: skip


def decode_upload_manifest(data: bytes) -> UploadManifest:
    """Raises Malformed."""
    match wire.decode(data, _MANIFEST_SIZE_MAX, 16):
        case [2, expires_s, bytes(public), str(name), files_max, file_bytes_max, bytes_max]:
            pass
        case _:
            raise Malformed("not an upload link's manifest")
    if len(public) != LINK_KEY_SIZE or len(name) > NAME_LENGTH_MAX:
        raise Malformed("an upload link's key or name")
    return UploadManifest(
        _number(expires_s, NUMBER_MAX), public, name, _number(files_max, NUMBER_MAX),
        _number(file_bytes_max, NUMBER_MAX), _number(bytes_max, NUMBER_MAX),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class UploadHead:
    """One file, as whoever put it in says."""

    path: str
    """A name, or names with slashes between them: nothing that was checked."""
    size: int
    mtime_ms: int
    label: str
    """Who it is from, in their own words; may be empty."""
    batch: bytes
    """The same for all files that were put in together."""
    number: int
    """From 0, of `count`."""
    count: int

    def encode(self) -> bytes:
        """What is sealed."""
        return wire.encode(
            [_HEAD_VERSION, self.path, self.size, self.mtime_ms, self.label, self.batch,
             self.number, self.count]
        )  # fmt: skip


def decode_upload_head(data: bytes) -> UploadHead:
    """Raises Malformed."""
    match wire.decode(data, HEAD_PLAIN_MAX, 16):
        case [1, str(path), size, mtime_ms, str(label), bytes(batch), number, count]:
            pass
        case _:
            raise Malformed("not the head of an upload")
    is_time = type(mtime_ms) is int and abs(mtime_ms) <= NUMBER_MAX
    if not is_time or len(batch) != BATCH_ID_SIZE or len(label) > LABEL_LENGTH_MAX:
        raise Malformed("the head of an upload is out of bounds")
    if len(path.encode(errors="replace")) > PATH_BYTES_MAX:
        raise Malformed("the path of an upload is too long")
    head = UploadHead(
        path, _number(size, FILE_SIZE_MAX), mtime_ms, label, batch,
        _number(number, BATCH_MAX), _number(count, BATCH_MAX),
    )  # fmt: skip
    if head.number >= head.count:
        raise Malformed("a file that is not one of its batch")
    return head


def _number(value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise Malformed(f"not an integer from 0 to {most}")
    return value
