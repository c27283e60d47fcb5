"""What meets: edits and deletions, what was deleted while somebody was away, things of other kinds
at one name, and clocks that say other years. Real engines, on disks and indexes that are none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import permutations

import pytest

from peer.core.disk_types import Kind
from peer.folders.upkeep import Policy, Upkeep
from tests.sim.disk import ROOT_INODE, Clock, Inode, Place
from tests.sim.world import Device, World

YEAR_NS = 366 * 86_400 * 10**9
Tree = dict[str, bytes]
"""Path -> bytes, or a symlink's target; nothing for a directory."""


class Hand:
    """A person's hand on one device's disk."""

    def __init__(self, device: Device) -> None:
        self.device, self.disk = device, device.disk

    def _place(self, path: str) -> Place:
        above, _, name = path.rpartition("/")
        directory = self._place(above).inode if above else ROOT_INODE
        return Place(directory, name, self.disk.inodes[directory].entries.get(name, 0))

    def make(self, path: str, data: bytes = b"", kind: Kind = Kind.FILE) -> None:
        """A new file, directory or symlink."""
        place = self._place(path)
        self.device.world.account.note(data)
        self.disk.make(place.directory, place.name, Inode(kind, data))

    def save(self, path: str, data: bytes) -> None:
        """In place."""
        self.device.world.account.note(data)
        self.disk.write(self._place(path).inode, data)

    def save_anew(self, path: str, data: bytes) -> None:
        """As an editor does: a temp file, renamed over."""
        self.make(path + "~", data)
        self.move(path + "~", path)

    def move(self, source: str, target: str) -> None:
        place = self._place(target)
        self.disk.rename(self._place(source), place.directory, place.name)

    def remove(self, path: str) -> None:
        self.disk.remove(self._place(path))


def scene(count: int) -> tuple[World, list[Hand]]:
    """So many devices, the first with a tree that all the others show."""
    world = World(1, count)
    hands = [Hand(device) for device in world.devices]
    for path in ("d", "d/e", "other"):
        hands[0].make(path, kind=Kind.DIRECTORY)
    for path in ("a", "d/b", "d/e/f"):
        hands[0].make(path, path.encode())
    world.clock.pass_()
    world.exchange()
    return world, hands


def shown(world: World) -> Tree:
    """What all disks show."""
    (first, *others) = (device.disk.paths() for device in world.devices)
    assert all(other == first for other in others)
    return {path: data for path, (kind, data, _) in first.items() if kind is not Kind.DIRECTORY}


# ---------------------------------------------------------------- edits and deletions


def delete_the_file(hand: Hand) -> None:
    hand.remove("d/e/f")


def delete_all_above_it(hand: Hand) -> None:
    hand.remove("d")


def move_it_and_delete_it_there(hand: Hand) -> None:
    hand.move("d/e/f", "other/f")
    hand.device.scan()
    hand.remove("other")


DELETIONS = [delete_the_file, delete_all_above_it, move_it_and_delete_it_there]


@pytest.mark.row("F16")
@pytest.mark.parametrize("delete", DELETIONS)
def test_an_edit_beats_a_deletion_however_they_meet(delete: Callable[[Hand], None]) -> None:
    """One deletes, one saves, and a third hears of both: in every order of what is heard."""
    for number, order in enumerate(permutations([(0, 1), (1, 0), (0, 2), (1, 2)])):
        world, hands = scene(3)
        save = Hand.save_anew if number % 3 == 0 else Hand.save
        delete(hands[0])
        save(hands[1], "d/e/f", b"edited")
        world.clock.pass_()
        for device in world.devices:
            device.scan()
        for source, target in order:
            world.deliver(world.devices[source], world.devices[target], True)
            world.devices[target].settle()
        world.exchange()
        tree = shown(world)
        assert [path for path, data in tree.items() if data == b"edited"], order
        assert b"d/e/f" not in tree.values(), order
        assert ("d/b" in tree) == (delete is not delete_all_above_it), order


# ---------------------------------------------------------------- away


