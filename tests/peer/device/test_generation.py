"""The number beside a database is read back, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from peer.device.generation import read_generation, write_generation


def test_it_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "generation"
    assert read_generation(path) is None
    for generation in (0, 1, 2**62):
        write_generation(path, generation)
        assert read_generation(path) == generation


@pytest.mark.parametrize("text", [b"", b"x", b"-1", b"1 2", b"9" * 100, b"\xb2"])
def test_something_else_is_no_number(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "generation"
    path.write_bytes(text)
    assert read_generation(path) is None
