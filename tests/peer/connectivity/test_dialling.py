"""Whom a device dials, where, and when again."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from crypto.ids import DeviceId
from peer.connectivity import dialling as module
from peer.connectivity.dialling import FIRST_WAIT_S, SIGN_WAIT_S, WAIT_MAX_S
from peer.connectivity.network import DIALLED_AT_ONCE_S
from peer.daemon import Daemon
from peer.device.home import Home
from protocol import quic_link, tls
from protocol.ledger import LedgerKind
from protocol.link import Link, LinkKind
from protocol.links import Listener, authenticate_server
from tests.peer.device_stage import (
    DEADLINE_S,
    LOOPBACK,
    Stage,
    are_linked,
    copy_homes,
    device_id,
    devices,
    keys_of,
    make_homes,
    pass_time,
    port_of,
    until,
)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two", "three"))
    return base


@pytest.fixture
async def stage(homes: Path, tmp_path: Path) -> AsyncIterator[Stage]:
    """Devices that know each other, but not where the others are."""
    copy_homes(homes, tmp_path)
    async with devices(tmp_path, ("tls", "quic")) as stage:
        yield stage


async def start_lost(stage: Stage, name: str) -> Daemon:
    """A device that has forgotten all addresses."""
    home = await Home.open(stage.home(name))
    async with home.store.transaction() as write:
        await write._execute("DELETE FROM addresses")
    await home.close()
    return await stage.start(name)


@asynccontextmanager
async def tarpit() -> AsyncIterator[tuple[int, list[asyncio.StreamReader]]]:
    """Something that takes every connection and says nothing."""
    readers: list[asyncio.StreamReader] = []

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        readers.append(reader)
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(take, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1], readers
    finally:
        for writer in writers:
            writer.close()
        server.close()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_s(daemon: Daemon, other: DeviceId) -> float:
    return daemon.dialling._known[other].wait_s


async def until_wait(daemon: Daemon, other: DeviceId, expected_s: float) -> None:
    await until(lambda: wait_s(daemon, other) == expected_s)


async def until_tried(daemon: Daemon, other: DeviceId, since: float) -> None:
    """Waits for the end of a try that began later than that."""

    def is_over() -> bool:
        known = daemon.dialling._known[other]
        return known.tried_at > since and not known.is_busy

    await until(is_over)


async def until_count(found: list[Link], count: int) -> None:
    await until(lambda: len(found) == count)


async def id_of(stage: Stage, name: str) -> DeviceId:
    home = await Home.open(stage.home(name))
    await home.close()
    return home.keys.device_id


# ---------------------------------------------------------------- where


async def test_one_address_after_the_other_is_tried(stage: Stage) -> None:
    one, three = await stage.start("one"), await stage.start("three")
    two = await start_lost(stage, "two")
    two.dialling.heard_of(device_id(one), LOOPBACK, port_of(one))
    two.dialling.heard_of(device_id(one), LOOPBACK, port_of(three))  # another device by now
    two.dialling._kinds = [LinkKind.TLS]
    two.dialling.heard_of(device_id(one), LOOPBACK, closed_port())
    await until(lambda: are_linked(one, two))


async def test_where_a_device_was_met_it_is_looked_for_again(stage: Stage) -> None:
    one, two = await stage.start("one"), await start_lost(stage, "two")
    await stage.meet(one, two)
    async with asyncio.timeout(DEADLINE_S):  # it is written down once they are linked
        while not (known := await two.home.store.addresses(device_id(one))):
            await asyncio.sleep(0.005)
    (address,) = known
    assert (address.host, address.port) == (LOOPBACK, port_of(one))
    two.dialling._known.clear()  # what was heard, that is: what was met is in the store
    (lost,) = two.network.connections.values()
    one.network.close_all()
    # There may be the next one before anybody has looked.
    await until(lambda: lost not in two.network.connections.values())
    await until(lambda: are_linked(one, two))


@pytest.mark.row("A32")
async def test_only_the_user_s_live_devices_are_dialled(stage: Stage) -> None:
    two = await start_lost(stage, "two")
    one_id = await id_of(stage, "one")
    entry = two.ledgers.user.revoke(two.home.keys, one_id, time.time())
    await two.ledgers.store_entries(LedgerKind.USER, two.ledgers.user_id, [entry])
    async with tarpit() as (port, taken):
        two.dialling.heard_of(one_id, LOOPBACK, port)
        two.dialling.heard_of(DeviceId(b"x" * 32), LOOPBACK, port)
        two.dialling.heard_of(device_id(two), LOOPBACK, port)
        two.dialling.heard_of(await id_of(stage, "three"), LOOPBACK, closed_port())
        await until(lambda: wait_s(two, sorted(two.ledgers.user.live_devices())[0]))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not taken


@pytest.mark.row("A32")
async def test_what_is_announced_is_bounded(stage: Stage) -> None:
    """A32: anybody on the network can announce a device at any address."""
    two = await start_lost(stage, "two")
    two.dialling._kinds = []
    one_id = await id_of(stage, "one")
    for port in range(1, 100):
        two.dialling.heard_of(one_id, LOOPBACK, port)
    assert [p for _, p in two.dialling._known[one_id].heard] == list(range(99, 91, -1))


# ---------------------------------------------------------------- by which kind of link


async def test_the_preferred_kind_wins_where_both_answer(stage: Stage) -> None:
    one, two = await stage.start("one"), await start_lost(stage, "two")
    two.dialling._kinds = [LinkKind.QUIC, LinkKind.TLS]
    await stage.meet(one, two)
    (connection,) = two.network.status()
    assert connection.link.kind is LinkKind.QUIC


async def test_the_other_kind_is_there_when_the_preferred_one_does_not_answer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEAD_START_S", 0.01)
    stage.links = ("tls",)
    one = await stage.start("one")
    stage.links = ("quic", "tls")
    two = await start_lost(stage, "two")
    await stage.meet(one, two)
    (connection,) = two.network.status()
    assert connection.link.kind is LinkKind.TLS


# ---------------------------------------------------------------- when again


async def test_in_vain_it_waits_longer_each_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = await start_lost(stage, "two")
    two.dialling._kinds = [LinkKind.TLS]
    one_id = await id_of(stage, "one")
    two.dialling.heard_of(one_id, LOOPBACK, closed_port())
    expected = FIRST_WAIT_S
    for _ in range(10):
        expected = min(2 * expected, WAIT_MAX_S)
        await until(lambda: not two.dialling._known[one_id].is_busy)
        await until_wait(two, one_id, expected)
        left_s = two.dialling._known[one_id].next_at - asyncio.get_running_loop().time()
        assert left_s <= WAIT_MAX_S
        pass_time(monkeypatch, WAIT_MAX_S)
    two.dialling._kinds = []
    two.dialling.heard_of(one_id, LOOPBACK, closed_port())  # it has moved: at once
    await until(lambda: wait_s(two, one_id) == 2 * FIRST_WAIT_S)


async def test_a_sign_of_life_shortens_the_wait(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same address as before: whoever was away is back there."""
    two = await start_lost(stage, "two")
    two.dialling._kinds = [LinkKind.TLS]
    one_id, place = await id_of(stage, "one"), (LOOPBACK, closed_port())
    two.dialling.heard_of(one_id, *place)
    await until_tried(two, one_id, float("-inf"))
    while wait_s(two, one_id) < WAIT_MAX_S:
        before = two.dialling._known[one_id].tried_at
        pass_time(monkeypatch, WAIT_MAX_S)
        two.dialling.wake()
        await until_tried(two, one_id, before)
    two.dialling._kinds = []
    for sign in (partial(two.dialling.heard_of, one_id, *place), two.dialling.network_changed):
        await until(lambda: not two.dialling._known[one_id].is_busy)
        known = two.dialling._known[one_id]
        known.wait_s, known.next_at = WAIT_MAX_S, known.tried_at + WAIT_MAX_S
        sign()
        assert known.wait_s == SIGN_WAIT_S
        assert known.next_at <= known.tried_at + SIGN_WAIT_S


