"""From a relay's link to a better one: direct where there is a way, else relayed by UDP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peer import backoff, dialling
from peer.daemon import Daemon
from peer.home import Home
from protocol.link import LinkKind
from tests.peer.device_stage import Stage, are_linked, copy_homes, devices, make_homes, until
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
    async with asyncio.timeout(15):
        while (await path_of(daemon))[:2] != (kind, path):
            await asyncio.sleep(0.01)


async def test_a_direct_way_is_found_through_the_relay(stage: Stage, relay: RelayStage) -> None:
    one, two = [await start(stage, relay, name) for name in ("one", "two")]
    await until(lambda: are_linked(one, two))
    await until_path(one, "quic", "lan")
    await until_path(two, "quic", "lan")


async def test_where_no_way_is_the_relay_forwards_datagrams(
    stage: Stage, relay: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.punching.is_probeable", lambda *_, **__: False)
    one, two = [await start(stage, relay, name) for name in ("one", "two")]
    await until(lambda: one.relays.observed() and two.relays.observed())
    await until(lambda: are_linked(one, two))
    await until(lambda: way_of(one) == way_of(two) == (LinkKind.QUIC, True))
    assert (await path_of(one))[1] == "relayed"
    await until(lambda: len(relay.relay.desk.calls) == 0)
    assert len(relay.relay.desk.ferries) >= 1
