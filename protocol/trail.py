"""The chain of a device's audit trail, and the checkpoints that are signed of it (CRYPTO 11).

Each entry's hash covers the one before, so what was written can only be added to. A checkpoint says
how many entries there were and what the last hash was; whoever holds one notices that anything
before it was changed, left out or cut off.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from crypto.errors import SignatureError
from crypto.ids import DeviceId
from crypto.keys import DeviceKeys
from crypto.primitives import HASH_SIZE, SIGNATURE_SIZE, digest, verify
from protocol import wire
from protocol.errors import Malformed

NONCE_SIZE: Final = 16
COUNT_MAX: Final = 1 << 53
CHECKPOINT_LENGTH_MAX: Final = 256
"""Of an encoded one, which takes some 170 bytes."""
CHECKPOINTS_MAX: Final = 128
"""Told in one message: of the sender's chains, and of those of the user's other devices."""
_VERSION: Final = 1
_LABEL: Final = "audit checkpoint"


def begin(device_id: DeviceId, nonce: bytes) -> bytes:
    """The hash that a chain begins with; a chain of its own for each nonce."""
    assert len(nonce) == NONCE_SIZE
    return digest("audit", device_id, nonce)


def extend(last: bytes, entry: bytes) -> bytes:
    """The hash of an entry that follows the one of hash `last`."""
    return digest("audit", last, entry)


class Checkpoint(NamedTuple):
    """How long a chain was at a time, and its last hash, by its device's word."""

    device_id: DeviceId
    nonce: bytes
    entries: int
    hash: bytes
    time_s: int
    signature: bytes

    @classmethod
    def sign(
        cls, keys: DeviceKeys, nonce: bytes, entries: int, hash_: bytes, time_s: int
    ) -> Checkpoint:
        """A new one."""
        unsigned = cls(keys.device_id, nonce, entries, hash_, time_s, b"")
        return unsigned._replace(signature=keys.sign(_LABEL, unsigned._signed()))

    def _signed(self) -> bytes:
        return wire.encode(
            [_VERSION, self.device_id, self.nonce, self.entries, self.hash, self.time_s]
        )

    def is_signed_by(self, sign_public: bytes) -> bool:
        """Whether the device of this key said so; that the key is the device's is for the caller
        to know.
        """
        try:
            verify(sign_public, self.signature, _LABEL, self._signed())
        except SignatureError:
            return False
        return True

    def encode(self) -> bytes:
        """As it is kept and sent: what is signed, and the signature behind."""
        return self._signed() + self.signature

    @classmethod
    def decode(cls, data: bytes) -> Checkpoint:
        """The inverse; raises Malformed. The signature is still to be checked."""
        if len(data) <= SIGNATURE_SIZE:
            raise Malformed("too short for a checkpoint")
        value = wire.decode(data[:-SIGNATURE_SIZE], 256, 16)
        sizes = (HASH_SIZE, NONCE_SIZE, None, HASH_SIZE, None)
        if type(value) is not list or len(value) != 6 or value[0] != _VERSION:
            raise Malformed("not a checkpoint")
        for member, size in zip(value[1:], sizes, strict=True):
            if size is None:
                if type(member) is not int or not 0 <= member < COUNT_MAX:
                    raise Malformed("not a checkpoint's number")
            elif type(member) is not bytes or len(member) != size:
                raise Malformed("not a checkpoint's bytes")
        _, device_id, nonce, entries, hash_, time_s = value
        return cls(device_id, nonce, entries, hash_, time_s, data[-SIGNATURE_SIZE:])
