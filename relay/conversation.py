"""One device's talk with the relay: what it may ask, how often, and what it is answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from protocol.errors import ErrorCode, LimitReached, TimedOut, Unexpected
from protocol.link import Link
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
from relay.allowance import Allowance
from relay.calls import Calls
from relay.registry import Client, Registry

log = logging.getLogger(__name__)

SILENCE_MAX_S: Final = 90.0
"""A device pings every 25 s."""
UNSENT_BYTES_MAX: Final = 256 << 10
"""More than this unread, and a device is not told of calls any more."""
MESSAGES_PER_MINUTE: Final = 240
"""Of one device: more is an offence, for an honest one needs a tenth of it."""
CALLS_PER_MINUTE: Final = 60
"""Of one device; it looks for each of its others once a minute, and for a newcomer at once."""
GUESSES_PER_MINUTE: Final = 30
"""Calls of nameplates from one address: each may burn a try of somebody's code."""
RINGS_PER_MINUTE: Final = 120
"""Calls of one device, whoever calls."""


class Desk:
    """What all conversations share."""

    def __init__(self, calls: Calls) -> None:
        self.registry = Registry()
        self.calls = calls
        self.links: dict[Client, Link] = {}
        self.counts: dict[str, int] = {}
        """What was refused, by the name of the error; for the log, without addresses."""
        self.messages = Allowance(MESSAGES_PER_MINUTE)
        self.callers = Allowance(CALLS_PER_MINUTE)
        self.guesses = Allowance(GUESSES_PER_MINUTE)
        self.rings = Allowance(RINGS_PER_MINUTE)


async def converse(desk: Desk, client: Client, link: Link, clock: Callable[[], float]) -> None:
    """Answers a device until its link ends; raises ProtocolError for an offence."""
    old = desk.registry.enter(client)
    if old is not None and (old_link := desk.links.pop(old, None)) is not None:
        old_link.abort()  # for the device it is gone, or it would not have come again
    desk.links[client] = link
    try:
        while True:
            async with asyncio.timeout(SILENCE_MAX_S):
                frame = await link.receive()
                if frame is None:
                    return
                answer = _answer(desk, client, decode(*frame), clock())
                if answer is not None:
                    send(link, answer)
                    await link.drain()
    except TimeoutError:
        link.abort(ErrorCode.TIMEOUT)
        raise TimedOut("a device was silent for too long") from None
    finally:
        desk.registry.leave(client)
        if desk.links.get(client) is link:
            del desk.links[client]


def send(link: Link, message: RelayMessage) -> None:
    """Queues one message."""
    number, payload = encode(message)
    link.send(number, [payload])


def _answer(desk: Desk, client: Client, message: RelayMessage, now: float) -> RelayMessage | None:
    if not desk.messages.take(client.pseudonym, now):
        raise LimitReached("too many messages in a minute")
    match message:
        case Register(number, rendezvous, nameplates):
            return Registered(number, desk.registry.register(client, rendezvous, nameplates))
        case Call():
            return _call(desk, client, message, now)
        case RelayPing(value):
            return RelayPong(value)
        case _:
            raise Unexpected("a message that only a relay sends, or one of the handshake")


def _call(desk: Desk, client: Client, message: Call, now: float) -> Called:
    refused = Called(message.number, CallOutcome.BUSY, b"")
    if not desk.callers.take(client.pseudonym, now):
        return refused
    if isinstance(message.target, int) and not desk.guesses.take(client.host, now):
        return refused
    called = desk.registry.find(message.target)
    link = desk.links.get(called) if called is not None else None
    if called is None or called is client or link is None or link.is_closed:
        return Called(message.number, CallOutcome.NOT_THERE, b"")
    if link.unsent_bytes > UNSENT_BYTES_MAX or not desk.rings.take(called.pseudonym, now):
        return refused
    call = desk.calls.begin(client, now)
    if call is None:
        return refused
    send(link, Incoming(call.tickets[1]))
    return Called(message.number, CallOutcome.CONNECTED, call.tickets[0])


def summary(counts: Mapping[str, int]) -> str:
    """What was refused, in a line for the log."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing"
