"""What a file was before, as it rests at super-nodes beside the logs (SPEC 18). No I/O.

The logs tell what is shown now. What was shown before is forgotten by compaction, and when it ended
each device knows for itself. So a device that stores a folder writes down each version whose bytes
are stored, and who comes back with the kit has them again.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from crypto.ids import NodeId
from crypto.primitives import digest
from protocol import wire
from protocol.errors import Malformed
from protocol.fields import BOOLEAN, Field, fixed_bytes, record_of, text, unsigned
from protocol.newer import refuse_newer

FORMAT: Final = 1
MANIFEST_LENGTH_MAX: Final = 1 << 20
"""Some 29,000 chunks, more than three times what a file is cut into."""
LENGTH_MAX: Final = MANIFEST_LENGTH_MAX + 65_536
PATH_LENGTH_MAX: Final = 32_768


class VersionRecord(NamedTuple):
    """One content that a file or symlink had."""

    node: NodeId
    hash: bytes
    size: int
    mtime_ns: int
    is_executable: bool
    manifest: bytes
    """The chunks, or a symlink's target; empty for a file of one chunk."""
    written_s: int
    label: str
    """Of the device that wrote it."""
    path: str
    ended_s: int
    is_deleted: bool

    def encode(self) -> bytes:
        """The bytes that are sealed."""
        return wire.encode([FORMAT, *self])


def item_id(encoded: bytes) -> bytes:
    """Under which id a version lies in a pack of logs: no changeset's hash is one."""
    return digest("version record", encoded)


def _read_signed(value: Any) -> int:
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise Malformed("not a 64-bit integer")
    return value


def _read_path(value: Any) -> str:
    if type(value) is not str or len(value) > PATH_LENGTH_MAX:  # names may hold anything
        raise Malformed("not a path")
    return value


def _read_manifest(value: Any) -> bytes:
    if type(value) is not bytes or len(value) > MANIFEST_LENGTH_MAX:
        raise Malformed("not a list of chunks")
    return value


_RECORD: Final = record_of(
    lambda _, *fields: VersionRecord(*fields),
    unsigned(16, 1),
    fixed_bytes(16),
    fixed_bytes(32),
    unsigned(53),
    Field("i64", _read_signed),
    BOOLEAN,
    Field(f"bytes 0..{MANIFEST_LENGTH_MAX}", _read_manifest),
    unsigned(53),
    text(255),
    Field(f"text 0..{PATH_LENGTH_MAX}", _read_path),
    unsigned(53),
    BOOLEAN,
)


def decode_version(data: bytes) -> VersionRecord:
    """What `encode` made; raises ProtocolError, as NewerForm for what a later version wrote."""
    value = wire.decode(data, LENGTH_MAX)
    if type(value) is list and value:
        refuse_newer(value[0], FORMAT)
    record: VersionRecord = _RECORD.read(value)
    return record
