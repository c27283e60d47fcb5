"""Pages of share links: their vectors, and what no honest device writes."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import wire
from protocol.errors import BadName, Malformed, ProtocolError
from protocol.link_manifest import (
    LinkManifest,
    SharedChunk,
    SharedFile,
    SharedPage,
    decode_manifest,
)
from protocol.link_pages import PAGE_SIZE_MAX, LinkPage, decode_page, expanded, pages_of

VECTORS = sorted((Path(__file__).parents[1] / "vectors" / "link_pages").glob("*.toml"))
ERRORS: dict[str, type[ProtocolError]] = {"malformed": Malformed, "bad name": BadName}
P, Q = b"p" * 32, b"q" * 32


def chunk(pack: int, plain_len: int = 10, offset: int = 32) -> SharedChunk:
    return SharedChunk(pack, offset, 38, 0, plain_len, b"k" * 32, b"h" * 32)


FILES = LinkPage((Q,), (SharedFile("b/c.txt", 10, 5, (chunk(0),)), SharedFile("d/", 0, 0)))
CHUNKS = LinkPage((Q, P), (), (chunk(0, 7), chunk(1, 8)))
WHOLE = LinkManifest(
    9, (P,), (SharedFile("top/large", 15, 3, (), (chunk(0),)), SharedFile("top/a", 0, 0)),
    pages=(SharedPage("top/sub", chunk(0, 20)),),
)  # fmt: skip
OPENED = [CHUNKS.encode(), FILES.encode()]


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
@pytest.mark.row("A34")
def test_vector(path: Path) -> None:
    vector = tomllib.loads(path.read_text())
    assert vector["comment"]
    assert vector["operation"] == "expand link pages"
    data = bytes.fromhex(vector["input"]["manifest"])
    pages = [bytes.fromhex(page) for page in vector["input"]["pages"]]

    def told() -> list[str]:
        manifest = decode_manifest(data)
        assert len(pages_of(manifest)) == len(pages)
        assert manifest.encode() == data
        return [
            f"{file.path} {sum(c.plain_len for c in file.chunks)}"
            for file in expanded(manifest, pages).files
        ]

    if vector["expect"] == "success":
        assert told() == vector["output"]
    else:
        with pytest.raises(ERRORS[vector["expect"]]):
            told()


def test_pages_become_a_manifest_without_any() -> None:
    manifest = decode_manifest(WHOLE.encode())
    assert manifest == WHOLE
    assert pages_of(manifest) == [chunk(0), chunk(0, 20)]
    got = expanded(manifest, OPENED)
    assert got == LinkManifest(
        9,
        (P, Q),
        (
            SharedFile("top/large", 15, 3, (chunk(1, 7), chunk(0, 8))),
            SharedFile("top/a", 0, 0),
            SharedFile("top/sub/b/c.txt", 10, 5, (chunk(1),)),
            SharedFile("top/sub/d/", 0, 0),
        ),
    )
    assert decode_manifest(got.encode()) == got  # it is one that could have been written


def test_pages_of_more_than_memory_are_refused() -> None:
    page = SharedPage("top", chunk(0, PAGE_SIZE_MAX))
    assert len(pages_of(LinkManifest(0, (P,), pages=(page,) * 64))) == 64
    for pages in ((page,) * 65, (SharedPage("top", chunk(0, PAGE_SIZE_MAX + 1)),)):
        with pytest.raises(Malformed):
            pages_of(LinkManifest(0, (P,), pages=pages))


def test_what_pages_bring_together_is_checked_together() -> None:
    for change in (
        replace(WHOLE, files=(*WHOLE.files, SharedFile("TOP/SUB/B/C.TXT", 0, 0))),
        replace(WHOLE, files=(*WHOLE.files, SharedFile("top/sub", 0, 0))),
        replace(WHOLE, files=(replace(WHOLE.files[0], size=16), WHOLE.files[1])),
    ):
        with pytest.raises(Malformed):
            expanded(decode_manifest(change.encode()), OPENED)
    with pytest.raises(Malformed):
        expanded(WHOLE, OPENED[::-1])
    with pytest.raises(Malformed):
        expanded(replace(WHOLE, files=()), OPENED)  # a page of chunks where files are to be


@given(st.binary(max_size=300))
def test_any_bytes_are_a_page_or_an_error(data: bytes) -> None:
    try:
        decode_page(data)
    except ProtocolError:
        pass


@pytest.mark.row("A34")
def test_a_file_with_pages_has_nothing_else() -> None:
    for change in ([["a", 15, 0, [], [1]]], [["a/", 15, 0, [], 1]], [["a", 0, 0, [], 1]]):
        value = wire.decode(WHOLE.encode())
        page = value[3][0][4]
        value[3] = [[*item[:4], page if item[4] == 1 else item[4]] for item in change]
        with pytest.raises(Malformed):
            decode_manifest(wire.encode(value))
    without = wire.decode(WHOLE.encode())
    without[3], without[4] = [], []
    with pytest.raises(Malformed):
        decode_manifest(wire.encode(without))
