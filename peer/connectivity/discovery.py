"""Finding devices and invitations on the local network by multicast DNS. Only it imports zeroconf.

A device announces a record that only its own devices can read (`lan_record`), under a random
name. While an invitation is open its nameplate is announced too. What others announce is never
trusted: it is bounded in number and length, and all that follows from it is an address to dial.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final, Self

import ifaddr
from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from crypto.ids import DeviceId
from crypto.keys import DeviceKeys
from peer.connectivity.lan_record import NONCE_SIZE, LanTags
from peer.errors import PeerError

DEVICE_SERVICE: Final = "_holdfast._udp.local."
INVITATION_SERVICE: Final = "_hf-pair._udp.local."

RENEW_INTERVAL_S: Final = 86400.0
"""A new name and nonce daily, so that nobody can follow a device for longer."""
INTERFACES_INTERVAL_S: Final = 30.0
"""How often it is looked whether the machine's own addresses have changed."""
RESOLVE_TIMEOUT_MS: Final = 1500
RESOLVERS: Final = 4
UNRESOLVED_MAX: Final = 128
"""Names whose records did not come along; beyond it the oldest are dropped (ATTACKS A32)."""
RECORDS_MAX: Final = 256
"""Records kept in case their device becomes known later; the oldest goes first."""
ADDRESSES_MAX: Final = 8
OWN_ADDRESSES_MAX: Final = 16
FIND_GRACE_S: Final = 0.25
"""After the first match others may follow: another interface, or another device with the number."""
_NAME_RANDOM_SIZE: Final = 8

Address = tuple[str, int]
"""Numeric host and port; link-local IPv6 hosts carry their interface, as in `fe80::1%eth0`."""

log = logging.getLogger(__name__)


