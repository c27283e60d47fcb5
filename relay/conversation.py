"""One device's talk with the relay: what it may ask, how often, and what it is answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from protocol.errors import ErrorCode, LimitReached, TimedOut, Unexpected
from protocol.link import Link
from protocol.mailbox_messages import (
    MailboxDone,
    MailboxMessage,
    MailboxOutcome,
    MailboxRequest,
)
from protocol.relay_messages import (
    Admission,
    AdmissionOutcome,
    Admit,
    Call,
    Called,
    CallOutcome,
    Incoming,
    Register,
    Registered,
    RelayMessage,
    RelayPing,
    RelayPong,
    UdpAsk,
    UdpKey,
    decode,
    encode,
)
from protocol.storage_messages import StoreBegan, StoreBegin, StoreOutcome
from relay import storage_talk
from relay.admissions import Admissions
from relay.allowance import Allowance
from relay.calls import Calls
from relay.ferries import Ferries
from relay.limits import Limits
from relay.mailboxes import Mailboxes
from relay.registry import Client, Registry
from relay.sightings import Sightings
from relay.storage_desk import StorageDesk
from relay.usage import Usage

log = logging.getLogger(__name__)

SILENCE_MAX_S: Final = 90.0
"""A device pings every 25 s."""
UNSENT_BYTES_MAX: Final = 256 << 10
"""More than this unread, and a device is not told of calls any more."""
GUEST_MAX_S: Final = 60.0
"""What a closed relay gives who is not let in yet: time to call a code and to show a token."""
TOKENS_PER_MINUTE: Final = 10
"""Tokens shown from one address: 2^128 take longer, and each costs the database a look."""


class Desk:
    """What all conversations share."""

    def __init__(
        self,
        limits: Limits,
        calls: Calls,
        admissions: Admissions,
        usage: Usage,
        random: Callable[[int], bytes],
    ) -> None:
        self.registry = Registry(limits)
        self.calls, self.admissions, self.usage = calls, admissions, usage
        self.mailboxes: Mailboxes | None = None
        """None at a relay that keeps nothing."""
        self.storage: StorageDesk | None = None
        """None at a relay that stores no shares."""
        self.sightings = Sightings(random, limits.shows_per_minute)
        self.ferries = Ferries(self.sightings, random, self._carry, limits)
        self.links: dict[Client, Link] = {}
        self.wall_clock = time.time
        self.counts: dict[str, int] = {}
        """What was refused, by the name of the error; for the log, without addresses."""
        self.messages = Allowance(limits.messages_per_minute)
        self.callers = Allowance(limits.calls_per_minute)
        self.calls_by_host = Allowance(limits.calls_per_minute_per_address)
        self.guesses = Allowance(limits.codes_per_minute_per_address)
        self.rings = Allowance(limits.rings_per_minute)
        self.tokens = Allowance(TOKENS_PER_MINUTE)

    def _carry(self, both: tuple[Client, ...], count: int) -> bool:
        return self.usage.carry(both, count, self.wall_clock())


class _Talk:
    """A device's link, as mailboxes see it (relay.mailboxes.Talk)."""

    def __init__(self, link: Link) -> None:
        self.link_id = link.link_id
        self._link = link

    def say(self, message: MailboxMessage) -> None:
        """Queues one message; nothing for a device that does not read."""
        if self._link.unsent_bytes <= UNSENT_BYTES_MAX:
            send(self._link, message)


async def converse(desk: Desk, client: Client, link: Link, clock: Callable[[], float]) -> None:
    """Answers a device until its link ends; raises ProtocolError for an offence."""
    client.is_admitted = await desk.admissions.is_admitted(client.pseudonym)
    old = desk.registry.enter(client)
    if old is not None and (old_link := desk.links.pop(old, None)) is not None:
        old_link.abort()  # for the device it is gone, or it would not have come again
    desk.links[client] = link
    guest_until, talk = clock() + GUEST_MAX_S, _Talk(link)
    try:
        while True:
            until = clock() + SILENCE_MAX_S
            if not client.is_admitted:
                until = min(until, guest_until)
            async with asyncio.timeout_at(until):
                frame = await link.receive()
                if frame is None:
                    return
                message = decode(*frame)
                answer: RelayMessage | None = None
                if isinstance(message, StoreBegin) and desk.storage is not None:
                    begin = message
                    break  # from here on it is a link for storage, and waits for no call
                if isinstance(message, MailboxRequest):
                    await _answer_mailbox(desk, client, talk, message)
                elif not desk.messages.take(client.pseudonym, clock()):
                    raise LimitReached("too many messages in a minute")
                elif isinstance(message, Admit):
                    answer = await _admit(desk, client, message, clock())
                elif not client.is_admitted and not _is_for_guests(message):
                    answer = Admission(AdmissionOutcome.NEEDED)
                else:
                    answer = _answer(desk, client, message, clock())
                if answer is not None:
                    send(link, answer)
                await link.drain()
    except TimeoutError:
        link.abort(ErrorCode.TIMEOUT)
        raise TimedOut("a device was silent for too long") from None
    finally:
        if desk.mailboxes is not None:
            desk.mailboxes.leave(client)
        desk.registry.leave(client)
        if desk.links.get(client) is link:
            del desk.links[client]
            desk.sightings.leave(client.pseudonym, clock())
    await storage_talk.converse(desk.storage, client, link, begin, clock)


