"""Pairing: how a new device that was told a code becomes one of the user's (CRYPTO 8). Sans-IO.

The dialler (A) is the new device, on which the code is typed; the listener (B) is the one that
shows it.

    A -> B  PAIR_HELLO    kind of link, nonce, nameplate, SPAKE2 message
    B -> A  PAIR_REPLY    nonce, SPAKE2 message; from here on the try is counted
    A -> B  PAIR_CONFIRM  A's confirmation
    B -> A  PAIR_CONFIRM  B's confirmation, user id
    A -> B  PAIR_GIVE     A's name and certificate; B's person says yes
    B -> A  PAIR_GIVE     the user's ledgers, wraps and frontiers

Nothing is given before the other side's confirmation was checked. A machine takes a frame and
returns what to send; what it raises ends the pairing, and its owner sends `refusal(error)` and
closes the link. Deadlines are the owner's: it closes the link when `deadline` has passed.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from crypto.errors import PairingError
from crypto.ids import DeviceId, UserId
from crypto.keys import DeviceKeys
from crypto.pairing_keys import (
    PAIR_NONCE_SIZE,
    PairingExchange,
    PairingKey,
    Side,
    pairing_password,
    pairing_transcript,
)
from protocol.errors import (
    ErrorCode,
    ExpiredCode,
    Malformed,
    NotAuthenticated,
    NotEntitled,
    ProtocolError,
    TimedOut,
    Unexpected,
    WrongCode,
)
from protocol.invitations import Invitation, QrTicket
from protocol.messages import presentable_name
from protocol.pairing_messages import (
    PAIRING_VERSION,
    PURPOSE_DEVICE,
    DiallerConfirmation,
    Introduction,
    ListenerConfirmation,
    PairHello,
    PairingNumber,
    PairReply,
    Refusal,
    Welcome,
    WelcomeFolder,
    decode,
    encode,
)
from protocol.relay_records import RelayRecord
from protocol.user_ledger import Certificate, check_certificate, make_certificate
from protocol.wire import HANDSHAKE_FRAME_LENGTH_MAX, MESSAGE_LENGTH_MAX
from protocol.words import PairingCode

TIMEOUT_S: Final = 10.0
"""From PAIR_HELLO to the introduction: nobody is asked anything in between."""
WELCOME_TIMEOUT_S: Final = 120.0
"""From the introduction to the welcome: a person compares a number and says yes."""

Frame = tuple[int, bytes]
"""Message number and payload."""

_QR_MESSAGE: Final = b""
"""Stands where the SPAKE2 message would: the key comes from the scanned secret."""


class _State(Enum):
    HELLO = auto()
    REPLY = auto()
    CONFIRM = auto()
    INTRODUCE = auto()
    WELCOME = auto()
    ENDED = auto()


class PairingDialler:
    """The new device's side: `hello`, `receive` each frame, `introduce` once `user_id` is known.

    It has succeeded when `welcome` is there. What that holds is the listener's word: the owner
    loads the user ledger, whose id must be `user_id`, and finds its own device live in it before it
    believes more.
    """

    def __init__(
        self,
        code: PairingCode | QrTicket,
        kind: int,
        binding: bytes,
        random: Callable[[int], bytes],
    ) -> None:
        self.user_id: UserId | None = None
        """Whose device this is to be; known once the listener has proved that it knows the code."""
        self.check_number: str | None = None
        """Six digits that both screens show, for a person to compare."""
        self.welcome: Welcome | None = None
        self._state = _State.HELLO
        self._binding = binding
        self._exchange: PairingExchange | None = None
        self._key: PairingKey | None = None
        self._transcript = b""
        message = _QR_MESSAGE
        if isinstance(code, QrTicket):
            if code.binding != binding:
                raise NotAuthenticated("this is not the device whose QR code was scanned")
            self._key = PairingKey.from_qr_secret(code.secret)
        else:
            self._exchange = _exchange(Side.A, code, binding, random)
            message = self._exchange.message
        hello = PairHello(
            PAIRING_VERSION, int(kind), random(PAIR_NONCE_SIZE), code.nameplate, message
        )
        self._hello = encode(hello)

    @property
    def frame_length_max(self) -> int:
        """The longest frame to accept now: only a welcome is long, and only a proven listener sends
        it.
        """
        is_proven = self._state is _State.WELCOME
        return MESSAGE_LENGTH_MAX if is_proven else HANDSHAKE_FRAME_LENGTH_MAX

    def hello(self) -> Frame:
        """The first frame; to be sent once."""
        assert self._state is _State.HELLO
        self._state = _State.REPLY
        return self._hello

    def receive(self, number: int, payload: bytes) -> list[Frame]:
        """Takes one frame and returns what to send; raises ProtocolError, and then it is over.

        WrongCode and ExpiredCode are for the person, who types again; nothing is tried twice by
        itself.
        """
        state, self._state = self._state, _State.ENDED
        if number == PairingNumber.PAIR_REFUSE:
            raise _refused(decode(Refusal, payload))
        if state is _State.REPLY and number == PairingNumber.PAIR_REPLY:
            return [self._confirm(decode(PairReply, payload), payload)]
        if state is _State.CONFIRM and number == PairingNumber.PAIR_CONFIRM:
            self._check(decode(ListenerConfirmation, payload))
            return []
        if state is _State.WELCOME and number == PairingNumber.PAIR_GIVE:
            self.welcome = decode(Welcome, payload)
            return []
        raise Unexpected(f"message {number} while pairing")

    def _confirm(self, reply: PairReply, payload: bytes) -> Frame:
        self._key = _finish(self._exchange, self._key, reply.message)
        _, hello = self._hello
        self._transcript = pairing_transcript(hello, payload, self._binding)
        self._state = _State.CONFIRM
        return encode(DiallerConfirmation(self._key.confirmation(Side.A, self._transcript)))

    def _check(self, answer: ListenerConfirmation) -> None:
        assert self._key is not None
        _check_confirmation(self._key, Side.B, self._transcript, answer.confirmation)
        self.user_id = answer.user_id
        self.check_number = self._key.check_number(self._transcript)
        self._state = _State.INTRODUCE

    def introduce(self, device_name: str, keys: DeviceKeys) -> Frame:
        """This device's name and certificate for the user; then the listener's person is asked."""
        assert self._state is _State.INTRODUCE
        assert self.user_id is not None
        self._state = _State.WELCOME
        return encode(
            Introduction(
                PAIRING_VERSION,
                PURPOSE_DEVICE,
                presentable_name(device_name),
                *make_certificate(keys, self.user_id),
            )
        )

    def link_lost(self) -> ProtocolError:
        """What the end of the link means now; the refusal may not have come through."""
        if self._state is _State.CONFIRM:
            return WrongCode()
        return Unexpected("the other device closed the link while pairing")


class PairingListener:
    """The side that shows the code: `receive` each frame; when `newcomer` is there, `give`.

    `find_invitation` gives the invitation of a nameplate, if there is one; it and its count of
    tries are shared by all links.
    """

    def __init__(
        self,
        find_invitation: Callable[[int], Invitation | None],
        user_id: UserId,
        kind: int,
        binding: bytes,
        random: Callable[[int], bytes],
    ) -> None:
        self.deadline: float | None = None
        """When the owner gives the link up; None before the first frame."""
        self.check_number: str | None = None
        """Six digits that both screens show, for a person to compare."""
        self.newcomer: Introduction | None = None
        """The new device, once it has proved that it knows the code; its name is for a person to
        judge.
        """
        self.certificate: Certificate | None = None
        """The newcomer's certificate, which was checked to be its own and for this user."""
        self._state = _State.HELLO
        self._find_invitation = find_invitation
        self._user_id = user_id
        self._kind = int(kind)
        self._binding = binding
        self._random = random
        self._invitation: Invitation | None = None
        self._key: PairingKey | None = None
        self._transcript = b""

    def receive(self, number: int, payload: bytes, now: float) -> list[Frame]:
        """Takes one frame and returns what to send; raises ProtocolError, and then it is over."""
        state, self._state = self._state, _State.ENDED
        if self.deadline is not None and now >= self.deadline:
            raise TimedOut("the other device took too long to pair")
        if number == PairingNumber.PAIR_REFUSE:
            raise _refused(decode(Refusal, payload))
        if state is _State.HELLO and number == PairingNumber.PAIR_HELLO:
            self.deadline = now + TIMEOUT_S
            return [self._reply(decode(PairHello, payload), payload, now)]
        if state is _State.CONFIRM and number == PairingNumber.PAIR_CONFIRM:
            return [self._confirm(decode(DiallerConfirmation, payload), now)]
        if state is _State.INTRODUCE and number == PairingNumber.PAIR_GIVE:
            self._meet(decode(Introduction, payload))
            self.deadline = now + WELCOME_TIMEOUT_S
            return []
        raise Unexpected(f"message {number} while pairing")

    def _reply(self, hello: PairHello, payload: bytes, now: float) -> Frame:
        if hello.kind != self._kind:
            raise NotAuthenticated("the other device speaks of another kind of link")
        invitation = self._find_invitation(hello.nameplate)
        if invitation is None:
            raise ExpiredCode
        # Counted before the answer is made, whatever becomes of it.
        invitation.begin_try(now)
        self._invitation = invitation
        exchange, key, message = None, None, _QR_MESSAGE
        if hello.message == _QR_MESSAGE:
            key = PairingKey.from_qr_secret(invitation.qr_secret)
        else:
            exchange = _exchange(Side.B, invitation.code, self._binding, self._random)
            message = exchange.message
        self._key = _finish(exchange, key, hello.message)
        reply = encode(PairReply(PAIRING_VERSION, self._random(PAIR_NONCE_SIZE), message))
        self._transcript = pairing_transcript(payload, reply[1], self._binding)
        self._state = _State.CONFIRM
        return reply

    def _confirm(self, received: DiallerConfirmation, now: float) -> Frame:
        assert self._key is not None
        assert self._invitation is not None
        _check_confirmation(self._key, Side.A, self._transcript, received.confirmation)
        self._invitation.win(now)
        self.check_number = self._key.check_number(self._transcript)
        self._state = _State.INTRODUCE
        confirmation = self._key.confirmation(Side.B, self._transcript)
        return encode(ListenerConfirmation(confirmation, self._user_id))

    def _meet(self, newcomer: Introduction) -> None:
        self.certificate = check_certificate(
            newcomer.certificate, newcomer.signature, self._user_id
        )
        self.newcomer = newcomer
        self._state = _State.WELCOME

    def give(
        self,
        device_name: str,
        device_id: DeviceId,
        user_entries: tuple[bytes, ...],
        folders: tuple[WelcomeFolder, ...],
        relays: tuple[RelayRecord, ...] = (),
    ) -> Frame:
        """The welcome, after a person's yes and after the newcomer was added to the ledgers.

        `device_name` and `device_id` are this device's. Raises TooLong if it all does not fit a
        frame.
        """
        assert self._state is _State.WELCOME
        self._state = _State.ENDED
        return encode(
            Welcome(
                PAIRING_VERSION,
                PURPOSE_DEVICE,
                presentable_name(device_name),
                device_id,
                user_entries,
                folders,
                relays,
            )
        )


