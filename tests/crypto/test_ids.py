"""Ids are plain byte strings at run time, of the lengths that the construction gives them."""

from __future__ import annotations

from crypto import ids
from crypto.chunks import ChunkHasher
from crypto.keys import device_id_of


def test_ids_are_bytes_and_cost_nothing() -> None:
    names = [name for name in vars(ids) if name.endswith("Id")]
    assert len(names) == 8
    for name in names:
        assert getattr(ids, name)(b"raw") == b"raw"


def test_ids_made_here_have_their_lengths() -> None:
    assert len(device_id_of(bytes(32), bytes(32))) == 32
    assert len(ChunkHasher(bytes(32)).chunk_id(b"")) == 32
