"""Chunks: ids, sealing, and every way in which a sealed chunk may be another than it says."""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from crypto.chunks import (
    CHUNK_SEAL_OVERHEAD,
    CHUNK_SIZE_MAX,
    ChunkHasher,
    SealedChunk,
    chunk_key,
    open_chunk,
    open_log_item,
    seal_chunk,
    seal_log_item,
)
from crypto.compression import Codec
from crypto.errors import OpenError
from crypto.ids import ChunkId
from crypto.labels import CHUNK_PREFIX, LOG_SLOT_PREFIX
from crypto.primitives import derive
from tests.crypto.seeded import Seeded
from tests.crypto.test_primitives import flips

READ = b"\x01" * 32
HASHER = ChunkHasher(b"\x02" * 32)
NOISE = Seeded("chunk")(64 << 10)


def sealed(data: bytes) -> SealedChunk:
    return seal_chunk(READ, HASHER.chunk_id(data), data, os.urandom(12))


@given(st.binary(max_size=2000))
def test_a_file_of_one_chunk_has_the_hash_of_its_chunk(data: bytes) -> None:
    whole = HASHER.file_hash()
    for at in range(0, len(data), 100):
        whole.update(data[at : at + 100])
    assert whole.digest() == HASHER.chunk_id(data) == HASHER.chunk_id(memoryview(data))


@pytest.mark.row("A15")
def test_ids_of_two_folders_have_nothing_in_common() -> None:
    assert HASHER.chunk_id(b"a") != ChunkHasher(b"\x03" * 32).chunk_id(b"a")


@given(st.binary(max_size=3000), st.integers(1, 20))
def test_a_sealed_chunk_opens(piece: bytes, times: int) -> None:
    data = piece * times
    chunk = sealed(data)
    assert chunk.plain_len == len(data)
    assert len(chunk.sealed) <= len(data) + CHUNK_SEAL_OVERHEAD
    assert open_chunk(READ, HASHER.chunk_id(data), chunk, HASHER) == data


@pytest.mark.row("A08")
def test_a_chunk_opens_in_its_epoch_under_its_id_only() -> None:
    chunk, chunk_id = sealed(b"x" * 500), HASHER.chunk_id(b"x" * 500)
    for read, other_id, hasher in (
        (b"\x05" * 32, chunk_id, HASHER),
        (READ, HASHER.chunk_id(b"y"), HASHER),
        (READ, chunk_id, ChunkHasher(b"\x05" * 32)),
    ):
        with pytest.raises(OpenError) as caught:
            open_chunk(read, other_id, chunk, hasher)
        assert caught.value.args == ()


@pytest.mark.row("A07")
@pytest.mark.parametrize("data", [NOISE[:200], b"compressible " * 50], ids=["raw", "zstd"])
def test_every_changed_byte_or_number_is_refused(data: bytes) -> None:
    chunk, chunk_id = sealed(data), HASHER.chunk_id(data)
    bad = [replace(chunk, sealed=changed) for changed in flips(chunk.sealed)]
    bad += [replace(chunk, codec=codec) for codec in range(-1, 4) if codec != chunk.codec]
    lengths = (-1, 0, len(data) - 1, len(data) + 1, CHUNK_SIZE_MAX + 1, 2**32, 2**63)
    bad += [replace(chunk, plain_len=plain_len) for plain_len in lengths]
    for changed_chunk in bad:
        with pytest.raises(OpenError) as caught:
            open_chunk(READ, chunk_id, changed_chunk, HASHER)
        assert caught.value.args == ()


@pytest.mark.row("A07")
def test_random_flips_in_a_large_chunk_are_refused() -> None:
    chunk, chunk_id, random = sealed(NOISE), HASHER.chunk_id(NOISE), Random(7)
    for _ in range(10_000):
        changed = bytearray(chunk.sealed)
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        with pytest.raises(OpenError):
            open_chunk(READ, chunk_id, replace(chunk, sealed=bytes(changed)), HASHER)


@pytest.mark.row("A22")
@pytest.mark.parametrize(
    ("codec", "plain_len", "payload"),
    [
        pytest.param(Codec.RAW, 4, b"evil", id="another text"),
        pytest.param(Codec.RAW, 5, b"evil", id="another length"),
        pytest.param(Codec.ZSTD, 4, b"evil", id="no frame"),
    ],
)
def test_a_member_who_seals_something_else_is_found_out(
    codec: Codec, plain_len: int, payload: bytes
) -> None:
    # Whoever has the read secret can make a tag that is right; the id is what cannot be made.
    chunk_id = HASHER.chunk_id(b"good")
    aad = CHUNK_PREFIX + bytes([codec]) + plain_len.to_bytes(4, "big")
    nonce = os.urandom(12)
    made = nonce + AESGCM(chunk_key(READ, chunk_id)).encrypt(nonce, payload, aad)
    with pytest.raises(OpenError):
        open_chunk(READ, chunk_id, SealedChunk(codec, plain_len, made), HASHER)


def test_the_key_that_a_share_link_hands_out_opens_the_chunk_by_itself() -> None:
    data = NOISE[:1000]
    chunk = sealed(data)
    aad = b"holdfast/1 chunk\0" + bytes([chunk.codec]) + chunk.plain_len.to_bytes(4, "big")
    key = derive(READ, "chunk key", HASHER.chunk_id(data))
    assert AESGCM(key).decrypt(chunk.sealed[:12], chunk.sealed[12:], aad) == data


def test_a_log_item_opens_under_its_id_only() -> None:
    item_id, wire = b"\x08" * 32, b"a changeset as it goes on the wire" * 10
    item = seal_log_item(READ, item_id, wire, os.urandom(12))
    assert item.codec == Codec.RAW
    assert open_log_item(READ, item_id, item) == wire
    with pytest.raises(OpenError):
        open_log_item(READ, b"\x09" * 32, item)
    with pytest.raises(OpenError):
        open_log_item(READ, item_id, replace(item, plain_len=len(wire) - 1))
    for changed in flips(item.sealed):
        with pytest.raises(OpenError):
            open_log_item(READ, item_id, replace(item, sealed=changed))
    key, nonce = derive(READ, "log slot key", item_id), os.urandom(12)
    for codec, plain_len in ((1, len(wire)), (0, len(wire) + 1)):  # tagged by a member
        aad = LOG_SLOT_PREFIX + bytes([codec]) + plain_len.to_bytes(4, "big")
        made = nonce + AESGCM(key).encrypt(nonce, wire, aad)
        with pytest.raises(OpenError):
            open_log_item(READ, item_id, SealedChunk(codec, plain_len, made))


def test_a_chunk_too_large_is_our_bug_before_it_is_sealed() -> None:
    with pytest.raises(AssertionError):
        seal_chunk(READ, ChunkId(bytes(32)), bytes(CHUNK_SIZE_MAX + 1), bytes(12))


def test_reprs_show_no_key() -> None:
    assert repr(HASHER) == "ChunkHasher()"
    assert "sealed=" not in repr(sealed(b"x"))
