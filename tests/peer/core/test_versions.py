"""Versions: what ends with a turn, and the names in the trash."""

from __future__ import annotations

from crypto.ids import NodeId
from peer.core.rows import DiskFacts
from peer.core.versions import Version, kept_name, read_kept_name
from protocol.nodes import Kind

NODE = NodeId(b"n" * 15 + b"\0")


def test_a_kept_name_says_what_it_is_of() -> None:
    name = kept_name(NODE, b"h" * 32, DiskFacts(7, 5, 1, 99))
    assert read_kept_name(name) == (NODE, b"h" * 32)
    assert "/" not in name
    assert len(name) < 255


def test_files_of_other_names_are_none_of_ours() -> None:
    name = kept_name(NODE, b"h" * 32, DiskFacts(7, 5, 1, 99))
    for other in ("", "going-1-2-3-4-5", name + "x", name.replace("kept", "keep"), name[:-3]):
        assert read_kept_name(other) is None


def test_two_contents_of_one_file_have_two_names() -> None:
    names = {
        kept_name(NODE, hash_, DiskFacts(inode, 5, 1, ctime))
        for hash_ in (b"g" * 32, b"h" * 32)
        for inode in (1, 2)
        for ctime in (3, 4)
    }
    assert len(names) == 8


def test_a_version_says_what_a_fetcher_needs() -> None:
    version = Version(NODE, b"h" * 32, 5, 8, True, b"m" * 36, 9, "laptop", "a/b", 10, False, None)
    content = version.content()
    assert (content.hash, content.size, content.manifest, content.mtime_ns) == (
        b"h" * 32, 5, b"m" * 36, 8,
    )  # fmt: skip
    assert not version.is_symlink
    assert version._replace(node=NodeId(b"n" * 15 + bytes([Kind.SYMLINK]))).is_symlink
