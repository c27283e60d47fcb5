"""How two devices that share a short code, or a scanned secret, come to one strong key (CRYPTO 8).

SPAKE2 gives one guess a try and nothing to test guesses against later. Its two ids contain the hash
of the listener's link certificate, so somebody in between, with another certificate, ends with
another key even if it relays every byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from spake2 import SPAKE2_A, SPAKE2_B, SPAKEError

from crypto.errors import PairingError
from crypto.primitives import KEY_SIZE, derive, digest, is_equal, is_group_element

PAIR_NONCE_SIZE: Final = 32
SPAKE2_MESSAGE_SIZE: Final = 33
QR_SECRET_SIZE: Final = 32
CONFIRMATION_SIZE: Final = 32
CHECK_DIGITS: Final = 6


class Side(Enum):
    """Who is who: A types the code and dials, B shows the code and listens."""

    A = "a"
    B = "b"


def pairing_password(nameplate: str, words: str) -> bytes:
    """What SPAKE2 works on: nameplate and words, the words joined by hyphens and in lower case."""
    return digest("pair code", nameplate.encode(), words.lower().encode())


class PairingExchange:
    """One side of one SPAKE2 run, used once: `message` goes out, `finish` takes the other's."""

    def __init__(
        self, side: Side, password: bytes, binding: bytes, random: Callable[[int], bytes]
    ) -> None:
        kind = SPAKE2_A if side is Side.A else SPAKE2_B
        self._run = kind(
            password,
            idA=digest("pair id", b"a", binding),
            idB=digest("pair id", b"b", binding),
            entropy_f=random,
        )
        self.message: bytes = self._run.start()
        """33 bytes for the other side."""

    def finish(self, message: bytes) -> PairingKey:
        """The key that both hold if both had the same code on the same link.

        With another code the other side simply gets another key, which its confirmation shows.
        Raises PairingError for a message that no other side sends (reflected, malformed).
        """
        # The point is checked here, as spake2 tells a bad one by four kinds of exception, of which
        # an assert is one that `python -O` leaves out.
        if len(message) != SPAKE2_MESSAGE_SIZE or not is_group_element(message[1:]):
            raise PairingError
        try:
            return PairingKey(self._run.finish(message))
        except SPAKEError:
            raise PairingError from None

    def __repr__(self) -> str:
        return "PairingExchange()"


@dataclass(frozen=True, slots=True, eq=False)
class PairingKey:
    """The key k of a pairing and what both sides make of it over the transcript T."""

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        assert len(self.key) == KEY_SIZE

    @classmethod
    def from_qr_secret(cls, secret: bytes) -> PairingKey:
        """The key when the 32-byte secret was scanned instead of a code typed."""
        return cls(derive(secret, "pair qr"))

    def confirmation(self, side: Side, transcript: bytes) -> bytes:
        """The 32 bytes by which a side shows that it holds the key; A's goes first."""
        return derive(self.key, f"pair confirm {side.value}", transcript)

    def check_confirmation(self, side: Side, transcript: bytes, received: bytes) -> None:
        """Returns if `side` holds the key; raises PairingError if not."""
        if not is_equal(received, self.confirmation(side, transcript)):
            raise PairingError

    def check_number(self, transcript: bytes) -> str:
        """The six digits that both screens show before a person says yes."""
        number = int.from_bytes(derive(self.key, "pair check", transcript), "big")
        return f"{number % 10**CHECK_DIGITS:0{CHECK_DIGITS}d}"


def pairing_transcript(hello: bytes, reply: bytes, binding: bytes) -> bytes:
    """T: the hash of both first messages as on the wire, and of the link they went over."""
    return digest("pair transcript", hello, reply, binding)
