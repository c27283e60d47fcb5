"""The sealed body, the hash and the signature of a changeset, over bytes (CRYPTO 5).

The slot arrives here encoded; what it says is none of this module's business. It is bound three
times: as the body's associated data, in the changeset's hash, and in the signature.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from crypto.compression import CONTENT_SIZE_MAX, compress, decompress
from crypto.errors import OpenError, TooLongError
from crypto.primitives import SEAL_OVERHEAD, digest, open_sealed, seal, sign, verify

RAW_SIZE_MAX: Final = CONTENT_SIZE_MAX
"""16 MiB: frontier and records before compression."""
BODY_SIZE_MAX: Final = 4 << 20
"""What is sent, stored and hashed."""

_PAD_FIRST: Final = 512
_PAD_STEP: Final = 64 << 10
_HEADER: Final = Struct(">IBI")
"""u32 length before compression, u8 codec, u32 length of what follows."""


def padded_size(size: int) -> int:
    """The next rung: 512, 1,024, ... 64 KiB, then every 64 KiB; all that who stores it learns."""
    if size > _PAD_STEP:
        return -(-size // _PAD_STEP) * _PAD_STEP
    return max(_PAD_FIRST, 1 << (size - 1).bit_length())


def pad(raw: bytes) -> bytes:
    """Compresses where it helps, puts the lengths before and zeros behind, up to the next rung."""
    if len(raw) > RAW_SIZE_MAX:
        raise TooLongError
    codec, data = compress(raw)
    head = _HEADER.pack(len(raw), codec, len(data))
    return (head + data).ljust(padded_size(len(head) + len(data)), b"\0")


def unpad(padded: bytes) -> bytes:
    """What `pad` was given; OpenError for anything that `pad` does not make."""
    if len(padded) < _HEADER.size:
        raise OpenError
    raw_len, codec, data_len = _HEADER.unpack_from(padded)
    end = _HEADER.size + data_len
    if end > len(padded) or len(padded) != padded_size(end):
        raise OpenError
    if padded.count(0, end) != len(padded) - end:
        raise OpenError  # a second encoding of the same content, or a place to hide something
    return decompress(codec, padded[_HEADER.size : end], raw_len)


def seal_body(record_key: bytes, slot: bytes, raw: bytes, random32: bytes) -> bytes:
    """The sealed body of the changeset in this slot; TooLongError if it would exceed 4 MiB."""
    padded = pad(raw)
    if len(padded) + SEAL_OVERHEAD > BODY_SIZE_MAX:
        raise TooLongError
    return seal(record_key, "changeset", slot, plaintext=padded, random32=random32)


def open_body(record_key: bytes, slot: bytes, body: bytes) -> bytes:
    """The at most 16 MiB that were sealed into this slot; OpenError for anything else."""
    if len(body) > BODY_SIZE_MAX:
        raise OpenError
    return unpad(open_sealed(record_key, "changeset", slot, sealed=body))


def body_hash(body: bytes) -> bytes:
    """The 32-byte hash of a sealed body; with slot and signature it is evidence by itself."""
    return digest("changeset body", body)


def changeset_hash(slot: bytes, hash_of_body: bytes) -> bytes:
    """The 32-byte name of a changeset; without the signature, so a second one makes no fork."""
    return digest("changeset", slot, hash_of_body)


def sign_slot(sign_seed: bytes, slot: bytes, hash_of_body: bytes) -> bytes:
    """The author's signature over slot and body."""
    return sign(sign_seed, "changeset", slot, hash_of_body)


def verify_slot(sign_pk: bytes, signature: bytes, slot: bytes, hash_of_body: bytes) -> None:
    """Returns if the author signed exactly this slot and body; raises SignatureError if not."""
    verify(sign_pk, signature, "changeset", slot, hash_of_body)
