"""Puts a device of the user out: for good, with its keys, from the user's ledger and every folder.

A folder's ledger says up to where the removed device's logs count, so that all others end with the
same, whatever each of them had of it; and a new epoch begins, which it cannot read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Final

from crypto.ids import DeviceId
from peer.device.ledgers import Ledgers
from peer.errors import AmbiguousDevice, UnknownDevice, WrongDevice
from peer.folders.folder import Folder
from peer.status import DeviceEntry
from protocol.folder_actions import Expel
from protocol.ledger import LedgerKind
from protocol.user_ledger import RevokeReason

SHOWN_ID_LENGTH: Final = 8
"""Letters of an id in the list of devices; there a device has no name yet that was lost before a
recovery."""


def find_device(devices: Iterable[DeviceEntry], name_or_id: str) -> DeviceId:
    """The live device of this name, or whose id begins with this, as lists show it. Raises
    UnknownDevice, AmbiguousDevice or WrongDevice.
    """
    is_id = len(name_or_id) >= SHOWN_ID_LENGTH
    found = [
        d
        for d in devices
        if d["name"] == name_or_id or (is_id and d["id"].startswith(name_or_id.lower()))
    ]
    if not found:
        raise UnknownDevice(
            f"There is no device {name_or_id!r}. `holdfast devices` shows those there are."
        )
    if len(found) > 1:
        raise AmbiguousDevice(f"Several devices are called {name_or_id!r}; give the id instead.")
    if found[0]["this"]:
        raise WrongDevice("This is the device itself. Remove it from another one of yours.")
    return DeviceId(bytes.fromhex(found[0]["id"]))


async def revoke(ledgers: Ledgers, device_id: DeviceId) -> None:
    """Says in the user's ledger that the device is none of the user's any more."""
    await ledgers.keep_introduced()
    entry = ledgers.user.revoke(ledgers.keys, device_id, time.time(), RevokeReason.LOST)
    await ledgers.store_entries(LedgerKind.USER, ledgers.user_id, [entry])


async def expel_revoked(ledgers: Ledgers, folders: Iterable[Folder]) -> bool:
    """Puts revoked devices out of these folders, where that is not done yet; True if any was."""
    is_any = False
    for folder in list(folders):
        membership = ledgers.folders[folder.folder_id]
        if membership.ledger.expels_owed(ledgers.keys.device_id):
            await folder.call(partial(_expel, ledgers, folder))
            is_any = True
    return is_any


async def _expel(ledgers: Ledgers, folder: Folder) -> None:
    """In the folder's task: what is pinned is what its log book holds at this moment."""
    owed = ledgers.folders[folder.folder_id].ledger.expels_owed(ledgers.keys.device_id)
    pins = folder.engine.book.pins
    await ledgers.expel(
        folder.folder_id, [Expel(device, revoking, pins([device])) for device, revoking in owed]
    )
