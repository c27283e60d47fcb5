"""A clash of folded case ends by an act on the disk that folds it: the loser has its name again
there, and nothing of it is told.
"""

from __future__ import annotations

import pytest

from peer.core.disk_types import Kind
from peer.core.rows import MISNAMED
from tests.sim.disk import ROOT_INODE, Inode, Place
from tests.sim.world import Device, World

FOLDED = "b (conflict Bert 2023-11-14 2213).txt"


def make(device: Device, name: str, data: bytes | None, directory: int = ROOT_INODE) -> int:
    """Somebody saves a file, or makes a directory."""
    kind = Kind.DIRECTORY if data is None else Kind.FILE
    number = device.disk.make(directory, name, Inode(kind, device.world.account.note(data or b"")))
    device.world.clock.pass_()
    return number


def remove(device: Device, name: str) -> None:
    """Somebody removes what has this name at the top."""
    number = device.disk.inodes[ROOT_INODE].entries[name]
    device.disk.remove(Place(ROOT_INODE, name, number))
    device.world.clock.pass_()


def two_of_one_name(loser: bytes | None, winner: bytes | None) -> tuple[Device, Device]:
    """`b.txt` and `B.txt` are together on one disk, and cannot be on the other one."""
    world = World(1, 2, folding=(0,))
    folding, other = world.devices
    below = make(other, "b.txt", loser)
    if loser is None:
        make(other, "in", b"it", below)
    other.scan()
    make(other, "B.txt", winner)
    world.exchange()
    assert set(folding.disk.paths()) >= {FOLDED, "B.txt"}
    return folding, other


def misnamed(device: Device) -> list[str]:
    return [r.shown.name for r in device.index.rows.values() if r.shown.flags & MISNAMED]


@pytest.mark.parametrize("loser", [b"one", None])
@pytest.mark.parametrize("winner", [b"other", None])
def test_its_own_name_comes_back_on_this_disk_alone(
    loser: bytes | None, winner: bytes | None
) -> None:
    folding, other = two_of_one_name(loser, winner)
    remove(folding, "B.txt")
    assert folding.scan() == 1
    assert misnamed(folding) == [FOLDED]
    assert folding.scan() == 0, "the name that is still on the disk was told as a person's act"
    folding.world.exchange()
    assert misnamed(folding) == []
    assert folding.disk.paths() == other.disk.paths()
    assert set(other.disk.paths()) == ({"b.txt"} if loser else {"b.txt", "b.txt/in"})


@pytest.mark.parametrize("loser", [b"one", None])
def test_it_comes_back_after_a_restart(loser: bytes | None) -> None:
    folding, other = two_of_one_name(loser, b"other")
    remove(folding, "B.txt")
    folding.scan()
    folding.start()
    folding.world.exchange()
    assert folding.disk.paths() == other.disk.paths()
    assert "b.txt" in other.disk.paths()


def test_it_comes_back_when_the_other_was_removed_on_both() -> None:
    """Here before the record came, so that this disk has nothing to tell."""
    folding, other = two_of_one_name(b"one", b"other")
    remove(other, "B.txt")
    other.scan()
    folding.world.deliver(other, folding, True)
    remove(folding, "B.txt")
    folding.world.exchange()
    assert set(folding.disk.paths()) == set(other.disk.paths()) == {"b.txt"}


@pytest.mark.parametrize("loser", [b"one", None])
@pytest.mark.parametrize("fresh", [b"new", None])
def test_whoever_takes_its_name_leaves_it_the_other_one(
    loser: bytes | None, fresh: bytes | None
) -> None:
    """Directories of one name would become one, and a directory would push the file away."""
    folding, other = two_of_one_name(loser, b"other")
    remove(folding, "B.txt")
    make(folding, "b.txt", fresh)
    folding.scan()
    assert folding.scan() == 0
    folding.world.exchange()
    below = {f"{FOLDED}/in"} if loser is None else set()
    assert set(folding.disk.paths()) == set(other.disk.paths()) == {FOLDED, "b.txt", *below}
    assert folding.disk.paths()["b.txt"][1] == (fresh or b"")


def test_a_copy_without_a_record_gets_its_name_back_too() -> None:
    world = World(1, 3, folding=(0,))
    folding, *others = world.devices
    like_it = "A (conflict Cleo 2023-11-14 2213).txt"
    make(others[0], "a.txt", b"first")
    make(others[0], like_it, b"so called")
    world.exchange()
    for device, data in zip(others, (b"Bert's", b"Cleo's"), strict=True):
        number = device.disk.inodes[ROOT_INODE].entries["a.txt"]
        device.disk.write(number, world.account.note(data))
        world.clock.pass_()
        device.scan()
    world.exchange()
    (copy,) = {n for n in others[0].disk.paths() if n.startswith("a (conflict")}
    assert copy not in folding.disk.paths(), "nothing is folded"
    remove(folding, like_it)
    folding.scan()
    assert folding.scan() == 0
    world.exchange()
    assert set(folding.disk.paths()) == {"a.txt", copy}
    assert folding.disk.paths() == others[0].disk.paths()
