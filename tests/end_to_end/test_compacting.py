"""Logs do not grow for ever: real daemons compact them and let go of the rest, and a newcomer that
reads what is left has the same tree.
"""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

from tests.end_to_end.device import (
    Device,
    attach,
    end,
    explain,
    join,
    make_pair,
    wait_for_same,
    wait_for_tree,
    wait_until,
)

EAGER = "[folders]\ncompact_changesets_min = 20\nkeep_superseded_days = 0\n"
EDITS = 60
KEPT_MAX = 20 + 10
"""What is not compacted yet, and what tells the rest again."""


def changesets(device: Device) -> dict[bytes, tuple[int, int, int]]:
    """(how many, first, last) of each log in a device's index, read beside its daemon."""
    (path,) = (device.home / "folders").glob("*.db")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        sql = "SELECT log, count(*), min(seq), max(seq) FROM changeset GROUP BY log"
        return {log: (count, first, last) for log, count, first, last in db.execute(sql)}


def is_same(one: Device, other: Device, name: str) -> bool:
    """Whether a file has come over."""
    there = other.folder / name
    return there.exists() and there.read_bytes() == (one.folder / name).read_bytes()


def most(device: Device) -> int:
    """Changesets in the longest log that it keeps."""
    return max(count for count, _, _ in changesets(device).values())


def test_a_folder_that_is_edited_often_stays_small_and_is_joined_quickly(tmp_path: Path) -> None:
    one, other = pair = make_pair(tmp_path)
    third = Device(tmp_path, "gamma")
    try:
        for device in pair:
            device.stop()
            device.config = EAGER
            device.start()
        (one.folder / "gone").mkdir()
        (one.folder / "gone" / "file").write_text("deleted before anybody else comes")
        (one.folder / "kept").mkdir()
        (one.folder / "kept" / "file").write_text("written once")
        wait_for_same(*pair)
        (one.folder / "gone" / "file").unlink()
        (one.folder / "gone").rmdir()
        for number in range(EDITS):
            author, reader = (one, other) if number % 3 else (other, one)
            (author.folder / f"note of {author.name}").write_text(f"edit {number} " * 20)
            name = f"note of {author.name}"
            wait_until(partial(is_same, author, reader, name), partial(explain, pair))
        wait_for_same(*pair)
        last = max(last for _, _, last in changesets(one).values())
        assert last > EDITS / 2
        wait_until(
            lambda: max(most(one), most(other)) <= KEPT_MAX,
            lambda: f"{changesets(one)} {changesets(other)} {explain(pair)}",
        )
        for device in pair:  # what was let go of is not missed
            device.stop()
        for device in pair:
            device.start()
        tree = wait_for_same(*pair)
        third.config = EAGER
        join(third, other)
        attach(third)
        assert wait_for_tree((third.folder / "kept/file").exists, *pair, third) == tree
        assert sum(count for count, _, _ in changesets(third).values()) <= 2 * KEPT_MAX
        (third.folder / "note of alpha").write_text("edited by gamma")
        edited = wait_for_tree(
            lambda: (one.folder / "note of alpha").read_text() == "edited by gamma", *pair, third
        )
        assert not [name for name in edited if "conflict" in name or "recovered" in name]
        third.stop()
        (one.folder / "kept" / "file").write_text("edited while gamma was out")
        wait_for_same(*pair)
        third.start()
        wait_for_tree(
            lambda: (third.folder / "kept/file").read_text() == "edited while gamma was out",
            *pair, third,
        )  # fmt: skip
    finally:
        end([*pair, third])