class Discovery:
    """One machine's voice and ears on the local network: `start`, then `run` in a task of its own.

    `on_address` is called with each address at which a known device says it is, again and again.
    `hosts` are the addresses to announce, all of the machine's if None; `interfaces` are addresses
    of the interfaces to speak on, all if None.
    """

    def __init__(
        self,
        on_address: Callable[[DeviceId, str, int], None],
        *,
        hosts: Sequence[str] | None = None,
        interfaces: Sequence[str] | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._on_address = on_address
        self._hosts = hosts
        self._interfaces = interfaces
        self._random = random
        self._zeroconf: AsyncZeroconf | None = None
        self._tags: LanTags | None = None
        self._port = 0
        self._nonce = b""
        self._own: AsyncServiceInfo | None = None
        self._own_hosts: list[str] = []
        self._invitations: dict[int, AsyncServiceInfo] = {}
        self._unresolved: asyncio.Queue[str] = asyncio.Queue(UNRESOLVED_MAX)
        self._records: dict[str, AsyncServiceInfo] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Opens the sockets; raises PeerError where the network has no multicast."""
        self._own_hosts = self._find_hosts()
        interfaces: Any = {} if self._interfaces is None else {"interfaces": [*self._interfaces]}
        trouble: OSError | None = None
        # Some machines have IPv6 switched off, or a network that refuses its multicast groups.
        for version in (IPVersion.All, IPVersion.V4Only):
            try:
                self._zeroconf = AsyncZeroconf(ip_version=version, **interfaces)
            except OSError as error:
                trouble = error
            else:
                return
        raise PeerError(
            f"Devices on this network cannot be found: {trouble}. Give an address with `--address`,"
            " or switch discovery off with `--no-discovery`."
        )

    async def close(self) -> None:
        """Says goodbye and closes the sockets."""
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is not None:
            await zeroconf.async_close()

    async def announce(
        self, port: int, keys: DeviceKeys, devices: Mapping[DeviceId, bytes]
    ) -> None:
        """Announces this device to `devices`, given with their X25519 keys, and looks for these.

        To be called again whenever the set changes; an empty set announces nothing.
        """
        self._port = port
        self._tags = LanTags(keys, devices) if devices else None
        if self._tags is None:
            await self._withdraw()
        elif self._own is None:
            await self._renew()
        else:
            await self._republish()
        for record in list(self._records.values()):
            self._match(record)

    async def run(self) -> None:
        """Listens and keeps the announcements current, until it is cancelled."""
        zeroconf = self._running().zeroconf
        browser = AsyncServiceBrowser(zeroconf, DEVICE_SERVICE, handlers=[self._notice])
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(RESOLVERS):
                    group.create_task(self._resolve_noticed())
                group.create_task(self._keep_current())
        finally:
            await browser.async_cancel()

    async def open_invitation(self, nameplate: int, port: int) -> None:
        """Announces that this machine listens for whoever types a code with this nameplate."""
        await self.close_invitation(nameplate)
        # The number is in the name, so that nobody has to ask further about other invitations.
        name = f"{nameplate}-{self._random(_NAME_RANDOM_SIZE).hex()}.{INVITATION_SERVICE}"
        info = self._service(INVITATION_SERVICE, name, port, {})
        self._invitations[nameplate] = info
        await self._running().async_register_service(info, cooperating_responders=True)

    async def close_invitation(self, nameplate: int) -> None:
        """Takes the announcement back; nothing happens if there is none."""
        info = self._invitations.pop(nameplate, None)
        if info is not None:
            await self._running().async_unregister_service(info)

    async def find_invitation(self, nameplate: int, timeout_s: float = 5.0) -> list[Address]:
        """Where an invitation with this nameplate is open; empty if none was found in time.

        Another device may use the same number, so each address is only worth a try.
        """
        names: asyncio.Queue[str] = asyncio.Queue(UNRESOLVED_MAX)

        def notice(
            zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
        ) -> None:
            is_gone = state_change is ServiceStateChange.Removed
            if name.startswith(f"{nameplate}-") and not is_gone and not names.full():
                names.put_nowait(name)

        zeroconf = self._running().zeroconf
        loop = asyncio.get_running_loop()
        found: dict[Address, None] = {}
        browser = AsyncServiceBrowser(zeroconf, INVITATION_SERVICE, handlers=[notice])
        try:
            async with asyncio.timeout(timeout_s) as limit:
                while True:
                    info = await self._resolve(INVITATION_SERVICE, await names.get())
                    if info is not None and not found:
                        end = loop.time() + FIND_GRACE_S
                        limit.reschedule(min(end, limit.when() or end))
                    found |= dict.fromkeys([] if info is None else _addresses(info))
        except TimeoutError:
            return list(found)
        finally:
            await browser.async_cancel()

    def _running(self) -> AsyncZeroconf:
        assert self._zeroconf is not None, "discovery was not started"
        return self._zeroconf

    def _service(
        self, service_type: str, name: str, port: int, properties: dict[str, bytes]
    ) -> AsyncServiceInfo:
        return AsyncServiceInfo(
            service_type,
            name,
            port=port,
            properties=properties,
            # The host's name has no place here; the random one of the instance serves as well.
            server=name,
            parsed_addresses=self._own_hosts,
        )

    async def _renew(self) -> None:
        """Takes a new name and a new nonce."""
        await self._withdraw()
        assert self._tags is not None
        self._nonce = self._random(NONCE_SIZE)
        name = f"{self._random(_NAME_RANDOM_SIZE).hex()}.{DEVICE_SERVICE}"
        record = self._tags.record(self._nonce, self._random)
        self._own = self._service(DEVICE_SERVICE, name, self._port, record)
        # Random names need no probing, which takes most of a second.
        await self._running().async_register_service(self._own, cooperating_responders=True)

    async def _republish(self) -> None:
        """The same name with what has changed: devices, port or addresses."""
        assert self._own is not None
        assert self._tags is not None
        record = self._tags.record(self._nonce, self._random)
        self._own = self._service(DEVICE_SERVICE, self._own.name, self._port, record)
        await self._running().async_update_service(self._own)

    async def _withdraw(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            await self._running().async_unregister_service(own)

    async def _keep_current(self) -> None:
        loop = asyncio.get_running_loop()
        renewed_at = loop.time()
        while True:
            await asyncio.sleep(INTERFACES_INTERVAL_S)
            await self.follow_interfaces()
            try:
                if self._own is not None and loop.time() >= renewed_at + RENEW_INTERVAL_S:
                    renewed_at = loop.time()
                    await self._renew()
            except (OSError, ZeroconfError) as error:
                # The network went away under us; the next round finds it or does not.
                log.warning("announcing on the local network failed: %s", error)

    async def follow_interfaces(self) -> None:
        """Speaks on the interfaces that there are now, and announces their addresses."""
        try:
            await self._follow_interfaces()
        except (OSError, ZeroconfError) as error:
            log.warning("the local network has changed and cannot be followed: %s", error)

    async def _follow_interfaces(self) -> None:
        hosts = self._find_hosts()
        if hosts == self._own_hosts:
            return
        self._own_hosts = hosts
        zeroconf = self._running()
        if self._interfaces is None:
            await zeroconf.async_update_interfaces()
        if self._own is not None:
            await self._republish()
        for nameplate, old in list(self._invitations.items()):
            assert old.port is not None
            info = self._service(INVITATION_SERVICE, old.name, old.port, {})
            self._invitations[nameplate] = info
            await zeroconf.async_update_service(info)

    def _find_hosts(self) -> list[str]:
        return own_hosts() if self._hosts is None else list(self._hosts)

    def _notice(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        """Called by the browser, in the event loop, for whatever anybody announces.

        Our announcements bring everything along. Who announces names alone, that nobody answers
        for, keeps those waiting that do the same, and no others (ATTACKS A32).
        """
        if state_change is ServiceStateChange.Removed:
            self._records.pop(name, None)
            return
        info = AsyncServiceInfo(DEVICE_SERVICE, name)
        if info.load_from_cache(zeroconf):
            self._keep(info)
            return
        if self._unresolved.full():
            self._unresolved.get_nowait()  # the oldest: it was not answered for so long
        self._unresolved.put_nowait(name)

    async def _resolve_noticed(self) -> None:
        while True:
            name = await self._unresolved.get()
            info = await self._resolve(DEVICE_SERVICE, name)
            if info is not None:
                self._keep(info)

    def _keep(self, info: AsyncServiceInfo) -> None:
        name = info.name
        if self._own is not None and name == self._own.name:
            return
        self._records.pop(name, None)
        while len(self._records) >= RECORDS_MAX:
            del self._records[next(iter(self._records))]
        self._records[name] = info
        self._match(info)

    async def _resolve(self, service_type: str, name: str) -> AsyncServiceInfo | None:
        """The addresses and properties behind a name: mostly they came with it, else they are
        asked.
        """
        zeroconf = self._running().zeroconf
        info = AsyncServiceInfo(service_type, name)
        if info.load_from_cache(zeroconf):
            return info
        return info if await info.async_request(zeroconf, RESOLVE_TIMEOUT_MS) else None

    def _match(self, info: AsyncServiceInfo) -> None:
        if self._tags is None:
            return
        device_id = self._tags.announcer(info.properties)
        if device_id is not None:
            for host, port in _addresses(info):
                self._on_address(device_id, host, port)


def _addresses(info: AsyncServiceInfo) -> list[Address]:
    """Where a record says that its service is; those that need no interface first."""
    port = info.port
    if port is None or not 0 < port < 65536:
        return []
    hosts = [
        host
        for host in info.parsed_scoped_addresses(IPVersion.All)[: 2 * ADDRESSES_MAX]
        if not (ip_address(host).is_multicast or ip_address(host).is_unspecified)
    ]
    return [(host, port) for host in sorted(hosts, key=lambda host: "%" in host)[:ADDRESSES_MAX]]


def own_hosts() -> list[str]:
    """The machine's own addresses, IPv4 first, without loopback."""
    found = []
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            host = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            if not ip_address(host.partition("%")[0]).is_loopback:
                found.append(host.partition("%")[0])
    return sorted(dict.fromkeys(found), key=lambda host: (":" in host, host))[:OWN_ADDRESSES_MAX]
