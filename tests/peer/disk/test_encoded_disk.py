"""A disk that refuses some names holds them in another spelling; elsewhere they are what they are
(A34).
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peer.core.chunker import Chunker
from peer.core.disk_types import Trouble
from peer.disk.disk import PosixDisk
from peer.disk.encoded_disk import NOTE, EncodedDisk, encoded, refuses_reserved
from peer.disk.reserved_names import REFUSED
from peer.status import FolderState
from tests.peer.device_stage import Stage, copy_homes, devices, make_homes, until, until_state
from tests.peer.folder_stage import HASHER, SEED, FolderDevice, two_places

TRUE = {"12:30": b"time", "why?": b"ask", "a|b*c": b"both", '<"d">': b"quoted"}


CALLS = (
    "open", "mkdir", "rename", "replace", "link", "symlink", "unlink", "rmdir", "stat", "lstat",
    "utime", "chmod", "readlink",
)  # fmt: skip


def refuse_below(root: Path, monkeypatch: pytest.MonkeyPatch, number: int = errno.EINVAL) -> None:
    """From now on the directory answers as FAT does to the names that it refuses."""

    def is_refused(name: object, directory_fd: object) -> bool:
        if not isinstance(name, str | Path) or not set(Path(name).name) & set(REFUSED):
            return False
        where = str(Path(name).parent)
        if isinstance(directory_fd, int):
            where = os.readlink(f"/proc/self/fd/{directory_fd}")
        return f"{where}/".startswith(f"{root}/")

    def wrapped(call: Any) -> Any:
        def checked(*names: Any, **named: Any) -> Any:
            fds = [fd for key, fd in named.items() if key.endswith("dir_fd")] or [None]
            if any(is_refused(name, fd) for name in names[:2] for fd in fds):
                raise OSError(number, os.strerror(number))
            return call(*names, **named)

        return checked

    for name in CALLS:
        if name != "readlink":
            monkeypatch.setattr(os, name, wrapped(getattr(os, name)))


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two"))
    return base


@pytest.fixture
async def stage(homes: Path, tmp_path: Path) -> AsyncIterator[Stage]:
    copy_homes(homes, tmp_path)
    async with devices(tmp_path) as stage:
        yield stage


def files(root: Path) -> dict[str, bytes]:
    """Files by their path on the disk."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".holdfast" not in path.parts
    }


def spelled(names: dict[str, bytes]) -> dict[str, bytes]:
    return {"/".join(encoded(tuple(name.split("/")))): data for name, data in names.items()}


@pytest.mark.row("A34")
async def test_what_the_disk_refuses_is_there_in_another_spelling_and_true_elsewhere(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_below(stage.root("two"), monkeypatch)
    one, two = await stage.start("one"), await stage.start("two")
    await stage.meet(one, two)
    here, there = stage.root("one"), stage.root("two")
    (here / "what: now").mkdir()
    for name, data in TRUE.items():
        (here / "what: now" / name).write_bytes(data)
    await stage.share(one, two)
    expected = {f"what: now/{name}": data for name, data in TRUE.items()}
    await until(lambda: files(there) == spelled(expected))
    await until_state(two, FolderState.IN_SYNC)

    # What a person does on the strict disk is done to the true names.
    below = there / encoded(("what: now",))[0]
    (below / encoded(("12:30",))[0]).write_bytes(b"edited there")
    (below / encoded(("why?",))[0]).rename(below / encoded(("why not?",))[0])
    (below / encoded(("a|b*c",))[0]).unlink()
    (below / encoded(("new:",))[0]).write_bytes(b"made there")
    expected = {
        "what: now/12:30": b"edited there",
        "what: now/why not?": b"ask",
        "what: now/new:": b"made there",
        'what: now/<"d">': b"quoted",
    }
    await until(lambda: files(here) == expected)

    # And what is done elsewhere comes over the spelling that is there.
    (here / "what: now").rename(here / "what? later")
    (here / "what? later" / "new:").write_bytes(b"x" * 600_000)
    expected = {
        name.replace("now", "later").replace(":", "?", 1): v for name, v in expected.items()
    }
    expected["what? later/new:"] = b"x" * 600_000
    await until(lambda: files(there) == spelled(expected) and files(here) == expected)
    for daemon in (one, two):
        await until_state(daemon, FolderState.IN_SYNC)


@pytest.mark.row("A34")
async def test_what_is_there_is_known_again_and_nothing_is_told_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = two_places()
    one = await FolderDevice.open(tmp_path, "one", places[0])
    two = await FolderDevice.open(tmp_path, "two", places[1])
    refuse_below(two.root, monkeypatch)
    two.disk = EncodedDisk(two.disk)  # type: ignore[assignment]
    two.performer._disk = two.disk
    (one.root / "d:").mkdir()
    for name, data in TRUE.items():
        (one.root / "d:" / name).write_bytes(data)
    await one.scan()
    await two.sync(one)
    assert files(two.root) == spelled({f"d:/{name}": data for name, data in TRUE.items()})
    scanned = await two.scan()
    assert not scanned.authored, "a look at it finds nothing new"
    assert not scanned.to_read, "and reads nothing again"
    (two.root / encoded(("d:",))[0] / "plain").write_bytes(b"p")
    await two.scan()
    await one.sync(two)
    assert (one.root / "d:" / "plain").read_bytes() == b"p"
    await one.close()
    await two.close()


def test_a_spelling_that_stands_for_no_name_is_a_problem(tmp_path: Path) -> None:
    disk = EncodedDisk(PosixDisk(str(tmp_path), HASHER, Chunker(SEED)))
    (tmp_path / "\uf0ffx").touch()
    (tmp_path / "\uf03a").touch()
    (listing,) = disk.list_directories([()])
    assert listing.entries is not None
    assert [name for name, _ in listing.entries] == [":"]
    (problem,) = listing.problems
    assert problem.trouble is Trouble.BAD_NAME
    disk.close()


def test_a_disk_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not refuses_reserved(tmp_path), "no folder there: no answer"
    (tmp_path / ".holdfast").mkdir()
    assert not refuses_reserved(tmp_path)
    assert not list((tmp_path / ".holdfast").iterdir())
    for number, expected in ((errno.ENOSPC, False), (errno.EROFS, False), (errno.EINVAL, True)):
        with monkeypatch.context() as patch:
            refuse_below(tmp_path, patch, number)
            assert refuses_reserved(tmp_path) is expected
    assert [path.name for path in (tmp_path / ".holdfast").iterdir()] == [NOTE]
    assert refuses_reserved(tmp_path), "and not again: or its names would change their meaning"
