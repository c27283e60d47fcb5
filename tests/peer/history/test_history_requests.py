"""From a path on this machine to a folder's history."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peer.core.versions import Version
from peer.daemon import Daemon
from peer.errors import NoSuchVersion, NotInFolder, PathUnusable
from peer.history.history_requests import _choose, _names_below, _none_then
from peer.history.version_store import StoredVersion
from tests.peer.device_stage import devices, folder_of, until
from tests.peer.history.test_history import Pair, nothing
from tests.peer.history.test_version_store import version


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[tuple[Daemon, Path]]:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        await daemon.add_folder(stage.root("one"), "f")
        yield daemon, stage.root("one")


def test_a_path_below_a_folder_is_its_names(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "link").symlink_to(root)
    assert _names_below(root, root / "a" / "b") == ("a", "b")
    assert _names_below(root, tmp_path / "link" / "a") == ("a",)
    assert _names_below(root, root) == ()
    assert _names_below(root, tmp_path / "other") is None
    assert _names_below(root, root.with_name("root2") / "a") is None
    assert _names_below(root, root / "e\u0301") == ("\u00e9",)


def test_a_time_chooses_what_was_there_then() -> None:
    found = [
        StoredVersion(number, version(1, ended_s)._replace(written_s=written_s))
        for number, written_s, ended_s in ((3, 200, 300), (2, 100, 200), (1, 0, 100))
    ]

    def at(at_s: int) -> Version | None:
        return _choose(found, None, at_s)

    assert at(250) == found[0].version
    assert at(200) == found[0].version
    assert at(199) == found[1].version
    assert at(300) is None
    assert _choose(found, None, None) == found[0].version
    assert _choose(found, 2, None) == found[1].version
    assert _choose(found, 9, None) is None
    assert _choose([], None, None) is None


async def test_what_is_in_no_folder_is_told(one: tuple[Daemon, Path], tmp_path: Path) -> None:
    daemon, root = one
    with pytest.raises(NotInFolder):
        await daemon.versions(tmp_path / "elsewhere")
    assert (await daemon.versions(root / "never"))["versions"] == []
    with pytest.raises(NoSuchVersion):
        await daemon.restore(root / "never", None, None, None)


async def test_of_a_directory_it_is_said_what_brings_it_back(one: tuple[Daemon, Path]) -> None:
    daemon, root = one
    (root / "d").mkdir()
    with pytest.raises(NoSuchVersion, match="restore-folder"):
        await daemon.restore(root / "d", None, None, None)
    with pytest.raises(NoSuchVersion, match="no directory"):
        await daemon.restore_folder(root / "never", 0, is_dry=True)
    assert (await daemon.restore_folder(root / "d", 0, is_dry=True))["restored"] == []


def test_of_a_time_without_a_version_it_is_said_since_when_there_are_some() -> None:
    day = 86_400
    first = time.strftime("%Y-%m-%d %H:%M", time.localtime(5 * day))
    assert f"the first that is known is of {first}." in str(_none_then(day, [9 * day, 5 * day]))
    assert "deleted then" in str(_none_then(7 * day, [9 * day, 5 * day]))
    assert str(_none_then(day, [])) == str(_none_then(None, [day])) == NoSuchVersion.sentence()


async def test_a_file_that_is_younger_says_since_when_it_is(one: tuple[Daemon, Path]) -> None:
    daemon, root = one
    (root / "new").write_bytes(b"x")
    folder_of(daemon).rescan()
    await until(lambda: folder_of(daemon).progress.summary.files == 1)
    with pytest.raises(NoSuchVersion, match=r"1970.*: the first that is known is of 20"):
        await daemon.restore(root / "new", None, 86_400, None)


async def test_a_paused_folder_is_not_written_to(one: tuple[Daemon, Path]) -> None:
    daemon, root = one
    await daemon.pause("f")
    with pytest.raises(PathUnusable, match="paused"):
        await daemon.restore(root / "x", None, None, None)
    with pytest.raises(PathUnusable, match="paused"):
        await daemon.restore_folder(root, 0, is_dry=True)


async def test_a_version_is_looked_at_where_its_bytes_are(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.share(one, two)
        pair = Pair(stage, one, two)
        await pair.write("note", b"first")
        await pair.write("note", b"second")
        await until(lambda: len(pair.trash()) == 1)
        await folder_of(two).call(nothing)
        (_, old) = (await two.versions(pair.there / "note"))["versions"]
        seen = await two.read_version(pair.there / "note", old["version"])
        assert (b64decode(seen["data"]), seen["size"]) == (b"first", 5)
        with pytest.raises(NoSuchVersion):
            await two.read_version(pair.there / "note", old["version"] + 7)
