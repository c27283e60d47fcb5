"""Comes back with nothing but a recovery kit: a new device of its user, with all folders."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from crypto.ids import FolderId
from crypto.keys import DeviceKeys, KitKeys
from peer.backup.backup_settings import BACKUPS_SETTING, UNREAD_SETTING, VAULT_SETTING
from peer.backup.read_back import write_unread
from peer.backup.share_transfers import NODE_TROUBLE, trouble_at
from peer.backup.vaults import read_vault
from peer.connectivity.relays import SETTING as RELAYS_SETTING
from peer.device.home import Home
from peer.device.home_store import Folder, FolderState
from peer.device.home_store import Wrap as StoredWrap
from peer.errors import NothingToRecover, PathUnusable, RelayUnreachable
from peer.folders.folder_setup import check_apart, checked_name, mark
from protocol.backup_records import next_version, write_records
from protocol.changesets import INCARNATION_SIZE
from protocol.epochs import EpochChain, OpeningKey, Wrap
from protocol.errors import ProtocolError
from protocol.folder_ledger import FolderLedger
from protocol.ledger import LedgerKind, Waiting
from protocol.names import check_label
from protocol.relay_address import RelayAddress
from protocol.relay_records import merge as merge_relays
from protocol.relay_records import write_records as write_relays
from protocol.storage_client import storing
from protocol.user_ledger import UserLedger, make_certificate
from protocol.vault import VaultContents, merged


def _tell_nobody(done: int, size: int) -> None:
    """For those who do not wait for it."""


class _Recovered(NamedTuple):
    """One folder, with this device in it."""

    ledger: FolderLedger
    wraps: list[Wrap]
    name: str


async def recover(
    path: Path,
    kit_secret: bytes,
    relays: Sequence[RelayAddress],
    name: str,
    passphrase: str | None = None,
    into: Path | None = None,
    tell: Callable[[int, int], None] = _tell_nobody,
) -> dict[str, Any]:
    """Makes the home of a new device of the kit's user, in it all folders; with `into` each on a
    directory there. Their files come when the daemon runs. `tell` hears how many bytes of what lies
    at the relays for the kit were read, and of how many.
    """
    check_label(name)
    Home.check_free(path)  # before anything is read that may take long
    kit, keys = KitKeys.from_secret(kit_secret), DeviceKeys.generate(os.urandom)
    contents = await _find(kit, keys, relays, tell)
    user = UserLedger.restore(contents.user_entries)
    now = time.time()
    user.add_device(kit, *make_certificate(keys, user.user_id), now)
    folders = [_enter(kit, keys, user, folder, now) for folder in contents.folders]
    places = {f.ledger.folder_id: _place(into, f.name, path) for f in folders}
    home = await Home.create(path, keys)
    try:
        await _keep(home, kit, keys, user, folders, places, contents, name)
        for folder_id, place in places.items():
            if place is not None:
                mark(place, folder_id)
        await home.write_key(passphrase)
    finally:
        await home.close()
    return {
        "home": str(path),
        "device": keys.device_id.hex(),
        "user": user.user_id.hex(),
        "written_s": contents.written_s,
        "folders": [
            {
                "id": f.ledger.folder_id.hex(),
                "name": f.name,
                "path": str(places[f.ledger.folder_id]) if places[f.ledger.folder_id] else None,
            }
            for f in folders
        ],
        "devices": len(user.live_devices()),
        "others": sorted(id_.hex() for id_ in user.live_devices() if id_ != keys.device_id),
    }


async def _find(
    kit: KitKeys,
    keys: DeviceKeys,
    relays: Sequence[RelayAddress],
    tell: Callable[[int, int], None],
) -> VaultContents:
    """All that lies at any of these relays and is this kit's."""
    found: list[VaultContents] = []
    problems: list[str] = []
    done = size = 0

    def count(read: int, more: int) -> None:
        nonlocal done, size
        done, size = done + read, size + more
        tell(done, size)

    async def look(address: RelayAddress) -> None:
        try:
            async with storing(address, keys) as client:
                found.extend(await read_vault(client, kit.vault_secret, count))
        except NODE_TROUBLE as error:
            problems.append(trouble_at(address, error))

    await asyncio.gather(*(look(address) for address in relays))
    if own := [contents for contents in found if _is_of(kit, contents)]:
        return merged(own)
    if problems and len(problems) == len(relays):
        advice = "Name another relay of the kit's sheet with `--relay`, or try again later."
        raise RelayUnreachable(" ".join([*problems, advice]))
    raise NothingToRecover


def _is_of(kit: KitKeys, contents: VaultContents) -> bool:
    try:
        user = UserLedger.restore(contents.user_entries)
    except (ProtocolError, Waiting):
        return False
    return user.state().identity.identity_pk == kit.identity_public


def _enter(kit: KitKeys, keys: DeviceKeys, user: UserLedger, folder: Any, now: float) -> _Recovered:
    ledger = FolderLedger.restore(folder.entries, {user.user_id: user})
    ledger.admit_self(keys, user.user_id, now)
    given = [Wrap(w.epoch_id, user.user_id, w.wrapped) for w in folder.wraps]
    chain = EpochChain(ledger, OpeningKey.of_kit(kit, user.user_id), given)
    return _Recovered(ledger, [*chain.wraps(), *chain.wraps_owed()], folder.name)


def _place(into: Path | None, name: str, home_path: Path) -> Path | None:
    if into is None:
        return None
    place = into / checked_name(name or "folder")
    check_apart(place, home_path)
    place.mkdir(parents=True, exist_ok=True)
    if any(place.iterdir()):
        raise PathUnusable(f"{place} is not empty. Name a directory with --to that has no {name}.")
    return place


async def _keep(
    home: Home,
    kit: KitKeys,
    keys: DeviceKeys,
    user: UserLedger,
    folders: Sequence[_Recovered],
    places: dict[FolderId, Path | None],
    contents: VaultContents,
    name: str,
) -> None:
    records = {record.folder_id: record for record in contents.backups}
    version = next_version(records)
    # From now on this device uploads: the one that did is lost.
    records = {
        folder_id: record._replace(keeper=keys.device_id, version=version)
        for folder_id, record in records.items()
    }
    async with home.store.transaction() as write:
        await write.put_user(user.user_id, name)
        await write.put_setting(VAULT_SETTING, kit.vault_secret)
        await write.put_setting(BACKUPS_SETTING, write_records(records))
        kept = [f.ledger.folder_id for f in folders if f.ledger.folder_id in records]
        await write.put_setting(
            UNREAD_SETTING, write_unread(id_ for id_ in kept if records[id_].is_on)
        )
        relays = merge_relays({}, contents.relays)
        await write.put_setting(RELAYS_SETTING, write_relays(relays))
        await write.add_ledger_entries(
            LedgerKind.USER, user.user_id, [(e.id, e.wire) for e in user]
        )
        for folder in folders:
            folder_id = folder.ledger.folder_id
            await write.add_ledger_entries(
                LedgerKind.FOLDER, folder_id, [(e.id, e.wire) for e in folder.ledger]
            )
            await write.put_wraps(
                folder_id,
                [StoredWrap(w.epoch_id, w.recipient_id, w.wrapped) for w in folder.wraps],
            )
            place = places[folder_id]
            state = FolderState.OFFERED if place is None else FolderState.ACTIVE
            await write.put_folder(
                Folder(folder_id, folder.name, place, state, os.urandom(INCARNATION_SIZE))
            )
