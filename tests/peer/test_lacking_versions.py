"""Versions of a file whose bytes nobody gives, beside others whose bytes are here (MERGE 5, 14).

One device after another is told of two edits that did not know of each other, and gets the bytes
of some of them only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from crypto.ids import NodeId
from peer.core.engine import FIRST_PAGE, Survey
from tests.peer.folder_stage import HASHER, FolderDevice, some_places

Trio = tuple[FolderDevice, FolderDevice, FolderDevice]


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[Trio]:
    async with AsyncExitStack() as stack:
        devices = []
        for name, place in zip(("one", "two", "three"), some_places(3), strict=True):
            devices.append(await FolderDevice.open(tmp_path, name, place))
            stack.push_async_callback(devices[-1].close)
        yield (devices[0], devices[1], devices[2])


async def write(device: FolderDevice, data: bytes, name: str = "a") -> None:
    """A person saves this on the device."""
    (device.root / name).write_bytes(data)
    await device.scan()


async def survey(device: FolderDevice, lost: bytes = b"") -> Survey:
    """`lost`: a content whose bytes nobody gives, as far as is known."""
    hash_ = HASHER.chunk_id(lost)
    return await device.performer.drive(
        device.engine.survey(
            FIRST_PAGE,
            1000,
            device.staged,  # type: ignore[arg-type]
            lambda _, wanted: wanted == hash_,
        )
    )


async def give(device: FolderDevice, data: bytes, source: FolderDevice) -> None:
    """The device gets these bytes, and applies whatever that makes possible."""
    needs = [n for n in (await survey(device)).needs if n.content.hash == HASHER.chunk_id(data)]
    assert needs
    for need in needs:
        device.stage(need, [source])
    await apply(device)


async def apply(device: FolderDevice, lost: bytes = b"") -> None:
    ready = (await survey(device, lost)).ready
    if ready:
        applied, needs = await device.performer.drive(
            device.engine.apply(ready, device.staged)  # type: ignore[arg-type]
        )
        assert not needs
        for key in [k for k, name in device.staged.items() if name in applied.used]:
            del device.staged[key]


async def two_edits(trio: Trio) -> None:
    """Everybody has `a`; the first two edit it, the second in a later Lamport time, and the third
    is told of both.
    """
    one, two, three = trio
    await write(one, b"old")
    await two.sync(one)
    await three.sync(one)
    await write(one, b"loser")
    await write(two, b"something else", "b")
    await write(two, b"winner")
    for device in (one, two, three):
        await device.ingest(one.authored)
        await device.ingest(two.authored)


async def settle(trio: Trio) -> dict[str, bytes | None]:
    """Everybody gets everything from everybody."""
    for _ in range(3):
        for device in trio:
            for other in trio:
                await device.ingest(other.authored)
            await device.bring(*trio)
            await device.scan()
    trees = [device.tree() for device in trio]
    assert trees[0] == trees[1] == trees[2]
    return trees[0]


async def test_a_loser_that_nobody_gives_does_not_block_the_winner(trio: Trio) -> None:
    _, two, three = trio
    await two_edits(trio)
    await give(three, b"winner", two)
    assert three.tree()["a"] == b"winner"
    assert HASHER.chunk_id(b"loser") in {n.content.hash for n in (await survey(three)).needs}
    tree = await settle(trio)
    assert sorted(v for v in tree.values() if v) == [b"loser", b"something else", b"winner"]
    assert tree["a"] == b"winner"


async def test_what_was_shown_without_the_loser_is_not_applied_again(trio: Trio) -> None:
    _, two, three = trio
    await two_edits(trio)
    await give(three, b"something else", two)
    await give(three, b"winner", two)
    assert not (await survey(three)).ready
    assert (await three.store.summary()).need_files == 1


async def test_an_edit_of_a_winner_shown_alone_keeps_the_loser(trio: Trio) -> None:
    _, two, three = trio
    await two_edits(trio)
    await give(three, b"winner", two)
    await write(three, b"winner, edited")
    tree = await settle(trio)
    assert tree["a"] == b"winner, edited"
    assert b"loser" in tree.values()


async def test_deleting_a_winner_shown_alone_brings_the_loser_back(trio: Trio) -> None:
    _, two, three = trio
    await two_edits(trio)
    await give(three, b"winner", two)
    (three.root / "a").unlink()
    await three.scan()
    assert (await settle(trio))["a"] == b"loser"


@pytest.mark.row("F01")
@pytest.mark.parametrize("limit", [1, 1000])
async def test_a_copy_stays_on_the_disk_while_its_original_is_removed(
    trio: Trio, limit: int
) -> None:
    """Gone in between, and a crash then, it would be told as deleted by a person."""
    one, _, three = trio
    await two_edits(trio)
    await settle(trio)
    (path,) = (p for p in three.root.iterdir() if " (conflict " in p.name)
    inode = path.stat().st_ino
    (one.root / "a").unlink()
    await one.scan()
    await three.ingest(one.authored)
    page: tuple[int, NodeId] | None = FIRST_PAGE
    while page is not None:
        found = three.engine.survey(page, limit, three.staged)  # type: ignore[arg-type]
        out = await three.performer.drive(found)
        assert not out.needs
        if out.ready:
            await three.performer.drive(three.engine.apply(out.ready, {}))
            assert path.stat().st_ino == inode
        page = out.next_page
    assert not (three.root / "a").exists()


async def test_a_loser_is_shown_as_long_as_nobody_gives_the_winner(trio: Trio) -> None:
    one, two, three = trio
    await two_edits(trio)
    await give(three, b"loser", one)
    assert three.tree()["a"] == b"old"  # the winner may be on its way
    await apply(three, lost=b"winner")
    assert three.tree()["a"] == b"loser"
    assert not (await survey(three, lost=b"winner")).ready
    await write(three, b"loser, edited")
    await three.ingest(two.authored)
    tree = await settle(trio)
    assert sorted(v for v in tree.values() if v) == [
        b"loser, edited", b"something else", b"winner"
    ]  # fmt: skip


async def test_a_loser_that_is_shown_gives_way_to_the_winner(trio: Trio) -> None:
    one, _, three = trio
    await two_edits(trio)
    await give(three, b"loser", one)
    await apply(three, lost=b"winner")
    tree = await settle(trio)
    assert tree["a"] == b"winner"
    assert b"loser" in tree.values()


async def test_the_winner_does_not_replace_a_loser_that_is_on_this_disk_alone(trio: Trio) -> None:
    one, two, _ = trio
    await two_edits(trio)
    await give(one, b"winner", two)
    assert one.tree()["a"] == b"loser"
    await give(one, b"loser", one)
    assert one.tree()["a"] == b"winner"
    assert b"loser" in one.tree().values()


async def test_the_winner_does_not_replace_what_the_loser_grew_out_of(trio: Trio) -> None:
    """The winner's author had never seen it; the loser's had, but nobody gives the loser."""
    one, two, three = trio
    await write(one, b"old")
    await two.sync(one)
    await write(one, b"first edit")
    await three.sync(one)
    await write(one, b"loser")
    for number in range(3):
        await write(two, b"something else", f"b{number}")
    await write(two, b"winner")
    await three.ingest(one.authored)
    await three.ingest(two.authored)
    await give(three, b"winner", two)
    assert three.tree()["a"] == b"first edit"
    await give(three, b"loser", one)
    assert three.tree()["a"] == b"winner"
    assert b"loser" in three.tree().values()
