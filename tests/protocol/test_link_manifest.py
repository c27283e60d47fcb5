"""Manifests of share links: their vectors, and what no honest device writes."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.packs import LEAF_SIZE, PACK_SIZE_MAX
from protocol import wire
from protocol.errors import BadName, Malformed, ProtocolError
from protocol.link_manifest import LinkManifest, SharedChunk, SharedFile, decode_manifest

VECTORS = sorted((Path(__file__).parents[1] / "vectors" / "link_manifest").glob("*.toml"))
ERRORS: dict[str, type[ProtocolError]] = {"malformed": Malformed, "bad name": BadName}

chunks = st.builds(
    SharedChunk,
    st.integers(0, 1),
    st.integers(32, 1 << 20),
    st.integers(28, 1 << 20),
    st.integers(0, 1),
    st.integers(1, 1 << 20),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
@pytest.mark.row("A34")
def test_vector(path: Path) -> None:
    vector = tomllib.loads(path.read_text())
    assert vector["comment"]
    assert vector["operation"] == "decode link manifest"
    data = bytes.fromhex(vector["input"]["manifest"])
    if vector["expect"] == "success":
        manifest = decode_manifest(data)
        assert [file.path for file in manifest.files] == vector["output"]
        assert manifest.encode() == data
    else:
        with pytest.raises(ERRORS[vector["expect"]]):
            decode_manifest(data)


@given(
    st.lists(st.lists(chunks, max_size=3), max_size=4),
    st.integers(0, 1 << 50),
    st.integers(-(1 << 50), 1 << 50),
)
def test_what_is_written_is_read(
    contents: list[list[SharedChunk]], expires_s: int, mtime_ms: int
) -> None:
    files = tuple(
        SharedFile(f"top/{at}.txt", sum(c.plain_len for c in parts), mtime_ms, tuple(parts))
        for at, parts in enumerate(contents)
    )
    manifest = LinkManifest(expires_s, (b"p" * 32, b"q" * 32), files)
    assert decode_manifest(manifest.encode()) == manifest
    assert manifest.size == sum(file.size for file in files)
    assert manifest.name == ("top" if files else "")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_manifest_or_an_error(data: bytes) -> None:
    try:
        decode_manifest(data)
    except ProtocolError:
        pass


@given(chunks)
def test_whole_leaves_are_asked_for_and_no_more_than_needed(chunk: SharedChunk) -> None:
    start, end = chunk.leaves
    assert start % LEAF_SIZE == end % LEAF_SIZE == 0
    assert start <= chunk.offset < start + LEAF_SIZE
    assert end - LEAF_SIZE < chunk.offset + chunk.length <= end <= PACK_SIZE_MAX


def test_two_tops_have_no_name() -> None:
    files = (SharedFile("a", 0, 0), SharedFile("b/c", 0, 0))
    assert LinkManifest(0, (), files).name == ""
    assert LinkManifest(0, (), files[1:]).name == "b"


@pytest.mark.row("A34")
@pytest.mark.parametrize("path", ["a" * 4097, "/".join("a" * 129), "a//b", "a/b//"])
def test_a_path_beyond_its_bounds_is_refused(path: str) -> None:
    manifest = LinkManifest(0, (), (SharedFile(path, 0, 0),))
    with pytest.raises(ProtocolError):
        decode_manifest(manifest.encode())


def test_booleans_are_no_numbers() -> None:
    chunk = SharedChunk(0, 32, 38, 0, 10, b"k" * 32, b"h" * 32)
    manifest = LinkManifest(0, (b"p" * 32,), (SharedFile("a", 10, 0, (chunk,)),))
    value = wire.decode(manifest.encode())
    value[3][0][3][0][0] = False
    with pytest.raises(Malformed):
        decode_manifest(wire.encode(value))
    with pytest.raises(Malformed):
        decode_manifest(wire.encode([1, False, [], [], None, 0]))


def test_the_repr_shows_no_key() -> None:
    chunk = SharedChunk(0, 32, 38, 0, 10, b"k" * 32, b"h" * 32)
    assert repr(b"k" * 32) not in repr(replace(chunk, offset=40))
