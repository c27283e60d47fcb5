"""Keys and tags of the small datagrams that show where a device is and look for a way to another.

They protect no content: a tag says that a datagram is of somebody who knows the key, which was told
over an authenticated link. Each has its own type, sender and number in what the tag covers.
"""

from __future__ import annotations

from typing import Final

from crypto.primitives import KEY_SIZE, derive

DATAGRAM_TAG_SIZE: Final = 16
ROUND_ID_SIZE: Final = 8


def punch_key(caller_secret: bytes, called_secret: bytes) -> bytes:
    """The key of one round of probes, to which each side gives 32 bytes over their link."""
    assert len(caller_secret) == len(called_secret) == KEY_SIZE
    return derive(caller_secret, "punch key", called_secret)


def round_id(key: bytes) -> bytes:
    """The 8 bytes by which a round's datagrams are found among others."""
    return derive(key, "punch round", size=ROUND_ID_SIZE)


def datagram_tag(key: bytes, datagram: bytes) -> bytes:
    """The 16 bytes that end a datagram of this key."""
    return derive(key, "datagram tag", datagram, size=DATAGRAM_TAG_SIZE)


def address_mask(key: bytes, kind: int, counter: int, size: int) -> bytes:
    """Hides an address on its way: routers rewrite what looks like one inside of datagrams."""
    return derive(key, "address mask", bytes((kind,)), counter.to_bytes(8, "big"), size=size)
