"""A device's talk with one relay, from an authenticated link to its end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from protocol.errors import LinkError, ProtocolError, Unexpected
from protocol.link import Address, Link
from protocol.mailbox_messages import (
    MailboxDone,
    MailboxItems,
    MailboxListed,
    MailboxMessage,
    MailboxNews,
    MailboxOpened,
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

PING_INTERVAL_S: Final = 25.0
"""Below the 30 s after which many routers forget a TCP connection that says nothing; a relay gives
a device up after 90."""
ANSWER_TIMEOUT_S: Final = 4.0
"""For any question: a relay that is silent so long is doubted. One that is gone with its machine
the kernel finds within nine."""
MAILBOX_TIMEOUT_S: Final = 20.0
"""A put waits for the relay's disk, behind those of others; whether the relay is there at all is
found out by pings meanwhile."""
DOUBTED_TIMEOUT_S: Final = 1.0
"""After the network has changed: a link that is made anew in vain costs less than the wait."""
REGISTER_TIMEOUT_S: Final = 10.0
"""Nobody waits for it as for a call, and a relay to which all its devices come back is slow."""
CARRYING_INTERVAL_S: Final = 3.0
"""Between pings while the relay carries a link of this device: so that one that hangs is noticed,
and another one carries it, within ten seconds. For all its devices it would be too much to ask."""
SLOW_S: Final = 1.5
"""Without an answer to a ping for so long, what the relay carries is asked for by itself, and calls
go through others first."""
UNSENT_BYTES_MAX: Final = 1 << 20

A = TypeVar("A")


class NotThere(LinkError):
    """Nobody waits at the relay under that id or nameplate."""


class NotAdmitted(LinkError):
    """The relay is closed. Ask its operator for an invitation, and give it with `holdfast relay add
    ADDRESS --token`.
    """

    def __init__(self, outcome: int) -> None:
        words = self.__doc__ or ""
        if outcome == AdmissionOutcome.REFUSED:
            words = (
                "The relay is closed, and the token is none of its own, too old or used up. Ask its"
                " operator for a new one, and give it with `holdfast relay add ADDRESS --token`."
            )
        super().__init__(" ".join(words.split()))


class RelaySession:
    """Questions and answers on one link; `run` has to run meanwhile."""

    def __init__(self, link: Link, on_incoming: Callable[[bytes, bytes], None]) -> None:
        self._link = link
        self._on_incoming = on_incoming
        self._called: dict[int, asyncio.Future[Called]] = {}
        self._registered: dict[int, asyncio.Future[Registered]] = {}
        self._keys: dict[int, asyncio.Future[UdpKey]] = {}
        self.is_carrying: Callable[[], bool] = lambda: False
        """Whether a link of this device goes through the relay now."""
        self.on_slow: Callable[[], None] = lambda: None
        self.is_slow = False
        """Whether a ping waits for its answer, and has for long."""
        self._admission: asyncio.Future[int] | None = None
        self.refusal: NotAdmitted | None = None
        """Why a closed relay does nothing for this device."""
        self._mailbox: dict[int, asyncio.Future[MailboxMessage]] = {}
        self.on_news: Callable[[bytes], None] = lambda tag: None
        """Another device has put something into the mailbox of this tag."""
        self._number = 0
        self._heard = asyncio.Event()
        self._doubted = asyncio.Event()
        self._is_over = False
        self._is_doubted = False

    @property
    def link_id(self) -> bytes:
        """What proofs for this link are bound to."""
        return self._link.link_id

    @property
    def place(self) -> Address:
        """Where the link ends; streams go there too."""
        return self._link.peer_address

    async def run(self) -> None:
        """Talks until the link ends, whichever side ends it."""
        try:
            async with asyncio.TaskGroup() as tasks:
                # They return when it is over: a group whose child fails at the moment at which its
                # owner is cancelled would forget that.
                work = [
                    tasks.create_task(self._receive()),
                    tasks.create_task(self._keep_alive()),
                ]
                await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
                for each in work:
                    each.cancel()
        finally:
            self._is_over = True
            self._link.abort()
            waiting: list[asyncio.Future[Any]] = [*self._called.values()]
            waiting += [*self._registered.values(), *self._keys.values(), *self._mailbox.values()]
            if self._admission is not None:
                waiting.append(self._admission)
            for answer in waiting:
                if not answer.done():
                    answer.set_exception(
                        self.refusal or LinkError("The link to the relay is lost.")
                    )

    @property
    def is_over(self) -> bool:
        """Whether the link has ended."""
        return self._is_over

    def end(self) -> None:
        """Ends the link; `run` returns."""
        self._link.abort()

    def doubt(self) -> None:
        """The relay may be gone: it is asked at once, and has less time to answer."""
        self._is_doubted = True
        self._doubted.set()

    async def admit(self, token: bytes) -> None:
        """Shows an invitation's token, before anything else; raises NotAdmitted or LinkError."""
        self._admission = asyncio.get_running_loop().create_future()
        try:
            self._send(Admit(token))
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                outcome = await self._admission
        except TimeoutError:
            self.doubt()
            raise LinkError("The relay does not answer.") from None
        finally:
            self._admission = None
        if outcome != AdmissionOutcome.ADMITTED:
            raise NotAdmitted(outcome)

    async def register(
        self, rendezvous: Sequence[bytes], nameplates: Sequence[int]
    ) -> tuple[int, ...]:
        """Waits at these from now on; gives the nameplates that others show. Raises LinkError."""
        self._number += 1
        message = Register(self._number, tuple(rendezvous), tuple(nameplates))
        answer = await self._ask(message, message.number, self._registered, REGISTER_TIMEOUT_S)
        return answer.taken

    async def udp_key(self) -> UdpKey:
        """A key to show by UDP where this device is; raises LinkError."""
        self._number += 1
        return await self._ask(UdpAsk(self._number), self._number, self._keys)

    async def call(self, target: bytes | int) -> Called:
        """The ticket and the prefix of a new call; raises NotThere, or LinkError."""
        self._number += 1
        message = Call(self._number, target)
        answer = await self._ask(message, message.number, self._called)
        if answer.outcome == CallOutcome.NOT_THERE:
            raise NotThere("Nobody waits there at this relay.")
        if answer.outcome == CallOutcome.OVER_QUOTA:
            raise LinkError(
                "The relay has carried as much for one of the two devices as it carries on a day."
            )
        if answer.outcome != CallOutcome.CONNECTED:
            raise LinkError("The relay carries as much as it may just now.")
        return answer

    async def ask_mailbox(self, make: Callable[[int], MailboxRequest]) -> MailboxMessage:
        """The answer to a request, which is made with the number it gets; raises LinkError."""
        self._number += 1
        message = make(self._number)
        return await self._ask(message, message.number, self._mailbox, MAILBOX_TIMEOUT_S)

    async def _ask(
        self,
        message: RelayMessage,
        number: int,
        waiting: dict[int, asyncio.Future[A]],
        timeout_s: float | None = None,
    ) -> A:
        if self._is_over:
            raise LinkError("The link to the relay is lost.")
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        waiting[number] = answer
        try:
            self._send(message)
            async with asyncio.timeout(ANSWER_TIMEOUT_S if timeout_s is None else timeout_s):
                return await answer
        except TimeoutError:
            self.doubt()
            raise LinkError("The relay does not answer.") from None
        finally:
            del waiting[number]

    def _send(self, message: RelayMessage) -> None:
        number, payload = encode(message)
        self._link.send(number, [payload])
        if self._link.unsent_bytes > UNSENT_BYTES_MAX:
            self._link.abort()

    async def _receive(self) -> None:
        try:
            while (frame := await self._link.receive()) is not None:
                self._heard.set()
                self._take(decode(*frame))
        except ProtocolError:
            return  # a relay that breaks the protocol is one that is lost

    def _take(self, message: RelayMessage) -> None:
        match message:
            case Incoming(ticket, prefix):
                self._on_incoming(ticket, prefix)
            case Called(number):
                _answer(self._called.get(number), message)
            case Registered(number):
                _answer(self._registered.get(number), message)
            case UdpKey(number):
                _answer(self._keys.get(number), message)
            case (
                MailboxOpened(number)
                | MailboxListed(number)
                | MailboxItems(number)
                | MailboxDone(number)
            ):
                _answer(self._mailbox.get(number), message)
            case MailboxNews(tag):
                self.on_news(tag)
            case RelayPong():
                pass
            case Admission(outcome) if self._admission is not None:
                _answer(self._admission, outcome)
            case Admission(outcome):
                # In place of an answer: it answers nothing else either.
                self.refusal = NotAdmitted(outcome)
                self.end()
            case _:
                raise Unexpected("a message that only a device sends")

    async def _keep_alive(self) -> None:
        while True:
            await self._pause()
            self._doubted.clear()
            self._heard.clear()
            self._number += 1
            self._send(RelayPing(self._number))
            answer_s = DOUBTED_TIMEOUT_S if self._is_doubted else ANSWER_TIMEOUT_S
            self._is_doubted = False
            if not await self._is_heard(min(SLOW_S, answer_s)):
                self.is_slow = True
                self.on_slow()
                if not await self._is_heard(answer_s - SLOW_S):
                    return
                self.is_slow = False

    async def _pause(self) -> None:
        """Until the next ping is due: soon if the relay is doubted or carries something."""
        loop = asyncio.get_running_loop()
        # With jitter, so that a relay's devices do not all speak at one moment.
        share = 0.8 + 0.2 * random.random()  # noqa: S311
        due_at = loop.time() + PING_INTERVAL_S * share
        while (rest_s := due_at - loop.time()) > 0:
            try:
                async with asyncio.timeout(min(rest_s, CARRYING_INTERVAL_S * share)):
                    await self._doubted.wait()
                return
            except TimeoutError:
                if self.is_carrying():
                    return

    async def _is_heard(self, wait_s: float) -> bool:
        """Whether the relay says anything in time."""
        try:
            async with asyncio.timeout(wait_s):
                await self._heard.wait()
        except TimeoutError:
            return False
        return True


def _answer(waiting: asyncio.Future[A] | None, message: A) -> None:
    # What comes too late was given up, and is nobody's offence.
    if waiting is not None and not waiting.done():
        waiting.set_result(message)
