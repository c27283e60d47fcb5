"""Makes a device: the user's first one, or one more that another device takes in."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from crypto.keys import DeviceKeys, KitKeys
from peer.backup.backup_settings import VAULT_SETTING
from peer.connectivity.discovery import Discovery
from peer.connectivity.relay_session import NotThere, RelaySession
from peer.connectivity.relays import SETTING, call_through
from peer.device.home import Home
from peer.device.home_store import Device, DeviceAddress, Folder, FolderState, Wrap
from peer.errors import (
    DeviceUnreachable,
    InvitationNotFound,
    OtherDeviceFailed,
    PeerError,
    RelayUnreachable,
)
from peer.folders.folder_setup import encode_floor, floor_name
from protocol.changesets import INCARNATION_SIZE
from protocol.errors import LinkError, ProtocolError, TimedOut
from protocol.folder_ledger import FolderLedger
from protocol.kit import encode_kit
from protocol.ledger import LedgerKind, Waiting
from protocol.link import Link, LinkKind
from protocol.links import dial
from protocol.names import check_label
from protocol.pairing import TIMEOUT_S, WELCOME_TIMEOUT_S, PairingDialler
from protocol.pairing_messages import Welcome
from protocol.relay_address import RelayAddress
from protocol.relay_links import dial_relay
from protocol.relay_records import RelayRecord, merge, next_version, used, write_records
from protocol.user_ledger import UserLedger
from protocol.words import PairingCode, parse_code


async def init_home(path: Path, name: str, passphrase: str | None = None) -> dict[str, Any]:
    """A new user with this device; the recovery kit is in the answer and nowhere else."""
    check_label(name)
    kit_secret = os.urandom(32)
    keys = DeviceKeys.generate(os.urandom)
    home = await Home.create(path, keys)
    try:
        kit = KitKeys.from_secret(kit_secret)
        user = UserLedger.create(kit, keys, time.time(), os.urandom)
        async with home.store.transaction() as write:
            await write.put_user(user.user_id, name)
            await write.put_setting(VAULT_SETTING, kit.vault_secret)
            await write.add_ledger_entries(
                LedgerKind.USER, user.user_id, [(e.id, e.wire) for e in user]
            )
        await home.write_key(passphrase)
    finally:
        await home.close()
    return {
        "home": str(path),
        "device": keys.device_id.hex(),
        "user": user.user_id.hex(),
        "name": name,
        "recovery_kit": encode_kit(kit_secret),
    }


async def join(
    path: Path,
    code_text: str,
    address: tuple[str, int] | None,
    name: str,
    passphrase: str | None = None,
    relay: RelayAddress | None = None,
) -> dict[str, Any]:
    """Makes this device one of the user's, with the help of the device that shows the code."""
    check_label(name)
    code = parse_code(code_text)
    keys = DeviceKeys.generate(os.urandom)
    home = await Home.create(path, keys)
    try:
        place: tuple[str, int] | None = None
        if relay is not None:
            welcome, pairing = await _pair_through(relay, code, keys, name)
        else:
            places = [address] if address is not None else await _find(code)
            welcome, pairing, place = await _pair_at(places, code, keys, name)
        await _settle(home, keys, name, welcome, pairing, place)
        records = merge({}, welcome.relays)
        if relay is not None and relay.relay_id not in {r.place.relay_id for r in used(records)}:
            # The other device shows its code there, and does not use it any more.
            record = RelayRecord(str(relay), b"", next_version(records), is_used=True)
            records = merge(records, [record])
        async with home.store.transaction() as write:
            await write.put_setting(SETTING, write_records(records))
        await home.write_key(passphrase)
    finally:
        await home.close()
    return {
        "home": str(path),
        "device": keys.device_id.hex(),
        "user": (pairing.user_id or b"").hex(),
        "name": name,
        "with": welcome.device_name,
        "check": pairing.check_number,
    }


async def _find(code: PairingCode) -> list[tuple[str, int]]:
    discovery = Discovery(lambda *_: None)
    await discovery.start()
    try:
        places = await discovery.find_invitation(code.nameplate)
    finally:
        await discovery.close()
    if not places:
        raise InvitationNotFound
    return places


async def _pair_at(
    places: list[tuple[str, int]], code: PairingCode, keys: DeviceKeys, name: str
) -> tuple[Welcome, PairingDialler, tuple[str, int]]:
    """Pairs with the first device that answers; a wrong code is told at once and not tried
    elsewhere.
    """
    for place in places:
        for kind in (LinkKind.TLS, LinkKind.QUIC):
            try:
                link = await dial(kind, *place)
            except LinkError:
                continue
            try:
                welcome, pairing = await _pair(link, code, keys, name)
            finally:
                await link.close()
            return welcome, pairing, place
    raise DeviceUnreachable


