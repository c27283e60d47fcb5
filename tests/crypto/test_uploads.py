"""Files that are put in by upload links: what opens, and all that must not."""

from __future__ import annotations

import pytest

from crypto.errors import BadKeyError, OpenError
from crypto.share_links import LinkKey, LinkSecrets
from crypto.uploads import (
    HEAD_SIZE_MAX,
    SEGMENT_SIZE,
    TAG_SIZE,
    UploadKeys,
    gate_of,
    open_head,
    seal_head,
    sealed_size,
    segment_count,
)
from tests.crypto.seeded import Seeded

RANDOM = Seeded("uploads")
UPLOAD = LinkKey.from_seed(RANDOM(40))
LINK, UPLOAD_ID, SEED = RANDOM(16), RANDOM(16), RANDOM(32)
SECRETS = LinkSecrets(RANDOM(32), RANDOM(16))
GATE = gate_of(SECRETS, LINK)
PLAIN = b"a head"
HEAD, KEYS = seal_head(UPLOAD.public, LINK, UPLOAD_ID, GATE, PLAIN, SEED)


def opened(**changed: bytes) -> bytes:
    given = {"secret": UPLOAD.secret, "link_id": LINK, "upload_id": UPLOAD_ID, "gate": GATE}
    plain, _ = open_head(**{**given, "head": HEAD, **changed})
    return plain


@pytest.mark.row("A39")
def test_the_maker_opens_what_was_sealed() -> None:
    plain, keys = open_head(UPLOAD.secret, LINK, UPLOAD_ID, GATE, HEAD)
    assert plain == PLAIN
    sealed = KEYS.seal_segment(0, b"bytes", is_last=True)
    assert keys.open_segment(0, sealed, is_last=True) == b"bytes"


def test_heads_have_few_lengths() -> None:
    sizes = {len(seal_head(UPLOAD.public, LINK, UPLOAD_ID, GATE, bytes(n), SEED)[0]) for n in
             (0, 1, 100, 254)}  # fmt: skip
    assert len(sizes) == 1
    longest, _ = seal_head(UPLOAD.public, LINK, UPLOAD_ID, GATE, bytes(4094), SEED)
    assert len(longest) == HEAD_SIZE_MAX


@pytest.mark.row("A39")
@pytest.mark.parametrize(
    "changed",
    [
        {"link_id": bytes(16)}, {"upload_id": bytes(16)}, {"gate": bytes(32)},
        {"secret": LinkKey.from_seed(bytes(40)).secret}, {"head": HEAD[:-1]}, {"head": b""},
        {"head": HEAD[:-256]}, {"head": HEAD + bytes(256)}, {"head": bytes(65) + HEAD[65:]},
        *({"head": HEAD[:at] + bytes([HEAD[at] ^ 1]) + HEAD[at + 1 :]} for at in (0, 1, 70, 120,
                                                                                  -1)),
    ],
)  # fmt: skip
def test_what_is_not_this_head_does_not_open(changed: dict[str, bytes]) -> None:
    with pytest.raises(OpenError):
        opened(**changed)


@pytest.mark.row("A39")
def test_a_relay_that_knows_the_public_key_makes_nothing_that_opens() -> None:
    # It has the key from nobody, but suppose it had; the gate it can only guess.
    forged, _ = seal_head(UPLOAD.public, LINK, UPLOAD_ID, bytes(32), PLAIN, SEED)
    with pytest.raises(OpenError):
        opened(head=forged)


def test_the_gate_is_of_secret_password_and_link() -> None:
    with_password = LinkSecrets(SECRETS.secret, SECRETS.password_salt, b"p" * 32)
    gates = {GATE, gate_of(SECRETS, bytes(16)), gate_of(with_password, LINK)}
    assert len(gates) == 3
    assert SECRETS.token(LINK) not in gates


@pytest.mark.row("A39")
def test_segments_stay_where_they_belong() -> None:
    sealed = KEYS.seal_segment(1, b"second", is_last=False)
    other = UploadKeys.of(LINK, bytes(16), GATE, SEED)
    for keys, index, is_last in ((KEYS, 0, False), (KEYS, 1, True), (KEYS, 2, False),
                                 (other, 1, False)):  # fmt: skip
        with pytest.raises(OpenError):
            keys.open_segment(index, sealed, is_last=is_last)
    with pytest.raises(OpenError):
        KEYS.open_segment(1, sealed[:-1], is_last=False)
    with pytest.raises(OpenError):
        KEYS.open_segment(1, b"", is_last=False)


def test_an_empty_file_has_an_end_too() -> None:
    assert [segment_count(n) for n in (0, 1, SEGMENT_SIZE, SEGMENT_SIZE + 1)] == [1, 1, 1, 2]
    assert sealed_size(0) == TAG_SIZE
    assert sealed_size(SEGMENT_SIZE + 1) == SEGMENT_SIZE + 1 + 2 * TAG_SIZE


def test_what_is_no_key_is_told() -> None:
    with pytest.raises(BadKeyError):
        seal_head(bytes(65), LINK, UPLOAD_ID, GATE, PLAIN, SEED)


def test_padding_that_is_none_does_not_open() -> None:
    padded = [b"\xff\xff" + bytes(254), b"\x00\x01" + b"aa" + bytes(252), bytes(512)]
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from crypto.labels import UPLOAD_HEAD_PREFIX

    for each in padded:
        aad = UPLOAD_HEAD_PREFIX + LINK + UPLOAD_ID
        sealed = AESGCM(KEYS.head_key).encrypt(bytes(12), each, aad)
        with pytest.raises(OpenError):
            opened(head=HEAD[:113] + sealed)