@pytest.mark.row("F17")
@pytest.mark.parametrize("away_ns", [3600 * 10**9, 400 * 86_400 * 10**9], ids=["1 h", "400 d"])
def test_who_was_away_brings_back_what_it_edited_and_nothing_else(away_ns: int) -> None:
    """Meanwhile the others have told their logs again and let go of all that can be let go."""
    world, (here, away, there) = scene(3)
    present = [here.device, there.device]
    for path in ("gone", "edited there", "d/e/moved"):
        here.make(path, path.encode())
    world.clock.pass_()
    world.exchange()
    here.move("d/e/moved", "other/moved")
    for path in ("gone", "edited there", "d"):
        here.remove(path)
    away.save("edited there", b"while away")
    for _ in range(3):
        world.clock.pass_(away_ns // 3)
        for one, other in (present, present[::-1]):
            one.scan()
            world.deliver(one, other, True)
            other.settle()
            upkeep = Upkeep(one.engine, Policy(keep_s=0), {})
            upkeep.compact_now()
            while one.run(upkeep.step(world.clock.now_ns // 10**9)) is not None:
                pass
    own = here.device.engine.book.log_id(
        here.device.place.keys.device_id, here.device.engine.incarnation
    )
    kept = [seq for log, seq in here.device.index.changesets if log == own]
    assert min(kept) > away.device.engine.book.seq_of(own)  # what deleted it first is nowhere
    away.device.start()
    world.exchange()
    assert shown(world) == {
        "a": b"a", "edited there": b"while away", "other/moved": b"d/e/moved"
    }  # fmt: skip


# ---------------------------------------------------------------- moves


Moves = tuple[tuple[str, str], tuple[str, str], tuple[str, str]]
"""What each of three people moves, and where to."""
MEETING_MOVES: list[Moves] = [
    (("p", "q/p"), ("q", "p/q"), ("p/file", "other/file")),
    (("p", "q/p"), ("q", "r/q"), ("r", "p/r")),
    (("p", "q/r/p"), ("q", "p/q"), ("r", "p/r")),
    (("q/deep", "p/deep"), ("p", "q/deep/p"), ("q", "r/q")),
    (("p", "same"), ("q", "same"), ("r", "same")),
]


@pytest.mark.row("F18")
@pytest.mark.parametrize("moves", MEETING_MOVES)
def test_moves_into_each_other_end_in_one_tree_with_all_that_was_there(moves: Moves) -> None:
    for number, order in enumerate(permutations(permutations(range(3), 2), 4)):
        if number % 45:  # a sample of them
            continue
        world, hands = scene(3)
        for path in ("p", "q", "q/deep", "q/r", "r"):
            hands[0].make(path, kind=Kind.DIRECTORY)
        files = ["p/file", "q/file", "q/deep/file", "q/r/file", "r/file"]
        for path in files:
            hands[0].make(path, path.encode())
        world.clock.pass_()
        world.exchange()
        for hand, move in zip(hands, moves, strict=True):
            hand.move(*move)
        world.clock.pass_()
        for device in world.devices:
            device.scan()
        for source, target in order:
            world.deliver(world.devices[source], world.devices[target], True)
            world.devices[target].settle()
        world.exchange()
        kept = sorted(data for data in shown(world).values() if data.endswith(b"/file"))
        assert kept == sorted(path.encode() for path in files), order


# ---------------------------------------------------------------- kinds


def make_of_kind(hand: Hand, kind: Kind, data: bytes) -> None:
    """A thing called x, with some bytes in it."""
    if kind is Kind.DIRECTORY:
        hand.make("x", kind=kind)
        hand.make("x/inner", data)
    else:
        hand.make("x", data, kind)


@pytest.mark.row("F19")
@pytest.mark.parametrize("is_edited", [False, True], ids=["", "edited"])
@pytest.mark.parametrize(("old", "new"), list(permutations(Kind, 2)))
def test_things_of_two_kinds_take_each_other_s_place(old: Kind, new: Kind, is_edited: bool) -> None:
    """If the old one was changed elsewhere meanwhile, that is kept as well."""
    for order in permutations([0, 1]):
        world, (one, two) = scene(2)
        make_of_kind(one, old, b"old")
        world.clock.pass_()
        world.exchange()
        one.remove("x")
        make_of_kind(one, new, b"new")
        if is_edited:
            match old:
                case Kind.FILE:
                    two.save("x", b"edited")
                case Kind.DIRECTORY:
                    two.save("x/inner", b"edited")
                case Kind.SYMLINK:
                    two.remove("x")
                    two.make("x", b"edited", Kind.SYMLINK)
        world.clock.pass_()
        for number in order:  # who is heard of first
            world.devices[number].scan()
            world.deliver(world.devices[number], world.devices[1 - number], True)
            world.devices[1 - number].settle()
        world.exchange()
        tree = {p: d for p, d in shown(world).items() if p not in ("a", "d/b", "d/e/f")}
        if is_edited:
            assert sorted(tree.values()) == [b"edited", b"new"]
        else:
            assert tree == {"x/inner" if new is Kind.DIRECTORY else "x": b"new"}
            assert one.disk.paths()["x"][0] is new


# ---------------------------------------------------------------- clocks


class Off(Clock):
    """The world's clock, as a machine shows it whose own is off."""

    def __init__(self, true: Clock, by_ns: int) -> None:
        self._true, self._by_ns = true, by_ns

    @property
    def now_ns(self) -> int:  # type: ignore[override]
        return self._true.now_ns + self._by_ns

    def pass_(self, duration_ns: int = 0) -> None:
        self._true.pass_(duration_ns)


STAMP = re.compile(r" \(conflict .*?\)")


def result(seed: int, clocks: Iterable[int]) -> list[tuple[str, bytes]]:
    """What is shown when three people have worked apart, but for the times in conflict names."""
    world, hands = scene(3)
    world.random.seed(seed)
    for hand, by_years in zip(hands, clocks, strict=True):
        hand.disk.clock = Off(world.clock, by_years * YEAR_NS)
    for device in world.devices:
        for _ in range(6):
            world.act(device)
        world.clock.pass_()
        device.scan()
    for target in world.devices:
        for source in world.devices:
            if source is not target:
                world.deliver(source, target, True)
    world.exchange()
    return sorted((STAMP.sub(" (conflict)", path), data) for path, data in shown(world).items())


@pytest.mark.row("F22")
def test_whatever_years_the_clocks_show_the_result_is_the_same() -> None:
    conflicts = 0
    for seed in range(10):
        results = [result(seed, clocks) for clocks in [(0, 0, 0), (-10, 0, 10), (10, -10, 0)]]
        assert results[1:] == results[:1] * 2, seed
        conflicts += sum("(conflict)" in path for path, _ in results[0])
    assert conflicts > 5  # where a clock could have decided something
