"""From a relay's link to a better one: direct where there is a way, else relayed by UDP."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from peer.connectivity import backoff, dialling, punching
from peer.connectivity.direct_problem import NO_UDP_HERE
from peer.connectivity.probe_budget import ROUNDS_PER_ADDRESS
from peer.connectivity.punching import Punching, _Way
from peer.daemon import Daemon
from peer.device.home import Home
from protocol.datagrams import PROBE_SIZE, Sight, write_show
from protocol.events import PathsReceived
from protocol.link import LinkKind
from protocol.punch import PROBE_TIMES_S
from protocol.udp import SocketAddress
from relay.registry import Client
from tests.peer.device_stage import (
    LOOPBACK,
    Stage,
    are_linked,
    copy_homes,
    device_id,
    devices,
    make_homes,
    port_of,
    until,
)
from tests.relay.relay_stage import RelayStage, relaying


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two"))
    return base


@pytest.fixture
async def relay() -> AsyncIterator[RelayStage]:
    async with relaying() as stage:
        yield stage


@pytest.fixture
async def stage(
    relay: RelayStage, homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """Devices that know each other, but not where the others are; they use no relay yet."""
    monkeypatch.setattr(dialling, "RELAY_HEAD_START_S", 0.05)
    monkeypatch.setattr(backoff, "SPANS_S", (0.1, 0.1, 0.3))
    copy_homes(homes, tmp_path)
    async with devices(tmp_path, ("tls", "quic")) as stage:
        for name in ("one", "two"):
            home = await Home.open(stage.home(name))
            async with home.store.transaction() as write:
                await write._execute("DELETE FROM addresses")
            await home.close()
        yield stage


async def start(stage: Stage, relay: RelayStage, name: str) -> Daemon:
    daemon = await stage.start(name)
    await daemon.add_relay(relay.address)
    await until(lambda: daemon.relays.is_connected)
    return daemon


def way_of(daemon: Daemon) -> tuple[LinkKind, bool] | None:
    links = [connection.link for connection in daemon.network.status()]
    return (links[0].kind, links[0].is_relayed) if links else None


async def path_of(daemon: Daemon) -> tuple[str, str, str]:
    links = (await daemon.status())["links"]
    return (links[0]["kind"], links[0]["path"], links[0]["direct_problem"]) if links else ("",) * 3


async def until_path(daemon: Daemon, kind: str, path: str) -> None:
    async with asyncio.timeout(60):
        while (await path_of(daemon))[:2] != (kind, path):
            await asyncio.sleep(0.01)


def way_is(kind: LinkKind, is_relayed: bool, *of: Daemon) -> bool:
    return all(way_of(daemon) == (kind, is_relayed) for daemon in of)


def no_direct_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind two routers of the worst kind: no address may be probed."""
    monkeypatch.setattr("peer.connectivity.punching.is_probeable", lambda *_, **__: False)


async def both(stage: Stage, relay: RelayStage) -> tuple[Daemon, Daemon]:
    """Two devices that the relay sees by UDP, and that link."""
    one, two = [await start(stage, relay, name) for name in ("one", "two")]
    await until(lambda: one.relays.observed() and two.relays.observed())
    await until(lambda: are_linked(one, two))
    return one, two


@pytest.mark.parametrize("links", [("tls", "quic"), ("quic", "tls"), ("quic",)])
async def test_a_direct_way_is_found_through_the_relay(
    stage: Stage, relay: RelayStage, links: tuple[str, ...]
) -> None:
    """What is near is linked by the kind that the device prefers."""
    stage.links = links
    one, two = [await start(stage, relay, name) for name in ("one", "two")]
    await until(lambda: are_linked(one, two))
    await until_path(one, links[0], "lan")
    await until_path(two, links[0], "lan")
    assert (await path_of(one))[2] == ""
    await until(lambda: len(relay.relay.desk.calls) == 0)


