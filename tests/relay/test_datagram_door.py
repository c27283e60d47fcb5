"""The relay's UDP port: what two devices do there, and that SPEC 15 says so."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from crypto.datagram_keys import punch_key, round_id
from protocol.datagrams import (
    NO_INDEX,
    PROBE_SIZE,
    SHOW_SIZE,
    DatagramType,
    Probe,
    read_probe,
    read_show,
    write_probe,
)
from protocol.relay_messages import Call, Called, CallOutcome, Incoming, UdpAsk, UdpKey
from protocol.showing import Showing
from tests.relay.relay_stage import LOOPBACK, Caller, RelayStage, relaying

RID = b"r" * 16
QUIET_S = 0.05
"""On loopback an answer takes a hundredth of it."""


@dataclass
class UdpDevice:
    """A device's socket and what it has to do with the relay."""

    caller: Caller
    socket: socket.socket
    showing: Showing
    place: tuple[str, int]
    said: list[bytes] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.socket.getsockname()
        return host, port

    async def send(self, datagram: bytes) -> None:
        await asyncio.get_running_loop().sock_sendto(self.socket, datagram, self.place)

    async def hear(self, timeout_s: float = 60.0) -> bytes:
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65_535)

    async def hears_nothing(self) -> bool:
        try:
            await self.hear(QUIET_S)
        except TimeoutError:
            return True
        return False

    async def show(self) -> list[bytes]:
        """Shows itself until the relay takes its address for good; what went both ways."""
        went: list[bytes] = []
        now = 0.0
        while self.showing.observed is None:
            for datagram in self.showing.datagrams_to_send(now, 0.5):
                went.append(datagram)
                await self.send(datagram)
            went.append(await self.hear())
            self.showing.receive(went[-1], now, 0.5)
        return went


def udp_socket() -> socket.socket:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setblocking(False)
    udp.bind((LOOPBACK, 0))
    return udp


async def udp_device(stage: RelayStage) -> UdpDevice:
    caller = await stage.caller()
    caller.say(UdpAsk(1))
    answer = await caller.hear()
    assert isinstance(answer, UdpKey)
    showing = Showing(answer.client_id, answer.key, 0.0)
    device = UdpDevice(caller, udp_socket(), showing, stage.place)
    stage.sockets.append(device.socket)
    return device


async def called_pair(stage: RelayStage) -> tuple[UdpDevice, UdpDevice, bytes]:
    """Two devices that have shown themselves, and the prefix of their call."""
    one, other = await udp_device(stage), await udp_device(stage)
    await one.show()
    await other.show()
    await other.caller.register((RID,))
    one.caller.say(Call(2, RID))
    called, incoming = await one.caller.hear(), await other.caller.hear()
    assert isinstance(called, Called)
    assert called.outcome == CallOutcome.CONNECTED
    assert isinstance(incoming, Incoming)
    assert called.prefix == incoming.prefix != b""
    return one, other, called.prefix


async def test_datagrams_go_on_as_they_came() -> None:
    async with relaying() as stage:
        one, other, prefix = await called_pair(stage)
        for size in (1, 100, 1458, 8908):
            sent = prefix + os.urandom(size)
            await one.send(sent)
            assert await other.hear() == sent
            await other.send(sent)
            assert await one.hear() == sent
        assert stage.relay.desk.ferries.bytes == 2 * (8 * 4 + 1 + 100 + 1458 + 8908)


async def test_runs_of_several_sessions_are_told_apart() -> None:
    async with relaying() as stage:
        one, other, prefix = await called_pair(stage)
        other_rid = b"s" * 16
        third = await udp_device(stage)
        await third.show()
        await third.caller.register((other_rid,))
        one.caller.say(Call(3, other_rid))
        second = await one.caller.hear()
        assert isinstance(second, Called)
        for number in range(200):
            for each in (prefix, second.prefix):
                await one.send(each + bytes([number]) * 100)
        for device, each in ((other, prefix), (third, second.prefix)):
            for number in range(200):
                assert await device.hear() == each + bytes([number]) * 100


