"""Chunks: their keyed ids, and how one is sealed to rest with somebody else (CRYPTO 6).

A chunk's key follows from the epoch's read secret and the chunk id, so folder, epoch and id need no
place in the associated data, and a key given to a share link opens this chunk and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crypto.compression import CONTENT_SIZE_MAX, Codec, compress, decompress
from crypto.errors import OpenError
from crypto.ids import ChunkId
from crypto.labels import CHUNK_PREFIX, LOG_SLOT_PREFIX
from crypto.primitives import KEY_SIZE, derive, is_equal

CHUNK_SIZE_MAX: Final = CONTENT_SIZE_MAX
CHUNK_ID_SIZE: Final = 32
CHUNK_NONCE_SIZE: Final = 12
CHUNK_SEAL_OVERHEAD: Final = CHUNK_NONCE_SIZE + 16


class ChunkHasher:
    """Names the chunks and files of one folder by keyed BLAKE3.

    A file of one chunk has the hash that its chunk has as id.
    """

    __slots__ = ("_key",)

    def __init__(self, chunk_id_key: bytes) -> None:
        assert len(chunk_id_key) == KEY_SIZE
        self._key = chunk_id_key

    def chunk_id(self, data: bytes | bytearray | memoryview) -> ChunkId:
        """The id of a chunk with this plaintext."""
        return ChunkId(blake3(data, key=self._key).digest())

    def file_hash(self) -> blake3:
        """A streaming hash (`update`, `digest`) of a whole file under the same key."""
        return blake3(key=self._key)

    def __repr__(self) -> str:
        return "ChunkHasher()"


@dataclass(frozen=True, slots=True)
class SealedChunk:
    """`nonce12 || ciphertext || tag16`, with the two numbers that the tag covers too."""

    codec: int
    plain_len: int
    sealed: bytes = field(repr=False)


def chunk_key(read_secret: bytes, chunk_id: ChunkId) -> bytes:
    """The key of one chunk in one epoch; it is what a share link hands out."""
    return derive(read_secret, "chunk key", chunk_id)


def seal_chunk(read_secret: bytes, chunk_id: ChunkId, data: bytes, random12: bytes) -> SealedChunk:
    """Compresses where it helps and seals under the chunk's own key.

    The nonce is random and not fixed although the key is single-purpose: zstd's output may differ
    between versions, and any device may seal the same chunk again.
    """
    assert len(data) <= CHUNK_SIZE_MAX
    codec, payload = compress(data)
    return _seal(
        chunk_key(read_secret, chunk_id), CHUNK_PREFIX, codec, len(data), payload, random12
    )


def open_chunk(
    read_secret: bytes, chunk_id: ChunkId, chunk: SealedChunk, hasher: ChunkHasher
) -> bytes:
    """The plaintext; OpenError unless tag, compression, length and id agree, in this order."""
    data = open_chunk_with(chunk_key(read_secret, chunk_id), chunk)
    if not is_equal(hasher.chunk_id(data), chunk_id):
        raise OpenError
    return data


def open_chunk_with(key: bytes, chunk: SealedChunk) -> bytes:
    """The plaintext by the chunk's own key, all that a share link gives out; else OpenError.

    Who knows the key can make other bytes that open: the caller has to know the chunk by a hash,
    of the plaintext or of what is sealed.
    """
    payload = _open(key, CHUNK_PREFIX, chunk)
    return decompress(chunk.codec, payload, chunk.plain_len)


def seal_log_item(read_secret: bytes, item_id: bytes, wire: bytes, random12: bytes) -> SealedChunk:
    """A changeset or ledger entry as it goes on the wire, sealed for a log pack.

    Never compressed: a changeset's body is ciphertext already.
    """
    key = derive(read_secret, "log slot key", item_id)
    return _seal(key, LOG_SLOT_PREFIX, Codec.RAW, len(wire), wire, random12)


def open_log_item(read_secret: bytes, item_id: bytes, item: SealedChunk) -> bytes:
    """The wire bytes, or OpenError. That they hash to `item_id` is for the caller to check."""
    key = derive(read_secret, "log slot key", item_id)
    payload = _open(key, LOG_SLOT_PREFIX, item)
    if item.codec != Codec.RAW or len(payload) != item.plain_len:
        raise OpenError
    return payload


def _aad(prefix: bytes, codec: int, plain_len: int) -> bytes:
    return prefix + bytes([codec]) + plain_len.to_bytes(4, "big")


def _seal(
    key: bytes, prefix: bytes, codec: int, plain_len: int, payload: bytes, random12: bytes
) -> SealedChunk:
    assert len(random12) == CHUNK_NONCE_SIZE, "12 fresh random bytes for each chunk"
    sealed = AESGCM(key).encrypt(random12, payload, _aad(prefix, codec, plain_len))
    return SealedChunk(int(codec), plain_len, random12 + sealed)


def _open(key: bytes, prefix: bytes, chunk: SealedChunk) -> bytes:
    has_room = CHUNK_SEAL_OVERHEAD <= len(chunk.sealed) <= CHUNK_SIZE_MAX + CHUNK_SEAL_OVERHEAD
    if not has_room or not 0 <= chunk.plain_len <= CHUNK_SIZE_MAX or not 0 <= chunk.codec <= 1:
        raise OpenError
    view = memoryview(chunk.sealed)
    aad = _aad(prefix, chunk.codec, chunk.plain_len)
    try:
        return AESGCM(key).decrypt(view[:CHUNK_NONCE_SIZE], view[CHUNK_NONCE_SIZE:], aad)
    except InvalidTag:
        raise OpenError from None