@pytest.mark.row("A32")
async def test_who_repeats_announcements_makes_nobody_dial_without_a_pause(stage: Stage) -> None:
    two = await start_lost(stage, "two")
    one_id = await id_of(stage, "one")
    tried: list[float] = []

    async def refuse(host: str, port: int) -> None:
        tried.append(asyncio.get_running_loop().time())

    two.dialling._try = refuse  # type: ignore[method-assign]
    while len(tried) < 3:
        two.dialling.heard_of(one_id, LOOPBACK, 7)
        await asyncio.sleep(0)
    assert tried[2] - tried[1] >= SIGN_WAIT_S / 2


async def test_a_device_that_is_back_is_not_kept_waiting_by_its_old_addresses(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them takes so long that this test would end before."""
    monkeypatch.setattr(tls, "HANDSHAKE_TIMEOUT_S", 600.0)
    monkeypatch.setattr(quic_link, "DIAL_TIMEOUT_S", 600.0)
    one, two = await stage.start("one"), await start_lost(stage, "two")
    async with AsyncExitStack() as stack:
        pits = [await stack.enter_async_context(tarpit()) for _ in range(6)]
        for port, _ in pits:
            two.dialling.heard_of(device_id(one), LOOPBACK, port)
        await until(lambda: any(readers for _, readers in pits))
        two.dialling.heard_of(device_id(one), LOOPBACK, port_of(one))
        await until(lambda: are_linked(one, two))


async def test_who_lost_the_power_is_let_in_again_when_it_dials(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old link, dialled by the smaller id, has not ended for the other side yet."""
    small, large = sorted([await id_of(stage, "one"), await id_of(stage, "two")])
    one, two = await start_lost(stage, "one"), await start_lost(stage, "two")
    by_id = {device_id(one): one, device_id(two): two}
    stays, comes = by_id[small], by_id[large]
    stays.dialling.heard_of(large, LOOPBACK, port_of(comes))
    await until(lambda: are_linked(one, two))
    lost = stays.network.connections[large]
    # The power cut: nothing more of the old link is heard or said on this side.
    gone = comes.network.connections.pop(small)
    gone.link.send = lambda *_, **__: None  # type: ignore[method-assign]
    stays.dialling._kinds = []
    comes.dialling.heard_of(small, LOOPBACK, port_of(stays))
    await until(lambda: lost.session._doubted_until is not None)  # the link is young: it is asked
    pass_time(monkeypatch, DIALLED_AT_ONCE_S)
    comes.dialling.network_changed()
    await until(lambda: stays.network.connections.get(large) not in {None, lost})
    await until(lambda: are_linked(one, two))


async def test_a_link_that_ends_at_once_is_no_success(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two devices that cannot talk would dial each other for ever, twice a second."""
    two = await start_lost(stage, "two")
    one = await Home.open(stage.home("one"))
    met: list[Link] = []

    async def hang_up(link: Link) -> None:
        first = await link.receive()
        assert first is not None
        await authenticate_server(link, first, one.keys, lambda *_: keys_of(two))
        met.append(link)
        await link.close()

    listener = Listener(stage.tasks)
    try:
        port = await listener.start(LOOPBACK, 0, [LinkKind.TLS], hang_up)
        two.dialling._kinds = [LinkKind.TLS]
        two.dialling.heard_of(one.keys.device_id, LOOPBACK, port)
        for tries in range(1, 5):
            await until_count(met, tries)
            await until_wait(two, one.keys.device_id, FIRST_WAIT_S * 2**tries)
            pass_time(monkeypatch, WAIT_MAX_S)
    finally:
        await listener.stop()
        await one.close()


async def test_when_a_link_that_came_in_is_lost_it_is_dialled_at_once(stage: Stage) -> None:
    one, two = await start_lost(stage, "one"), await start_lost(stage, "two")
    await stage.meet(two, one)  # one dials
    two.dialling.heard_of(device_id(one), LOOPBACK, port_of(one))
    one.dialling._kinds = []
    (lost,) = two.network.status()
    assert not lost.link.is_client
    lost.link.abort()
    await until(lambda: are_linked(one, two) and lost not in two.network.status())
    assert two.network.status()[0].link.is_client


async def test_who_is_cancelled_while_dialling_leaves_no_link(stage: Stage) -> None:
    two = await start_lost(stage, "two")
    async with tarpit() as (port, taken):
        dialling = asyncio.get_running_loop().create_task(two.dialling._try(LOOPBACK, port))
        await until(lambda: taken)
        dialling.cancel()
        await asyncio.wait([dialling])
        async with asyncio.timeout(60):
            while await taken[0].read(4096):
                pass