async def test_a_device_that_shows_no_udp_gets_no_prefix() -> None:
    async with relaying() as stage:
        one, other = await udp_device(stage), await stage.caller()
        await one.show()
        await other.register((RID,))
        one.caller.say(Call(2, RID))
        called = await one.caller.hear()
        assert isinstance(called, Called)
        assert (called.outcome, called.prefix) == (CallOutcome.CONNECTED, b"")


# ---------------------------------------------------------------- the hostile


@pytest.mark.row("A27")
async def test_who_has_no_key_is_never_answered() -> None:
    async with relaying() as stage:
        stranger = await udp_device(stage)
        (good,) = stranger.showing.datagrams_to_send(0.0, 0.5)
        rubbish = [
            b"\x00", b"\xc0" + bytes(1199), bytes(SHOW_SIZE), b"\x80" + bytes(1000), b"\x01",
            good[:-1] + bytes((good[-1] ^ 1,)), good + b"\0", b"\x02" + good[1:],
            good[:1] + os.urandom(8) + good[9:], *(os.urandom(n) for n in range(1, 200)),
        ]  # fmt: skip
        for datagram in rubbish:
            await stranger.send(datagram)
        assert await stranger.hears_nothing()
        stranger.showing.hurry(0.0)
        await stranger.show()


@pytest.mark.row("A27")
async def test_an_answer_is_as_long_as_its_question_and_comes_once() -> None:
    async with relaying() as stage:
        device = await udp_device(stage)
        (show,) = device.showing.datagrams_to_send(0.0, 0.5)
        await device.send(show)
        assert len(await device.hear()) == len(show)
        elsewhere = udp_socket()
        stage.sockets.append(elsewhere)
        loop = asyncio.get_running_loop()
        for _ in range(10):  # a replay, from here and from where a victim might be
            await device.send(show)
            await loop.sock_sendto(elsewhere, show, stage.place)
        assert await device.hears_nothing()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                await loop.sock_recv(elsewhere, 100)


@pytest.mark.row("A27")
async def test_nothing_is_forwarded_to_an_address_that_was_only_claimed() -> None:
    """A device shows itself from a victim's address, whose answers it does not get."""
    async with relaying() as stage:
        one, other, prefix = await called_pair(stage)
        victim = udp_socket()
        stage.sockets.append(victim)
        loop = asyncio.get_running_loop()
        other.showing.hurry(0.0)
        (show,) = other.showing.datagrams_to_send(0.0, 0.5)
        await loop.sock_sendto(victim, show, stage.place)  # as if the source were a lie
        async with asyncio.timeout(60):
            assert len(await loop.sock_recv(victim, 100)) == len(show)
        for _ in range(20):
            await one.send(prefix + bytes(1000))
        assert len(await other.hear()) == 1008, "it goes on to where the device was shown to be"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                await loop.sock_recv(victim, 2000)


@pytest.mark.row("A33")
async def test_who_knows_or_guesses_a_prefix_gets_nothing_through() -> None:
    async with relaying() as stage:
        one, other, prefix = await called_pair(stage)
        thief = await udp_device(stage)
        await thief.show()  # a device like any other, but not of this call
        for _ in range(10):
            await thief.send(prefix + bytes(100))
            await one.send(prefix[:-1] + bytes((prefix[-1] ^ 1,)) + bytes(100))
            await one.send(prefix[:7])
        assert await other.hears_nothing()
        assert await thief.hears_nothing()
        assert stage.relay.desk.ferries.refused > 0
        await one.send(prefix + b"honest")
        assert await other.hear() == prefix + b"honest"


@pytest.mark.row("A29")
async def test_a_flood_of_registrations_leaves_one_key_a_device() -> None:
    async with relaying() as stage:
        device = await udp_device(stage)
        for number in range(100):
            device.caller.say(UdpAsk(number))
            assert isinstance(await device.caller.hear(), UdpKey)
        assert len(stage.relay.desk.sightings) == 1
        for datagram in device.showing.datagrams_to_send(0.0, 0.5):  # of the first key
            await device.send(datagram)
        assert await device.hears_nothing()


