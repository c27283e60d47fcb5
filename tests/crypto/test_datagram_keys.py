"""Keys of datagrams: both sides have the same, and nothing of one kind is good for another."""

from __future__ import annotations

from crypto.datagram_keys import address_mask, datagram_tag, punch_key, round_id

ONE, OTHER = b"1" * 32, b"2" * 32


def test_a_round_s_key_is_of_both_secrets_in_their_order() -> None:
    key = punch_key(ONE, OTHER)
    assert key == punch_key(ONE, OTHER)
    assert len({key, punch_key(OTHER, ONE), punch_key(ONE, ONE), punch_key(OTHER, OTHER)}) == 4
    assert len(round_id(key)) == 8
    assert round_id(key) not in key


def test_a_tag_is_of_its_key_and_of_every_byte() -> None:
    tag = datagram_tag(ONE, b"datagram")
    assert len(tag) == 16
    assert len({tag, datagram_tag(OTHER, b"datagram"), datagram_tag(ONE, b"datagrbm")}) == 3


def test_a_mask_is_used_once() -> None:
    masks = {
        address_mask(key, kind, n, 26) for key in (ONE, OTHER) for kind in (1, 2) for n in (0, 1)
    }
    assert len(masks) == 8
    assert {len(mask) for mask in masks} == {26}
