"""EvilDevice: who is hostile to a relay pays with its own places, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from protocol import tls
from protocol.relay_messages import (
    STREAM_MAGIC,
    CallOutcome,
    Register,
    RelayPing,
    RelayPong,
    stream_prefix,
)
from relay.limits import Limits
from tests.relay.relay_stage import Caller, RelayStage, new_keys, relaying, until

RID = b"r" * 16
EVIL, HONEST = "127.6.6.6", "127.0.0.7"


async def raw(stage: RelayStage, source: str, data: bytes = b"") -> socket.socket:
    """A connection from an address of this machine, and its first bytes."""
    stream = socket.socket()
    stream.setblocking(False)
    stream.bind((source, 0))
    await asyncio.get_running_loop().sock_connect(stream, stage.place)
    if data:
        await asyncio.get_running_loop().sock_sendall(stream, data)
    return stream


async def is_ended(stream: socket.socket) -> bool:
    async with asyncio.timeout(60):
        with contextlib.suppress(OSError):
            while await asyncio.get_running_loop().sock_recv(stream, 1 << 16):
                pass
    return True


@asynccontextmanager
async def dialling_from(source: str) -> AsyncIterator[None]:
    dial = tls.dial

    async def dial_from(host: str, port: int) -> tls.TlsLink:
        return await tls._connect("", host=host, port=port, local_addr=(source, 0))

    tls.dial = dial_from
    try:
        yield
    finally:
        tls.dial = dial


async def caller_from(stage: RelayStage, source: str, keys: object = None) -> Caller:
    async with dialling_from(source):
        return await stage.caller(keys)  # type: ignore[arg-type]


async def is_served(stage: RelayStage, source: str = HONEST) -> bool:
    """Whether two honest devices of one address come, wait, and are joined."""
    one, other = await caller_from(stage, source), await caller_from(stage, source)
    target = os.urandom(16)
    await other.register((target,))
    called = await one.call(target)
    assert called.outcome == CallOutcome.CONNECTED
    ticket = await other.ring()
    first = await raw(stage, source, stream_prefix(called.ticket) + b"hello")
    second = await raw(stage, source, stream_prefix(ticket))
    async with asyncio.timeout(60):
        heard = await asyncio.get_running_loop().sock_recv(second, 5)
    for each in (first, second):
        each.close()
    for caller in (one, other):
        caller.link.abort()
    return heard == b"hello"


@pytest.mark.row("A27", "A29")
@pytest.mark.parametrize("beginning", [b"", b"H", STREAM_MAGIC + bytes(20), b"\x16\x03\x01\x02"])
async def test_a_flood_of_half_open_connections_keeps_nobody_out(beginning: bytes) -> None:
    """From as many addresses as fill every place, each stopping at the same step."""
    limits = Limits(half_open=64, half_open_per_address=16)
    async with relaying(limits) as stage:
        flood = [
            await raw(stage, f"127.6.6.{number}", beginning)
            for number in range(1, 7)
            for _ in range(16)
        ]
        await until(lambda: len(stage.relay.half_open) == 64)
        assert await is_served(stage)
        assert stage.relay.half_open.evicted > 0
        for each in flood:
            each.close()
        await until(lambda: len(stage.relay.half_open) == 0)


@pytest.mark.row("A27")
async def test_a_flood_of_connections_costs_little_memory(
    record_property: Callable[[str, object], None],
) -> None:
    async with relaying(Limits(connections_per_minute_per_address=1_000_000)) as stage:
        assert await is_served(stage)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(20):
            flood = [await raw(stage, EVIL, STREAM_MAGIC) for _ in range(100)]
            for each in flood:
                each.close()
        await until(lambda: len(stage.relay.half_open) == 0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        record_property("figure", f"{grown:.0f} MB more at most in a flood of 2,000 connections")
        assert grown <= 50
        assert await is_served(stage)
        assert len(stage.relay._running) < 20


@pytest.mark.row("A29")
async def test_one_address_connects_so_often_and_others_do_not_notice() -> None:
    async with relaying(Limits(connections_per_minute_per_address=30)) as stage:
        guesses = [await raw(stage, EVIL, stream_prefix(os.urandom(32))) for _ in range(60)]
        assert all([await is_ended(each) for each in guesses])
        # One more each two seconds that a busy machine takes.
        assert 15 <= stage.relay.desk.counts["Connections"] <= 30
        for each in guesses:
            each.close()
        assert await is_served(stage)


@pytest.mark.row("A29")
async def test_guessed_tickets_open_nothing_and_use_up_nothing() -> None:
    async with relaying() as stage:
        one, other = await stage.caller(), await stage.caller()
        await other.register((RID,))
        tickets = await stage.call(one, other, RID)
        near = [
            tickets[0][:31] + bytes([tickets[0][31] ^ 1]),
            tickets[0][::-1],
            bytes(32),
            *(os.urandom(32) for _ in range(50)),
        ]
        guesses = [await raw(stage, EVIL, stream_prefix(ticket)) for ticket in near]
        assert all([await is_ended(each) for each in guesses])
        assert stage.relay.desk.calls.tickets == 2, "the real ones are good still"
        for each in guesses:
            each.close()


@pytest.mark.row("A29")
async def test_who_registers_all_it_can_fills_its_own_share_only() -> None:
    limits = Limits(waiting_places=10_000, waiting_places_per_address=1_000)
    async with relaying(limits) as stage:
        evil = [await caller_from(stage, EVIL) for _ in range(3)]
        ids = [tuple(os.urandom(16) for _ in range(768)) for _ in evil]
        assert await evil[0].register(ids[0]) == ()
        for caller, each in zip(evil[1:], ids[1:], strict=True):
            caller.say(Register(1, each, tuple(range(1, 17))))
            assert await caller.hear() is None, "more than its address may have"
        assert await is_served(stage)
        await until(lambda: stage.relay.desk.registry.places == 768)


@pytest.mark.row("A29")
async def test_devices_of_one_crowd_make_room_for_others() -> None:
    """Every place is taken by two addresses; who comes from a third gets one of theirs."""
    limits = Limits(devices=8, devices_per_address=5)
    async with relaying(limits) as stage:
        crowd = [await caller_from(stage, host) for host in [EVIL] * 5 + ["127.6.6.7"] * 3]
        for caller in crowd:
            await caller.register()
        more = await caller_from(stage, EVIL)
        assert await more.hear() is None
        assert await is_served(stage)
        await crowd[0].register()  # who came first stays
        assert await crowd[4].hear() is None


async def test_a_device_takes_its_own_place_at_a_full_relay() -> None:
    async with relaying(Limits(devices=2, devices_per_address=2)) as stage:
        keys = new_keys()
        first, other = await stage.caller(keys), await stage.caller()
        for caller in (first, other):
            await caller.register()
        again = await stage.caller(keys)
        assert await again.register((RID,)) == ()
        assert await first.hear() is None


@pytest.mark.row("A29")
async def test_no_measure_begins_anew_with_a_new_link_or_a_new_pseudonym() -> None:
    limits = Limits(calls_per_minute=10, calls_per_minute_per_address=15)
    async with relaying(limits) as stage:
        called = await caller_from(stage, HONEST)
        await called.register((RID,))
        outcomes: list[int] = []
        keys = new_keys()
        for _ in range(6):  # one pseudonym, six links
            caller = await caller_from(stage, EVIL, keys)
            outcomes += [(await caller.call(RID)).outcome for _ in range(4)]
        # One more each six seconds that a busy machine takes, and then each four.
        assert 10 <= outcomes.count(CallOutcome.CONNECTED) <= 15
        for _ in range(6):  # six pseudonyms
            caller = await caller_from(stage, EVIL)
            outcomes += [(await caller.call(RID)).outcome for _ in range(4)]
        assert outcomes.count(CallOutcome.CONNECTED) <= 22
        honest = await caller_from(stage, "127.0.0.8")
        assert (await honest.call(RID)).outcome == CallOutcome.CONNECTED


@pytest.mark.row("A29")
async def test_a_hundred_who_stop_after_each_step_delay_no_call() -> None:
    limits = Limits(half_open_per_address=200)
    async with relaying(limits) as stage:
        stuck: list[socket.socket] = []
        for number in range(100):
            beginning = (b"", b"H", STREAM_MAGIC, b"\x16\x03\x01\x00\xff")[number % 4]
            stuck.append(await raw(stage, EVIL, beginning))
        silent = [await caller_from(stage, EVIL) for _ in range(10)]  # after the handshake
        assert await is_served(stage)
        for each in stuck:
            each.close()
        silent[0].say(RelayPing(1))
        assert await silent[0].hear() == RelayPong(1)
