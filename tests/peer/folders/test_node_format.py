"""Nodes at rest: what was written is what is read, and what was not written here is damage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.errors import IndexDamaged
from peer.folders.node_format import decode_node, encode_node
from protocol.nodes import NOTHING, Kind, Node, Place
from tests.protocol.node_strategies import nodes


@given(nodes(Kind.FILE), nodes(Kind.DIRECTORY), nodes(Kind.SYMLINK))
def test_a_node_rests_as_it_was(file: Node, directory: Node, symlink: Node) -> None:
    for node in (file, directory, symlink):
        read = decode_node(encode_node(node))
        assert read == node
        assert all(type(place) is Place for place in read.places)
    assert encode_node(NOTHING) == b""
    assert decode_node(b"") is NOTHING


@pytest.mark.parametrize(
    "data", [b"\0", b"\xc0", b"\x81\1\2", b"\x91\1", b"\x93\x90\x90\x91\xa1x", b"CBOR"]
)
def test_other_bytes_are_damage(data: bytes) -> None:
    with pytest.raises(IndexDamaged):
        decode_node(data)


@given(nodes(Kind.FILE), st.integers(1, 20))
def test_a_cut_off_node_is_damage(node: Node, cut: int) -> None:
    data = encode_node(node)
    if data:
        with pytest.raises(IndexDamaged):
            decode_node(data[:-cut] or b"\0")