@pytest.mark.row("F14")
async def test_a_device_that_moves_is_found_where_it_shows_itself_next() -> None:
    async with relaying() as stage:
        one, other, prefix = await called_pair(stage)
        other.socket.close()
        other.socket = udp_socket()
        stage.sockets.append(other.socket)
        other.showing.observed = None
        other.showing.hurry(0.0)
        await other.show()
        await one.send(prefix + b"there")
        assert await other.hear() == prefix + b"there"
        await other.send(prefix + b"here")
        assert await one.hear() == prefix + b"here"


# ---------------------------------------------------------------- the specification


SPEC_FILE = Path(__file__).parents[2] / "protocol" / "SPEC.md"
SPEC = SPEC_FILE.read_text().partition("## 15. Datagrams")[2].partition("\n## 16. ")[0]


def rows_of(heading: str) -> list[list[str]]:
    found = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", SPEC, re.MULTILINE)
    assert found is not None
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found[1].splitlines()]


def test_types_and_lengths_are_those_of_the_specification() -> None:
    sizes = {1: SHOW_SIZE, 2: SHOW_SIZE, 3: PROBE_SIZE, 4: PROBE_SIZE}
    expected = [[str(int(kind)), kind.name, str(sizes[kind])] for kind in DatagramType]
    assert [row[:3] for row in rows_of("type")] == expected


def test_limits_are_those_of_the_specification() -> None:
    rows = rows_of("limit")
    assert len(rows) == 11
    for name, shown in rows:
        where, constant = name.strip("`").rsplit(".", 1)
        value = getattr(importlib.import_module(where), constant)
        assert shown == (f"{value:g} s" if constant.endswith("_S") else f"{value:,}")


def shown(datagram: bytes) -> str:
    kind = DatagramType(datagram[0])
    if kind in (DatagramType.SHOW, DatagramType.SEEN):
        return f"{kind.name} C…, counter {read_show(datagram).counter}"
    probe = read_probe(datagram)
    who = "caller" if probe.is_caller else "called"
    return f"{kind.name} of the {who}, index {probe.index}, number {probe.number}"


async def example_exchange() -> list[str]:
    """What two devices and a relay say by UDP."""
    async with relaying() as stage:
        one, other, prefix = await called_pair(stage)
        said = []
        for step, datagram in enumerate(await (await udp_device(stage)).show()):
            said.append(f"calling {'←' if step % 2 else '→'} relay  {shown(datagram)}")
        await one.send(prefix + b"\x40QUIC")
        assert await other.hear() == prefix + b"\x40QUIC"
        said += ["calling → relay  P… and a QUIC packet", "relay → waiting  P… and a QUIC packet"]
        key = punch_key(b"c" * 32, b"w" * 32)
        loop = asyncio.get_running_loop()
        probe = write_probe(key, Probe(DatagramType.PROBE, round_id(key), True, 0, 1))
        await loop.sock_sendto(one.socket, probe, other.address)
        said.append(f"calling → waiting  {shown(await other.hear())}")
        echo = write_probe(key, Probe(DatagramType.ECHO, round_id(key), False, 0, 1))
        await loop.sock_sendto(other.socket, echo, one.address)
        said.append(f"calling ← waiting  {shown(await one.hear())}")
        untold = write_probe(key, Probe(DatagramType.PROBE, round_id(key), False, NO_INDEX, 1))
        await loop.sock_sendto(other.socket, untold, one.address)
        said.append(f"calling ← waiting  {shown(await one.hear())}")
        return said


async def test_the_example_exchange_is_the_record_of_a_run() -> None:
    written = [line.strip() for line in SPEC.splitlines() if line.startswith("    ")]
    assert written == await example_exchange()
