"""Who takes part: one person's devices and their folder, the same bytes in every run.

Their ledgers are real. Only what the library would draw for itself while they are made, HPKE's
ephemeral keys, comes from a seed here: entry ids follow from the wraps, log ids from entry ids,
and ties between writes are broken by log ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from random import Random

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from crypto import primitives
from tests.crypto import hpke_reference
from tests.protocol import people


class _SeededHpke:
    """Wraps as RFC 9180 says, with ephemeral keys from a seed; what it makes opens as ever."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed).randbytes
        self._real = primitives._HPKE

    def encrypt(self, plaintext: bytes, recipient: X25519PublicKey, info: bytes) -> bytes:
        public = recipient.public_bytes_raw()
        return hpke_reference.seal(public, info, b"", plaintext, self._random(32))

    def decrypt(self, wrapped: bytes, key: X25519PrivateKey, info: bytes) -> bytes:
        return self._real.decrypt(wrapped, key, info=info)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    real = primitives._HPKE
    primitives._HPKE = _SeededHpke(seed)  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        primitives._HPKE = real  # type: ignore[misc]


@cache
def places(count: int) -> list[people.Place]:
    """What each of so many devices has of the folder; made once a process."""
    with _seeded(count):
        person = people.Person(7)
        others = [person.another_device() for _ in range(count - 1)]
        first = people.Place.found(person)
        if admits := first.ledger.admits_owed(person.id):
            first.act(*admits)
        first.epochs.wraps_owed()
        return [first, *(first.fork(keys) for keys in others)]
