"""The token of an invitation to a closed relay, as its operator hands it out.

It is a secret: it goes over authenticated links, into prompts and files of mode 0600, and never
into a command line, a log or an address.
"""

from __future__ import annotations

from base64 import b32decode, b32encode
from typing import Final

TOKEN_SIZE: Final = 16
PREFIX: Final = "hftoken-"
"""So that a token is known for one wherever it turns up."""


class BadRelayToken(ValueError):
    """This is no relay's token. One looks like hftoken- and 26 letters and digits."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def parse_token(text: str) -> bytes:
    """Reads what `format_token` writes, whatever stands around it; raises BadRelayToken."""
    word = text.strip().lower()
    body = word.removeprefix(PREFIX)
    try:
        token = b32decode(body.upper() + "=" * (-len(body) % 8))
    except ValueError:
        raise BadRelayToken from None
    # Base32 has unused bits: one token has one text.
    if len(token) != TOKEN_SIZE or format_token(token) != word:
        raise BadRelayToken
    return token


def format_token(token: bytes) -> str:
    """The text of 16 random bytes."""
    return PREFIX + b32encode(token).decode().rstrip("=").lower()
