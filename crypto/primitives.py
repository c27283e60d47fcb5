"""The six primitives that everything else here is made of, each bound to a label (CRYPTO 0).

`digest` and `derive` frame every part with its length, so no two lists of parts share an input.
`seal` takes its nonce from the key, the label, fresh randomness and the plaintext together: a
cloned machine that repeats its randomness repeats a ciphertext at worst, never a nonce under
another text.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from nacl import bindings
from nacl.exceptions import BadSignatureError
from nacl.exceptions import CryptoError as NaclError

from crypto.errors import BadKeyError, OpenError, SignatureError
from crypto.labels import LABELS, PERSON, SIGNATURE_PREFIX

KEY_SIZE: Final = 32
HASH_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
SEAL_RANDOM_SIZE: Final = 32
NONCE_SIZE: Final = 24
SEAL_OVERHEAD: Final = NONCE_SIZE + 16
"""What `seal` adds: the nonce before and the tag behind."""
WRAP_OVERHEAD: Final = 32 + 16
"""What `wrap` adds: the encapsulated key before and the tag behind."""

# Base mode of RFC 9180; `info` carries our label and context, its AAD stays empty.
_HPKE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def digest(label: str, *parts: bytes) -> bytes:
    """The 32-byte hash H(label, parts...) of a small structure."""
    return _absorb(hashlib.blake2b(digest_size=HASH_SIZE, person=PERSON), label, parts)


def derive(key: bytes, label: str, *parts: bytes, size: int = 32) -> bytes:
    """A key or tag K(key, label, parts...) of `size` bytes, 1 to 64, from a 32-byte key."""
    assert len(key) == KEY_SIZE, "keys are 32 bytes"
    return _absorb(hashlib.blake2b(digest_size=size, key=key, person=PERSON), label, parts)


def _absorb(state: hashlib.blake2b, label: str, parts: Iterable[bytes]) -> bytes:
    assert label in LABELS, f"{label!r} is not in the registry"
    state.update(LABELS[label])
    for part in parts:
        state.update(len(part).to_bytes(4, "big"))
        state.update(part)
    return state.digest()


def is_equal(left: bytes, right: bytes) -> bool:
    """Whether two byte strings are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(left, right)


def sign_public(seed: bytes) -> bytes:
    """The 32-byte Ed25519 public key of a 32-byte seed."""
    public, _ = bindings.crypto_sign_seed_keypair(seed)
    return public


def is_group_element(data: bytes) -> bool:
    """Whether these are 32 bytes of a point in Ed25519's prime-order group, not the neutral one."""
    return len(data) == KEY_SIZE and bindings.crypto_core_ed25519_is_valid_point(data)


def sign(seed: bytes, label: str, *parts: bytes) -> bytes:
    """A 64-byte Ed25519 signature S(seed, label, parts...)."""
    _, secret = bindings.crypto_sign_seed_keypair(seed)
    signed = bindings.crypto_sign(SIGNATURE_PREFIX + digest(label, *parts), secret)
    return signed[:SIGNATURE_SIZE]


def verify(public: bytes, signature: bytes, label: str, *parts: bytes) -> None:
    """Returns if `public` signed exactly these parts under this label; else SignatureError."""
    # Lengths first: they come from the wire, and the binding below would call them our bug.
    if len(public) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        raise SignatureError
    try:
        bindings.crypto_sign_open(signature + SIGNATURE_PREFIX + digest(label, *parts), public)
    except BadSignatureError:
        raise SignatureError from None


def seal(key: bytes, label: str, *aad: bytes, plaintext: bytes, random32: bytes) -> bytes:
    """XChaCha20-Poly1305 under a hedged nonce: `nonce24 || ciphertext || tag16`."""
    assert len(random32) == SEAL_RANDOM_SIZE, "32 fresh random bytes for each seal"
    nonce = derive(derive(key, "nonce"), label, random32, plaintext, size=NONCE_SIZE)
    sealed: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plaintext, digest(label, *aad), nonce, key
    )
    return nonce + sealed


def open_sealed(key: bytes, label: str, *aad: bytes, sealed: bytes) -> bytes:
    """The plaintext of what `seal` made with the same key, label and data; else OpenError."""
    assert len(key) == KEY_SIZE, "keys are 32 bytes"
    if len(sealed) < SEAL_OVERHEAD:
        raise OpenError
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed[NONCE_SIZE:], digest(label, *aad), sealed[:NONCE_SIZE], key
        )
    except NaclError:
        raise OpenError from None


def dh_public(secret: bytes) -> bytes:
    """The 32-byte X25519 public key of a 32-byte secret."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def wrap(public: bytes, label: str, *context: bytes, plaintext: bytes) -> bytes:
    """HPKE to an X25519 key: `enc32 || ciphertext || tag16`; raises BadKeyError if the key is none.

    The ephemeral key is the library's own, so two calls differ; it is the one place of the core
    whose randomness is not an argument (the public API of `cryptography` takes none).
    """
    try:
        recipient = X25519PublicKey.from_public_bytes(public)
        return _HPKE.encrypt(plaintext, recipient, info=digest(label, *context))
    except ValueError:
        # A wrong length, or a point of low order that another party put into its certificate.
        raise BadKeyError from None


def unwrap(secret: bytes, label: str, *context: bytes, wrapped: bytes) -> bytes:
    """The plaintext of what `wrap` made for this key, label and context; else OpenError."""
    if len(wrapped) < WRAP_OVERHEAD:
        raise OpenError
    key = X25519PrivateKey.from_private_bytes(secret)
    try:
        return _HPKE.decrypt(wrapped, key, info=digest(label, *context))
    except (InvalidTag, ValueError):
        raise OpenError from None