async def test_where_no_way_is_the_relay_forwards_datagrams(
    stage: Stage, relay: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_direct_way(monkeypatch)
    one, two = await both(stage, relay)
    await until(lambda: way_is(LinkKind.QUIC, True, one, two))
    assert (await path_of(one))[1] == "relayed"
    assert (await path_of(one))[2].endswith("later.")
    await until(lambda: len(relay.relay.desk.calls) == 0)
    assert len(relay.relay.desk.ferries) >= 1
    await stage.share(one, two)
    data = os.urandom(2_000_000)
    (stage.root("one") / "large").write_bytes(data)
    copy = stage.root("two") / "large"
    await until(lambda: copy.is_file() and copy.read_bytes() == data)
    assert relay.relay.desk.ferries.bytes > len(data)
    assert not await two.home.store.addresses(device_id(one)), "the relay's is not the device's"


async def test_datagrams_are_forwarded_though_the_call_came_before_they_were_seen(
    stage: Stage, relay: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_direct_way(monkeypatch)
    begin, began = relay.relay.desk.ferries.begin, []

    def begin_late(one: Client, other: Client, now: float) -> bytes:
        began.append(now)
        return b"" if len(began) == 1 else begin(one, other, now)

    monkeypatch.setattr(relay.relay.desk.ferries, "begin", begin_late)
    one, two = await both(stage, relay)
    await until(lambda: way_is(LinkKind.QUIC, True, one, two))
    await until(lambda: len(relay.relay.desk.calls) == 0)


@pytest.mark.row("F14")
async def test_a_transfer_goes_on_where_the_link_moves_to(
    stage: Stage, relay: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a file the direct way opens: nothing is fetched again but what was on its
    way.
    """
    no_direct_way(monkeypatch)
    one, two = await both(stage, relay)
    await stage.share(one, two)
    await until(lambda: way_is(LinkKind.QUIC, True, one, two))
    size = 24 << 20
    (stage.root("one") / "large").write_bytes(os.urandom(size))
    await until(lambda: relay.relay.desk.ferries.bytes > size // 8)
    monkeypatch.undo()
    one.punching.addresses_changed()
    await until(lambda: not any(way_of(d) is None or way_of(d)[1] for d in (one, two)))  # type: ignore[index]
    moved_at = relay.relay.desk.ferries.bytes
    copy = stage.root("two") / "large"
    await until(lambda: copy.is_file() and copy.stat().st_size == size, 60)
    received = (await two.status())["totals"]["received_bytes"]
    assert moved_at < size, "the file was through before the link moved"
    assert received < 1.5 * size
    assert relay.relay.desk.ferries.bytes - moved_at < size // 8


@pytest.mark.row("F27")
async def test_back_to_the_relay_and_away_again(
    stage: Stage, relay: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await both(stage, relay)
    await until_path(one, "tls", "lan")
    no_direct_way(monkeypatch)

    async def blocked(*_: object) -> None:
        return None

    monkeypatch.setattr(dialling.Dialling, "_try", blocked)
    for connection in one.network.status():
        connection.link.abort()
    await until(lambda: way_is(LinkKind.QUIC, True, one, two))
    monkeypatch.undo()
    two.punching.addresses_changed()
    await until_path(one, "tls", "lan")
    await until_path(two, "tls", "lan")


@pytest.mark.row("F27")
async def test_a_relay_that_forwards_no_datagrams_leaves_tcp(
    stage: Stage, relay: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_direct_way(monkeypatch)
    dropped: list[object] = []

    def drop(*run: object) -> None:
        dropped.append(run)

    monkeypatch.setattr(relay.relay.desk.ferries, "route", drop)
    one, two = await both(stage, relay)
    await until(lambda: len(dropped) >= 3)  # the first packet, and again
    assert way_is(LinkKind.TLS, True, one, two)
    await stage.share(one, two)
    (stage.root("one") / "a").write_bytes(b"a")
    await until(lambda: (stage.root("two") / "a").is_file())


async def test_without_udp_it_says_so(stage: Stage, relay: RelayStage) -> None:
    stage.links = ("tls",)
    one, two = [await start(stage, relay, name) for name in ("one", "two")]
    await until(lambda: are_linked(one, two))
    assert (await path_of(one))[1:] == ("relayed", NO_UDP_HERE)


# ---------------------------------------------------------------- the hostile


class Victim(asyncio.DatagramProtocol):
    """Somebody else's machine; it notes what comes."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.received.append(data)


@pytest.fixture
async def victim() -> AsyncIterator[tuple[tuple[str, int], Victim]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Victim, local_addr=(LOOPBACK, 0))
    yield transport.get_extra_info("sockname"), protocol
    transport.close()


@pytest.mark.row("A17", "A33")
async def test_a_relay_that_lies_about_addresses_has_little_sent_to_a_stranger(
    stage: Stage,
    relay: RelayStage,
    victim: tuple[tuple[str, int], Victim],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, stranger = victim

    def lie(*arguments: Any) -> bytes:
        key, kind, client_id, counter, sight = arguments
        return write_show(key, kind, client_id, counter, Sight(*place, sight.cookie))

    monkeypatch.setattr("relay.sightings.write_show", lie)
    monkeypatch.setattr(punching.Punching, "_dial_direct", _nothing_answers)
    one, two = await both(stage, relay)
    assert one.relays.observed() == [place]
    for _ in range(60):  # more changes than a relay can invent in a second
        one.punching.addresses_changed()
        two.punching.addresses_changed()
        await asyncio.sleep(0.02)
    await until(lambda: way_is(LinkKind.QUIC, True, one, two))
    # Both may be made to send, each six rounds a minute of seven probes.
    assert 0 < len(stranger.received) <= 2 * ROUNDS_PER_ADDRESS * len(PROBE_TIMES_S)
    assert {len(datagram) for datagram in stranger.received} == {PROBE_SIZE}


async def _nothing_answers(*_: object) -> bool:
    return False


@pytest.mark.row("A33")
async def test_a_relay_that_swaps_devices_or_datagrams_links_nobody(
    stage: Stage, relay: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is forwarded comes back to who sent it, or comes twice and late."""
    no_direct_way(monkeypatch)
    returned: list[object] = []

    def give_back(prefix: bytes, source: SocketAddress, *_: object) -> SocketAddress:
        returned.append(prefix)
        return source

    monkeypatch.setattr(relay.relay.desk.ferries, "route", give_back)
    one, two = await both(stage, relay)
    await until(lambda: len(returned) >= 3)
    assert way_is(LinkKind.TLS, True, one, two)
    await stage.share(one, two)
    (stage.root("one") / "a").write_bytes(b"a")
    await until(lambda: (stage.root("two") / "a").is_file())


@pytest.mark.row("A29")
async def test_a_device_that_asks_for_rounds_without_end_gets_a_few(
    stage: Stage, relay: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_direct_way(monkeypatch)
    one, two = await both(stage, relay)
    await until(lambda: way_is(LinkKind.QUIC, True, one, two))
    (called,) = [d for d in (one, two) if not d.network.status()[0].link.is_client]
    connection = called.network.status()[0]
    punches: list[object] = []

    async def note(*arguments: object) -> None:
        punches.append(arguments)

    monkeypatch.setattr(called.punching, "_answer", note)
    for number in range(1, 200):
        called.punching.paths_received(connection, PathsReceived(number, b"s" * 32, ()))
    await asyncio.sleep(0)
    assert len(punches) <= punching.ROUNDS_PER_MINUTE


@pytest.mark.row("A33")
async def test_rubbish_on_the_port_changes_nothing(stage: Stage, relay: RelayStage) -> None:
    one = await start(stage, relay, "one")
    await until(lambda: one.relays.observed())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for size in range(1, 200):
            for first in (0, 1, 2, 3, 4, 5, 0x3F, 0x80, 0xBF):
                udp.sendto(bytes((first,)) + os.urandom(size - 1), (LOOPBACK, port_of(one)))
    two = await start(stage, relay, "two")
    await until(lambda: are_linked(one, two))
    await until_path(one, "tls", "lan")


async def test_a_round_that_ends_leaves_the_next_link_s_round_its_answer() -> None:
    network = SimpleNamespace(direct_problems={})
    nobody: Any = SimpleNamespace(observed=list)
    punching = Punching(nobody, nobody, cast(Any, network), nobody, nobody, nobody, list, [])
    said: list[object] = []
    link: Any = SimpleNamespace(
        device_id=b"d", session=SimpleNamespace(send=said.append), poke=lambda: None
    )
    way = _Way()
    before = asyncio.ensure_future(punching._round(link, way))
    await asyncio.sleep(0)
    after = asyncio.ensure_future(punching._round(link, way))
    await asyncio.sleep(0)
    assert len(said) == 2
    awaited = way.reply
    before.cancel()
    await asyncio.wait([before])
    assert way.reply is awaited
    assert awaited is not None
    after.cancel()
    await asyncio.wait([after])
    assert way.reply is None
