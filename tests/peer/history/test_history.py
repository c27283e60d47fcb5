"""What another device replaced or deleted can be had back: on whole daemons."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import NodeId
from peer.core.versions import Version, kept_name
from peer.daemon import Daemon
from peer.errors import DiskError, NoSuchVersion
from peer.folders.folder import Folder
from peer.history.history import History, Wanted
from peer.history.version_store import VersionPolicy
from peer.status import VersionEntry
from tests.peer.device_stage import Stage, devices, folder_of, until

DAY_S = 86_400


class Pair:
    """Two devices with a folder; `one` is where the person edits."""

    def __init__(self, stage: Stage, one: Daemon, two: Daemon) -> None:
        self.one, self.two = one, two
        self.here, self.there = stage.root("one"), stage.root("two")

    async def same(self) -> None:
        await until(lambda: tree(self.here) == tree(self.there))

    async def write(self, name: str, data: bytes) -> None:
        path = self.here / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        await self.same()
        await until(lambda: (self.there / name).read_bytes() == data)
        await folder_of(self.two).call(nothing)  # what was applied is committed, too

    async def versions(self, daemon: Daemon, path: Path) -> list[VersionEntry]:
        return (await daemon.versions(path))["versions"]

    def trash(self) -> list[Path]:
        return sorted((self.there / ".holdfast" / "trash").glob("kept-*"))


async def nothing() -> None:
    """A turn of the folder's task."""


def tree(root: Path) -> dict[str, bytes | None]:
    """All there is below a root but what is Holdfast's own; a directory is None."""
    found: dict[str, bytes | None] = {}
    for directory, below, names in os.walk(root):
        with contextlib.suppress(ValueError):
            below.remove(".holdfast")
        for name in (*below, *names):
            path = Path(directory, name)
            with contextlib.suppress(FileNotFoundError):  # it was replaced just now
                is_file = name in names
                found[str(path.relative_to(root))] = path.read_bytes() if is_file else None
    return found


def history_of(daemon: Daemon) -> tuple[Folder, History]:
    folder = folder_of(daemon)
    assert folder.history is not None
    return folder, folder.history


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.share(one, two)
        yield Pair(stage, one, two)


async def test_what_another_device_replaced_is_a_version(pair: Pair) -> None:
    await pair.write("note", b"first")
    await pair.write("note", b"second")
    now, before = await pair.versions(pair.two, pair.there / "note")
    assert (now["version"], now["size"], now["ended_s"]) == (0, 6, None)
    assert (before["size"], before["device"], before["deleted"]) == (5, "one", False)
    assert before["here"]
    assert [path.read_bytes() for path in pair.trash()] == [b"first"]


async def test_a_version_is_brought_back_everywhere(pair: Pair) -> None:
    await pair.write("note", b"first")
    await pair.write("note", b"second")
    (_, before) = await pair.versions(pair.two, pair.there / "note")
    report = await pair.two.restore(pair.there / "note", before["version"], None, None)
    assert report == {"restored": ["note"], "failed": [], "unchanged": 0}
    assert (pair.there / "note").read_bytes() == b"first"
    await until(lambda: (pair.here / "note").read_bytes() == b"first")
    newest = (await pair.versions(pair.one, pair.here / "note"))[1]
    assert newest["size"] == 6  # what was replaced is a version in its turn


@pytest.mark.row("F21")
async def test_a_save_that_stops_after_it_has_truncated_loses_no_good_file(pair: Pair) -> None:
    """Nobody can tell a program that pauses in the middle of a save from one that has emptied its
    file: what it emptied is a version, whether it goes on or not.
    """
    good, new = b"good" * 1_000, b"new" * 2_000
    await pair.write("note", good)
    with (pair.here / "note").open("wb") as file:
        await until(lambda: (pair.there / "note").read_bytes() == b"")
        await folder_of(pair.two).call(nothing)
        (_, emptied) = await pair.versions(pair.two, pair.there / "note")
        assert (emptied["size"], emptied["here"]) == (len(good), True)
        file.write(new)
    await until(lambda: (pair.there / "note").read_bytes() == new)
    await folder_of(pair.two).call(nothing)
    kept = await pair.versions(pair.one, pair.here / "note")
    (version,) = [v["version"] for v in kept if v["size"] == len(good)]
    await pair.one.restore(pair.here / "note", version, None, None)
    assert (pair.here / "note").read_bytes() == good
    await pair.same()
    assert not [name for name in tree(pair.there) if "conflict" in name]


