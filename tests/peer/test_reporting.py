"""What a daemon tells of itself: each thing once, nothing that is not synced without its reason."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from crypto.ids import ChunkId
from peer.daemon import Daemon
from peer.status import FolderState
from tests.peer.device_stage import Stage, folder_of, shows, until, until_state
from tests.peer.test_daemon import Pair, pair, stage

__all__ = ["pair", "stage"]


async def test_a_status_says_it_all(stage: Stage, pair: Pair) -> None:
    one, two = pair
    await stage.share(one, two)
    (stage.root("one") / "a").write_bytes(b"hello")
    await until(lambda: shows(stage.root("two"), "a", b"hello"))
    await until_state(two, FolderState.IN_SYNC)
    status = await two.status()
    assert (status["device"]["name"], status["device"]["this"]) == ("two", True)
    (link,) = status["links"]
    assert (link["name"], link["kind"], link["path"]) == ("one", "tls", "lan")
    assert link["direct_problem"] == ""
    assert link["round_trip_s"] is not None
    (folder,) = status["folders"]
    assert (folder["name"], folder["files"], folder["bytes"]) == ("f", 1, 5)
    assert (folder["need_files"], folder["need_bytes"], folder["errors"]) == (0, 0, [])
    assert status["totals"]["received_bytes"] > 0
    listed = (await two.devices())["devices"]
    assert {(d["name"], d["connected"]) for d in listed} == {("one", True), ("two", True)}


@pytest.mark.row("A34")
async def test_a_name_that_cannot_be_synced_is_told_with_its_reason(
    stage: Stage, pair: Pair
) -> None:
    one, two = pair
    (stage.root("one") / "bad\\name").write_bytes(b"1")
    (stage.root("one") / "good").write_bytes(b"2")
    await stage.share(one, two)
    await until(lambda: shows(stage.root("two"), "good", b"2"))
    await until_state(one, FolderState.TROUBLE)
    (problem,) = (await one.status())["folders"][0]["errors"]
    assert problem["path"] == "bad\\name"
    assert "backslash" in problem["reason"]


@pytest.mark.row("A34")
async def test_whatever_is_not_synced_is_told_until_it_is_gone(stage: Stage, pair: Pair) -> None:
    """Sockets, pipes, names, links out of the folder, two spellings of one name."""
    one, two = pair
    await stage.share(one, two)
    root = os.fsencode(stage.root("one"))
    listening = socket.socket(socket.AF_UNIX)
    with listening, inside(stage.root("one")):  # a socket's path has to be short
        listening.bind("socket")
    os.mkfifo(root + b"/pipe")
    for name in LEFT_OUT:
        os.close(os.open(os.path.join(root, name), os.O_CREAT | os.O_WRONLY))
    os.symlink("../../outside", root + b"/link out")
    (stage.root("one") / "good").write_bytes(b"2")
    await until(lambda: shows(stage.root("two"), "good", b"2"))
    expected = {os.fsdecode(name): word for name, word in LEFT_OUT.items()}
    expected |= {"socket": "neither", "pipe": "neither", "link out": "folder"}
    await until_told(one, expected)
    await until_state(one, FolderState.TROUBLE)
    assert (await two.status())["folders"][0]["errors"] == []
    assert [p.name for p in stage.root("two").iterdir() if p.name != ".holdfast"] == ["good"]
    special = {"socket": "neither", "pipe": "neither"}
    for path in expected.keys() - special:
        os.unlink(os.path.join(root, os.fsencode(path)))
    await until_told(one, special)
    await until_state(one, FolderState.IN_SYNC)  # nothing is in them that could be synced
    for path in special:
        os.unlink(os.path.join(root, os.fsencode(path)))
    await until_told(one, {})


LEFT_OUT = {
    b"CON": "Windows",
    b"lpt1.txt": "Windows",
    b"ends with a dot.": "Windows",
    b"back\\slash": "backslash",
    b"no text \xff": "Unicode",
    b"line\nbreak": "control",
}


@contextmanager
def inside(path: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


async def until_told(daemon: Daemon, expected: dict[str, str]) -> None:
    """These paths are told, each for a reason in which its word is."""
    async with asyncio.timeout(60):
        while True:
            (folder,) = (await daemon.status())["folders"]
            told = {error["path"]: error["reason"] for error in folder["errors"]}
            if told.keys() == expected.keys():
                break
            await asyncio.sleep(0.01)
    assert {path for path, word in expected.items() if word not in told[path]} == set()


async def test_two_spellings_of_one_name_are_told(stage: Stage, pair: Pair) -> None:
    one, two = pair
    await stage.share(one, two)
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    (stage.root("one") / composed).write_bytes(b"1")
    (stage.root("one") / decomposed).write_bytes(b"2")
    await until_told(one, {decomposed: "spelled"})
    await until(lambda: shows(stage.root("two"), composed, b"1"))
    (stage.root("one") / decomposed).unlink()
    await until_told(one, {})


async def test_what_nobody_connected_has_is_told(stage: Stage, pair: Pair) -> None:
    one, two = pair
    await stage.share(one, two)
    (stage.root("one") / "first").write_bytes(b"1")
    await until(lambda: shows(stage.root("two"), "first", b"1"))
    folder_of(one)._serving.read_chunks = nothing  # type: ignore[method-assign]
    (stage.root("one") / "lost").write_bytes(b"2" * 1000)
    await until_told(two, {"lost": "waits for one"})
    del folder_of(one)._serving.read_chunks
    await until(lambda: shows(stage.root("two"), "lost", b"2" * 1000))
    await until_told(two, {})


async def nothing(ids: Sequence[ChunkId]) -> list[bytes | None]:
    """Of none of these chunks there are bytes."""
    return [None] * len(ids)
