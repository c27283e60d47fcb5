"""Two instances find each other by real multicast on this machine's interfaces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from zeroconf import IPVersion, ServiceStateChange
from zeroconf.asyncio import AsyncServiceInfo

from crypto.ids import DeviceId
from crypto.keys import DeviceKeys
from peer.connectivity.discovery import (
    ADDRESSES_MAX,
    DEVICE_SERVICE,
    RECORDS_MAX,
    UNRESOLVED_MAX,
    Discovery,
    _addresses,
    own_hosts,
)
from peer.connectivity.lan_record import NONCE_SIZE

Found = asyncio.Queue[tuple[DeviceId, str, int]]
PATIENCE_S = 60.0


def device(number: int) -> DeviceKeys:
    return DeviceKeys(*(bytes([number, place]) * 16 for place in range(4)))


A, B, C = map(device, (1, 2, 3))


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Discovery, Found]]:
    """An instance that speaks on loopback only, so that the test is alone."""
    found: Found = asyncio.Queue()
    discovery = Discovery(
        lambda *address: found.put_nowait(address), hosts=["127.0.0.1"], interfaces=["127.0.0.1"]
    )
    async with discovery, asyncio.TaskGroup() as group:
        task = group.create_task(discovery.run())
        yield discovery, found
        task.cancel()


def knowing(*others: DeviceKeys) -> dict[DeviceId, bytes]:
    return {other.device_id: other.dh_public for other in others}


async def until(is_so: Callable[[], bool]) -> None:
    """Returns when it is so; the caller has a timeout."""
    while not is_so():
        await asyncio.sleep(0.01)


async def test_two_devices_find_each_other() -> None:
    async with (
        running() as (a, seen_by_a),
        running() as (b, seen_by_b),
        asyncio.timeout(PATIENCE_S),
    ):
        await a.announce(1111, A, knowing(B))
        await b.announce(2222, B, knowing(A))
        assert await seen_by_b.get() == (A.device_id, "127.0.0.1", 1111)
        assert await seen_by_a.get() == (B.device_id, "127.0.0.1", 2222)


async def test_a_stranger_finds_nobody() -> None:
    async with running() as (a, _), running() as (b, seen_by_b), running() as (c, seen_by_c):
        async with asyncio.timeout(PATIENCE_S):
            await a.announce(1111, A, knowing(B))
            await c.announce(3333, C, knowing(A, B))
            await b.announce(2222, B, knowing(A))
            await seen_by_b.get()
            # What b has resolved, c has seen as well: they share the loopback.
            await until(lambda: any(info.port == 1111 for info in c._records.values()))
        assert seen_by_c.empty()


async def test_a_record_is_understood_when_its_device_becomes_known() -> None:
    async with running() as (a, _), running() as (b, seen_by_b), asyncio.timeout(PATIENCE_S):
        await a.announce(1111, A, knowing(B))
        await until(lambda: bool(b._records))
        await b.announce(2222, B, knowing(A))
        assert await seen_by_b.get() == (A.device_id, "127.0.0.1", 1111)


async def test_a_new_device_and_a_new_port_reach_the_others() -> None:
    async with running() as (a, _), running() as (b, seen_by_b), asyncio.timeout(PATIENCE_S):
        await b.announce(2222, B, knowing(A))
        await a.announce(1111, A, knowing(C))
        await a.announce(4444, A, knowing(B, C))
        address = await seen_by_b.get()
        while address[2] != 4444:
            address = await seen_by_b.get()
        assert address == (A.device_id, "127.0.0.1", 4444)


@pytest.mark.row("A32")
async def test_what_is_announced_names_nobody() -> None:
    async with running() as (a, _), asyncio.timeout(PATIENCE_S):
        await a.announce(1111, A, knowing(B))
        assert a._own is not None
        visible = a._own.name.encode() + a._own.text
        for secret in (A.device_id, B.device_id, A.sign_public, A.dh_public):
            assert secret not in visible
            assert secret.hex().encode() not in visible
        first = (a._own.name, a._nonce)
        await a._renew()
        assert a._own.name != first[0]
        assert a._nonce != first[1]
        assert len(a._nonce) == NONCE_SIZE


async def test_an_invitation_is_found_by_its_nameplate() -> None:
    async with running() as (a, _), running() as (b, _), asyncio.timeout(PATIENCE_S):
        await a.open_invitation(7, 1111)
        await a.open_invitation(77, 5555)
        assert await b.find_invitation(7) == [("127.0.0.1", 1111)]
        await a.close_invitation(7)
        await a.close_invitation(7)


async def test_two_invitations_of_one_nameplate_are_both_found() -> None:
    async with running() as (a, _), running() as (b, _), running() as (c, _):
        async with asyncio.timeout(PATIENCE_S):
            await a.open_invitation(7, 1111)
            await b.open_invitation(7, 2222)
            found = await c.find_invitation(7)
        assert sorted(port for _, port in found) == [1111, 2222]


async def test_no_invitation_is_found_in_time() -> None:
    async with running() as (a, _), running() as (b, _), asyncio.timeout(PATIENCE_S):
        await a.open_invitation(77, 1111)
        assert await b.find_invitation(7, timeout_s=0.3) == []


@pytest.mark.row("A32")
async def test_a_flood_of_names_is_bounded() -> None:
    found: Found = asyncio.Queue()
    discovery = Discovery(lambda *address: found.put_nowait(address), interfaces=["127.0.0.1"])
    async with discovery:
        zeroconf = discovery._running().zeroconf
        for number in range(10 * UNRESOLVED_MAX):
            name = f"{number}.{DEVICE_SERVICE}"
            discovery._notice(zeroconf, DEVICE_SERVICE, name, ServiceStateChange.Added)
        assert discovery._unresolved.qsize() == UNRESOLVED_MAX


@pytest.mark.row("A32")
async def test_kept_records_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as (a, _), asyncio.timeout(PATIENCE_S):

        async def resolve(service_type: str, name: str) -> AsyncServiceInfo:
            return AsyncServiceInfo(service_type, name, port=1)

        monkeypatch.setattr(a, "_resolve", resolve)
        for number in range(2 * RECORDS_MAX):
            await a._unresolved.put(f"{number}.{DEVICE_SERVICE}")
        await until(a._unresolved.empty)
        assert len(a._records) <= RECORDS_MAX


@pytest.mark.parametrize("port", [None, 0, 65536, -1])
def test_a_port_that_cannot_be_is_ignored(port: int | None) -> None:
    info = AsyncServiceInfo(
        DEVICE_SERVICE, f"x.{DEVICE_SERVICE}", port=port, parsed_addresses=["192.0.2.1"]
    )
    assert _addresses(info) == []


@pytest.mark.row("A32")
def test_announced_addresses_are_bounded_and_sensible() -> None:
    hosts = ["0.0.0.0", "224.0.0.251", *(f"192.0.2.{n}" for n in range(40))]
    info = AsyncServiceInfo(DEVICE_SERVICE, f"x.{DEVICE_SERVICE}", port=1, parsed_addresses=hosts)
    found = _addresses(info)
    assert 0 < len(found) <= ADDRESSES_MAX
    assert all(host.startswith("192.0.2.") for host, _ in found)


def test_own_hosts_are_without_loopback() -> None:
    hosts = own_hosts()
    assert "127.0.0.1" not in hosts
    assert "::1" not in hosts
    assert len(hosts) == len(set(hosts))


async def test_all_interfaces_and_both_families() -> None:
    found: Found = asyncio.Queue()
    async with Discovery(lambda *address: found.put_nowait(address)) as discovery:
        await discovery.announce(1111, A, knowing(B))
        assert discovery._own is not None
        announced = discovery._own.parsed_addresses(IPVersion.All)
        assert sorted(announced) == sorted(own_hosts())