async def test_who_replaced_it_has_it_back_from_who_kept_it(pair: Pair) -> None:
    await pair.write("note", b"first")
    await pair.write("note", b"second")
    (_, before) = await pair.versions(pair.one, pair.here / "note")
    assert not before["here"]
    await pair.one.restore(pair.here / "note", None, None, None)
    assert (pair.here / "note").read_bytes() == b"first"
    await pair.same()


async def test_a_deleted_tree_comes_back(pair: Pair) -> None:
    large = os.urandom(3_000_000)
    await pair.write("d/large", large)
    await pair.write("d/small", b"small")
    (pair.here / "d" / "small").chmod(0o755)
    (pair.here / "d" / "link").symlink_to("small")
    await until(lambda: (pair.there / "d" / "link").is_symlink())
    await until(lambda: os.access(pair.there / "d" / "small", os.X_OK))
    before = tree(pair.there)
    for path in (pair.here / "d").iterdir():
        path.unlink()
    (pair.here / "d").rmdir()
    await until(lambda: tree(pair.there) == {})
    deleted = (await pair.two.deleted(pair.there))["versions"]
    assert {one["path"] for one in deleted} == {"d/large", "d/link", "d/small"}
    for one in deleted:
        report = await pair.two.restore(pair.there / one["path"], one["version"], None, None)
        assert report["failed"] == []
    assert tree(pair.there) == before
    assert os.access(pair.there / "d" / "small", os.X_OK)
    assert (pair.there / "d" / "link").readlink() == Path("small")
    await until(lambda: tree(pair.here) == before)
    for daemon, root in ((pair.one, pair.here), (pair.two, pair.there)):
        assert (await daemon.deleted(root))["versions"] == []


async def test_only_what_changed_of_a_large_file_is_fetched_again(pair: Pair) -> None:
    large = os.urandom(3_000_000)
    await pair.write("large", large)
    await pair.write("large", large + b"and more")
    before = sum(c.link.sent_bytes for c in pair.two.network.connections.values())
    await pair.one.restore(pair.here / "large", None, None, None)
    assert (pair.here / "large").read_bytes() == large
    after = sum(c.link.sent_bytes for c in pair.two.network.connections.values())
    assert after - before < 1_000_000  # the chunks that are in place here are taken here


async def test_it_can_be_put_elsewhere(pair: Pair, tmp_path: Path) -> None:
    await pair.write("note", b"first")
    await pair.write("note", b"second")
    out = tmp_path / "out"
    report = await pair.two.restore(pair.there / "note", None, None, out)
    assert report["restored"] == [str(out)]
    assert out.read_bytes() == b"first"
    report = await pair.two.restore(pair.there / "note", None, None, pair.there / "older")
    assert report["restored"] == ["older"]
    assert (pair.there / "older").read_bytes() == b"first"
    assert (pair.there / "note").read_bytes() == b"second"
    await pair.same()
    report = await pair.two.restore(pair.there / "note", None, None, out)
    assert [problem["path"] for problem in report["failed"]] == [str(out)]
    assert out.read_bytes() == b"first"


async def test_it_is_as_it_was_at_a_time(pair: Pair) -> None:
    await pair.write("note", b"first")
    folder, history = history_of(pair.two)
    await pair.write("note", b"second")
    now = int(time.time())
    with pytest.raises(NoSuchVersion):
        await pair.two.restore(pair.there / "note", None, now - DAY_S, None)
    report = await pair.two.restore(pair.there / "note", None, now + DAY_S, None)
    assert report["unchanged"] == 1
    await move_into_the_past(history, 2 * DAY_S)
    await pair.two.restore(pair.there / "note", None, now - 3 * DAY_S, None)
    assert (pair.there / "note").read_bytes() == b"first"
    assert folder.history is history


async def test_a_whole_folder_is_as_it_was(pair: Pair) -> None:
    await pair.write("d/changed", b"before")
    await pair.write("d/deleted", b"gone")
    await pair.write("same", b"the same")
    await pair.write("d/changed", b"after")
    (pair.here / "d" / "deleted").unlink()
    await pair.same()
    await pair.write("new", b"stays")
    _, history = history_of(pair.two)
    await move_into_the_past(history, 2 * DAY_S)
    at_s = int(time.time()) - 3 * DAY_S
    plan = await pair.two.restore_folder(pair.there, at_s, is_dry=True)
    assert plan["restored"] == ["d/changed", "d/deleted"]
    assert (pair.there / "d" / "changed").read_bytes() == b"after"
    report = await pair.two.restore_folder(pair.there, at_s, is_dry=False)
    assert sorted(report["restored"]) == ["d/changed", "d/deleted"]
    assert tree(pair.there) == {
        "d": None, "d/changed": b"before", "d/deleted": b"gone", "same": b"the same",
        "new": b"stays",
    }  # fmt: skip
    await pair.same()
    assert (await pair.two.restore_folder(pair.there, at_s, is_dry=True))["restored"] == []
    folder, history = history_of(pair.two)
    rows = await folder.call(lambda: history.rows_below(()))
    assert {"/".join(path): row.shown.size for path, row in rows.items()} == {
        "d/changed": 6, "d/deleted": 4, "same": 8, "new": 5
    }  # fmt: skip
    assert {*await folder.call(lambda: history.rows_below(("d",)))} < {*rows}
    assert await folder.call(lambda: history.rows_below(("d", "never"))) == {}


