"""A directory takes the name of a file or symlink, which goes elsewhere or is no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from crypto.ids import NodeId
from peer.core.commands import Apply, Command, Commit
from peer.core.disk_types import Operation
from peer.core.engine import Engine
from protocol.nodes import Node
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


class PowerCut(Exception):
    pass


async def apply(
    device: FolderDevice, bases: dict[NodeId, Node], *, is_cut: bool
) -> list[Operation]:
    """Applies these records, up to the commit if the power is cut; returns what the disk did."""
    perform = device.performer.perform
    done: list[Operation] = []

    async def note(command: Command[object]) -> object:
        if isinstance(command, Apply):
            done.extend(command.operations)
        if is_cut and isinstance(command, Commit):
            raise PowerCut
        return await perform(command)

    device.performer.perform = note  # type: ignore[method-assign]
    try:
        await device.performer.drive(
            device.engine.apply(bases, device.staged)  # type: ignore[arg-type]
        )
    except PowerCut:
        assert is_cut
    finally:
        device.performer.perform = perform  # type: ignore[method-assign]
    return done


async def restart(device: FolderDevice) -> None:
    """The same disk and index, and nothing of what was in memory."""
    old = device.engine
    directories = await device.store.load_directories(False)
    device.engine = Engine(directories, old.book, old.keys, old.incarnation, old.label, old.random)


def to_nowhere(root: Path) -> None:
    (root / "name").unlink()
    (root / "name").mkdir()


def to_another_name(root: Path) -> None:
    (root / "name").rename(root / "other")
    (root / "name").mkdir()


def into_a_new_directory(root: Path) -> None:
    (root / "new" / "newer").mkdir(parents=True)
    (root / "name").rename(root / "new" / "newer" / "file")
    (root / "name").mkdir()


def into_the_directory_that_takes_its_name(root: Path) -> None:
    (root / "name").rename(root / "x")
    (root / "name").mkdir()
    (root / "x").rename(root / "name" / "inside")


def for_a_directory_that_was_there(root: Path) -> None:
    (root / "name").rename(root / "x")
    (root / "directory").rename(root / "name")
    (root / "x").rename(root / "directory")


ACTS = [
    to_nowhere,
    to_another_name,
    into_a_new_directory,
    into_the_directory_that_takes_its_name,
    for_a_directory_that_was_there,
]


async def both_have(bench: Bench, is_link: bool) -> None:
    (bench.one.root / "directory").mkdir()
    (bench.one.root / "directory" / "below").write_bytes(b"below")
    if is_link:
        (bench.one.root / "name").symlink_to("directory/below")
    await bench.both_have(**({} if is_link else {"name": b"bytes"}))


@pytest.mark.row("F20")
@pytest.mark.parametrize("is_link", [False, True])
@pytest.mark.parametrize("act", ACTS)
async def test_nothing_gets_a_conflict_name_whenever_the_power_is_cut(
    bench: Bench, act: Callable[[Path], None], is_link: bool
) -> None:
    await both_have(bench, is_link)
    act(bench.one.root)
    await bench.write()
    ready = await bench.ready()
    directories = {i: node for i, node in ready.items() if i[15] & 3 == 1}
    assert directories
    done = await apply(bench.two, directories, is_cut=True)
    assert "conflict" not in repr(done)
    await restart(bench.two)
    await bench.settle()
    assert bench.one.tree() == bench.two.tree()
    assert not [name for name in bench.one.tree() if "conflict" in name]


@pytest.mark.parametrize("act", ACTS)
async def test_directories_alone_take_their_names_in_one_step(
    bench: Bench, act: Callable[[Path], None]
) -> None:
    await both_have(bench, False)
    act(bench.one.root)
    await bench.write()
    ready = await bench.ready()
    directories = {i: node for i, node in ready.items() if i[15] & 3 == 1}
    done = await apply(bench.two, directories, is_cut=False)
    assert "conflict" not in repr(done)
    assert bench.two.tree().keys() >= {k for k, v in bench.one.tree().items() if v is None}
    await bench.two.bring(bench.one)
    assert bench.one.tree() == bench.two.tree()


async def test_an_edit_that_the_deleter_had_not_seen_comes_back(bench: Bench) -> None:
    await both_have(bench, False)
    (bench.two.root / "name").write_bytes(b"an edit")
    await bench.two.scan()
    to_nowhere(bench.one.root)
    await bench.write()
    directories = {i: n for i, n in (await bench.ready()).items() if i[15] & 3 == 1}
    await apply(bench.two, directories, is_cut=False)
    await bench.settle()
    assert b"an edit" in bench.one.tree().values()
