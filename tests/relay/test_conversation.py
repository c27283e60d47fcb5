"""What a device may ask of a relay, how often, and what an offence is."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from crypto.relay_ids import invitation_tag
from protocol.relay_links import open_stream
from protocol.relay_messages import (
    NAMEPLATES_MAX,
    Admission,
    AdmissionOutcome,
    Admit,
    Call,
    CallOutcome,
    Register,
    RelayKeys,
    RelayPing,
    RelayPong,
)
from protocol.relay_token import parse_token
from protocol.words import NAMEPLATE_MAX
from relay import conversation as module
from relay.admissions import Admissions, invite, withdraw
from relay.allowance import Allowance
from relay.conversation import summary
from relay.limits import MIB, Limits
from relay.store import RelayStore
from relay.usage import Usage
from tests.relay.relay_stage import Caller, RelayStage, new_keys, relaying, until

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
        assert 0 < reached <= Limits().codes_per_minute_per_address < asked
        for _ in range(reached):
            await showing.ring()
        showing.say(RelayPing(1))
        assert await showing.hear() == RelayPong(1), "and of nothing else"
        hours = NAMEPLATE_MAX / Limits().codes_per_minute_per_address / 60
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


async def test_a_full_relay_ends_the_link() -> None:
    async with relaying(Limits(waiting_places=1)) as stage:
        caller = await stage.caller()
        caller.say(Register(1, (RID, b"s" * 16), ()))
        assert await caller.hear() is None


@asynccontextmanager
async def closed(tmp_path: Path) -> AsyncIterator[tuple[RelayStage, RelayStore]]:
    store = await RelayStore.open(tmp_path)
    async with relaying(admissions=Admissions(store, False, time.time)) as stage:
        yield stage, store
    await store.close()


async def shown(caller: Caller, token: bytes) -> int:
    caller.say(Admit(token))
    answer = await caller.hear()
    assert isinstance(answer, Admission)
    return answer.outcome


async def test_a_closed_relay_lets_in_who_was_invited(tmp_path: Path) -> None:
    async with closed(tmp_path) as (stage, store):
        token = await invite(store, 1, 1, time.time(), os.urandom)
        assert token is not None
        keys, caller = new_keys(), await stage.caller()
        guest = await stage.caller(keys)
        for message in (Register(1, (RID,), ()), Call(1, RID)):
            guest.say(message)
            assert await guest.hear() == Admission(AdmissionOutcome.NEEDED)
        assert stage.relay.desk.registry.places == 0
        assert await shown(guest, bytes(16)) == AdmissionOutcome.REFUSED
        assert await shown(guest, parse_token(token)) == AdmissionOutcome.ADMITTED
        assert await guest.register((RID,)) == ()
        again = await stage.caller(keys)  # it stays in, and needs no token any more
        assert await again.register((RID,)) == ()
        assert await shown(caller, parse_token(token)) == AdmissionOutcome.REFUSED, "used up"


async def test_a_guest_of_a_closed_relay_may_call_a_code_and_no_more(tmp_path: Path) -> None:
    async with closed(tmp_path) as (stage, store):
        token = await invite(store, 1, 1, time.time(), os.urandom)
        assert token is not None
        shows, guest = await stage.caller(), await stage.caller()
        assert await shown(shows, parse_token(token)) == AdmissionOutcome.ADMITTED
        assert await shows.register((RID,), (7,)) == ()
        assert (await guest.call(7)).outcome == CallOutcome.CONNECTED
        guest.say(Register(1, (), (8,)))
        assert await guest.hear() == Admission(AdmissionOutcome.NEEDED)
        guest.say(RelayPing(1))
        assert await guest.hear() == RelayPong(1)


@pytest.mark.row("A29")
async def test_a_guest_stays_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GUEST_MAX_S", 0.2)
    async with closed(tmp_path) as (stage, _):
        guest = await stage.caller()
        number = 0
        with suppress(AssertionError):  # the link's end, in place of an answer
            while True:
                guest.say(RelayPing(number))
                assert await guest.hear() == RelayPong(number)
                number += 1
                await asyncio.sleep(0.03)
        await until(lambda: len(stage.relay.desk.registry) == 0)


@pytest.mark.row("A29")
async def test_tokens_are_guessed_a_few_a_minute_from_one_address(tmp_path: Path) -> None:
    async with closed(tmp_path) as (stage, store):
        token = await invite(store, 1, 1, time.time(), os.urandom)
        assert token is not None
        callers = [await stage.caller() for _ in range(2)]
        for _ in range(module.TOKENS_PER_MINUTE // 2):
            for caller in callers:
                assert await shown(caller, os.urandom(16)) == AdmissionOutcome.REFUSED
        assert await shown(callers[0], parse_token(token)) == AdmissionOutcome.NEEDED


async def test_who_was_let_in_is_put_out_with_the_invitation(tmp_path: Path) -> None:
    async with closed(tmp_path) as (stage, store):
        tokens = [await invite(store, 2, 1, time.time(), os.urandom) for _ in range(2)]
        one, other = await stage.caller(), await stage.caller()
        for caller, token in zip((one, other), tokens, strict=True):
            assert await shown(caller, parse_token(token or "")) == AdmissionOutcome.ADMITTED
            await caller.register()
        await stage.relay.expel()
        tag = invitation_tag(parse_token(tokens[0] or ""))
        assert await withdraw(store, tag.hex()[:12]) == 1
        await stage.relay.expel()
        assert await one.hear() is None
        other.say(RelayPing(1))
        assert await other.hear() == RelayPong(1)


@pytest.mark.row("A29")
@pytest.mark.parametrize(
    "limits", [Limits(mib_per_day_per_device=1), Limits(mib_per_day_per_address=1)]
)
async def test_a_quota_is_not_evaded_by_coming_again(limits: Limits) -> None:
    """Nor, by address, under many pseudonyms."""
    usage = Usage(limits)
    async with relaying(limits, usage=usage) as stage:
        keys, called = new_keys(), await stage.caller()
        await called.register((RID,))
        caller = await stage.caller(keys)
        tickets = await stage.call(caller, called, RID)
        one = await open_stream(stage.place, tickets[0])
        other = await open_stream(stage.place, tickets[1])
        await asyncio.get_running_loop().sock_sendall(one, bytes(MIB // 2))
        await until(lambda: usage.bytes == MIB // 2)
        with suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(one, bytes(MIB))
        await until(lambda: len(stage.relay.desk.calls) == 0)  # both streams are closed
        again = await stage.caller(keys)
        assert (await again.call(RID)).outcome == CallOutcome.OVER_QUOTA
        is_by_address = bool(limits.mib_per_day_per_address)
        stranger, target = await stage.caller(), await stage.caller()
        await target.register((b"s" * 16,))
        outcome = (await stranger.call(b"s" * 16)).outcome
        assert outcome == (CallOutcome.OVER_QUOTA if is_by_address else CallOutcome.CONNECTED)
        one.close()
        other.close()


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
