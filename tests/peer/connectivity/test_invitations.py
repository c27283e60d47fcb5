"""The inviting side: who may try, how often, and that nobody's try ends the daemon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from crypto.keys import DeviceKeys
from peer.connectivity import invitations as module
from peer.connectivity.discovery import Discovery
from peer.connectivity.invitations import NAMEPLATES
from peer.connectivity.own_addresses import announced_of
from peer.daemon import Daemon
from peer.device import setup
from peer.errors import TooManyInvitations
from protocol.errors import ProtocolError, WrongCode
from protocol.invitations import LIFETIME_S
from protocol.link import Link, LinkKind
from protocol.links import dial
from protocol.pairing import PairingDialler
from protocol.pairing_messages import PairingNumber
from protocol.words import parse_code
from tests.peer import device_stage
from tests.peer.device_stage import LOOPBACK, Stage, devices, port_of, until


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with devices(tmp_path, ("tls", "quic")) as stage:
        yield stage


@pytest.fixture
async def one(stage: Stage) -> Daemon:
    return await stage.found("one")


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The invitations' clock, and nobody else's."""
    later = time.monotonic() + seconds
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: later))


@pytest.fixture
async def heard(stage: Stage) -> Daemon:
    """A device that announces itself, on loopback as it listens there."""
    stage.has_discovery = True
    daemon = await stage.found("heard")
    stage.has_discovery = False
    return daemon


def announced(daemon: Daemon) -> set[int]:
    """The nameplates that are announced."""
    assert daemon._discovery is not None
    return set(daemon._discovery._invitations)


async def open_link(one: Daemon) -> Link:
    return await dial(LinkKind.TLS, LOOPBACK, port_of(one))


async def answer_to(link: Link) -> tuple[int, bytes] | None:
    async with asyncio.timeout(60):
        try:
            return await link.receive()
        except ProtocolError:
            return None


async def test_codes_differ_and_have_their_own_nameplates(one: Daemon) -> None:
    codes = [(await one.invite())["code"] for _ in range(10)]
    assert len({c.split("-")[0] for c in codes}) == 10
    assert (await one.invite())["expires_s"] == 600


async def test_no_more_invitations_than_nameplates(one: Daemon) -> None:
    for _ in range(NAMEPLATES):
        await one.invite()
    with pytest.raises(TooManyInvitations):
        await one.invite()


