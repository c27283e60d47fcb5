"""What two devices share without a word between them, and the tags that only they can tell.

Both compute the same secret from their own X25519 key and the other's public one (CRYPTO 9). It
names nobody else and no folder, and it ends with either key.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from crypto.errors import BadKeyError
from crypto.ids import DeviceId
from crypto.keys import DeviceKeys
from crypto.primitives import derive

LAN_TAG_SIZE: Final = 4
"""A stranger's tag matches one of 256 by chance once in 16 million; then a dialled link fails."""


def pair_secret(keys: DeviceKeys, device_id: DeviceId, dh_pk: bytes) -> bytes:
    """The 32-byte secret of this device and another; BadKeyError if the other's key is none."""
    secret = X25519PrivateKey.from_private_bytes(keys.dh_secret)
    try:
        shared = secret.exchange(X25519PublicKey.from_public_bytes(dh_pk))
    except ValueError:
        # A wrong length, or a point of low order, which would give everybody the same secret.
        raise BadKeyError from None
    ids = sorted((keys.device_id, device_id))
    return derive(shared, "pair secret", *ids)


def lan_tag(secret: bytes, nonce: bytes, announcer: DeviceId) -> bytes:
    """The 4 bytes by which `announcer` shows itself to the one device that shares the secret."""
    return derive(secret, "lan", nonce, announcer, size=LAN_TAG_SIZE)