def refusal(error: ProtocolError) -> Frame:
    """The frame that tells the other side why this one ends the pairing."""
    return encode(Refusal(error.code))


_REFUSALS: Final = {error.code: error for error in (WrongCode, ExpiredCode, NotEntitled, TimedOut)}


def _refused(message: Refusal) -> ProtocolError:
    error = _REFUSALS.get(ErrorCode(message.code)) if message.code in list(ErrorCode) else None
    return Unexpected(f"refused with code {message.code}") if error is None else error()


def _exchange(
    side: Side, code: PairingCode, binding: bytes, random: Callable[[int], bytes]
) -> PairingExchange:
    password = pairing_password(str(code.nameplate), code.secret_text)
    return PairingExchange(side, password, binding, random)


def _finish(
    exchange: PairingExchange | None, scanned: PairingKey | None, message: bytes
) -> PairingKey:
    """The key from the other side's message; a scanned secret and a typed code do not mix."""
    if exchange is None:
        assert scanned is not None
        if message != _QR_MESSAGE:
            raise Malformed("a SPAKE2 message where a QR code was scanned")
        return scanned
    try:
        return exchange.finish(message)
    except PairingError:
        raise Malformed("not a SPAKE2 message of the other side") from None


def _check_confirmation(key: PairingKey, side: Side, transcript: bytes, received: bytes) -> None:
    try:
        key.check_confirmation(side, transcript, received)
    except PairingError:
        raise WrongCode from None
