"""What lies in a vault: all that somebody with nothing but the kit needs to begin (CRYPTO 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from crypto.epochs import WRAP_SIZE
from crypto.ids import EntryId, FolderId, RelayId
from protocol import wire
from protocol.backup_records import BACKUPS_MAX, RECORDS, BackupRecord
from protocol.backup_records import merge as merge_backups
from protocol.fields import (
    bounded_bytes,
    fixed_bytes,
    list_of,
    record_of,
    text,
    unsigned,
)
from protocol.messages import LEDGER_ENTRY_LENGTH_MAX
from protocol.newer import refuse_newer
from protocol.relay_records import RECORDS as RELAYS
from protocol.relay_records import RelayRecord
from protocol.relay_records import merge as merge_relays

VERSION: Final = 1
ENTRIES_MAX: Final = 8192
"""Of one ledger."""
NAME_LENGTH_MAX: Final = 255
VAULT_LENGTH_MAX: Final = 15 << 20
"""What fits into one slot of a pack; a ledger of 1,000 entries has some 300 KiB."""


class VaultWrap(NamedTuple):
    """An epoch's secrets, wrapped for the kit."""

    epoch_id: EntryId
    wrapped: bytes


class VaultFolder(NamedTuple):
    """One folder."""

    folder_id: FolderId
    name: str
    entries: tuple[bytes, ...]
    wraps: tuple[VaultWrap, ...]


class VaultContents(NamedTuple):
    """All of it."""

    written_s: int
    """When, since 1970: of several the latest is the one to begin with."""
    user_entries: tuple[bytes, ...]
    folders: tuple[VaultFolder, ...]
    backups: tuple[BackupRecord, ...]
    relays: tuple[RelayRecord, ...]

    def encode(self) -> bytes:
        """The bytes that are sealed."""
        return wire.encode([VERSION, *_lists(self)])


_ENTRIES: Final = list_of(bounded_bytes(LEDGER_ENTRY_LENGTH_MAX), 1, ENTRIES_MAX)
_WRAPS: Final = list_of(record_of(VaultWrap, fixed_bytes(32), fixed_bytes(WRAP_SIZE)), 0, 1024)
_FOLDER: Final = record_of(VaultFolder, fixed_bytes(32), text(NAME_LENGTH_MAX), _ENTRIES, _WRAPS)
_CONTENTS: Final = record_of(
    lambda version, *fields: VaultContents(*fields),
    unsigned(16, 1),
    unsigned(53),
    _ENTRIES,
    list_of(_FOLDER, 0, BACKUPS_MAX),
    RECORDS,
    RELAYS,
)


def merged(found: Sequence[VaultContents]) -> VaultContents:
    """All that any of these says of one user: a device may have written what it knew after another
    one that knew more, and a ledger is the set of its entries.
    """
    latest = max(found, key=lambda contents: contents.written_s)
    in_order = sorted(found, key=lambda contents: contents.written_s, reverse=True)
    folders: dict[FolderId, VaultFolder] = {}
    for contents in in_order:
        for folder in contents.folders:
            known = folders.get(folder.folder_id, folder._replace(entries=(), wraps=()))
            folders[folder.folder_id] = VaultFolder(
                folder.folder_id,
                known.name or folder.name,
                tuple(dict.fromkeys((*known.entries, *folder.entries))),
                tuple(dict.fromkeys((*known.wraps, *folder.wraps))),
            )
    backups: dict[FolderId, BackupRecord] = {}
    relays: dict[RelayId, RelayRecord] = {}
    for contents in in_order:
        backups = merge_backups(backups, contents.backups)
        relays = merge_relays(relays, contents.relays)
    entries = dict.fromkeys(entry for contents in in_order for entry in contents.user_entries)
    return VaultContents(
        latest.written_s, tuple(entries), tuple(folders.values()),
        tuple(backups.values()), tuple(relays.values()),
    )  # fmt: skip


def decode_vault(data: bytes) -> VaultContents:
    """What `encode` made; raises ProtocolError, as NewerForm for what a later version wrote."""
    value = wire.decode(data, VAULT_LENGTH_MAX)
    if type(value) is list and value:
        refuse_newer(value[0], VERSION)
    contents: VaultContents = _CONTENTS.read(value)
    return contents


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, tuple) else value
