"""A relay as a program: from its home and its settings to the moment when it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crypto.keys import DeviceKeys
from crypto.relay_ids import relay_id_of
from protocol.relay_address import RelayAddress
from relay.admissions import Admissions
from relay.config import RelayConfig
from relay.errors import AddressInUse
from relay.key_store import load_keys
from relay.limits import MIB, Limits
from relay.mailboxes import limits_of
from relay.ports import listen, listen_on_both
from relay.repair import RepairPolicy
from relay.server import Relay
from relay.share_files import ShareFiles
from relay.shares import StorageLimits
from relay.storage_desk import NodeWords, StorageDesk
from relay.store import RelayStore
from relay.usage import Usage

if TYPE_CHECKING:
    from relay.web_service import Places, WebService

log = logging.getLogger(__name__)

SHARES_NAME: Final = "shares"
"""Where the shares of a relay lie that serves share links, if it was not told."""
VISITORS_MAX: Final = 2_048
"""Descriptors for those who open share links: a connection each, and a file."""
STOP_TIMEOUT_S: Final = 4.0
"""Whoever stops a service kills it after a while; five seconds are what was promised."""
DESCRIPTORS_SPARE: Final = 512
"""For the database, the log, what Python itself has open, and the files of shares that come in."""


async def serve(
    home: Path, host: str, port: int, config: RelayConfig, announce: Callable[[str, str], None]
) -> None:
    """Runs a relay until SIGTERM or SIGINT; `announce` gets its address, and what its share links
    begin with. Raises RelayError.
    """
    keys = load_keys(home)
    raise_descriptor_limit(config.limits, VISITORS_MAX if config.web is not None else 0)
    store = await RelayStore.open(home)
    files: ShareFiles | None = None
    try:
        files = await _open_shares(keys, store, config, home)
        places = _listen_for_visitors(config)
        (listening, udp), watched = listen_on_both(host, port), _listen_for_watchers(config)
        usage = Usage(config.limits, store)
        await usage.load(time.time())
        admissions = Admissions(store, config.is_open, time.time)
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with asyncio.TaskGroup() as tasks:
            relay = Relay(keys, tasks, limits=config.limits, admissions=admissions, usage=usage)
            if config.limits.mailboxes_mib:
                await relay.keep_mailboxes(store, limits_of(config.limits))
            if files is not None:
                space = StorageLimits(config.storage_mib * MIB, config.namespace_mib * MIB)
                words = NodeWords(config.storage_owner, config.storage_region)
                policy = RepairPolicy(config.lost_after_s, config.meet_every_s)
                await relay.store_shares(store, files, space, words, policy)
            web = None
            if places is not None and relay.desk.storage is not None:
                web = await _open_web(relay.desk.storage, store, config, home, host, places)
            found = relay.start(listening, udp)
            watching = [_watch(relay, store, watched, tasks)]
            if web is not None:
                watching.append(tasks.create_task(web.run()))
            address = RelayAddress(config.public_host or host, found, relay.relay_id)
            announce(str(address), web.base if web is not None else "")
            log.info("the relay runs", extra={"values": {"port": found, "open": config.is_open}})
            try:
                await stopped.wait()
                log.info("the relay stops")
            finally:
                for task in watching:
                    if task is not None:
                        task.cancel()
                await _stop(relay)
    finally:
        if files is not None:
            files.close()
        await store.close()


async def _stop(relay: Relay) -> None:
    """What was carried is written down also if the links do not end in time: TimeoutError."""
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await relay.stop()
    finally:
        await relay.save()


async def _open_shares(
    keys: DeviceKeys, store: RelayStore, config: RelayConfig, home: Path
) -> ShareFiles | None:
    """The directory of this relay's shares, if it stores any; raises PathUnusable."""
    path = config.storage_path or (str(home / SHARES_NAME) if config.web is not None else "")
    if not path:
        return None
    node_id = relay_id_of(keys.sign_public, keys.dh_public)
    is_new = not await store.rows("SELECT 1 FROM shares LIMIT 1")
    return ShareFiles.open(Path(path), node_id, is_new=is_new)


def _listen_for_visitors(config: RelayConfig) -> Places | None:
    if config.web is None:
        return None
    # Only here: what it imports takes 20 MB, and most relays serve no share links.
    from relay.web_service import listen_for_visitors

    return listen_for_visitors(config)


async def _open_web(
    desk: StorageDesk, store: RelayStore, config: RelayConfig, home: Path, host: str, places: Places
) -> WebService:
    from relay.web_service import open_web

    return await open_web(desk, store, config, home, host, places)


def _listen_for_watchers(config: RelayConfig) -> socket.socket | None:
    if config.watch is None:
        return None
    try:
        return listen(*config.watch)
    except AddressInUse as error:
        raise AddressInUse(
            "Another program uses the address for /metrics and /healthz. Choose another by"
            " watch.listen in relay.toml."
        ) from error


def _watch(
    relay: Relay, store: RelayStore, listening: socket.socket | None, tasks: asyncio.TaskGroup
) -> asyncio.Task[None] | None:
    if listening is None:
        return None
    # Only here: what it imports takes memory, and most relays are watched by nobody.
    from relay.watch import Watch

    async def is_well() -> str:
        try:
            await store.rows("SELECT 1 FROM usage LIMIT 1")
        except sqlite3.Error:
            return "the database cannot be read"
        return ""

    return tasks.create_task(Watch(relay, is_well).serve(listening))


def descriptors_wanted(limits: Limits) -> int:
    """How many descriptors a relay has open when it is as full as it may be."""
    return limits.devices + limits.half_open + 2 * limits.calls + DESCRIPTORS_SPARE


def raise_descriptor_limit(limits: Limits, more: int = 0) -> None:
    """Asks the system for as many descriptors as the limits need, and says if it gives fewer."""
    wanted = descriptors_wanted(limits) + more
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        log.warning(
            "this system lets the relay open fewer connections than its limits allow: raise"
            " LimitNOFILE, or lower limits.devices and limits.calls",
            extra={"values": {"descriptors": most, "wanted": wanted}},
        )