def send(link: Link, message: RelayMessage) -> None:
    """Queues one message."""
    number, payload = encode(message)
    link.send(number, [payload])


async def _answer_mailbox(desk: Desk, client: Client, talk: _Talk, request: MailboxRequest) -> None:
    if not client.is_admitted:
        talk.say(MailboxDone(request.number, MailboxOutcome.REFUSED))
    elif desk.mailboxes is None:
        talk.say(MailboxDone(request.number, MailboxOutcome.FULL))
    else:
        await desk.mailboxes.answer(client, talk, request)


def _answer(desk: Desk, client: Client, message: RelayMessage, now: float) -> RelayMessage | None:
    match message:
        case Register(number, rendezvous, nameplates):
            return Registered(number, desk.registry.register(client, rendezvous, nameplates))
        case Call():
            return _call(desk, client, message, now)
        case RelayPing(value):
            return RelayPong(value)
        case StoreBegin():
            return StoreBegan(StoreOutcome.NOT_STORING, "", "", 0, 0)
        case UdpAsk(number):
            sighting = desk.sightings.begin(client.pseudonym)
            if sighting is None:
                raise LimitReached("this relay has no room for more")
            return UdpKey(number, sighting.client_id, sighting.key)
        case _:
            raise Unexpected("a message that only a relay sends, or one of the handshake")


async def _admit(desk: Desk, client: Client, message: Admit, now: float) -> Admission:
    """Lets the device in if its token is good, and tells it."""
    if client.is_admitted:
        return Admission(AdmissionOutcome.ADMITTED)
    if not desk.tokens.take(client.host, now):
        return Admission(AdmissionOutcome.NEEDED)  # the token was not looked at
    outcome = await desk.admissions.admit(client.pseudonym, message.token)
    client.is_admitted = outcome is AdmissionOutcome.ADMITTED
    return Admission(outcome)


def _is_for_guests(message: RelayMessage) -> bool:
    """Whether a device may say this that a closed relay has not let in: who calls a pairing code
    is about to get a token from the device that shows it.
    """
    return isinstance(message, RelayPing | StoreBegin) or (
        isinstance(message, Call) and isinstance(message.target, int)
    )


def _call(desk: Desk, client: Client, message: Call, now: float) -> Called:
    refused = Called(message.number, CallOutcome.BUSY, b"", b"")
    if not desk.callers.take(client.pseudonym, now) or not desk.calls_by_host.take(
        client.host, now
    ):
        return refused
    if isinstance(message.target, int) and not desk.guesses.take(client.host, now):
        return refused
    called = desk.registry.find(message.target)
    link = desk.links.get(called) if called is not None else None
    if called is None or called is client or link is None or link.is_closed:
        return Called(message.number, CallOutcome.NOT_THERE, b"", b"")
    if link.unsent_bytes > UNSENT_BYTES_MAX or not desk.rings.take(called.pseudonym, now):
        return refused
    now_s = desk.wall_clock()
    if not desk.usage.may_carry(client, now_s) or not desk.usage.may_carry(called, now_s):
        return Called(message.number, CallOutcome.OVER_QUOTA, b"", b"")
    call = desk.calls.begin(client, called, now)
    if call is None:
        return refused
    prefix = desk.ferries.begin(client, called, now)
    send(link, Incoming(call.tickets[1], prefix))
    return Called(message.number, CallOutcome.CONNECTED, call.tickets[0], prefix)


def summary(counts: Mapping[str, int]) -> str:
    """What was refused, in a line for the log."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing"