async def test_old_invitations_make_room(one: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(NAMEPLATES):
        await one.invite()
    pass_time(monkeypatch, 601)
    await one.invite()
    assert len(one.invitations._open) == 1


@pytest.mark.parametrize(
    "payload", [b"", b"\xff", b"\x80", b"\x83\x01\x02\x03", bytes(1000), b"\x81" * 60]
)
async def test_garbage_for_a_pairing_ends_that_link_only(
    stage: Stage, one: Daemon, payload: bytes
) -> None:
    code = (await one.invite())["code"]
    link = await open_link(one)
    link.send(PairingNumber.PAIR_HELLO, [payload])
    while await answer_to(link) is not None:
        pass
    assert link.is_closed
    await setup.join(stage.home("two"), code, (LOOPBACK, port_of(one)), "two")


async def test_a_code_that_nobody_shows_is_refused(one: Daemon) -> None:
    link = await open_link(one)
    pairing = PairingDialler(
        parse_code("7-cranberry-clubhouse"), link.kind, link.binding, lambda n: b"r" * n
    )
    number, payload = pairing.hello()
    link.send(number, [payload])
    answer = await answer_to(link)
    assert answer is not None
    with pytest.raises(ProtocolError):
        pairing.receive(*answer)
    await link.close()


@pytest.mark.row("A29")
async def test_hanging_up_in_the_middle_costs_a_try_and_nothing_else(
    stage: Stage, one: Daemon
) -> None:
    code = (await one.invite())["code"]
    link = await open_link(one)
    pairing = PairingDialler(parse_code(code), link.kind, link.binding, lambda n: b"r" * n)
    number, payload = pairing.hello()
    link.send(number, [payload])
    assert await answer_to(link) is not None
    (invitation,) = one.invitations._open.values()
    assert invitation.tries_left == 2
    link.abort()
    await setup.join(stage.home("two"), code, (LOOPBACK, port_of(one)), "two")


async def test_what_comes_too_late_is_refused(
    stage: Stage, one: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A29: who stops in the middle has the pairing's few seconds."""
    code = (await one.invite())["code"]
    link = await open_link(one)
    pairing = PairingDialler(parse_code(code), link.kind, link.binding, lambda n: b"r" * n)
    number, payload = pairing.hello()
    link.send(number, [payload])
    answer = await answer_to(link)
    assert answer is not None
    pass_time(monkeypatch, 3600)
    for number, payload in pairing.receive(*answer):
        link.send(number, [payload])
    while await answer_to(link) is not None:
        pass
    assert link.is_closed
    assert len(one.ledgers.user.live_devices()) == 1


async def test_a_newcomer_is_admitted_to_the_folders_there_are(stage: Stage, one: Daemon) -> None:
    await one.add_folder(stage.root("one"), "f")
    two = await stage.join(one, "two")
    (membership,) = one.ledgers.folders.values()
    assert two.home.keys.device_id in membership.ledger.devices()
    known = {d.device_id: d.name for d in await one.home.store.devices()}
    assert known[two.home.keys.device_id] == "two"


async def test_pairing_by_the_other_kind_of_link(stage: Stage, one: Daemon) -> None:
    code = (await one.invite())["code"]
    link = await dial(LinkKind.QUIC, LOOPBACK, port_of(one))
    try:
        keys = DeviceKeys.generate(lambda n: b"2" * n)
        welcome, _ = await setup._pair(link, parse_code(code), keys, "two")
    finally:
        await link.close()
    assert welcome.device_name == "one"
    assert keys.device_id in one.ledgers.user.live_devices()


# ---------------------------------------------------------------- what is announced


async def test_an_invitation_is_found_and_withdrawn_when_it_was_used(
    stage: Stage, heard: Daemon
) -> None:
    code = (await heard.invite())["code"]
    number = parse_code(code).nameplate
    assert announced(heard) == {number}
    async with Discovery(lambda *_: None) as discovery:
        assert await discovery.find_invitation(number) == [(LOOPBACK, port_of(heard))]
    await setup.join(stage.home("two"), code, (LOOPBACK, port_of(heard)), "two")
    await until(lambda: not announced(heard))


async def test_an_invitation_is_withdrawn_when_it_was_tried_too_often(
    stage: Stage, heard: Daemon
) -> None:
    code = (await heard.invite())["code"]
    other = f"{parse_code(code).nameplate}-cranberry-clubhouse"
    for tries_left in (2, 1, 0):
        with pytest.raises(WrongCode):
            await setup.join(stage.home("two"), other, (LOOPBACK, port_of(heard)), "two")
        if tries_left:
            assert announced(heard)
    await until(lambda: not announced(heard))


async def test_invitations_are_withdrawn_when_their_time_is_over(
    heard: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several at once, too: each is waited for by a task of its own."""
    for _ in range(5):
        await heard.invite()
    assert len(announced(heard)) == 5
    await asyncio.sleep(0)  # the tasks begin to wait
    pass_time(monkeypatch, LIFETIME_S + 1)
    device_stage.pass_time(monkeypatch, LIFETIME_S + 1)
    await until(lambda: not announced(heard) and not heard.invitations._open)


async def test_an_invitation_that_is_open_stays_announced(
    heard: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    await heard.invite()
    pass_time(monkeypatch, LIFETIME_S - 1)
    await heard.invite()
    assert len(announced(heard)) == 2
    pass_time(monkeypatch, LIFETIME_S + 1)
    await heard.invite()
    assert len(announced(heard)) == 2


async def test_what_only_this_machine_can_reach_is_told_to_this_machine_only(
    heard: Daemon,
) -> None:
    assert heard._discovery is not None
    assert heard._discovery._hosts == [LOOPBACK]
    assert heard._discovery._interfaces == [LOOPBACK]
    assert announced_of(["0.0.0.0", "::"]) == (None, None)
    assert announced_of([LOOPBACK, "0.0.0.0"]) == (None, None)
    assert announced_of(["192.0.2.1", LOOPBACK, "::1"]) == (["192.0.2.1"], None)
    assert announced_of([LOOPBACK, "::1"]) == ([LOOPBACK, "::1"], [LOOPBACK, "::1"])


async def test_two_that_are_opened_at_once_have_their_own_numbers(
    one: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While relays are asked whether one is free, another is chosen."""
    show = one.relays.show

    async def slow(nameplate: int) -> list[str] | None:
        await asyncio.sleep(0)
        return await show(nameplate)

    monkeypatch.setattr(one.relays, "show", slow)
    monkeypatch.setattr("peer.connectivity.invitations.secrets.choice", min)
    codes = [opened["code"] for opened in await asyncio.gather(one.invite(), one.invite())]
    assert sorted(code.split("-")[0] for code in codes) == ["1", "2"]
    assert {str(opened.code) for opened in one.invitations._open.values()} == set(codes)


async def test_a_number_that_is_used_again_stays_announced(
    heard: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old ones are withdrawn one by one, and their numbers are free from the first on."""
    numbers = iter((1, 2, 2))
    monkeypatch.setattr("peer.connectivity.invitations.secrets.choice", lambda _: next(numbers))
    await heard.invite()
    await heard.invite()
    discovery = heard._discovery
    assert discovery is not None
    close, opened = discovery.close_invitation, asyncio.Event()

    async def closed(nameplate: int) -> None:
        await close(nameplate)
        if not opened.is_set():
            opened.set()
            await heard.invite()

    monkeypatch.setattr(discovery, "close_invitation", closed)
    pass_time(monkeypatch, 601)
    await heard.invitations._withdraw_closed()
    assert announced(heard) == set(heard.invitations._open)
    assert len(heard.invitations._open) == 1
