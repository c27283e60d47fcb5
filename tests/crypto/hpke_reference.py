"""HPKE's base mode as RFC 9180 writes it, the ephemeral key an argument; the oracle of `wrap`."""

from __future__ import annotations

import hmac
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_KEM_SUITE = b"KEM" + (0x0020).to_bytes(2, "big")
_SUITE = b"HPKE" + b"".join(n.to_bytes(2, "big") for n in (0x0020, 0x0001, 0x0003))


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, sha256)


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
    labeled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    assert size <= 32
    return hmac.digest(prk, labeled + b"\x01", sha256)[:size]


def _public(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def _dh(secret: bytes, public: bytes) -> bytes:
    key = X25519PrivateKey.from_private_bytes(secret)
    return key.exchange(X25519PublicKey.from_public_bytes(public))


def schedule(dh: bytes, enc: bytes, public: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Key and base nonce."""
    eae_prk = _extract(_KEM_SUITE, b"", b"eae_prk", dh)
    shared = _expand(_KEM_SUITE, eae_prk, b"shared_secret", enc + public, 32)
    context = (
        b"\0"
        + _extract(_SUITE, b"", b"psk_id_hash", b"")
        + _extract(_SUITE, b"", b"info_hash", info)
    )
    secret = _extract(_SUITE, shared, b"secret", b"")
    return _expand(_SUITE, secret, b"key", context, 32), _expand(
        _SUITE, secret, b"base_nonce", context, 12
    )


def seal(public: bytes, info: bytes, aad: bytes, plaintext: bytes, ephemeral: bytes) -> bytes:
    enc = _public(ephemeral)
    key, nonce = schedule(_dh(ephemeral, public), enc, public, info)
    return enc + ChaCha20Poly1305(key).encrypt(nonce, plaintext, aad)


def open_sealed(secret: bytes, info: bytes, aad: bytes, sealed: bytes) -> bytes:
    enc = sealed[:32]
    key, nonce = schedule(_dh(secret, enc), enc, _public(secret), info)
    return ChaCha20Poly1305(key).decrypt(nonce, sealed[32:], aad)