async def test_many_files_come_back_without_a_question(pair: Pair) -> None:
    names = [f"{number}.txt" for number in range(60)]
    for data in (b"before", b"after"):
        for part in (names[:30], names[30:]):
            for name in part:
                (pair.here / name).write_bytes(data)
            await until(lambda p=part, d=data: all(tree(pair.there).get(n) == d for n in p))  # type: ignore[misc]
            folder_of(pair.one).rewrites._passed.clear()  # as if it were a while ago
    await folder_of(pair.two).call(nothing)
    _, history = history_of(pair.two)
    await move_into_the_past(history, 2 * DAY_S)
    report = await pair.two.restore_folder(pair.there, int(time.time()) - 3 * DAY_S, is_dry=False)
    assert sorted(report["restored"]) == sorted(names)
    await until(lambda: set(tree(pair.here).values()) == {b"before"})
    assert not folder_of(pair.two).asks


async def move_into_the_past(history: History, by_s: int) -> None:
    """As if all that has ended had been written and had ended so much earlier."""
    await history._versions._db.execute(
        "UPDATE version SET ended_s = ended_s - ?, written_s = written_s - ?", (by_s, 2 * by_s)
    )


async def test_a_version_that_nobody_has_says_so(pair: Pair) -> None:
    await pair.write("note", b"first")
    await pair.write("note", b"second")
    for path in pair.trash():
        path.unlink()
    report = await pair.one.restore(pair.here / "note", None, None, None)
    assert [problem["path"] for problem in report["failed"]] == ["note"]
    assert "another device" in report["failed"][0]["reason"]
    assert (pair.here / "note").read_bytes() == b"second"


async def test_nothing_is_written_over_what_was_just_saved(pair: Pair) -> None:
    await pair.write("note", b"first")
    await pair.write("note", b"second")
    folder, history = history_of(pair.two)
    (_, before) = await pair.versions(pair.two, pair.there / "note")
    watcher = folder.watcher
    assert watcher is not None
    folder.watcher = None
    (pair.there / "note").write_bytes(b"not told yet")
    put = await folder.call(lambda: history._put(as_wanted(before).target, "no such temp"))
    assert "changed" in put
    assert (pair.there / "note").read_bytes() == b"not told yet"
    folder.watcher = watcher


def as_wanted(entry: VersionEntry) -> Wanted:
    node, path = NodeId(b"n" * 15 + b"\0"), entry["path"]
    version = Version(node, b"h", entry["size"], 0, False, b"", 0, "", path, 0, False, None)
    return Wanted(version, tuple(path.split("/")))


async def test_what_is_over_is_let_go(pair: Pair) -> None:
    await pair.write("note", b"first")
    await pair.write("note", b"second")
    await pair.write("note", b"third")
    folder, history = history_of(pair.two)
    now_s = int(time.time())
    history._policy = VersionPolicy(30 * DAY_S, 90 * DAY_S)
    await expire(folder, history, now_s + 29 * DAY_S)
    assert len(pair.trash()) == 2
    told = (await pair.two.status())["folders"][0]
    assert (told["kept_versions"], told["kept_bytes"]) == (2, len(b"first" + b"second"))
    await expire(folder, history, now_s + 31 * DAY_S)  # the last of its week stays
    assert [path.read_bytes() for path in pair.trash()] == [b"second"]
    await expire(folder, history, now_s + 91 * DAY_S)
    assert pair.trash() == []
    assert len(await pair.versions(pair.two, pair.there / "note")) == 1


async def expire(folder: Folder, history: History, now_s: int) -> None:
    while await folder.call(lambda: history.expire(now_s)):
        pass


