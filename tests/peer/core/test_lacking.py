"""Files that are not here yet, by the path that they are to have, and the reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crypto.ids import NodeId
from peer.core import lacking
from peer.core.disk_types import Path as DiskPath
from peer.core.engine import FIRST_PAGE
from tests.peer.core.test_applying import Bench
from tests.peer.folder_stage import FolderDevice, two_places


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    one, two = two_places()
    devices = (
        await FolderDevice.open(tmp_path, "one", one),
        await FolderDevice.open(tmp_path, "two", two),
    )
    yield Bench(*devices)
    for device in devices:
        await device.close()


async def told(
    bench: Bench, wrong: dict[NodeId, str] | None = None, *, is_read_back: bool = False
) -> dict[DiskPath, str]:
    """What the second device says of all that it needs."""
    two = bench.two
    survey = await two.performer.drive(two.engine.survey(FIRST_PAGE, 10_000, {}))
    nobody = dict.fromkeys(n.owner for n in survey.needs)
    return await two.performer.drive(
        lacking.reasons(two.engine.directories, nobody, wrong or {}, is_read_back=is_read_back)
    )


async def test_a_new_file_in_directories_that_are_not_here_either(bench: Bench) -> None:
    (bench.one.root / "a" / "b").mkdir(parents=True)
    (bench.one.root / "a" / "b" / "c").write_bytes(b"1")
    await bench.write()
    assert await told(bench) == {("a", "b", "c"): lacking.NEW.format(who="one")}


async def test_a_newer_version_and_a_wrong_one(bench: Bench) -> None:
    (bench.one.root / "d").mkdir()
    (bench.one.root / "d" / "a").write_bytes(b"1")
    await bench.both_have(b=b"2")
    (bench.one.root / "d" / "a").write_bytes(b"11")
    (bench.one.root / "b").write_bytes(b"22")
    (bench.one.root / "c").write_bytes(b"33")
    await bench.write()
    newer = lacking.NEWER.format(who="one")
    news = {("d", "a"): newer, ("b",): newer, ("c",): lacking.NEW.format(who="one")}
    assert await told(bench) == news
    survey = await bench.survey()
    one = next(n.node for n in survey.needs if n.content.size == 2)
    found = await told(bench, {one: "It is wrong."})
    assert list(found.values()).count("It is wrong.") == 1
    assert found.keys() == news.keys()


async def test_of_very_many_it_is_said_how_many(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lacking, "TOLD_MAX", 3)
    for number in range(5):
        (bench.one.root / f"{number}").write_bytes(b"%d" % number)
    await bench.write()
    found = await told(bench)
    assert len(found) == 4
    assert found[()] == "The same is true of 2 more files."


async def test_while_super_nodes_are_read_nobody_is_told_that_a_file_is_nowhere(
    bench: Bench,
) -> None:
    await bench.both_have(b=b"2")
    (bench.one.root / "b").write_bytes(b"22")
    (bench.one.root / "c").write_bytes(b"33")
    await bench.write()
    coming = {("b",): lacking.NEWER_COMING, ("c",): lacking.COMING}
    assert await told(bench, is_read_back=True) == coming
    waits = {("b",): lacking.NEWER.format(who="one"), ("c",): lacking.NEW.format(who="one")}
    assert {path: lacking.as_coming(why) for path, why in waits.items()} == coming
    assert lacking.as_coming("It is wrong.") == "It is wrong."
