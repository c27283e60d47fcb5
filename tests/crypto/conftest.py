"""A nonce registry under every test of this package: no (key, nonce) seals two things (A06)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl import bindings

import crypto.chunks


class NonceRegistry:
    """Remembers what each key and nonce sealed; the same thing again is allowed, another is not."""

    def __init__(self) -> None:
        self.sealed: dict[tuple[bytes, bytes], int] = {}

    def record(self, key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> None:
        content = hash((plaintext, aad))
        assert self.sealed.setdefault((key, nonce), content) == content, "a nonce was used twice"


@pytest.fixture(scope="session")
def nonce_registry() -> NonceRegistry:
    return NonceRegistry()


@pytest.fixture(autouse=True, scope="package")
def _watch_nonces(nonce_registry: NonceRegistry) -> Iterator[None]:
    xchacha = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt

    def watched_xchacha(message: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
        nonce_registry.record(key, nonce, message, aad)
        return xchacha(message, aad, nonce, key)

    class WatchedAESGCM:
        def __init__(self, key: bytes) -> None:
            self._key, self._cipher = key, AESGCM(key)

        def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
            nonce_registry.record(self._key, nonce, data, aad)
            return self._cipher.encrypt(nonce, data, aad)

        def decrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
            return self._cipher.decrypt(nonce, data, aad)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bindings, "crypto_aead_xchacha20poly1305_ietf_encrypt", watched_xchacha)
        patch.setattr(crypto.chunks, "AESGCM", WatchedAESGCM)
        yield
