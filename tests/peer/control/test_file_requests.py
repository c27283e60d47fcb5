"""Files by their ids, on real devices: an id outlives a rename, a write is an edit."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peer.control.file_requests import FileRequests
from peer.errors import FileChanged, NotInFolder, PathUnusable, UnknownFile, UsageError
from peer.status import FileEntry
from tests.peer.device_stage import devices, folder_of, until
from tests.peer.history.test_history import Pair, tree


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.share(one, two)
        pair = Pair(stage, one, two)
        await pair.write("d/note", b"first")
        yield pair


async def bytes_of(files: FileRequests, entry: FileEntry, offset: int = 0) -> bytes:
    size = entry["size"] - offset
    return b"".join([p async for p in files.read(entry["id"], entry["etag"], offset, size)])


async def test_an_id_is_one_on_all_devices_and_outlives_a_rename(pair: Pair) -> None:
    here = await pair.one.files.lookup(pair.here / "d" / "note")
    there = await pair.two.files.lookup(pair.there / "d" / "note")
    assert here["id"] == there["id"]
    assert here["etag"] == there["etag"]
    assert (here["folder"], here["path"], here["size"], here["device"]) == (
        "f", "d/note", 5, "one",
    )  # fmt: skip
    (pair.here / "d" / "note").rename(pair.here / "renamed")
    await pair.same()
    await until(lambda: (pair.there / "renamed").exists())
    await folder_of(pair.two).call(nothing)
    moved = await pair.two.files.metadata(here["id"])
    assert (moved["path"], moved["place"]) == ("renamed", str(pair.there / "renamed"))
    assert await bytes_of(pair.two.files, moved) == b"first"
    assert await bytes_of(pair.two.files, moved, 3) == b"st"


async def nothing() -> None:
    """A turn of the folder's task."""


async def test_what_is_written_is_an_edit_and_what_it_replaces_a_version(pair: Pair) -> None:
    entry = await pair.one.files.lookup(pair.here / "d" / "note")
    await pair.one.files.replace(entry["id"], b"second", entry["etag"])
    await until(lambda: tree(pair.there) == {"d": None, "d/note": b"second"})
    await until(lambda: len(pair.trash()) == 1)

    async def sees_the_second() -> bool:
        return (await pair.one.files.metadata(entry["id"]))["etag"] != entry["etag"]

    while not await sees_the_second():
        await folder_of(pair.one).call(nothing)
    with pytest.raises(FileChanged):
        await pair.one.files.replace(entry["id"], b"third", entry["etag"])
    with pytest.raises(FileChanged):
        await bytes_of(pair.one.files, entry)
    assert (pair.here / "d" / "note").read_bytes() == b"second"


async def test_what_is_deleted_goes_everywhere_and_can_be_had_back(pair: Pair) -> None:
    entry = await pair.two.files.lookup(pair.there / "d" / "note")
    with pytest.raises(FileChanged):
        await pair.two.files.delete(entry["id"], '"another"')
    await pair.two.files.delete(entry["id"], None)
    await until(lambda: tree(pair.here) == tree(pair.there) == {"d": None})
    assert len(pair.trash()) == 1
    with pytest.raises(UnknownFile):
        await pair.two.files.metadata(entry["id"])


async def test_a_version_comes_back_by_the_file_s_id(pair: Pair) -> None:
    await pair.write("d/note", b"second")
    entry = await pair.two.files.lookup(pair.there / "d" / "note")
    listed = (await pair.two.files.versions(entry["id"]))["versions"]
    assert [one["version"] for one in listed] == [0, 1]
    await pair.two.files.restore(entry["id"], 1, None)
    await until(lambda: (pair.here / "d" / "note").read_bytes() == b"first")


async def test_a_new_file_comes_to_all_devices(pair: Pair) -> None:
    await pair.one.files.upload("f", "new/deep/file", b"x" * 100_000)
    await until(lambda: (pair.there / "new" / "deep" / "file").exists())
    await pair.same()


async def test_what_was_saved_a_moment_ago_is_not_replaced_nor_deleted(pair: Pair) -> None:
    entry = await pair.one.files.lookup(pair.here / "d" / "note")
    folder = folder_of(pair.one)
    watcher, folder.watcher = folder.watcher, None
    try:
        (pair.here / "d" / "note").write_bytes(b"not told yet")
        for act in (
            pair.one.files.replace(entry["id"], b"new", None),
            pair.one.files.delete(entry["id"], None),
        ):
            with pytest.raises(FileChanged):
                await act
        assert (pair.here / "d" / "note").read_bytes() == b"not told yet"
    finally:
        folder.watcher = watcher


@pytest.mark.parametrize(
    "path",
    ["", "../out", "/abs", "a//b", "a/../b", ".holdfast/x", "a\0b", "d/note/below", "a\nb", "CON"],
)
async def test_no_path_leads_out_of_the_folder(pair: Pair, path: str, tmp_path: Path) -> None:
    before = tree(tmp_path / "one"), set(os.listdir(tmp_path))
    with pytest.raises((UsageError, FileChanged)):
        await pair.one.files.upload("f", path, b"x")
    assert (tree(tmp_path / "one"), set(os.listdir(tmp_path))) == before


async def test_no_symlink_leads_out_of_the_folder(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (pair.here / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(FileChanged):
        await pair.one.files.upload("f", "link/x", b"x")
    assert list((tmp_path / "outside").iterdir()) == []


async def test_what_is_not_there_is_said(pair: Pair) -> None:
    files = pair.one.files
    entry = await files.lookup(pair.here / "d" / "note")
    folder_id, _, node = entry["id"].partition(".")
    for wrong in (
        "",
        "x",
        node,
        f"{folder_id}.{'0' * 32}",
        f"{'0' * 64}.{node}",
        entry["id"] + "0",
    ):
        with pytest.raises(UnknownFile):
            await files.metadata(wrong)
    with pytest.raises(UnknownFile):
        await files.lookup(pair.here / "nothing")
    with pytest.raises(NotInFolder):
        await files.lookup(Path("/nowhere"))
    with pytest.raises(UnknownFile):
        await files.upload("another", "x", b"")
    await pair.one.pause("f")
    with pytest.raises(PathUnusable):
        await files.delete(entry["id"], None)
