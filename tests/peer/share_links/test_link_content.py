"""What a link is to give, from a folder at work on a real disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peer.daemon import Daemon
from peer.errors import LinkNotMade
from peer.share_links import link_content
from peer.share_links.link_content import Given, given_at
from tests.peer.device_stage import devices


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[tuple[Daemon, Path]]:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        root = stage.root("one")
        fill(root)
        await daemon.add_folder(root, "f")
        await known(daemon, 4)
        yield daemon, root


def fill(root: Path) -> None:
    (root / "d" / "inner").mkdir(parents=True)
    (root / "d" / "nothing").mkdir()
    (root / "a.txt").write_bytes(b"a")
    (root / "d" / "b.txt").write_bytes(b"bb" * 300_000)
    (root / "d" / "inner" / "c.txt").write_bytes(b"")
    (root / "d" / "link").symlink_to("b.txt")


async def known(daemon: Daemon, files: int) -> None:
    async with asyncio.timeout(60):
        while (await daemon.status())["folders"][0]["files"] != files:
            await asyncio.sleep(0.01)


async def given(daemon: Daemon, path: Path, name: str = "") -> list[Given]:
    folder, history, names = daemon.history.locate(path)
    root = next(each.path for each in daemon.stored.values() if each.path is not None)
    return await given_at(folder, history, root, names, name)


async def test_a_directory_gives_all_below_it_and_no_symlinks(one: tuple[Daemon, Path]) -> None:
    daemon, root = one
    found = await given(daemon, root / "d")
    assert [each.path for each in found] == ["d/b.txt", "d/inner/c.txt", "d/nothing/"]
    assert [each.size for each in found] == [600_000, 0, 0]
    assert sum(length for _, length in found[0].chunks) == 600_000
    assert len(found[0].chunks) > 1
    named = await given(daemon, root / "d", "other")
    assert [each.path for each in named] == ["other/b.txt", "other/inner/c.txt", "other/nothing/"]


async def test_the_whole_folder_and_one_file_and_nothing(one: tuple[Daemon, Path]) -> None:
    daemon, root = one
    whole = await given(daemon, root)
    assert {each.path.split("/")[0] for each in whole} == {root.name}
    assert len(whole) == 4
    (file,) = await given(daemon, root / "a.txt", "b.txt")
    assert (file.path, file.size) == ("b.txt", 1)
    assert [each.path for each in await given(daemon, root / "d" / "nothing")] == ["nothing/"]


async def test_what_is_ignored_or_no_file_is_not_missed(one: tuple[Daemon, Path]) -> None:
    daemon, root = one
    (root / ".holdfastignore").write_text("*.tmp\n/d/inner/\n")
    (root / "d" / "x.tmp").write_bytes(b"of this machine")
    (root / "d" / "~$b.docx").write_bytes(b"a lock")
    (root / "d" / os.fsdecode("Ma\u0308r".encode())).write_bytes(b"spelled in another way")
    os.mkfifo(root / "d" / "fifo")
    names = [".holdfastignore", "a.txt", "d/M\u00e4r", "d/b.txt", "d/nothing/"]
    found: list[str] = []
    async with asyncio.timeout(60):
        while found != [f"{root.name}/{name}" for name in names]:
            with contextlib.suppress(LinkNotMade):  # some of them are not known yet
                found = [each.path for each in await given(daemon, root)]
            await asyncio.sleep(0.01)
    (one_file,) = await given(daemon, root / "d" / "Ma\u0308r")
    assert one_file.path == "M\u00e4r"
    with pytest.raises(LinkNotMade, match="not synced"):
        await given(daemon, root / "d" / "x.tmp")
    (root / "d" / os.fsdecode(b"\xff")).write_bytes(b"")
    with pytest.raises(LinkNotMade, match="cannot be shared"):
        await given(daemon, root)
    assert await given(daemon, root / "d" / "nothing"), "what is beside it is no matter"


async def test_what_cannot_be_given_is_told(
    one: tuple[Daemon, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, root = one
    for path in (root / "d" / "link", root / "never"):
        with pytest.raises(LinkNotMade, match="no file and no directory"):
            await given(daemon, path)
    await daemon.pause("f")
    (root / "new.txt").write_bytes(b"nobody has seen it")
    with pytest.raises(LinkNotMade, match="Try again in a moment"):
        await given(daemon, root / "new.txt")
    monkeypatch.setattr(link_content, "FILES_MAX", 1)
    with pytest.raises(LinkNotMade, match="more than 1 files"):
        await given(daemon, root / "d")
