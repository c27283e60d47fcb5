"""Changeset bodies: the padding ladder, the seal, the hash and the signature."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.changesets import (
    BODY_SIZE_MAX,
    RAW_SIZE_MAX,
    body_hash,
    changeset_hash,
    open_body,
    pad,
    padded_size,
    seal_body,
    sign_slot,
    unpad,
    verify_slot,
)
from crypto.errors import OpenError, SignatureError, TooLongError
from crypto.primitives import SEAL_OVERHEAD, seal, sign_public
from tests.crypto.seeded import Seeded
from tests.crypto.test_primitives import flips

KEY = b"\x01" * 32
SLOT = b"a slot, 186 bytes in life"


@given(st.binary(max_size=5000), st.integers(1, 50))
def test_what_is_padded_comes_back_from_a_rung(piece: bytes, times: int) -> None:
    raw = piece * times
    padded = pad(raw)
    assert unpad(padded) == raw
    assert len(padded) == padded_size(len(padded))


@given(st.integers(1, BODY_SIZE_MAX))
def test_the_ladder(size: int) -> None:
    rung = padded_size(size)
    assert rung >= size
    if rung <= 64 << 10:
        assert rung in [512 << i for i in range(8)]
        assert rung < max(2 * size, 513)
    else:
        assert rung % (64 << 10) == 0
        assert rung - size < 64 << 10


def test_small_changes_look_alike() -> None:
    bodies = [seal_body(KEY, SLOT, os.urandom(size), os.urandom(32)) for size in range(1, 500, 50)]
    assert {len(body) for body in bodies} == {512 + SEAL_OVERHEAD}


@given(st.binary(max_size=600))
def test_nothing_else_than_open_error_comes_out(padded: bytes) -> None:
    try:
        assert pad(unpad(padded)) is not None
    except OpenError:
        pass


GOOD = pad(b"0123456789")
BAD_PADDINGS = {
    "empty": b"",
    "shorter than its header": GOOD[:8],
    "cut to no rung": GOOD[:-1],
    "a rung too high": GOOD + bytes(512),
    "something in the fill": GOOD[:-1] + b"\1",
    "something right behind the data": GOOD[:19] + b"\1" + GOOD[20:],
    "data beyond the end": GOOD[:5] + b"\xff" * 4 + GOOD[9:],
    "another raw length": b"\0\0\0\x09" + GOOD[4:],
    "an unknown codec": GOOD[:4] + b"\2" + GOOD[5:],
    "a codec that it is not": GOOD[:4] + b"\1" + GOOD[5:],
}


@pytest.mark.parametrize("case", BAD_PADDINGS)
def test_padding_has_one_form(case: str) -> None:
    with pytest.raises(OpenError) as caught:
        unpad(BAD_PADDINGS[case])
    assert caught.value.args == ()


def test_a_body_opens_in_its_slot_only() -> None:
    body = seal_body(KEY, SLOT, b"records", os.urandom(32))
    assert open_body(KEY, SLOT, body) == b"records"
    for key, slot in ((b"\2" * 32, SLOT), (KEY, SLOT + b"."), (KEY, b"")):
        with pytest.raises(OpenError):
            open_body(key, slot, body)


def test_every_changed_byte_of_a_body_is_refused_with_one_error() -> None:
    body = seal_body(KEY, SLOT, b"records", os.urandom(32))
    for bad in flips(body):
        with pytest.raises(OpenError) as caught:
            open_body(KEY, SLOT, bad)
        assert caught.value.args == ()


def test_limits_are_checked_before_work() -> None:
    with pytest.raises(TooLongError):
        seal_body(KEY, SLOT, bytes(RAW_SIZE_MAX + 1), os.urandom(32))
    noise = Seeded("noise")(1 << 20) * 4
    with pytest.raises(TooLongError):
        seal_body(KEY, SLOT, noise[: BODY_SIZE_MAX - 100], os.urandom(32))
    padded = pad(noise[: BODY_SIZE_MAX - 100])
    assert unpad(padded) == noise[: BODY_SIZE_MAX - 100]
    too_long = seal(KEY, "changeset", SLOT, plaintext=padded, random32=os.urandom(32))
    with pytest.raises(OpenError):
        open_body(KEY, SLOT, too_long)


def test_the_largest_contents_fit() -> None:
    repetitive = Seeded("page")(1 << 16) * (RAW_SIZE_MAX >> 16)
    body = seal_body(KEY, SLOT, repetitive, os.urandom(32))
    assert len(body) < 1 << 20
    assert open_body(KEY, SLOT, body) == repetitive


@pytest.mark.row("A31")
def test_a_bomb_in_a_signed_body_is_refused() -> None:
    # A member may seal any padding; the announced length is what limits the decoder.
    for raw_len in (0, 100, RAW_SIZE_MAX + 1, 2**32 - 1):
        padded = pad(bytes(1 << 20))
        padded = raw_len.to_bytes(4, "big") + padded[4:]
        body = seal(KEY, "changeset", SLOT, plaintext=padded, random32=os.urandom(32))
        with pytest.raises(OpenError):
            open_body(KEY, SLOT, body)


def test_the_hash_covers_slot_and_body_and_no_signature() -> None:
    name = changeset_hash(SLOT, body_hash(b"body"))
    assert len(name) == 32
    assert name != changeset_hash(SLOT + b"b", body_hash(b"ody"))
    assert name != changeset_hash(SLOT, body_hash(b"Body"))
    assert body_hash(b"body") != changeset_hash(b"body", b"")


def test_a_signature_covers_slot_and_body() -> None:
    seed, hashed = b"\3" * 32, body_hash(b"body")
    signature = sign_slot(seed, SLOT, hashed)
    verify_slot(sign_public(seed), signature, SLOT, hashed)
    for public, slot, other in (
        (sign_public(b"\4" * 32), SLOT, hashed),
        (sign_public(seed), SLOT + b"\0", hashed),
        (sign_public(seed), SLOT, body_hash(b"other")),
    ):
        with pytest.raises(SignatureError):
            verify_slot(public, signature, slot, other)
