"""Which folders are kept at which super-nodes: records that a user's devices tell each other.

As with relays (`relay_records`), of two records of one folder the higher version counts, of two of
one version the greater, and what is kept no more is a record too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from crypto.ids import DeviceId, FolderId
from crypto.shares import SHARES_MAX
from protocol import wire
from protocol.errors import Malformed
from protocol.fields import Field, fixed_bytes, list_of, record_of, unsigned
from protocol.relay_address import ADDRESS_LENGTH_MAX, BadRelayAddress, RelayAddress

NODES_MAX: Final = 2 * SHARES_MAX
BACKUPS_MAX: Final = 256
"""Folders with copies, told in one message."""
VERSION_MAX: Final = (1 << 32) - 1
VAULT_SECRET_SIZE: Final = 32


class BackupRecord(NamedTuple):
    """How one folder is kept."""

    folder_id: FolderId
    needed: int
    """k: so many shares of a pack are enough; 0: the folder is kept no more."""
    shares: int
    """n: so many there are."""
    nodes: tuple[str, ...]
    """Addresses of relays that store."""
    keeper: DeviceId
    """The device that uploads; another one does while it is away."""
    version: int

    @property
    def is_on(self) -> bool:
        """Whether the folder is kept."""
        return self.needed > 0

    @property
    def places(self) -> list[RelayAddress]:
        """The nodes' addresses, read."""
        return [RelayAddress.parse(address) for address in self.nodes]


Records = Mapping[FolderId, BackupRecord]


def merge(known: Records, told: Iterable[BackupRecord]) -> dict[FolderId, BackupRecord]:
    """The records that count of both."""
    merged = dict(known)
    for record in told:
        old = merged.get(record.folder_id)
        if (old is None or (record.version, record) > (old.version, old)) and (
            old is not None or len(merged) < BACKUPS_MAX
        ):
            merged[record.folder_id] = record
    return merged


def next_version(records: Records) -> int:
    """The version of what a person says now."""
    return min(1 + max((record.version for record in records.values()), default=0), VERSION_MAX)


def _read_address(value: Any) -> str:
    if type(value) is not str or len(value) > ADDRESS_LENGTH_MAX:
        raise Malformed("not a relay's address")
    try:
        if str(RelayAddress.parse(value)) == value:
            return value
    except BadRelayAddress:
        pass
    raise Malformed("not a relay's address")


RECORD: Final = record_of(
    BackupRecord,
    fixed_bytes(32),
    unsigned(8),
    unsigned(8, 1),
    list_of(Field("relay address", _read_address), 0, NODES_MAX),
    fixed_bytes(32),
    unsigned(32),
)
RECORDS: Final = list_of(RECORD, 0, BACKUPS_MAX)
"""How they travel: in BACKUPS and in the vault."""


def _read_vault_secret(value: Any) -> bytes:
    if type(value) is not bytes or len(value) not in (0, VAULT_SECRET_SIZE):
        raise Malformed("not a vault secret")
    return value


VAULT_SECRET: Final = Field(f"bytes 0 or {VAULT_SECRET_SIZE}", _read_vault_secret)


def write_records(records: Records) -> bytes:
    """The records as a device keeps them."""
    return wire.encode([_encoded(record) for record in records.values()])


def read_records(data: bytes) -> dict[FolderId, BackupRecord]:
    """The inverse of `write_records`."""
    if not data:
        return {}
    read = RECORDS.read(wire.decode_own(data))
    return {record.folder_id: record for record in read}


def _encoded(record: BackupRecord) -> list[Any]:
    return [list(field) if isinstance(field, tuple) else field for field in record]
