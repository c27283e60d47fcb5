"""A relay's address, as a person passes it on: where it is, and the fingerprint of its keys."""

from __future__ import annotations

import re
from base64 import b32decode, b32encode
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from crypto.ids import RelayId

SCHEME: Final = "holdfast-relay://"
ADDRESS_LENGTH_MAX: Final = 400
HOST_LENGTH_MAX: Final = 253
"""The longest name of a host."""
FINGERPRINT_LENGTH: Final = 52
"""32 bytes in base32: case does not matter, and a double click takes all of it."""
_HOST: Final = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?\.?")


class BadRelayAddress(ValueError):
    """This is no relay's address. One looks like holdfast-relay://HOST:PORT#FINGERPRINT."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """Host, port, and the id that the relay has to prove."""

    host: str
    """A name or a numeric address; IPv6 without brackets."""
    port: int
    relay_id: RelayId

    @classmethod
    def parse(cls, text: str) -> RelayAddress:
        """Reads what `str` writes; raises BadRelayAddress."""
        place, separator, fingerprint = text.strip().removeprefix(SCHEME).partition("#")
        host, colon, port = place.rpartition(":")
        is_number = port.isascii() and port.isdecimal() and len(port) <= 5
        if (
            len(text) > ADDRESS_LENGTH_MAX
            or not text.strip().startswith(SCHEME)
            or not separator
            or not colon
            or not is_number
            or not 1 <= int(port) <= 65535
        ):
            raise BadRelayAddress
        return cls(_checked_host(host), int(port), _read_fingerprint(fingerprint))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{SCHEME}{host}:{self.port}#{fingerprint_of(self.relay_id)}"


def fingerprint_of(relay_id: RelayId) -> str:
    """The 52 characters that stand for a relay's id."""
    return b32encode(relay_id).decode().rstrip("=").lower()


@lru_cache(1024)
def _read_fingerprint(text: str) -> RelayId:
    # Of a pack's holders each is named with every share.
    try:
        relay_id = RelayId(b32decode(text.upper() + "=" * (-len(text) % 8)))
    except ValueError:
        raise BadRelayAddress from None
    # Base32 has unused bits: one id has one fingerprint.
    if len(relay_id) != 32 or fingerprint_of(relay_id) != text.lower():
        raise BadRelayAddress
    return relay_id


def _checked_host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            address = ip_address(host[1:-1])
        except ValueError:
            raise BadRelayAddress from None
        if address.version != 6:
            raise BadRelayAddress
        return str(address)
    if not _HOST.fullmatch(host) or len(host) > HOST_LENGTH_MAX:
        raise BadRelayAddress
    return host
