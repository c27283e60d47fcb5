"""Share links: what opens them, and each way in which a relay or a visitor may cheat another."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import share_links
from crypto.errors import BadKeyError, CryptoError, OpenError, SignatureError
from crypto.labels import SHARE_LINK_PREFIX
from crypto.share_links import (
    END_KEY_SIZE,
    HEADER_SIZE,
    LINK_SEED_SIZE,
    SEGMENT_OVERHEAD,
    SEGMENT_SIZE,
    SEGMENTS_AT,
    LinkFlags,
    LinkKey,
    LinkSecrets,
    check_link,
    check_revocation,
    end_key_hash,
    open_link,
    seal_link,
)
from tests.crypto.seeded import Seeded
from tests.crypto.test_primitives import flips

RANDOM = Seeded("test of share links")
KEY = LinkKey.from_seed(RANDOM(LINK_SEED_SIZE))
OTHER = LinkKey.from_seed(RANDOM(LINK_SEED_SIZE))
SECRETS = LinkSecrets.of(RANDOM(32), RANDOM(16))
LOCKED = replace(SECRETS, password_key=RANDOM(32))
"""As if a password had been hashed: the hash itself has its vectors."""
SALT = RANDOM(32)
SMALL = b"what a link gives"
LONG = RANDOM(3 * SEGMENT_SIZE + 5)


def sealed(manifest: bytes = SMALL, key: LinkKey = KEY, secrets: LinkSecrets = SECRETS) -> bytes:
    flags = LinkFlags.PASSWORD if secrets.password_key else LinkFlags.NONE
    return seal_link(key, secrets, manifest, flags=flags, version=1, salt=SALT)


def resigned(blob: bytes, segments: bytes) -> bytes:
    """The blob with other segments, signed by the link's key: only its maker could do this."""
    header = blob[: HEADER_SIZE - 32] + sha256(segments).digest()
    return header + KEY.sign(SHARE_LINK_PREFIX + header) + segments


@given(st.integers(1, 2 * SEGMENT_SIZE + 3))
def test_a_manifest_opens_whatever_its_length(size: int) -> None:
    manifest = LONG[:size]
    assert open_link(KEY.link_id, SECRETS, sealed(manifest)) == manifest


def test_the_header_is_171_bytes_and_a_signature() -> None:
    assert (HEADER_SIZE, SEGMENTS_AT) == (171, 171 + 64)
    assert len(sealed(b"x")) == SEGMENTS_AT + 1 + SEGMENT_OVERHEAD


def test_a_key_comes_back_from_what_was_kept_of_it() -> None:
    again = LinkKey.from_secret(KEY.secret)
    assert (again.public, again.link_id) == (KEY.public, KEY.link_id)
    assert KEY.sign(b"data") == again.sign(b"data")


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_a_number_outside_of_the_curve_is_no_key(secret: bytes) -> None:
    with pytest.raises(BadKeyError):
        LinkKey.from_secret(secret)


def test_the_largest_seed_is_a_key_still() -> None:
    for seed in (bytes(LINK_SEED_SIZE), b"\xff" * LINK_SEED_SIZE):
        assert LinkKey.from_seed(seed).link_id


@pytest.mark.row("A03", "A08")
@pytest.mark.row("A39")
def test_no_changed_byte_opens() -> None:
    blob = sealed()
    for changed in flips(blob):
        with pytest.raises(CryptoError):
            open_link(KEY.link_id, SECRETS, changed)


@pytest.mark.row("A08")
@pytest.mark.row("A09")
def test_truncated_reordered_or_repeated_segments_do_not_open_even_if_signed() -> None:
    blob = sealed(LONG)
    step = SEGMENT_SIZE + SEGMENT_OVERHEAD
    body = blob[SEGMENTS_AT:]
    parts = [body[at : at + step] for at in range(0, len(body), step)]
    assert len(parts) == 4
    orders: tuple[list[int], ...] = (
        [0, 1, 2],
        [1, 0, 2, 3],
        [0, 1, 3],
        [0, 1, 2, 3, 3],
        [3],
        [0, 1, 2, 2, 3],
        [],
    )
    for order in orders:
        segments = b"".join(parts[i] for i in order)
        with pytest.raises(CryptoError):
            open_link(KEY.link_id, SECRETS, blob[:SEGMENTS_AT] + segments)
        with pytest.raises(OpenError):
            open_link(KEY.link_id, SECRETS, resigned(blob, segments))
    assert open_link(KEY.link_id, SECRETS, resigned(blob, body)) == LONG


