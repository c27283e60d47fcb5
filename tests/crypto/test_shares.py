"""Descriptors and Merkle trees of shares: which bytes are right, and that no others are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.errors import FormError
from crypto.packs import LEAF_SIZE, PACK_SIZE_MAX
from crypto.shares import (
    DESCRIPTOR_SIZE_MAX,
    PATH_LENGTH_MAX,
    SHARE_LEAVES_MAX,
    SHARES_MAX,
    Descriptor,
    decode_descriptor,
    describe,
    leaf_hash,
    leaf_hashes,
    merkle_path,
    share_root,
    share_size,
)

PACK_ID = b"p" * 32

descriptors = st.integers(1, SHARES_MAX).flatmap(
    lambda count: st.builds(
        Descriptor,
        st.binary(min_size=32, max_size=32),
        st.integers(1, PACK_SIZE_MAX // LEAF_SIZE).map(lambda leaves: leaves * LEAF_SIZE),
        st.integers(1, count),
        st.lists(st.binary(min_size=32, max_size=32), min_size=count, max_size=count).map(tuple),
    )
)


def leaf(fill: int) -> bytes:
    return bytes([fill]) * LEAF_SIZE


@given(descriptors)
def test_a_descriptor_is_read_as_it_was_written(descriptor: Descriptor) -> None:
    encoded = descriptor.encode()
    assert len(encoded) <= DESCRIPTOR_SIZE_MAX
    assert decode_descriptor(encoded) == descriptor
    assert decode_descriptor(encoded).id() == descriptor.id()
    assert descriptor.share_size * descriptor.needed >= descriptor.pack_size
    assert 1 <= descriptor.leaves <= SHARE_LEAVES_MAX


@given(st.binary(max_size=200) | descriptors.map(lambda d: d.encode() + b"\0"))
def test_any_bytes_are_a_descriptor_or_an_error(data: bytes) -> None:
    try:
        descriptor = decode_descriptor(data)
    except FormError:
        return
    assert descriptor.encode() == data


def test_the_only_share_of_a_pack_is_as_long_as_the_pack() -> None:
    for leaves in (1, 2, 9, SHARE_LEAVES_MAX):
        assert share_size(leaves * LEAF_SIZE, 1) == leaves * LEAF_SIZE
    assert share_size(5 * LEAF_SIZE, 4) == 2 * LEAF_SIZE


@settings(max_examples=30)
@given(count=st.integers(1, 40), data=st.data())
def test_a_path_leads_from_its_leaf_to_the_root_and_from_nothing_else(
    count: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, count - 1))
    hashes = [leaf_hash(at, leaf(at)) for at in range(count)]
    descriptor = Descriptor(
        PACK_ID, count * LEAF_SIZE, 1, tuple(share_root(PACK_ID, no, hashes) for no in (0, 1))
    )
    path = merkle_path(hashes, index)
    assert len(path) <= PATH_LENGTH_MAX
    assert descriptor.is_share(0, hashes)
    assert descriptor.is_share(1, hashes)
    assert descriptor.is_leaf(1, index, leaf(index), path)
    other = data.draw(st.integers(0, count - 1).filter(lambda at: at != index or count == 1))
    if other != index:
        assert not descriptor.is_leaf(1, other, leaf(index), path)
        assert not descriptor.is_leaf(1, index, leaf(other), path)
    assert not descriptor.is_leaf(2, index, leaf(index), path)
    assert not descriptor.is_leaf(1, count, leaf(index), path)
    assert not descriptor.is_leaf(1, index, leaf(index)[:-1], path)
    assert not descriptor.is_leaf(1, index, leaf(index), [*path, b"h" * 32])
    if path:
        assert not descriptor.is_leaf(1, index, leaf(index), path[:-1])
        assert not descriptor.is_leaf(1, index, leaf(index), [b"h" * 32, *path[1:]])


@pytest.mark.row("A41")
def test_a_share_in_the_place_of_another_is_none() -> None:
    shares = [leaf(number) + leaf(number + 100) for number in range(4)]
    descriptor = describe(PACK_ID, 4 * LEAF_SIZE, 2, shares)
    for number, share in enumerate(shares):
        for other in range(4):
            assert descriptor.is_share(number, leaf_hashes(shares[other])) == (number == other)
        assert not descriptor.is_share(number, leaf_hashes(share[:LEAF_SIZE]))
        assert not descriptor.is_share(number, leaf_hashes(share + leaf(0)))
        assert not descriptor.is_share(number, leaf_hashes(share)[::-1])
    elsewhere = replace(descriptor, pack_id=b"q" * 32)
    assert not elsewhere.is_share(0, leaf_hashes(shares[0]))
    assert not descriptor.is_share(4, leaf_hashes(shares[0]))
    assert not descriptor.is_share(-1, leaf_hashes(shares[3]))


def test_hashes_of_a_piece_are_those_of_the_whole() -> None:
    share = b"".join(leaf(fill) for fill in range(5))
    whole = leaf_hashes(share)
    assert leaf_hashes(share[2 * LEAF_SIZE :], 2) == whole[2:]
    assert leaf_hashes(share[2 * LEAF_SIZE :]) != whole[2:]
