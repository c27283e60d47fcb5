"""Devices that have no way to each other but a relay: they pair, link and sync through it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import RelayId
from peer.connectivity import backoff, dialling, relay_session, relays
from peer.connectivity.relays import SETTING
from peer.daemon import Daemon
from peer.device import setup
from peer.device.home import Home
from peer.errors import (
    InvitationNotFound,
    RelayUnreachable,
    TooManyRelays,
    UnknownRelay,
)
from protocol import session, tls
from protocol.errors import ExpiredCode, WrongCode
from protocol.relay_address import RelayAddress
from protocol.relay_records import read_records, used
from protocol.relay_token import parse_token
from relay import server as relay_server
from relay.admissions import Admissions, invite
from relay.conversation import converse
from relay.store import RelayStore
from tests.peer.device_stage import (
    LOOPBACK,
    Stage,
    are_linked,
    copy_homes,
    device_id,
    devices,
    make_homes,
    pass_time,
    port_of,
    until,
)
from tests.relay.relay_program import program
from tests.relay.relay_stage import RelayStage, relaying


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two", "three"))
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
    async with devices(tmp_path) as stage:
        for name in ("one", "two", "three"):
            home = await Home.open(stage.home(name))
            async with home.store.transaction() as write:
                await write._execute("DELETE FROM addresses")
            await home.close()
        yield stage


def kinds(daemon: Daemon) -> list[str]:
    return [c.kind_name for c in daemon.network.status()]


async def start(stage: Stage, relay: RelayStage, name: str) -> Daemon:
    daemon = await stage.start(name)
    await daemon.add_relay(relay.address)
    await until(lambda: daemon.relays.is_connected)
    return daemon


async def until_shown(path: Path, data: bytes) -> None:
    await until(lambda: path.is_file() and path.read_bytes() == data)


async def test_two_devices_link_and_sync_through_a_relay(stage: Stage, relay: RelayStage) -> None:
    one, two = [await start(stage, relay, name) for name in ("one", "two")]
    await until(lambda: are_linked(one, two))
    assert kinds(one) == kinds(two) == ["relayed"]
    (link,) = (await one.status())["links"]
    assert (link["kind"], link["path"]) == ("relayed", "relayed")
    assert link["direct_problem"].endswith(".")
    await stage.share(one, two)
    data = bytes(range(256)) * 20_000
    (stage.root("one") / "large").write_bytes(data)
    (stage.root("two") / "small").write_bytes(b"back")
    await until_shown(stage.root("two") / "large", data)
    await until_shown(stage.root("one") / "small", b"back")
    assert not await two.home.store.addresses(device_id(one)), "the relay's is not the device's"
    assert not await one.home.store.addresses(device_id(two))


async def test_a_direct_link_takes_the_place_of_a_relayed_one(
    stage: Stage, relay: RelayStage
) -> None:
    one, two = [await start(stage, relay, name) for name in ("one", "two")]
    await until(lambda: are_linked(one, two))
    two.dialling.heard_of(device_id(one), LOOPBACK, port_of(one))
    await until(lambda: kinds(one) == kinds(two) == ["tls"])
    await until(lambda: len(relay.relay.desk.calls) == 0)
    await asyncio.sleep(0.3)
    assert kinds(one) == kinds(two) == ["tls"]


@pytest.mark.row("F27")
async def test_a_relay_that_is_gone_takes_no_direct_link_away(
    stage: Stage, relay: RelayStage
) -> None:
    one, two = [await start(stage, relay, name) for name in ("one", "two")]
    two.dialling.heard_of(device_id(one), LOOPBACK, port_of(one))
    await until(lambda: kinds(one) == kinds(two) == ["tls"])
    await stage.share(one, two)
    (before,) = one.network.status()
    await relay.relay.stop()
    await until(lambda: not one.relays.is_connected and not two.relays.is_connected)
    (stage.root("one") / "meanwhile").write_bytes(b"without a relay")
    await until_shown(stage.root("two") / "meanwhile", b"without a relay")
    assert one.network.status() == [before]


async def test_who_knows_no_address_is_called_without_a_wait(
    stage: Stage, relay: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no direct way to be given a head start."""
    monkeypatch.setattr(dialling, "RELAY_HEAD_START_S", 3600.0)
    one, two = [await start(stage, relay, name) for name in ("one", "two")]
    await until(lambda: are_linked(one, two))
    assert kinds(one) == kinds(two) == ["relayed"]


