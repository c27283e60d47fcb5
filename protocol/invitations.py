"""An open invitation: what one device shows, so that one other may join in the next ten minutes.

It is found by its nameplate and won by its words, or by the secret of its QR code. Tries are
counted here and nowhere else, so that all links on which somebody tries share one count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Self

from crypto.pairing_keys import QR_SECRET_SIZE
from protocol.errors import ExpiredCode, Malformed, MistypedCode, TooLong
from protocol.fields import fixed_bytes, list_of, one_of, record_of, text, unsigned
from protocol.wire import decode, encode
from protocol.words import NAMEPLATE_MAX, PairingCode, generate_code

LIFETIME_S: Final = 600.0
TRIES: Final = 3
"""With two words a guesser wins at most 5 in 100 million invitations, however many links it opens.
"""
ADDRESSES_MAX: Final = 3
TICKET_LENGTH_MAX: Final = 1024
_HOST_LENGTH_MAX: Final = 255
_BINDING_SIZE: Final = 32


@dataclass(slots=True, eq=False)
class Invitation:
    """One code that is shown to a person; closed by success, by three tries or by time."""

    code: PairingCode
    qr_secret: bytes = field(repr=False)
    """The 32 bytes of the QR form of the same invitation; made anew for each."""
    expires_at: float
    tries_left: int = TRIES
    is_won: bool = False

    @classmethod
    def create(cls, nameplate: int, random: Callable[[int], bytes], now: float) -> Self:
        """A new invitation under this nameplate, open from now on."""
        return cls(generate_code(nameplate, random), random(QR_SECRET_SIZE), now + LIFETIME_S)

    def is_open(self, now: float) -> bool:
        """Whether somebody may still begin to try."""
        return not self.is_won and self.tries_left > 0 and now < self.expires_at

    def begin_try(self, now: float) -> None:
        """Counts one try; raises ExpiredCode when there is none left.

        Called before the answer that lets the other side test its guess, not when the test has
        failed: a guesser would just hang up.
        """
        if not self.is_open(now):
            raise ExpiredCode
        self.tries_left -= 1

    def win(self, now: float) -> None:
        """A counted try was right; raises ExpiredCode if another one was faster or time is up."""
        if self.is_won or now >= self.expires_at:
            raise ExpiredCode
        self.is_won = True


@dataclass(frozen=True, slots=True)
class QrTicket:
    """What a QR code holds: a secret, whose certificate to expect, where to dial (CRYPTO 8)."""

    secret: bytes = field(repr=False)
    binding: bytes
    """32 bytes: the hash of the listener's link certificate; the dialler compares it first."""
    addresses: tuple[tuple[str, int], ...]
    relay: str
    """The relay's host that knows the nameplate; empty if there is none."""
    nameplate: int

    def encode(self) -> str:
        """The text of the QR code: base45, which QR codes hold in their dense alphanumeric mode."""
        addresses = [[host, port] for host, port in self.addresses]
        return encode_base45(
            encode([1, self.secret, self.binding, addresses, self.relay, self.nameplate])
        )

    @classmethod
    def decode(cls, scanned: str) -> Self:
        """Reads a scanned text; raises MistypedCode for anything that is not one of our tickets."""
        try:
            return cls._decode(scanned)
        except (Malformed, TooLong):
            raise MistypedCode("This is not a Holdfast pairing code.") from None

    @classmethod
    def _decode(cls, scanned: str) -> Self:
        _, *values = _TICKET.read(decode(decode_base45(scanned), TICKET_LENGTH_MAX))
        ticket = cls(*values)
        if ticket.nameplate > NAMEPLATE_MAX:
            raise Malformed("not a nameplate")
        return ticket


def _fields(*values: Any) -> tuple[Any, ...]:
    return values


_TICKET: Final = record_of(
    _fields,
    one_of(1),
    fixed_bytes(QR_SECRET_SIZE),
    fixed_bytes(_BINDING_SIZE),
    list_of(record_of(_fields, text(_HOST_LENGTH_MAX), unsigned(16, 1)), 0, ADDRESSES_MAX),
    text(_HOST_LENGTH_MAX),
    unsigned(16, 1),
)

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"


def encode_base45(data: bytes) -> str:
    """RFC 9285: two bytes as three characters, a last one as two; least significant first."""
    text = []
    for start in range(0, len(data), 2):
        pair = data[start : start + 2]
        number = int.from_bytes(pair, "big")
        for _ in range(len(pair) + 1):
            number, digit = divmod(number, 45)
            text.append(_ALPHABET[digit])
    return "".join(text)


def decode_base45(text: str) -> bytes:
    """The inverse of `encode_base45`; raises Malformed for what it never yields."""
    if len(text) > 2 * TICKET_LENGTH_MAX or len(text) % 3 == 1:
        raise Malformed("not base45")
    data = bytearray()
    for start in range(0, len(text), 3):
        digits = [_ALPHABET.find(letter) for letter in text[start : start + 3]]
        number = sum(digit * 45**place for place, digit in enumerate(digits))
        size = len(digits) - 1
        if -1 in digits or number >= 1 << 8 * size:
            raise Malformed("not base45")
        data += number.to_bytes(size, "big")
    return bytes(data)
