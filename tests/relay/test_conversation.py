"""What a device may ask of a relay, how often, and what an offence is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from protocol.relay_messages import (
    NAMEPLATES_MAX,
    Call,
    CallOutcome,
    Register,
    RelayKeys,
    RelayPing,
    RelayPong,
)
from protocol.words import NAMEPLATE_MAX
from relay import conversation as module
from relay.allowance import Allowance
from relay.conversation import GUESSES_PER_MINUTE, summary
from tests.relay.relay_stage import relaying, until

RID = b"r" * 16


async def test_nobody_calls_itself_or_who_is_not_there() -> None:
    async with relaying() as stage:
        caller = await stage.caller()
        await caller.register((RID,), (7,))
        for target in (RID, 7, b"x" * 16, 8):
            assert (await caller.call(target)).outcome == CallOutcome.NOT_THERE
        assert len(stage.relay.desk.calls) == 0


@pytest.mark.row("A29")
async def test_calls_and_guesses_and_rings_have_a_measure() -> None:
    async with relaying() as stage:
        one, two, called = [await stage.caller() for _ in range(3)]
        await called.register((RID,), (7,))
        stage.relay.desk.callers = Allowance(2)
        assert [(await one.call(RID)).outcome for _ in range(3)] == [0, 0, CallOutcome.BUSY]
        stage.relay.desk.callers = Allowance(100)
        stage.relay.desk.guesses = Allowance(1)
        assert (await one.call(7)).outcome == CallOutcome.CONNECTED
        assert (await two.call(7)).outcome == CallOutcome.BUSY, "guesses count by address"
        assert (await two.call(RID)).outcome == CallOutcome.CONNECTED
        stage.relay.desk.rings = Allowance(1)
        assert (await two.call(RID)).outcome == CallOutcome.CONNECTED
        assert (await one.call(RID)).outcome == CallOutcome.BUSY


@pytest.mark.row("A24")
async def test_who_goes_through_all_numbers_reaches_thirty_a_minute(
    record_property: Callable[[str, object], None],
) -> None:
    """Under as many pseudonyms as it likes: what counts is its address. Who shows a number hears of
    those that reached it and of no others, and each of these has to spend a try of the code.
    """
    async with relaying() as stage:
        showing = await stage.caller()
        await showing.register((), tuple(range(1, NAMEPLATES_MAX + 1)))
        reached = asked = 0
        for _ in range(5):
            guesser = await stage.caller()
            for number in range(1, 2 * NAMEPLATES_MAX):
                asked += 1
                reached += (await guesser.call(number)).outcome == CallOutcome.CONNECTED
        assert 0 < reached <= GUESSES_PER_MINUTE < asked
        for _ in range(reached):
            await showing.ring()
        showing.say(RelayPing(1))
        assert await showing.hear() == RelayPong(1), "and of nothing else"
        hours = NAMEPLATE_MAX / GUESSES_PER_MINUTE / 60
        record_property("figure", f"{hours:.1f} h for all numbers at a relay from one address")


@pytest.mark.row("A29")
async def test_too_many_messages_are_an_offence(monkeypatch: pytest.MonkeyPatch) -> None:
    async with relaying() as stage:
        stage.relay.desk.messages = Allowance(3)
        caller, other = await stage.caller(), await stage.caller()
        for number in range(3):
            caller.say(RelayPing(number))
            assert await caller.hear() == RelayPong(number)
        caller.say(RelayPing(3))
        assert await caller.hear() is None
        other.say(RelayPing(9))
        assert await other.hear() == RelayPong(9)
        await until(lambda: stage.relay.desk.counts.get("LimitReached") == 1)


async def test_what_only_a_relay_says_is_an_offence() -> None:
    async with relaying() as stage:
        for message in (RelayPong(1), RelayKeys(1, b"s" * 32, b"d" * 32)):
            caller = await stage.caller()
            caller.say(message)
            assert await caller.hear() is None


@pytest.mark.row("A29")
async def test_who_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_MAX_S", 0.2)
    async with relaying() as stage:
        caller = await stage.caller()
        await caller.register((RID,))
        assert await caller.hear() is None
        await until(lambda: len(stage.relay.desk.registry) == 0)
        assert not stage.relay.desk.links


async def test_an_end_takes_the_registration_with_it() -> None:
    async with relaying() as stage:
        caller, other = await stage.caller(), await stage.caller()
        await caller.register((RID,), (7,))
        await other.register()
        caller.link.abort()
        await until(lambda: len(stage.relay.desk.registry) == 1)
        assert (await other.call(RID)).outcome == CallOutcome.NOT_THERE


async def test_a_device_that_does_not_read_is_not_told_for_ever() -> None:
    async with relaying() as stage:
        caller, deaf = await stage.caller(), await stage.caller()
        await deaf.register((RID,))
        (client,) = [c for c in stage.relay.desk.links if c.waits_at]
        link = stage.relay.desk.links[client]
        link._is_writable = False  # type: ignore[attr-defined]  # as above its high-water mark
        assert (await caller.call(RID)).outcome == CallOutcome.BUSY


async def test_a_full_relay_ends_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.registry.RENDEZVOUS_IN_ALL_MAX", 1)
    async with relaying() as stage:
        caller = await stage.caller()
        caller.say(Register(1, (RID, b"s" * 16), ()))
        assert await caller.hear() is None


async def test_requests_may_be_many_at_once() -> None:
    async with relaying() as stage:
        caller, called = await stage.caller(), await stage.caller()
        await called.register((RID,))
        for number in range(10):
            caller.say(Call(number, RID))
        answers = [await caller.hear() for _ in range(10)]
        assert [answer.number for answer in answers] == list(range(10))  # type: ignore[union-attr]
        rings = {await called.ring() for _ in range(10)}
        assert len(rings) == 10
        await asyncio.sleep(0)


def test_a_summary_names_no_address() -> None:
    assert summary({}) == "nothing"
    assert summary({"b": 2, "a": 1}) == "a 1, b 2"
