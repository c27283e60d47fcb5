"""A version goes out of its folder whole, to where nothing is, or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import NodeId
from peer.core.disk_types import RangeRequest
from peer.core.versions import Version
from peer.disk import copying_out
from peer.disk.copying_out import copy_out
from protocol.nodes import Kind

SOURCE = (".holdfast", "incoming", "temp")


class OneFile:
    """A disk with one file, of which it can give so many bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read_ranges(self, requests: Sequence[RangeRequest]) -> list[bytes | None]:
        assert all(r.path == SOURCE for r in requests)
        found = [self.data[r.offset : r.offset + r.length] for r in requests]
        return [d if len(d) == r.length else None for d, r in zip(found, requests, strict=True)]


def copy(data: bytes, out: Path, **changes: Any) -> str:
    node = NodeId(b"n" * 15 + bytes([Kind.FILE]))
    version = Version(node, b"h", len(data), 10**18, False, b"", 0, "", "a", 0, False, None)
    return copy_out(OneFile(data), SOURCE, version._replace(**changes), str(out))  # type: ignore[arg-type]


def test_bytes_time_and_executable_bit_are_those_of_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying_out, "PIECE_BYTES", 7)
    data = os.urandom(20)
    assert copy(data, tmp_path / "out", is_executable=True) == ""
    out = tmp_path / "out"
    assert out.read_bytes() == data
    assert out.stat().st_mtime_ns == 10**18
    assert os.access(out, os.X_OK)
    assert copy(b"", tmp_path / "empty") == ""
    assert (tmp_path / "empty").read_bytes() == b""
    assert not (tmp_path / "empty").stat().st_mode & 0o111


def test_a_symlink_is_one(tmp_path: Path) -> None:
    node = NodeId(b"n" * 15 + bytes([Kind.SYMLINK]))
    assert copy(b"", tmp_path / "out", node=node, manifest=b"some/where") == ""
    assert os.readlink(tmp_path / "out") == "some/where"


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_nothing_is_written_over(tmp_path: Path, kind: str) -> None:
    out, target = tmp_path / "out", tmp_path / "target"
    target.write_bytes(b"mine")
    if kind == "file":
        out.write_bytes(b"mine")
    else:
        out.symlink_to(target)
    assert "already" in copy(b"other", out)
    assert target.read_bytes() == out.read_bytes() == b"mine"


def test_half_a_file_is_not_left(tmp_path: Path) -> None:
    assert "read back" in copy(b"some", tmp_path / "out", size=9)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_says_so(tmp_path: Path) -> None:
    assert "No such file" in copy(b"some", tmp_path / "nowhere" / "out")
