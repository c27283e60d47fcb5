"""Many files are rewritten at once: the question, and what each answer does, on whole daemons."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from crypto.ids import ChunkId
from peer.core import commands as c
from peer.core.disk_types import PARKED
from peer.daemon import Daemon
from peer.folders.folder import Folder
from peer.status import FolderState, HoldAnswer
from tests.peer.device_stage import Stage, devices, folder_of, until, until_state

COUNT = 60
OLD = {f"{n}.txt": b"%d as it was" % n for n in range(COUNT)}
NEW = {name: b"locked " + data for name, data in OLD.items()}


class Pair:
    """Two devices with sixty files in sync."""

    def __init__(self, stage: Stage, one: Daemon, two: Daemon) -> None:
        self.stage, self.one, self.two = stage, one, two

    def tree(self, daemon: Daemon) -> dict[str, bytes]:
        root = self.stage.root(daemon.name)
        found = {}
        for path in root.rglob("*"):
            if ".holdfast" not in path.parts:
                with contextlib.suppress(FileNotFoundError):  # it was moved just now
                    found[str(path.relative_to(root))] = path.read_bytes()
        return found

    def write(self, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            (self.stage.root("one") / name).write_bytes(data)

    async def question(self) -> str:
        await until_state(self.one, FolderState.ASKING)
        return (await self.one.status())["folders"][0]["question"]

    async def both_show(self, tree: dict[str, bytes]) -> None:
        await until(lambda: self.tree(self.one) == tree)
        await until(lambda: self.tree(self.two) == tree)
        await until_state(self.one, FolderState.IN_SYNC)

    def beside(self) -> dict[str, bytes]:
        """The conflict copies, by the name that they are of."""
        return {
            name.split(" (conflict one ")[0] + ".txt": data
            for name, data in self.tree(self.one).items()
            if "(conflict" in name
        }


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.share(one, two)
        pair = Pair(stage, one, two)
        pair.write(OLD)
        await pair.both_show(OLD)
        yield pair


async def test_many_rewrites_ask_and_nothing_is_told_meanwhile(pair: Pair) -> None:
    pair.write(NEW)
    question = await pair.question()
    assert "rewritten" in question
    assert "conflict copies" in question
    told = pair.tree(pair.two)
    assert sum(told[name] != data for name, data in OLD.items()) <= 10
    (pair.stage.root("one") / "new file").write_bytes(b"is told all the same")
    await until(lambda: "new file" in pair.tree(pair.two))


async def test_they_were_meant(pair: Pair) -> None:
    pair.write(NEW)
    await pair.question()
    await pair.one.answer_hold("f", HoldAnswer.ACCEPT)
    await pair.both_show(NEW)
    assert "question" not in (await pair.one.status())["folders"][0]


async def test_all_that_was_rewritten_while_nobody_looked_is_brought_back(pair: Pair) -> None:
    await pair.one.pause("f")
    pair.write(NEW)
    await pair.one.resume("f")
    question = await pair.question()
    assert f"{COUNT} files" in question
    assert pair.tree(pair.two) == OLD
    await pair.one.answer_hold("f", HoldAnswer.RESTORE)
    await until(lambda: OLD.items() <= pair.tree(pair.one).items())
    await until(lambda: pair.beside() == NEW)
    await pair.both_show(pair.tree(pair.one))
    assert OLD.items() <= pair.tree(pair.two).items()
    assert list(pair.stage.root("one").joinpath(".holdfast", PARKED[-1]).iterdir()) == []


async def test_what_nobody_can_give_stays_as_it_is_and_is_asked_about(pair: Pair) -> None:
    await pair.one.pause("f")
    pair.write(NEW)
    serving = folder_of(pair.two)._serving
    serving.read_chunks = nothing  # type: ignore[method-assign]
    await pair.one.resume("f")
    await pair.question()
    await pair.one.answer_hold("f", HoldAnswer.RESTORE)
    restoring = folder_of(pair.one).restoring
    assert restoring is not None
    await until(lambda: restoring.lacking == COUNT)
    assert f"Of {COUNT} of them" in await pair.question()
    assert pair.tree(pair.one) == NEW
    del serving.read_chunks
    folder_of(pair.one).ask_again()
    await pair.one.answer_hold("f", HoldAnswer.RESTORE)
    await until(lambda: OLD.items() <= pair.tree(pair.one).items())


async def nothing(ids: Sequence[ChunkId]) -> list[bytes | None]:
    """Of none of these chunks there are bytes."""
    return [None] * len(ids)


class PowerCut(Exception):
    """Ends the folder's task in the middle, like any defect; what it knew is gone."""


@pytest.mark.row("F20")
@pytest.mark.parametrize("when", ["parked", "published", "beside"])
async def test_a_power_cut_while_they_are_brought_back_loses_nothing(
    pair: Pair, tmp_path: Path, when: str
) -> None:
    await pair.one.pause("f")
    pair.write(NEW)
    await pair.one.resume("f")
    await pair.question()
    cut_after_apply(folder_of(pair.one), ["parked", "published", "beside"].index(when))
    await pair.one.answer_hold("f", HoldAnswer.RESTORE)
    running = pair.one.openings._running[folder_of(pair.one).folder_id]
    await until(running.done)
    await pair.one.openings.reopen(folder_of(pair.one).folder_id)
    await until_settled(pair.one)
    tree = pair.tree(pair.one)
    assert set(tree.values()) >= set(NEW.values())
    assert not set(OLD) - set(tree)
    # And what the other device has was not taken from it.
    assert set(OLD.values()) <= set(pair.tree(pair.two).values()) | set(tree.values())


def cut_after_apply(folder: Folder, count: int) -> None:
    """The folder's task ends when it has applied so many times, and all that it held is gone."""
    perform, done = folder._performer.perform, 0

    async def cut(command: c.Command[object]) -> object:
        nonlocal done
        answer = await perform(command)
        if isinstance(command, c.Apply):
            done += 1
            if done > count:
                raise PowerCut
        return answer

    folder._performer.perform = cut  # type: ignore[method-assign]


async def until_settled(daemon: Daemon) -> None:
    async with asyncio.timeout(60):
        while True:
            (folder,) = (await daemon.status())["folders"]
            if folder["state"] in {FolderState.IN_SYNC, FolderState.ASKING}:
                return
            await asyncio.sleep(0.01)


async def test_a_version_that_is_brought_back_answers_no_question(pair: Pair) -> None:
    root = pair.stage.root("one")
    (root / "other").write_bytes(b"first")
    await until(lambda: pair.tree(pair.two).get("other") == b"first")
    (root / "other").write_bytes(b"second")
    await until(lambda: pair.tree(pair.two).get("other") == b"second")
    await pair.one.pause("f")
    pair.write(NEW)
    await pair.one.resume("f")
    await pair.question()
    report = await pair.one.restore(root / "other", None, None, None)
    assert report["restored"] == ["other"]
    await until(lambda: pair.tree(pair.two).get("other") == b"first")
    assert f"{COUNT} files" in await pair.question()
    assert OLD.items() <= pair.tree(pair.two).items()