@pytest.mark.row("A07")
@pytest.mark.row("A39")
def test_another_link_s_blob_does_not_open_though_all_secrets_are_the_same() -> None:
    other = sealed(key=OTHER)
    assert open_link(OTHER.link_id, SECRETS, other) == SMALL
    with pytest.raises(OpenError):
        open_link(KEY.link_id, SECRETS, other)
    with pytest.raises(CryptoError):
        open_link(KEY.link_id, SECRETS, sealed()[:SEGMENTS_AT] + other[SEGMENTS_AT:])


@pytest.mark.row("A39")
def test_a_link_with_a_password_opens_with_it_alone() -> None:
    blob = sealed(secrets=LOCKED)
    assert open_link(KEY.link_id, LOCKED, blob) == SMALL
    for secrets in (SECRETS, replace(LOCKED, password_key=RANDOM(32))):
        with pytest.raises(OpenError):
            open_link(KEY.link_id, secrets, blob)
    with pytest.raises(OpenError):
        open_link(KEY.link_id, LOCKED, sealed())


@pytest.mark.row("A22")
def test_who_knows_two_secrets_cannot_make_one_blob_for_both() -> None:
    # GCM alone would let two keys open one ciphertext; the commitment is to one key.
    first = sealed()
    second = LinkSecrets.of(RANDOM(32), SECRETS.password_salt)
    header = check_link(KEY.link_id, first)
    assert header.commit != second.keys(KEY.link_id, 0, SALT).commit
    with pytest.raises(OpenError):
        open_link(KEY.link_id, second, first)


def test_a_token_tells_secret_password_link_and_salt_apart() -> None:
    tokens = {
        SECRETS.token(KEY.link_id),
        SECRETS.token(OTHER.link_id),
        LOCKED.token(KEY.link_id),
        replace(SECRETS, password_salt=RANDOM(16)).token(KEY.link_id),
        LinkSecrets.of(RANDOM(32), SECRETS.password_salt).token(KEY.link_id),
    }
    assert len(tokens) == 5
    assert share_links.token_hash(SECRETS.token(KEY.link_id)) not in tokens


def test_each_sealing_has_keys_of_its_own() -> None:
    kinds = [(KEY.link_id, 0, SALT), (OTHER.link_id, 0, SALT), (KEY.link_id, 1, SALT)]
    kinds.append((KEY.link_id, 0, RANDOM(32)))
    keys = [SECRETS.keys(*kind) for kind in kinds]
    assert len({key.key for key in keys} | {key.commit for key in keys}) == 8


def test_a_revocation_is_of_this_link_and_of_nothing_else() -> None:
    signature = KEY.revocation(7)
    check_revocation(KEY.public, signature, KEY.link_id, 7)
    for public, link_id, time_s in (
        (KEY.public, KEY.link_id, 8),
        (KEY.public, OTHER.link_id, 7),
        (OTHER.public, OTHER.link_id, 7),
    ):
        with pytest.raises(CryptoError):
            check_revocation(public, signature, link_id, time_s)
    with pytest.raises(SignatureError):
        check_revocation(KEY.public, sealed()[HEADER_SIZE:SEGMENTS_AT], KEY.link_id, 7)


@given(st.binary(max_size=400))
def test_nothing_that_comes_from_outside_is_more_than_an_error(blob: bytes) -> None:
    for data in (blob, share_links.MAGIC + b"\1\0" + blob):
        with pytest.raises(CryptoError):
            check_link(KEY.link_id, data)


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, bytes(63)])
def test_no_number_outside_of_the_curve_is_a_signature(signature: bytes) -> None:
    with pytest.raises(SignatureError):
        check_revocation(KEY.public, signature, KEY.link_id, 7)


def test_secrets_of_other_lengths_are_refused() -> None:
    for secret, salt in ((b"x" * 31, b"y" * 16), (b"x" * 32, b"y" * 15)):
        with pytest.raises(OpenError):
            LinkSecrets.of(secret, salt)
    with pytest.raises(OpenError):
        share_links.password_key("x" * 1025, b"y" * 16)


def test_the_repr_shows_no_secret() -> None:
    shown = repr((KEY, LOCKED, LOCKED.keys(KEY.link_id, 1, SALT)))
    for secret in (KEY.secret, LOCKED.secret, LOCKED.password_key):
        assert repr(secret) not in shown
        assert secret.hex() not in shown


@pytest.mark.row("A39")
def test_an_end_key_is_bound_to_its_link_and_is_no_other_hash() -> None:
    link_id, key = b"l" * 16, b"k" * END_KEY_SIZE
    assert end_key_hash(link_id, key).hex() == (
        "0b9789a9f9ad821ca4104b5f941b8b4f32a19261e4cd80e0f0b6fcc70e204cf7"
    )
    assert (
        len({end_key_hash(link_id, key), end_key_hash(b"m" * 16, key), sha256(key).digest()}) == 3
    )
