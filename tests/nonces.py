"""Remembers what is sealed under each key and nonce while tests run (ATTACKS A06)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl import bindings

import crypto.chunks


class NonceRegistry:
    """What each key and nonce sealed; the same thing again is allowed, another is not."""

    def __init__(self) -> None:
        self.sealed: dict[tuple[bytes, bytes], int] = {}
        self._is_broken = False

    def record(self, key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> None:
        """Something is sealed; fails at once if its nonce was used for something else."""
        content = hash((plaintext, aad))
        if self.sealed.setdefault((key, nonce), content) != content:
            self._is_broken = True
        self.check()

    def check(self) -> None:
        """Fails for a nonce that was used twice, wherever the failure ended then."""
        assert not self._is_broken, "a nonce was used twice"


@contextmanager
def watched_nonces(registry: NonceRegistry) -> Iterator[None]:
    """All that is sealed meanwhile is recorded; fails if a nonce was used twice, even if that was
    caught where it happened.
    """
    xchacha = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt

    def watched_xchacha(message: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
        registry.record(key, nonce, message, aad)
        return xchacha(message, aad, nonce, key)

    class WatchedAESGCM:
        def __init__(self, key: bytes) -> None:
            self._key, self._cipher = key, AESGCM(key)

        def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
            registry.record(self._key, nonce, data, aad)
            return self._cipher.encrypt(nonce, data, aad)

        def decrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
            return self._cipher.decrypt(nonce, data, aad)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bindings, "crypto_aead_xchacha20poly1305_ietf_encrypt", watched_xchacha)
        patch.setattr(crypto.chunks, "AESGCM", WatchedAESGCM)
        yield
    registry.check()