async def _pair_through(
    relay: RelayAddress, code: PairingCode, keys: DeviceKeys, name: str
) -> tuple[Welcome, PairingDialler]:
    """Pairs with the device that shows the code at a relay, which learns nothing of it."""
    try:
        link = await dial_relay(relay, keys)
    except LinkError as error:
        raise RelayUnreachable(
            f"{error} Look at the address, and whether the relay runs."
        ) from error
    session = RelaySession(link, lambda *_: None)  # nobody calls a device that nobody knows
    async with asyncio.TaskGroup() as tasks:
        talking = tasks.create_task(session.run())
        outcome = await _pair_with_session(session, code, keys, name)
        talking.cancel()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def _pair_with_session(
    session: RelaySession, code: PairingCode, keys: DeviceKeys, name: str
) -> tuple[Welcome, PairingDialler] | PeerError | ProtocolError:
    """The errors are given, for a task group would wrap them."""
    try:
        link = await call_through(session, code.nameplate)
    except NotThere:
        return InvitationNotFound(
            "No device shows that code at this relay. See that the other device uses it too"
            " (`holdfast relay list`), and ask for a new code with `holdfast invite`."
        )
    except LinkError as error:
        return DeviceUnreachable(f"The other device was not reached through the relay. {error}")
    try:
        return await _pair(link, code, keys, name)
    except ProtocolError as error:
        return error
    finally:
        await link.close()


async def _pair(
    link: Link, code: PairingCode, keys: DeviceKeys, name: str
) -> tuple[Welcome, PairingDialler]:
    pairing = PairingDialler(code, link.kind, link.binding, os.urandom)
    number, payload = pairing.hello()
    link.send(number, [payload])
    timeout_s = TIMEOUT_S
    try:
        while pairing.welcome is None:
            link.set_frame_limit(pairing.frame_length_max)
            async with asyncio.timeout(timeout_s):
                frame = await link.receive()
            if frame is None:
                raise pairing.link_lost()
            for number, payload in pairing.receive(*frame):
                link.send(number, [payload])
            if pairing.user_id is not None and timeout_s != WELCOME_TIMEOUT_S:
                number, payload = pairing.introduce(name, keys)
                link.send(number, [payload])
                timeout_s = WELCOME_TIMEOUT_S
    except TimeoutError:
        raise TimedOut("the other device did not answer") from None
    return pairing.welcome, pairing


async def _settle(
    home: Home,
    keys: DeviceKeys,
    name: str,
    welcome: Welcome,
    pairing: PairingDialler,
    place: tuple[str, int] | None,
) -> None:
    """Checks what was given and keeps it."""
    try:
        user = UserLedger.restore(welcome.user_entries)
        if user.user_id != pairing.user_id or keys.device_id not in user.live_devices():
            raise OtherDeviceFailed
        if welcome.device_id not in user.live_devices():
            raise OtherDeviceFailed
        ledgers = [
            (FolderLedger.restore(f.entries, {user.user_id: user}), f) for f in welcome.folders
        ]
    except (ProtocolError, Waiting) as error:
        raise OtherDeviceFailed from error
    now = time.time()
    async with home.store.transaction() as write:
        await write.put_user(user.user_id, name)
        await write.add_ledger_entries(
            LedgerKind.USER, user.user_id, [(e.id, e.wire) for e in user]
        )
        await write.put_device(Device(welcome.device_id, welcome.device_name, now))
        if place is not None:
            await write.put_address(welcome.device_id, DeviceAddress(place[0], place[1], now))
        for ledger, folder in ledgers:
            if ledger.folder_id != folder.folder_id or keys.device_id not in ledger.devices():
                raise OtherDeviceFailed
            await write.add_ledger_entries(
                LedgerKind.FOLDER, ledger.folder_id, [(e.id, e.wire) for e in ledger]
            )
            await write.put_wraps(
                ledger.folder_id, [Wrap(w.epoch_id, w.recipient, w.sealed) for w in folder.wraps]
            )
            await write.put_setting(floor_name(ledger.folder_id), encode_floor(folder.frontier))
            await write.put_folder(
                Folder(
                    ledger.folder_id,
                    folder.name,
                    None,
                    FolderState.OFFERED,
                    os.urandom(INCARNATION_SIZE),
                )
            )


__all__ = ["Link", "init_home", "join"]
