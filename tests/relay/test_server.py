"""The relay's door: who gets in, what is joined with what, and what the hostile get."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import socket
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import RelayId
from crypto.keys import DeviceKeys
from protocol import tls
from protocol.errors import LinkError
from protocol.relay_links import dial_relay, open_stream
from protocol.relay_messages import (
    FORMS,
    STREAM_MAGIC,
    Call,
    Called,
    CallOutcome,
    Incoming,
    Register,
    RelayMessage,
    RelayNumber,
    RelayPing,
    RelayPong,
    encode,
    stream_prefix,
)
from relay import server as module
from relay.errors import AddressInUse
from relay.limits import Limits
from relay.ports import listen
from tests.relay.relay_stage import LOOPBACK, Caller, RelayStage, new_keys, relaying, until

RID = b"r" * 16


async def _receive(stream: socket.socket, size: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    async with asyncio.timeout(60):
        while len(data) < size and (piece := await loop.sock_recv(stream, size - len(data))):
            data += piece
    return data


async def _raw(stage: RelayStage) -> socket.socket:
    stream = socket.socket()
    stream.setblocking(False)
    await asyncio.get_running_loop().sock_connect(stream, stage.place)
    return stream


# ---------------------------------------------------------------- what it is for


async def test_two_devices_are_joined_byte_for_byte() -> None:
    async with relaying() as stage:
        one, other = await stage.joined()
        with one, other:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(one, b"to other")
            await loop.sock_sendall(other, b"to one")
            assert await _receive(other, 8) == b"to other"
            assert await _receive(one, 6) == b"to one"
            one.shutdown(socket.SHUT_WR)
            assert await _receive(other, 1) == b""
            await loop.sock_sendall(other, b"still")
            assert await _receive(one, 5) == b"still"
        await until(lambda: len(stage.relay.desk.calls) == 0)


async def test_the_calls_of_others_are_not_mixed() -> None:
    async with relaying() as stage:
        pairs = [await stage.joined() for _ in range(5)]
        loop = asyncio.get_running_loop()
        for number, (one, _) in enumerate(pairs):
            await loop.sock_sendall(one, bytes([number]) * 100_000)
        for number, (_, other) in enumerate(pairs):
            assert await _receive(other, 100_000) == bytes([number]) * 100_000
        for one, other in pairs:
            one.close()
            other.close()


async def test_a_nameplate_leads_to_who_shows_it_first() -> None:
    async with relaying() as stage:
        shows, rival, joins = [await stage.caller() for _ in range(3)]
        assert await shows.register(nameplates=(7,)) == ()
        assert await rival.register(nameplates=(7, 8)) == (7,)
        assert (await joins.call(7)).outcome == CallOutcome.CONNECTED
        assert len(await shows.ring()) == 32
        assert await shows.register() == ()
        assert (await joins.call(7)).outcome == CallOutcome.NOT_THERE
        assert await rival.register(nameplates=(7,)) == ()


async def test_who_comes_again_takes_its_own_place() -> None:
    async with relaying() as stage:
        keys = new_keys()
        first = await stage.caller(keys)
        await first.register((RID,))
        second = await stage.caller(keys)
        assert await first.hear() is None
        caller = await stage.caller()
        assert (await caller.call(RID)).outcome == CallOutcome.NOT_THERE
        await second.register((RID,))
        assert (await caller.call(RID)).outcome == CallOutcome.CONNECTED
        assert len(stage.relay.desk.registry) == 2


async def test_nobody_takes_over_where_another_waits() -> None:
    async with relaying() as stage:
        honest, thief, caller = [await stage.caller() for _ in range(3)]
        await honest.register((RID,))
        await thief.register((RID,))
        assert (await caller.call(RID)).outcome == CallOutcome.CONNECTED
        assert await honest.ring()


async def test_a_ping_is_answered() -> None:
    async with relaying() as stage:
        caller = await stage.caller()
        caller.say(RelayPing(7))
        assert await caller.hear() == RelayPong(7)


async def test_a_port_in_use_is_said() -> None:
    async with relaying() as stage:
        with pytest.raises(AddressInUse, match="--listen"):
            listen(LOOPBACK, stage.relay.port)
    with pytest.raises(AddressInUse, match="no-such-host"):
        listen("no-such-host.invalid", 0)


# ---------------------------------------------------------------- who it is


async def test_another_relay_at_the_address_is_found_out() -> None:
    async with relaying() as stage:
        wrong = replace(stage.address, relay_id=RelayId(os.urandom(32)))
        with pytest.raises(LinkError, match="not the relay"):
            await dial_relay(wrong, new_keys())


async def test_who_copies_a_relay_s_public_keys_cannot_answer_for_it() -> None:
    """The fingerprint is that of the keys, so an impostor shows them; it cannot use them."""
    async with relaying() as stage:
        real, own = stage.relay._keys, new_keys()
        impostor = DeviceKeys(own.sign_seed, own.dh_secret, bytes(32), bytes(32))
        for name in ("sign_public", "dh_public", "device_id"):
            object.__setattr__(impostor, name, getattr(real, name))
        stage.relay._keys = impostor
        with pytest.raises(LinkError, match="not the relay"):
            await dial_relay(stage.address, new_keys())


async def test_a_prober_that_does_not_know_the_address_hears_nothing() -> None:
    async with relaying() as stage:
        for frame in ((48, b"\x82\x01\x58\x20" + bytes(32)), (1, b"x"), (50, b"\x80"), (255, b"")):
            link = await tls.dial(LOOPBACK, stage.relay.port)
            link.send(frame[0], [frame[1]])
            assert await link.receive() is None
            link.abort()


# ---------------------------------------------------------------- the hostile


@pytest.mark.row("A33")
async def test_rubbish_and_frames_too_long_end_their_own_connection_only() -> None:
    async with relaying() as stage:
        honest = await stage.caller()
        for rubbish in (b"GET / HTTP/1.0\r\n\r\n", bytes(200), b"\x16" + os.urandom(400)):
            stream = await _raw(stage)
            with stream:
                await asyncio.get_running_loop().sock_sendall(stream, rubbish)
                await _receive(stream, 1 << 16)
        for frame in ((51, bytes(10)), (52, b"\x82\x01\x00"), (50, b"\xff"), (53, bytes(17_000))):
            caller = await stage.caller()
            caller.link.send(frame[0], [frame[1]])
            assert await caller.hear() is None
        honest.say(RelayPing(1))
        assert await honest.hear() == RelayPong(1)
        await until(lambda: len(stage.relay.half_open) == 0)
        await until(lambda: len(stage.relay.desk.registry) == 1)


@pytest.mark.row("A33")
async def test_a_ticket_is_good_once_and_for_one_end() -> None:
    async with relaying() as stage:
        one, other = await stage.caller(), await stage.caller()
        await other.register((RID,))
        tickets = await stage.call(one, other, RID)
        first = await open_stream(stage.place, tickets[0])
        await until(lambda: stage.relay.desk.calls.tickets == 1)
        again = await open_stream(stage.place, tickets[0])  # a replay
        assert await _receive(again, 1) == b""
        guess = await open_stream(stage.place, os.urandom(32))
        assert await _receive(guess, 1) == b""
        second = await open_stream(stage.place, tickets[1])
        await asyncio.get_running_loop().sock_sendall(first, b"hello")
        assert await _receive(second, 5) == b"hello"
        late = await open_stream(stage.place, tickets[1])
        assert await _receive(late, 1) == b""
        for stream in (first, again, guess, second, late):
            stream.close()


@pytest.mark.row("A29")
async def test_half_a_call_ends_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    async with relaying() as stage:
        one, other = await stage.caller(), await stage.caller()
        await other.register((RID,))
        tickets = await stage.call(one, other, RID)
        stream = await open_stream(stage.place, tickets[0])
        await until(lambda: stage.relay.desk.calls.tickets == 1)
        stage.relay.desk.calls.expire(asyncio.get_running_loop().time() + 11)
        assert await _receive(stream, 1) == b""
        assert (len(stage.relay.desk.calls), stage.relay.desk.calls.tickets) == (0, 0)
        stream.close()


@pytest.mark.row("A29")
@pytest.mark.parametrize("beginning", [b"", b"H", STREAM_MAGIC + bytes(31), b"\x16\x03\x01"])
async def test_who_stops_at_a_step_keeps_its_place_for_seconds_only(
    beginning: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HALF_OPEN_TIMEOUT_S", 0.2)
    async with relaying() as stage:
        enter, entered = stage.relay.half_open.enter, []

        def note(*args: Any) -> Any:
            entered.append(args)
            return enter(*args)

        monkeypatch.setattr(stage.relay.half_open, "enter", note)
        with await _raw(stage) as stream:
            if beginning:
                await asyncio.get_running_loop().sock_sendall(stream, beginning)
            await until(lambda: entered and len(stage.relay.half_open) == 0)
            assert len(await _receive(stream, 100)) < 100


@pytest.mark.row("A29")
async def test_one_address_has_few_half_open_places() -> None:
    async with relaying(Limits(half_open_per_address=32)) as stage:
        streams = [await _raw(stage) for _ in range(32)]
        await until(lambda: len(stage.relay.half_open) == 32)
        beyond = await _raw(stage)
        assert await _receive(beyond, 1) == b""
        for stream in (*streams, beyond):
            stream.close()
        await until(lambda: len(stage.relay.half_open) == 0)
        await stage.caller()


async def test_one_address_has_so_many_devices() -> None:
    async with relaying(Limits(devices_per_address=2)) as stage:
        callers = [await stage.caller() for _ in range(3)]
        for caller in callers[:2]:
            await caller.register()
        assert await callers[2].hear() is None


async def test_a_stream_s_own_first_bytes_are_not_lost() -> None:
    """They may come in one packet with the ticket."""
    async with relaying() as stage:
        one, other = await stage.caller(), await stage.caller()
        await other.register((RID,))
        tickets = await stage.call(one, other, RID)
        with await _raw(stage) as first:
            prefix = stream_prefix(tickets[0])
            await asyncio.get_running_loop().sock_sendall(first, prefix + b"and more")
            with await open_stream(stage.place, tickets[1]) as second:
                assert await _receive(second, 8) == b"and more"


async def test_stopping_closes_everything() -> None:
    async with relaying() as stage:
        caller = await stage.caller()
        await caller.register()
        one, other = await stage.joined()
        waiting = await _raw(stage)
        await stage.relay.stop()
        assert await caller.hear() is None
        for stream in (one, other, waiting):
            with stream, contextlib.suppress(ConnectionResetError):  # one that was not accepted yet
                assert await _receive(stream, 1) == b""


# ---------------------------------------------------------------- what is written of it

SPEC = (Path(__file__).parents[2] / "protocol" / "SPEC.md").read_text()
SPEC = SPEC.partition("\n## 14. ")[2].partition("\n## 15. ")[0]


def rows_of(heading: str) -> list[list[str]]:
    found = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", SPEC, re.MULTILINE)
    assert found is not None
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found[1].splitlines()]


def test_messages_are_those_of_the_specification() -> None:
    assert rows_of("number") == [
        [str(number.value), number.name, form.type.__name__, f"`[{schema}]`"]
        for number, form in FORMS.items()
        for schema in [", ".join(field.schema for field in form.fields)]
    ]


def test_limits_are_those_of_the_specification() -> None:
    rows = rows_of("limit")
    assert len(rows) == 35
    for name, shown in rows:
        where, constant = name.strip("`").rsplit(".", 1)
        is_limit = where.endswith(".Limits")
        value = getattr(Limits() if is_limit else importlib.import_module(where), constant)
        unit = " s" if constant.endswith("_S") else ""
        unit = " bytes" if "LENGTH" in constant or "BYTES" in constant else unit
        assert shown == (f"{value:,g}{unit}" if unit == " s" else f"{value:,}{unit}")


async def example_exchange() -> list[str]:
    """What two devices and a relay say, with bytes shortened."""
    said: list[str] = []
    names = {RID: "R…"}

    def note(arrow: str, message: RelayMessage) -> None:
        fields = []
        for field in dataclass_fields(message):
            value = getattr(message, field.name)
            values = value if isinstance(value, tuple) else (value,)
            shown = ["''" if v == b"" else names.get(v, str(v)) for v in values]
            fields.append(f"[{', '.join(shown)}]" if isinstance(value, tuple) else shown[0])
        number, _ = encode(message)
        said.append(f"{arrow}  {RelayNumber(number).name} [{', '.join(fields)}]")

    async with relaying() as stage:
        caller, waits = await stage.caller(), await stage.caller()

        async def ask(who: str, device: Caller, message: RelayMessage) -> RelayMessage:
            note(f"{who} → relay", message)
            device.say(message)
            answer = await device.hear()
            assert answer is not None
            if isinstance(answer, Called) and answer.ticket:
                names[answer.ticket] = "T…"
            note(f"{who} ← relay", answer)
            return answer

        await ask("waiting", waits, Register(1, (RID,), (7,)))
        await ask("calling", caller, Call(1, 8))
        called = await ask("calling", caller, Call(2, RID))
        incoming = await waits.hear()
        assert isinstance(called, Called)
        assert isinstance(incoming, Incoming)
        names[incoming.ticket] = "U…"
        note("waiting ← relay", incoming)
        for who, ticket in (("calling", called.ticket), ("waiting", incoming.ticket)):
            said.append(f"{who} → relay  a stream: HFR1 {names[ticket]}")
            (await open_stream(stage.place, ticket)).close()
        await ask("waiting", waits, RelayPing(7))
    return said


async def test_the_example_is_a_real_exchange() -> None:
    written = [line.strip() for line in SPEC.splitlines() if line.startswith("    ")]
    assert written == await example_exchange()
