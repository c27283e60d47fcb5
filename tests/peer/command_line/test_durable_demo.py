"""What the durable demo compares with, and its super-nodes; `make demo-durable` plays it whole."""

from __future__ import annotations

from pathlib import Path

from peer.command_line.durable_demo import DemoNode, digest_of


def test_every_byte_and_name_counts(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"one")
    (tmp_path / ".holdfast").mkdir()
    before = digest_of(tmp_path)
    (tmp_path / ".holdfast" / "marker").write_bytes(b"x")
    assert digest_of(tmp_path) == before
    (tmp_path / "d" / "a").write_bytes(b"two")
    changed = digest_of(tmp_path)
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    assert len({before, changed, digest_of(tmp_path)}) == 3


def test_a_super_node_starts_and_burns(tmp_path: Path) -> None:
    node = DemoNode(tmp_path, 1)
    try:
        node.start()
        assert node.address.startswith("holdfast-relay://127.0.0.1:")
        assert (node.home / "shares").is_dir()
        node.burn()
        assert not node.home.exists()
    finally:
        node.end()
