"""What is said of a file that is put in, and what an upload link says of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.uploads import HEAD_PLAIN_MAX
from protocol import wire
from protocol.errors import ProtocolError
from protocol.upload_head import (
    UploadHead,
    UploadManifest,
    decode_upload_head,
    decode_upload_manifest,
)

HEAD = UploadHead("Trip/a.jpg", 5, 1_700_000_000_000, "Ada", b"b" * 16, 0, 2)
MANIFEST = UploadManifest(7, b"\4" + bytes(64), "Party", 10, 20, 30)


def test_both_are_read_as_they_were_written() -> None:
    assert decode_upload_head(HEAD.encode()) == HEAD
    assert decode_upload_manifest(MANIFEST.encode()) == MANIFEST


def test_the_longest_head_fits() -> None:
    head = replace(HEAD, path="€" * 1000, label="€" * 80, size=1 << 40)
    assert len(head.encode()) <= HEAD_PLAIN_MAX - 2
    assert decode_upload_head(head.encode()) == head


@pytest.mark.row("A34")
@pytest.mark.parametrize(
    "changed",
    [
        {"path": "x" * 3001}, {"size": -1}, {"size": (1 << 40) + 1}, {"size": True},
        {"mtime_ms": 1 << 53}, {"label": "x" * 81}, {"batch": b""}, {"number": 2}, {"count": 0},
        {"count": 100_001}, {"mtime_ms": "now"},
    ],
)  # fmt: skip
def test_a_head_out_of_bounds_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        decode_upload_head(replace(HEAD, **changed).encode())


@pytest.mark.parametrize(
    "changed", [{"public": b""}, {"name": "x" * 201}, {"files_max": -1}, {"expires_s": 1 << 53}]
)
def test_a_manifest_out_of_bounds_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        decode_upload_manifest(replace(MANIFEST, **changed).encode())


def test_a_later_version_is_refused() -> None:
    for decode in (decode_upload_head, decode_upload_manifest):
        with pytest.raises(ProtocolError):
            decode(wire.encode([9, "x"]))


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    for decode in (decode_upload_head, decode_upload_manifest):
        with pytest.raises(ProtocolError):
            decode(data)