async def test_history_gives_way_to_what_needs_room(pair: Pair) -> None:
    await pair.write("large", b"l" * 200_000)
    await pair.write("note", b"first")
    for number in range(3):
        await pair.write("large", b"%d" % number * 200_000)
    await pair.write("note", b"second")
    folder, history = history_of(pair.two)
    assert len(pair.trash()) == 4
    freed = await folder.call(lambda: history.make_room(300_000))
    assert freed == 400_000  # of the file that takes most, the older ones first
    assert sorted(path.stat().st_size for path in pair.trash()) == [5, 200_000]
    assert await folder.call(lambda: history.make_room(1 << 40)) == 200_005
    assert pair.trash() == []


@pytest.mark.row("F29")
@pytest.mark.parametrize("room", [150_000, 350_000, 700_000])
async def test_what_is_brought_back_does_not_give_way_to_itself(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """The disk is full, and the versions to be had back are those that would go first."""
    for name in "ab":
        for number in range(4):
            await pair.write(name, f"{name}{number}".encode() * 100_000)
    folder, history = history_of(pair.two)
    before = {path.read_bytes() for path in pair.trash()}
    assert len(before) == 6
    fetcher = history._fetcher

    def free_bytes() -> int:
        lying = sum(path.stat().st_size for path in pair.trash())
        return fetcher._free_min_bytes + room + 6 * 200_000 - lying

    monkeypatch.setattr(fetcher._disk, "free_bytes", free_bytes)
    of_a, of_b = [
        (await folder.call(lambda name=name: history.of_path((name,))))[1][-1]  # type: ignore[misc]
        for name in "ab"
    ]
    out = pair.there.parent / "out"
    result = await history.restore(
        [
            Wanted(of_a.version, ("a",)),
            Wanted(of_b.version, ("out",), str(out)),
        ]
    )
    assert len(result.done) + len(result.failed) == 2
    wanted = {"a": b"a0" * 100_000, str(out): b"b0" * 100_000}
    there = {path.read_bytes() for path in pair.trash()}
    for path, data in wanted.items():
        assert data in there, "what was to be had back is still a version"
        assert path in result.failed or (pair.there / path).read_bytes() == data
    assert len(result.done) == 2, "the others made room"


async def test_a_crash_between_disk_and_index_loses_no_version(pair: Pair) -> None:
    await pair.write("note", b"first")
    await pair.write("note", b"second")
    folder, history = history_of(pair.two)
    await history._versions._db.execute("DELETE FROM version")
    await folder.call(history.take_stock)
    (found,) = (await pair.versions(pair.two, pair.there / "note"))[1:]
    assert (found["here"], found["deleted"]) == (True, False), "the file is there"
    await pair.two.restore(pair.there / "note", None, None, None)
    assert (pair.there / "note").read_bytes() == b"first"


async def test_a_file_in_the_trash_is_what_the_records_say_of_its_bytes(pair: Pair) -> None:
    await pair.write("note", b"first")
    folder, history = history_of(pair.two)
    row = await folder.call(lambda: history.row_at(("note",)))
    assert row is not None
    name = kept_name(row.id, row.shown.hash, row.disk)
    (pair.there / ".holdfast" / "trash" / name).write_bytes(b"first")
    await folder.call(history.take_stock)
    (found,) = (await pair.versions(pair.two, pair.there / "note"))[1:]
    assert (found["device"], found["here"]) == ("one", True)


async def test_an_emptied_trash_is_noticed(pair: Pair) -> None:
    await pair.write("note", b"first")
    await pair.write("note", b"second")
    (kept,) = pair.trash()
    kept.unlink()
    folder, history = history_of(pair.two)
    await folder.call(history.take_stock)
    (_, before) = await pair.versions(pair.two, pair.there / "note")
    assert not before["here"]


async def test_a_trash_that_cannot_be_read_is_no_empty_one(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.write("note", b"first")
    await pair.write("note", b"second")
    folder, history = history_of(pair.two)
    trash = pair.trash()[0].parent.stat().st_ino
    scandir = os.scandir

    def fail(where: Any) -> Any:
        if isinstance(where, int) and os.fstat(where).st_ino == trash:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return scandir(where)

    with monkeypatch.context() as failing:
        failing.setattr(os, "scandir", fail)
        with pytest.raises(DiskError):
            await folder.call(history.take_stock)
    (_, before) = await pair.versions(pair.two, pair.there / "note")
    assert before["here"]


async def test_no_history_is_kept_where_none_is_wanted(pair: Pair) -> None:
    folder_of(pair.two).engine.keeps_versions = False
    await pair.write("note", b"first")
    await pair.write("note", b"second")
    assert pair.trash() == []
    assert len(await pair.versions(pair.two, pair.there / "note")) == 1
