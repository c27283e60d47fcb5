"""The file systems in memory, where a real one has an answer that matters."""

from __future__ import annotations

from random import Random
from typing import Any

from peer.core.disk_types import Kind
from tests.sim.disk import ROOT_INODE, Inode, Place
from tests.sim.filesystem import FileSystem


class Worst(Random):
    """Of what was not synced nothing is left."""

    def choice(self, seq: Any) -> Any:
        return seq[0]


def test_what_a_power_cut_brings_back_has_its_number() -> None:
    """Two files of one size and time, deleted together, do not change their numbers."""
    files = FileSystem(lambda: 0, Worst(0), False)
    keys = [files.make(ROOT_INODE, name, Inode(Kind.FILE, name.encode())) for name in "abc"]
    files.rename(Place(ROOT_INODE, "a", keys[0]), ROOT_INODE, "z")  # now listed last
    files.sync_all()
    numbers = [files.inodes[key].number for key in keys]
    for name, key in zip("zbc", keys, strict=True):
        files.remove(Place(ROOT_INODE, name, key))
    after = files.cut()
    assert [after.inodes[key].number for key in keys] == numbers
