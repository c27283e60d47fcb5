"""The primitives against the design's vectors, RFC 9180, and everything that must not open."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import chunks
from crypto.errors import BadKeyError, OpenError, SignatureError
from crypto.primitives import (
    SEAL_OVERHEAD,
    WRAP_OVERHEAD,
    derive,
    dh_public,
    digest,
    is_equal,
    open_sealed,
    seal,
    sign,
    sign_public,
    unwrap,
    verify,
    wrap,
)
from tests.crypto import hpke_reference
from tests.nonces import NonceRegistry, watched_nonces

ZERO = bytes(32)
LOW_ORDER_POINTS = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]
parts = st.lists(st.binary(max_size=40), max_size=4)


def flips(data: bytes) -> list[bytes]:
    """Every byte of the data changed once, and every truncation by a few bytes."""
    changed = [data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :] for i in range(len(data))]
    return [*changed, b"", data[:-1], data[1:], data + b"\0"]


def test_the_design_page_gives_these_five_values() -> None:
    assert digest("device", ZERO, b"\x11" * 32).hex() == (
        "312f311ea2745b561c33e5e49b7cf8053a8d54a716860be352969b458093a318"
    )
    assert derive(ZERO, "record key").hex() == (
        "7c363b2b2065f06e6fd8751291ae232d2229600fa7ca9946bf071c139d1a0788"
    )
    assert sign(ZERO, "entry", b"abc").hex() == (
        "85b8f6a9b6e63997202e5d01920021920aa91841daaf055b5ee9fad270a208a7"
        "25077719a1ffd29e332b42bb589a995101721b5b0c0d3a7c360e0aa95f581e06"
    )
    sealed = seal(ZERO, "changeset", b"slot", plaintext=b"abc", random32=b"\x11" * 32)
    assert sealed[:24].hex() == "854208054ff7e0a19ddef5599e9b03bd0a1036770928d8f2"
    assert digest("pair code", b"7", b"crossover-clockwork").hex() == (
        "7b89b5da5c8cdda6aa076733a1a316c8b443d9bf9c36c6771d6cd1580448c09d"
    )


@given(parts, parts)
def test_two_lists_of_parts_have_one_hash_only_if_they_are_equal(
    left: list[bytes], right: list[bytes]
) -> None:
    assert (digest("entry", *left) == digest("entry", *right)) == (left == right)
    assert (derive(ZERO, "entry", *left) == derive(ZERO, "entry", *right)) == (left == right)


def test_the_size_of_a_derived_key_is_part_of_its_derivation() -> None:
    assert derive(ZERO, "wrap", size=16) != derive(ZERO, "wrap")[:16]
    assert len(derive(ZERO, "wrap", size=64)) == 64


def test_unknown_labels_are_our_bug() -> None:
    with pytest.raises(AssertionError):
        digest("no such label")
    with pytest.raises(AssertionError):
        derive(ZERO, "Entry")


@given(parts, st.binary(max_size=300))
def test_what_is_sealed_opens_and_only_with_the_same_data(aad: list[bytes], text: bytes) -> None:
    sealed = seal(ZERO, "changeset", *aad, plaintext=text, random32=os.urandom(32))
    assert len(sealed) == len(text) + SEAL_OVERHEAD
    assert open_sealed(ZERO, "changeset", *aad, sealed=sealed) == text
    with pytest.raises(OpenError):
        open_sealed(ZERO, "changeset", *aad, b"", sealed=sealed)
    with pytest.raises(OpenError):
        open_sealed(b"\1" + ZERO[1:], "changeset", *aad, sealed=sealed)


@pytest.mark.row("A06")
def test_a_thousand_sealings_of_one_text_all_differ(nonce_registry: NonceRegistry) -> None:
    before = len(nonce_registry.sealed)
    key = os.urandom(32)
    sealed = {
        seal(key, "changeset", plaintext=b"one text", random32=os.urandom(32)) for _ in range(1000)
    }
    assert len({box[:24] for box in sealed}) == 1000
    assert len(nonce_registry.sealed) == before + 1000


@pytest.mark.row("A06")
def test_a_nonce_that_is_used_twice_is_seen_wherever_it_is_caught() -> None:
    """Else the registry would prove nothing."""
    data, hasher = b"one text", chunks.ChunkHasher(ZERO)
    chunk_id, nonce = hasher.chunk_id(data), bytes(12)

    def seal_both(second: bytes) -> None:
        with watched_nonces(NonceRegistry()):
            for text in (data, second):
                with suppress(AssertionError):
                    chunks.seal_chunk(ZERO, chunk_id, text, nonce)

    seal_both(data)
    with pytest.raises(AssertionError, match="twice"):
        seal_both(b"another")


@pytest.mark.row("A06")
def test_repeated_randomness_repeats_no_nonce() -> None:
    # A machine was cloned: both halves draw the same 32 bytes and seal different texts.
    stuck = b"\x22" * 32
    boxes = [
        seal(key, label, plaintext=text, random32=stuck)
        for key in (ZERO, b"\1" * 32)
        for label in ("changeset", "mailbox")
        for text in (b"", b"a", b"b")
    ]
    assert len({box[:24] for box in boxes}) == len(boxes)


@pytest.mark.row("A03", "A07")
def test_every_changed_byte_is_refused_with_one_error() -> None:
    sealed = seal(ZERO, "changeset", b"s", plaintext=bytes(300), random32=os.urandom(32))
    for bad in flips(sealed):
        with pytest.raises(OpenError) as caught:
            open_sealed(ZERO, "changeset", b"s", sealed=bad)
        assert caught.value.args == ()
        assert caught.value.__cause__ is None


@given(parts, parts)
def test_a_signature_holds_for_its_parts_and_key_only(
    signed: list[bytes], other: list[bytes]
) -> None:
    public = sign_public(ZERO)
    signature = sign(ZERO, "entry", *signed)
    verify(public, signature, "entry", *signed)
    if other != signed:
        with pytest.raises(SignatureError):
            verify(public, signature, "entry", *other)
    with pytest.raises(SignatureError):
        verify(sign_public(b"\1" * 32), signature, "entry", *signed)


def test_every_changed_byte_of_a_signature_is_refused() -> None:
    public, signature = sign_public(ZERO), sign(ZERO, "entry", b"x")
    for bad in flips(signature):
        with pytest.raises(SignatureError):
            verify(public, bad, "entry", b"x")
    for bad_key in (b"", public[:-1], public + b"\0"):
        with pytest.raises(SignatureError):
            verify(bad_key, signature, "entry", b"x")


def test_a_key_of_small_order_signs_nothing() -> None:
    # With the neutral element as key, R = 1 and s = 0 satisfy the bare equation for any message.
    neutral = b"\1" + bytes(31)
    with pytest.raises(SignatureError):
        verify(neutral, neutral + bytes(32), "entry", b"anything")


def test_a_wrap_opens_for_its_key_and_context_only() -> None:
    public = dh_public(ZERO)
    wrapped = wrap(public, "wrap", b"folder", b"who", plaintext=b"secret")
    assert len(wrapped) == len(b"secret") + WRAP_OVERHEAD
    assert unwrap(ZERO, "wrap", b"folder", b"who", wrapped=wrapped) == b"secret"
    assert wrapped != wrap(public, "wrap", b"folder", b"who", plaintext=b"secret")
    for secret, label, context in (
        (b"\1" * 32, "wrap", [b"folder", b"who"]),
        (ZERO, "invite", [b"folder", b"who"]),
        (ZERO, "wrap", [b"folder", b"Who"]),
        (ZERO, "wrap", [b"folderwho"]),
        (ZERO, "wrap", []),
    ):
        with pytest.raises(OpenError) as caught:
            unwrap(secret, label, *context, wrapped=wrapped)
        assert caught.value.args == ()
    for bad in flips(wrapped):
        with pytest.raises(OpenError) as caught:
            unwrap(ZERO, "wrap", b"folder", b"who", wrapped=bad)
        assert caught.value.args == ()


@pytest.mark.parametrize("point", LOW_ORDER_POINTS, ids=lambda point: point.hex()[:8])
def test_points_of_low_order_are_no_keys(point: bytes) -> None:
    with pytest.raises(BadKeyError):
        wrap(point, "wrap", plaintext=b"secret")
    with pytest.raises(OpenError):
        unwrap(ZERO, "wrap", wrapped=point + bytes(64))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_of_another_length_are_no_keys(size: int) -> None:
    with pytest.raises(BadKeyError):
        wrap(b"\7" * size, "wrap", plaintext=b"secret")


def test_the_reference_agrees_with_rfc_9180_a_2_1() -> None:
    recipient = bytes.fromhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
    ephemeral = bytes.fromhex("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600")
    sealed = hpke_reference.seal(
        dh_public(recipient),
        b"Ode on a Grecian Urn",
        b"Count-0",
        b"Beauty is truth, truth beauty",
        ephemeral,
    )
    assert sealed.hex() == (
        "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db"
        "21993c62ce81883d2dd1b51a28"
    )


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_wraps_are_hpke_as_the_rfc_has_it(ephemeral: bytes, text: bytes) -> None:
    secret = b"\x05" * 32
    info = digest("wrap", b"context")
    wrapped = wrap(dh_public(secret), "wrap", b"context", plaintext=text)
    assert hpke_reference.open_sealed(secret, info, b"", wrapped) == text
    sealed = hpke_reference.seal(dh_public(secret), info, b"", text, ephemeral)
    assert unwrap(secret, "wrap", b"context", wrapped=sealed) == text


def test_equality_compares_everything() -> None:
    assert is_equal(b"abc", b"abc")
    assert not is_equal(b"abc", b"abd")
    assert not is_equal(b"abc", b"ab")
