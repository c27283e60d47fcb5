"""Two devices agree, nobody else does, and a tag points one way."""

from __future__ import annotations

import pytest

from crypto.errors import BadKeyError
from crypto.ids import DeviceId
from crypto.keys import DeviceKeys
from crypto.pair_secret import LAN_TAG_SIZE, lan_tag, pair_secret


def device(number: int) -> DeviceKeys:
    return DeviceKeys(*(bytes([number, place]) * 16 for place in range(4)))


A, B, C = map(device, (1, 2, 3))


def test_both_sides_compute_the_same() -> None:
    assert pair_secret(A, B.device_id, B.dh_public) == pair_secret(B, A.device_id, A.dh_public)


def test_every_pair_has_its_own() -> None:
    pairs = [(A, B), (A, C), (B, C)]
    assert len({pair_secret(one, other.device_id, other.dh_public) for one, other in pairs}) == 3


def test_the_ids_are_bound() -> None:
    claimed = DeviceId(b"x" * 32)
    assert pair_secret(A, claimed, B.dh_public) != pair_secret(A, B.device_id, B.dh_public)


@pytest.mark.parametrize("key", [b"", b"k" * 31, bytes(32), b"\x01" + bytes(31)])
def test_a_key_that_is_none_is_refused(key: bytes) -> None:
    with pytest.raises(BadKeyError):
        pair_secret(A, B.device_id, key)


def test_a_tag_follows_nonce_and_announcer() -> None:
    secret = pair_secret(A, B.device_id, B.dh_public)
    tags = {
        lan_tag(secret, nonce, announcer)
        for nonce in (b"1" * 16, b"2" * 16)
        for announcer in (A.device_id, B.device_id)
    }
    assert len(tags) == 4
    assert {len(tag) for tag in tags} == {LAN_TAG_SIZE}


def test_the_construction_is_frozen() -> None:
    secret = pair_secret(A, B.device_id, B.dh_public)
    assert secret.hex() == "48a1da10399e21d99172936463ebbfcf16f4147cf3927fd03cb6f9a37146d304"
