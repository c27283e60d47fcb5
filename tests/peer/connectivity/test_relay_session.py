"""One talk with one relay: answers, silence, and a relay that does not keep to the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from peer.connectivity import relay_session as module
from peer.connectivity.relay_session import NotThere, RelaySession
from protocol.errors import LinkError
from protocol.link import Link, LinkKind
from protocol.relay_messages import (
    Call,
    Called,
    CallOutcome,
    Incoming,
    Register,
    Registered,
    RelayMessage,
    RelayPing,
    RelayPong,
    decode,
    encode,
)
from tests.protocol.link_stage import link_pair

PREFIX = b"\x80" + b"p" * 7


class Stage:
    """A session, and its relay by hand."""

    def __init__(self, relay: Link, session: RelaySession, tickets: list[bytes]) -> None:
        self.relay, self.session, self.tickets = relay, session, tickets

    async def hear(self) -> RelayMessage:
        async with asyncio.timeout(60):
            frame = await self.relay.receive()
        assert frame is not None
        return decode(*frame)

    def say(self, message: RelayMessage) -> None:
        number, payload = encode(message)
        self.relay.send(number, [payload])


@asynccontextmanager
async def talking() -> AsyncIterator[Stage]:
    async with link_pair(LinkKind.TLS) as (client, server):
        tickets: list[bytes] = []
        session = RelaySession(client, lambda ticket, prefix: tickets.append(ticket))
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run())
            yield Stage(server, session, tickets)
            server.abort()
            async with asyncio.timeout(60):
                await running


async def test_questions_are_answered_in_any_order() -> None:
    async with talking() as stage, asyncio.TaskGroup() as tasks:
        calling = tasks.create_task(stage.session.call(b"r" * 16))
        registering = tasks.create_task(stage.session.register([b"r" * 16], [7]))
        call, register = await stage.hear(), await stage.hear()
        assert isinstance(call, Call)
        assert isinstance(register, Register)
        stage.say(Incoming(b"i" * 32, b""))
        stage.say(Registered(register.number, (7,)))
        stage.say(Called(99, CallOutcome.CONNECTED, b"x" * 32, b""))  # nobody asked
        stage.say(Called(call.number, CallOutcome.CONNECTED, b"t" * 32, PREFIX))
        called = await calling
        assert (called.ticket, called.prefix) == (b"t" * 32, PREFIX)
        assert await registering == (7,)
        assert stage.tickets == [b"i" * 32]


@pytest.mark.parametrize(
    ("outcome", "error"), [(CallOutcome.NOT_THERE, NotThere), (CallOutcome.BUSY, LinkError)]
)
async def test_a_call_that_leads_nowhere(outcome: int, error: type[LinkError]) -> None:
    async with talking() as stage:
        calling = asyncio.ensure_future(stage.session.call(7))
        call = await stage.hear()
        assert isinstance(call, Call)
        stage.say(Called(call.number, outcome, b"", b""))
        with pytest.raises(error):
            await calling


async def test_a_relay_that_is_lost_is_said_to_all_who_wait() -> None:
    async with talking() as stage:
        asking = [
            asyncio.ensure_future(stage.session.call(7)),
            asyncio.ensure_future(stage.session.register([], [])),
        ]
        await stage.hear()
        stage.relay.abort()
        for one in asking:
            with pytest.raises(LinkError, match="lost"):
                await one
        with pytest.raises(LinkError, match="lost"):
            await stage.session.call(7)


async def test_a_relay_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.1)
    async with talking() as stage:
        with pytest.raises(LinkError, match="does not answer"):
            await stage.session.call(7)


async def test_a_silent_relay_is_asked_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.2)
    async with talking() as stage:
        stage.session.doubt()
        ping = await stage.hear()
        assert isinstance(ping, RelayPing)
        stage.say(RelayPong(ping.value))
        stage.session.doubt()
        assert isinstance(await stage.hear(), RelayPing)
        async with asyncio.timeout(60):
            assert await stage.relay.receive() is None


async def test_it_says_something_before_routers_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PING_INTERVAL_S", 0.05)
    async with talking() as stage:
        for _ in range(3):
            ping = await stage.hear()
            assert isinstance(ping, RelayPing)
            stage.say(RelayPong(ping.value))


async def test_a_relay_that_carries_something_is_asked_more_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CARRYING_INTERVAL_S", 0.02)
    monkeypatch.setattr(module, "SLOW_S", 0.05)
    async with talking() as stage:
        slow: list[bool] = []
        looks: list[bool] = []
        stage.session.on_slow = lambda: slow.append(stage.session.is_slow)

        def look() -> bool:
            looks.append(True)
            return False

        stage.session.is_carrying = look
        while len(looks) < 3:  # it looks whether it carries anything, and does not ask
            await asyncio.sleep(0.01)
        stage.session.is_carrying = lambda: True
        ping = await stage.hear()
        assert isinstance(ping, RelayPing)
        async with asyncio.timeout(60):
            while not slow:
                await asyncio.sleep(0.01)
        assert slow == [True], "said before it is given up"
        stage.say(RelayPong(ping.value))
        assert isinstance(await stage.hear(), RelayPing)
        assert not stage.session.is_over


@pytest.mark.row("A33")
@pytest.mark.parametrize("frame", [encode(RelayPing(1)), (53, b"rubbish"), (200, b""), (1, b"x")])
async def test_a_relay_that_breaks_the_protocol_is_lost(frame: tuple[int, bytes]) -> None:
    async with talking() as stage:
        stage.relay.send(frame[0], [frame[1]])
        async with asyncio.timeout(60):
            assert await stage.relay.receive() is None


@pytest.mark.parametrize("turns", range(6))
async def test_who_is_cancelled_while_the_link_is_lost_ends(turns: int) -> None:
    """At some of these turns the loss has been noticed, and its cleaning up is under way."""
    async with link_pair(LinkKind.TLS) as (client, _):
        session = RelaySession(client, lambda ticket, prefix: None)

        async def again_and_again() -> None:
            while True:
                await session.run()
                await asyncio.sleep(0)

        running = asyncio.ensure_future(again_and_again())
        await asyncio.sleep(0.01)
        client.abort()
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait({running}, timeout=1.0)
        assert running.cancelled()