async def test_an_address_that_does_not_answer_keeps_nobody_from_the_relay(
    stage: Stage, relay: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head start began when there was no link, not when there was a relay."""
    monkeypatch.setattr(tls, "HANDSHAKE_TIMEOUT_S", 3600.0)
    monkeypatch.setattr(dialling, "RELAY_HEAD_START_S", 100.0)
    one, two = await stage.start("one"), await stage.start("two")
    with socket.create_server((LOOPBACK, 0)) as pit:
        waits = []
        for daemon, other in ((one, two), (two, one)):
            daemon.dialling.heard_of(device_id(other), LOOPBACK, pit.getsockname()[1])
            waits.append(daemon.dialling._known[device_id(other)])
        await until(lambda: all(known.attempt for known in waits))
        pass_time(monkeypatch, 100.0)
        for daemon in (one, two):
            await daemon.add_relay(relay.address)
        await until(lambda: are_linked(one, two))
        assert all(known.is_busy for known in waits), "that address is still waited for"


async def test_when_the_direct_way_is_lost_the_relay_takes_over(
    stage: Stage, relay: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = [await start(stage, relay, name) for name in ("one", "two")]
    two.dialling.heard_of(device_id(one), LOOPBACK, port_of(one))
    await until(lambda: kinds(one) == kinds(two) == ["tls"])

    async def blocked(*_: object) -> None:
        return None

    monkeypatch.setattr(dialling.Dialling, "_try", blocked)
    for connection in one.network.status():
        connection.link.abort()
    await until(lambda: kinds(one) == kinds(two) == ["relayed"])


async def test_a_relay_that_comes_back_is_found_again(stage: Stage, relay: RelayStage) -> None:
    one, two = [await start(stage, relay, name) for name in ("one", "two")]
    await until(lambda: are_linked(one, two))
    before = [*one.network.status(), *two.network.status()]
    for link in list(relay.relay.desk.links.values()):
        link.abort()
    await until(lambda: len(relay.relay.desk.links) == 0)
    await until(lambda: one.relays.is_connected and two.relays.is_connected)
    assert not any(c.link.is_closed for c in before), "calls go on meanwhile"
    await until(lambda: are_linked(one, two))


async def test_at_another_address_the_link_and_the_relay_s_are_made_anew(
    stage: Stage, relay: RelayStage
) -> None:
    one, two = [await start(stage, relay, name) for name in ("one", "two")]
    await until(lambda: are_linked(one, two))
    (before,) = one.network.status()
    session = next(iter(one.relays._relays.values())).session
    await one._network_changed({"192.0.2.77"})
    assert not before.link.is_closed, "it is not from there"
    await one._network_changed({LOOPBACK})
    await until(lambda: before not in one.network.status() and are_linked(one, two))
    assert next(iter(one.relays._relays.values())).session is not session
    assert before.link.is_closed


async def test_a_third_device_waits_for_both(stage: Stage, relay: RelayStage) -> None:
    one, two, three = [await start(stage, relay, name) for name in ("one", "two", "three")]
    await until(lambda: are_linked(one, two) and are_linked(two, three) and are_linked(one, three))


async def test_the_relay_sees_no_id_of_a_device_and_other_ids_each_day(
    stage: Stage, relay: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await start(stage, relay, "one")
    registry = relay.relay.desk.registry
    await until(lambda: len(registry._targets) == 6)  # two others, three days
    (client,) = registry._clients.values()
    assert client.pseudonym != device_id(one)
    today = relays._today()
    monkeypatch.setattr(relays, "_today", lambda: today + 3)
    before = set(registry._targets)
    one.relays.membership_changed()
    await until(lambda: not before & set(registry._targets) and len(registry._targets) == 6)


# ---------------------------------------------------------------- pairing


async def test_a_new_device_joins_through_a_relay(stage: Stage, relay: RelayStage) -> None:
    one = await start(stage, relay, "one")
    invitation = await one.invite()
    assert invitation["relays"] == [str(relay.address)]
    joined = await setup.join(
        stage.home("four"), invitation["code"], None, "four", relay=relay.address
    )
    assert joined["with"] == "one"
    four = await stage.start("four")
    await until(lambda: are_linked(one, four))
    assert kinds(four) == ["relayed"]
    assert (await four.list_relays())["relays"][0]["connected"]
    await until(lambda: not [t for t in relay.relay.desk.registry._targets if type(t) is int])


async def test_what_can_go_wrong_when_joining_is_said(
    stage: Stage, relay: RelayStage, tmp_path: Path
) -> None:
    one = await start(stage, relay, "one")
    code = (await one.invite())["code"]
    nameplate, first, second = code.split("-")
    with pytest.raises(InvitationNotFound, match="at this relay"):
        await setup.join(
            tmp_path / "a", f"{int(nameplate) + 1}-{first}-{second}", None, "a", relay=relay.address
        )
    wrong = f"{nameplate}-{first}-{'abdomen' if second != 'abdomen' else 'abdominal'}"
    for _ in range(3):
        with pytest.raises(WrongCode):
            await setup.join(tmp_path / "a", wrong, None, "a", relay=relay.address)
    with pytest.raises((ExpiredCode, InvitationNotFound)):
        await setup.join(tmp_path / "a", code, None, "a", relay=relay.address)
    other = replace(relay.address, relay_id=RelayId(b"x" * 32))
    with pytest.raises(RelayUnreachable, match="fingerprint"):
        await setup.join(tmp_path / "a", code, None, "a", relay=other)
    with pytest.raises(RelayUnreachable):
        await setup.join(tmp_path / "a", code, None, "a", relay=replace(relay.address, port=1))


async def test_a_number_that_another_shows_is_not_given_out(
    stage: Stage, relay: RelayStage
) -> None:
    rival = await relay.caller()
    held: list[int] = []
    for start_at in range(1, 65, 16):
        assert await rival.register(nameplates=tuple(range(start_at, start_at + 16))) == ()
        held = list(range(start_at, start_at + 16))
    one = await start(stage, relay, "one")
    numbers = [int((await one.invite())["code"].split("-")[0]) for _ in range(16)]
    assert not set(numbers) & set(held)
    assert (await one.invite())["relays"] == [], "more than 16 are shown on the local network only"


# ---------------------------------------------------------------- which relays


async def test_relays_are_kept_listed_and_removed(stage: Stage, relay: RelayStage) -> None:
    one = await start(stage, relay, "one")
    address = str(relay.address)
    assert await one.list_relays() == {
        "relays": [{"address": address, "connected": True, "problem": ""}]
    }
    assert (await one.add_relay(relay.address))["connected"], "the same again changes nothing"
    gone = replace(relay.address, port=1, relay_id=RelayId(b"g" * 32))
    await one.add_relay(gone)
    await until(
        lambda: any("port 1" in entry["problem"] for entry in one.relays.entries()["relays"])
    )
    stored = read_records(await one.home.store.setting(SETTING) or b"")
    assert [record.place for record in used(stored)] == [gone, relay.address]
    with pytest.raises(UnknownRelay):
        await one.remove_relay("nowhere")
    with pytest.raises(UnknownRelay):
        await one.remove_relay(LOOPBACK)  # both have this host
    await one.remove_relay(address)
    await until(lambda: len(relay.relay.desk.registry) == 0)
    stored = read_records(await one.home.store.setting(SETTING) or b"")
    assert [record.place for record in used(stored)] == [gone]
    assert tuple(stored.values()) == one.relays.records


async def test_a_relay_that_moved_is_followed_and_a_fifth_is_too_many(
    stage: Stage, relay: RelayStage
) -> None:
    one = await stage.start("one")
    await one.add_relay(replace(relay.address, port=1))
    await one.add_relay(relay.address)
    await until(lambda: one.relays.is_connected)
    assert len((await one.list_relays())["relays"]) == 1
    for number in range(3):
        await one.add_relay(RelayAddress("relay.invalid", 1, RelayId(bytes([number]) * 32)))
    with pytest.raises(TooManyRelays):
        await one.add_relay(RelayAddress("relay.invalid", 1, RelayId(b"f" * 32)))


async def test_an_address_of_another_that_leads_nowhere_takes_no_relay_away(
    stage: Stage, relay: RelayStage
) -> None:
    """Two devices know one relay by an address of each version of IP, of which each has one: that
    of the other counts now, and this one goes on by its own.
    """
    one = await start(stage, relay, "one")
    (record,) = one.relays.records
    elsewhere = replace(relay.address, host="::1")  # it does not listen there
    await one.relays.receive([record._replace(address=str(elsewhere), version=9)])
    assert [entry["address"] for entry in one.relays.entries()["relays"]] == [str(elsewhere)]
    await until(lambda: one.relays.is_connected)
    assert (await one.home.store.setting(relays._reached(relay.address.relay_id))) == str(
        relay.address
    ).encode(), "also after a restart"


async def test_a_relay_that_one_device_adds_all_use(stage: Stage, relay: RelayStage) -> None:
    one, two = [await stage.start(name) for name in ("one", "two")]
    two.dialling.heard_of(device_id(one), LOOPBACK, port_of(one))
    await until(lambda: are_linked(one, two))
    await one.add_relay(relay.address)
    await until(lambda: two.relays.is_connected)
    three = await stage.start("three")  # it was away, and hears of it when it is linked
    three.dialling.heard_of(device_id(two), LOOPBACK, port_of(two))
    await until(lambda: three.relays.is_connected)
    await three.remove_relay(str(relay.address))
    await until(lambda: not any(d.relays.entries()["relays"] for d in (one, two, three)))
    await until(lambda: len(relay.relay.desk.registry) == 0)
    await two.add_relay(relay.address)  # what was removed can be added again
    await until(lambda: all(d.relays.is_connected for d in (one, two, three)))
    assert one.relays.records == two.relays.records == three.relays.records


async def test_what_was_removed_does_not_come_back_from_who_was_away(
    stage: Stage, relay: RelayStage
) -> None:
    one = await start(stage, relay, "one")
    before = one.relays.records
    await one.remove_relay(str(relay.address))
    await one.relays.receive(before)
    assert not one.relays.entries()["relays"]
    await one.relays.receive([before[0]._replace(version=99)])
    assert one.relays.entries()["relays"]


@pytest.fixture
async def closed_relay(tmp_path: Path) -> AsyncIterator[tuple[RelayStage, bytes]]:
    """A closed relay, and the token of an invitation for three devices."""
    (tmp_path / "relay").mkdir()
    store = await RelayStore.open(tmp_path / "relay")
    token = await invite(store, 3, 1, time.time(), os.urandom)
    assert token is not None
    async with relaying(admissions=Admissions(store, False, time.time)) as closed:
        yield closed, parse_token(token)
    await store.close()


async def test_a_closed_relay_serves_all_devices_of_who_has_a_token(
    stage: Stage, closed_relay: tuple[RelayStage, bytes]
) -> None:
    """The device that joins through it needs none: the one that shows the code tells it."""
    closed, token = closed_relay
    one = await stage.start("one")
    await one.add_relay(closed.address)
    await until(lambda: "closed" in one.relays.entries()["relays"][0]["problem"])
    assert "--token" in one.relays.entries()["relays"][0]["problem"]
    await one.add_relay(closed.address, bytes(16))
    await until(lambda: "used up" in one.relays.entries()["relays"][0]["problem"])
    await one.add_relay(closed.address, token)
    await until(lambda: one.relays.is_connected)
    assert token.hex() not in repr(one.relays.records)
    invitation = await one.invite()
    await setup.join(stage.home("four"), invitation["code"], None, "four", relay=closed.address)
    four = await stage.start("four")
    await until(lambda: are_linked(one, four))
    assert kinds(four) == ["relayed"]


async def test_a_relay_that_is_silent_is_lost_and_others_are_used(
    stage: Stage, relay: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANSWER_TIMEOUT_S", "REGISTER_TIMEOUT_S"):
        monkeypatch.setattr(relay_session, name, 1.0)
    silent = [relay.relay.desk]

    async def ignore(desk: Any, client: Any, link: Any, clock: Any) -> None:
        if desk in silent:
            desk.links[client] = link
            await asyncio.get_running_loop().create_future()
        await converse(desk, client, link, clock)

    monkeypatch.setattr(relay_server, "converse", ignore)
    async with relaying() as other:
        one, two = [await stage.start(name) for name in ("one", "two")]
        for daemon in (one, two):
            await daemon.add_relay(relay.address)
            await daemon.add_relay(other.address)
        await until(
            lambda: (
                are_linked(one, two)
                and [c.link.peer_address[1] for c in one.network.status()] == [other.relay.port]
            )
        )
        await until(lambda: not one.relays.entries()["relays"][0]["connected"])
        silent.clear()  # it answers again, and is used again
        await until(lambda: len(relay.relay.desk.registry) == 2)
        await until(lambda: all(r["connected"] for r in one.relays.entries()["relays"]))


async def test_a_relay_that_hangs_is_replaced_under_the_link_that_it_carries(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections stay, and nothing comes through them any more."""
    for name, value in (("CARRYING_INTERVAL_S", 0.2), ("SLOW_S", 0.3), ("ANSWER_TIMEOUT_S", 1.0)):
        monkeypatch.setattr(relay_session, name, value)
    monkeypatch.setattr(session, "DOUBT_MAX_S", 0.5)
    async with program(tmp_path / "r1") as first, program(tmp_path / "r2") as second:
        one, two = [await stage.start(name) for name in ("one", "two")]
        for daemon in (one, two):
            for each in (first, second):
                await daemon.add_relay(each.address)

        def carrier() -> int | None:
            ports = {
                connection.link.peer_address[1]
                for daemon in (one, two)
                for connection in daemon.network.status()
            }
            return ports.pop() if are_linked(one, two) and len(ports) == 1 else None

        carriers: list[int | None] = []

        def is_carried() -> bool:
            carriers.append(carrier())
            return carriers[-1] is not None

        await until(is_carried)
        is_first = carriers[-1] == first.address.port
        hung, other = (first, second) if is_first else (second, first)
        hung.process.send_signal(signal.SIGSTOP)
        try:
            await until(lambda: carrier() == other.address.port)
        finally:
            hung.process.send_signal(signal.SIGCONT)


# ---------------------------------------------------------------- a relay that is hostile


@pytest.mark.row("A29")
async def test_a_relay_that_rings_without_end_costs_a_few_connections(
    stage: Stage, relay: RelayStage
) -> None:
    one, two = [await start(stage, relay, name) for name in ("one", "two")]
    await until(lambda: are_linked(one, two))
    (session,) = [r.session for r in one.relays._relays.values()]
    assert session is not None
    for number in range(10_000):
        session._on_incoming(number.to_bytes(32, "big"), b"")
    assert one.relays._opening <= relays.STREAMS_MAX
    await until(lambda: one.relays._opening == 0)
    assert are_linked(one, two)


async def test_a_relay_that_leads_to_another_device_gets_no_link(
    stage: Stage, relay: RelayStage
) -> None:
    """It can connect whom it likes; who that is shows in the handshake between the devices."""
    one = await start(stage, relay, "one")
    registry = relay.relay.desk.registry
    await until(lambda: len(registry) == 1)
    (client,) = registry._clients.values()
    registry.find = lambda target: client  # type: ignore[method-assign]
    two = await start(stage, relay, "two")
    # It calls the one and the third, who is not there: both calls lead to the one.
    await until(lambda: one.network.counts.get("NotAuthenticated", 0) >= 1)
    await until(lambda: are_linked(one, two))
    assert {c.device_id for c in two.network.status()} == {device_id(one)}
